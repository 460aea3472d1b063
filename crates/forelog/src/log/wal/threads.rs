//! Many logs on few commit threads.

use super::*;
use crate::error::Fault;
use crate::log::commit_threads::CommitThreads;
use crate::observe::events::Event;
use crate::options::Fsync;
use crate::recovery::directory::Slots;
use crate::storage::dir_handle::DirHandle;
use crate::storage::layer::{layered, Layer, Layered};
use crate::storage::lock::Lock;
use crate::storage::Storage;
use crate::storage::{File, FileRef};
use crate::testing::log::{code, TestLog};
use crate::testing::sim::SimDisk;
use crate::util::notify::Waiter;
use crate::write::submission_queue::CommitThreadState;
use std::ops::Deref;
use std::result::Result as Outcome;
use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// The behaviour of a disk when it is asked to sync.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Through,
    Hang,
    Panic,
}

#[derive(Default)]
struct State {
    way: Way,
    hanging: usize,
    synced: u64,
}

/// A disk that counts its syncs and performs them as a test wants.
#[derive(Clone, Default)]
struct Gate {
    state: Arc<(Mutex<State>, Condvar)>,
    /// Called at every sync.
    hook: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Gate {
    fn go(&self, way: Way) {
        locked(&self.state.0).way = way;
        self.state.1.notify_all();
    }

    fn await_that(&self, is_so: impl Fn(&State) -> bool) {
        let mut state = locked(&self.state.0);
        while !is_so(&state) {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Layer for Gate {
    fn sync(&self, file: &dyn File) -> Outcome<(), Fault> {
        if let Some(hook) = self.hook.get() {
            hook();
        }
        let way = {
            let mut state = locked(&self.state.0);
            state.hanging += 1;
            self.state.1.notify_all();
            while state.way == Way::Hang {
                state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.hanging -= 1;
            state.way
        };
        assert!(way != Way::Panic, "a sync that was to panic");
        file.sync()?;
        locked(&self.state.0).synced += 1;
        self.state.1.notify_all();
        Ok(())
    }

    fn create(&self, below: &dyn Storage, name: &str, len: u64) -> Outcome<FileRef, Fault> {
        Ok(layered(below.create(name, len)?, self.clone()))
    }
}

struct Log {
    log: TestLog,
    gate: Gate,
    storage: Arc<Layered<Gate>>,
}

impl Deref for Log {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.log
    }
}

fn threads(at_work: usize) -> &'static CommitThreads {
    Box::leak(Box::new(CommitThreads::new(at_work)))
}

impl Log {
    fn open(threads: &'static CommitThreads, fsync: Fsync) -> Result<Log> {
        let (disk, gate) = (SimDisk::new(1, 4096), Gate::default());
        let storage = Arc::new(Layered::over(Arc::new(disk.clone()), gate.clone()));
        Ok(Log { log: TestLog::over(storage.clone(), disk, fsync, threads)?, gate, storage })
    }

    fn append(&self) -> Result<u64> {
        let position = self.log.append(b"value");
        self.wal.kick();
        position
    }

    /// Appends a record, which keeps its thread for as long as the disk hangs.
    fn hang(&self) -> Result<()> {
        self.gate.go(Way::Hang);
        self.append()?;
        self.gate.await_that(|state| state.hanging > 0);
        Ok(())
    }

    fn is_parked(&self) -> bool {
        matches!(locked(&self.wal.shared.submissions).thread_state, CommitThreadState::Parked(_))
    }

    /// Waits until the log holds no thread, because it has nothing to do.
    fn await_parking(&self) {
        while !self.is_parked() {
            std::thread::yield_now();
        }
    }
}

fn is_held(dir: &Path) -> Result<bool> {
    Lock::is_held(&DirHandle::open(dir).map_err(|e| Fault::new("open", dir.to_string_lossy(), &e))?)
}

#[test]
fn a_log_whose_disk_hangs_does_not_stop_the_others() -> Result<()> {
    let few = threads(2);
    let (slow, others) = (Log::open(few, Fsync::Always)?, [Log::open(few, Fsync::Always)?, Log::open(few, Fsync::Always)?]);
    slow.hang()?;
    for ops in 1..=20 {
        for log in &others {
            log.append()?;
            log.settled(ops)?;
        }
    }
    assert_eq!(slow.wal.positions().durable, 0);
    slow.gate.go(Way::Through);
    slow.settled(1)
}

#[test]
fn logs_whose_disks_hang_do_not_stop_the_others_even_if_they_occupy_every_thread() -> Result<()> {
    let few = threads(2);
    let slow = [Log::open(few, Fsync::Always)?, Log::open(few, Fsync::Always)?];
    let other = Log::open(few, Fsync::Always)?;
    for log in &slow {
        log.hang()?;
    }
    for ops in 1..=20 {
        other.append()?;
        other.settled(ops)?;
    }
    other.wal.close()?;
    for log in &slow {
        assert_eq!(log.wal.positions().durable, 0);
        log.gate.go(Way::Through);
        log.settled(1)?;
    }
    Ok(())
}

#[test]
fn an_idle_log_is_synced_in_time_although_no_thread_is_assigned_to_it() -> Result<()> {
    let log = Log::open(threads(1), Fsync::Every(Duration::from_millis(400)))?;
    log.append()?;
    log.settled(1)?;
    log.await_parking();
    log.wal.listen(Event::SYNC);
    log.waiter.wait_for(|| (log.wal.positions().durable == 1).then_some(()));
    log.wal.close()
}

#[test]
fn the_durable_mark_of_an_idle_log_is_updated_although_no_thread_is_assigned_to_it() -> Result<()> {
    let log = Log::open(threads(1), Fsync::Always)?;
    log.append()?;
    log.settled(1)?;
    log.await_parking();
    let mut synced = 0;
    loop {
        let state = Slots::read(&*log.storage, false)?.chosen.ok();
        if state.and_then(|(state, _)| state.mark).is_some_and(|mark| mark.position == 1) {
            return log.wal.close();
        }
        log.gate.await_that(|state| state.synced > synced);
        synced = locked(&log.gate.state.0).synced;
    }
}

#[test]
fn a_panic_in_the_commit_of_one_log_poisons_only_that_log_and_keeps_it_locked_until_closed() -> Result<()> {
    let one = threads(1);
    let (failing, other) = (Log::open(one, Fsync::Always)?, Log::open(one, Fsync::Always)?);
    failing.gate.go(Way::Panic);
    failing.append()?;
    assert_eq!(code(failing.settled(1)), Some(Code::Poisoned));
    assert_eq!(code(failing.append()), Some(Code::Poisoned));
    for ops in 1..=20 {
        other.append()?;
        other.settled(ops)?;
    }
    assert!(is_held(failing.dir.path())?);
    failing.gate.go(Way::Through);
    // Whatever the background still reports, the log does not change.
    failing.wal.kick();
    assert_eq!(code(failing.wal.close()), Some(Code::Poisoned));
    assert!(!is_held(failing.dir.path())?);
    other.wal.close()
}

#[test]
fn closing_a_log_that_waits_for_a_thread_writes_everything_it_has_accepted() -> Result<()> {
    let one = threads(1);
    let (slow, queued) = (Log::open(one, Fsync::Always)?, Log::open(one, Fsync::Always)?);
    queued.await_parking();
    slow.hang()?;
    queued.append()?;
    assert!(!queued.is_parked());
    let closed = std::thread::scope(|scope| {
        let closing = scope.spawn(|| queued.wal.close());
        // From here on the log waits for the thread of the other one.
        while !queued.wal.shared.stop.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        slow.gate.go(Way::Through);
        closing.join()
    });
    assert!(matches!(closed, Ok(Ok(()))));
    assert_eq!(queued.wal.positions().durable, 1);
    assert!(!is_held(queued.dir.path())?);
    slow.settled(1)
}

/// Starts a thread while `left` allows it, and fails after that.
fn start_while_any_is_left(threads: &'static CommitThreads, left: &AtomicUsize) -> std::io::Result<()> {
    match left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)) {
        Ok(_) => std::thread::Builder::new().name("forelog-commit".into()).spawn(|| threads.serve()).map(drop),
        Err(_) => Err(std::io::ErrorKind::WouldBlock.into()),
    }
}

#[test]
fn if_no_thread_can_be_started_opening_fails_and_releases_the_lock() -> Result<()> {
    let none = Box::leak(Box::new(CommitThreads::started_by(1, |_| Err(std::io::ErrorKind::WouldBlock.into()))));
    let dir = tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let (disk, options) = (Arc::new(SimDisk::new(1, 4096)), Options::default());
    let refused = Wal::open_on(disk.clone(), dir.path(), options.clone(), Arc::new(Waiter::default()), none);
    assert_eq!(code(refused), Some(Code::Io));
    assert!(!is_held(dir.path())?);
    Wal::open_on(disk, dir.path(), options, Arc::new(Waiter::default()), threads(1))?.close()
}

#[test]
fn if_no_second_thread_can_be_started_a_busy_log_s_thread_keeps_the_deadlines_of_the_others() -> Result<()> {
    static LEFT: AtomicUsize = AtomicUsize::new(1);
    let one = Box::leak(Box::new(CommitThreads::started_by(8, |threads| start_while_any_is_left(threads, &LEFT))));
    let (busy, idle) = (Log::open(one, Fsync::Always)?, Log::open(one, Fsync::Every(Duration::from_millis(400)))?);
    let (wal, ended) = (Arc::downgrade(&busy.wal), Arc::new(AtomicBool::new(false)));
    let is_over = ended.clone();
    // Each append has a successor before it is durable, so the thread has work at every step.
    let next = move || {
        if let Some(wal) = wal.upgrade().filter(|_| !is_over.load(Ordering::Acquire)) {
            let _ = wal.append(RecordRef { value: Some(b"next"), ..RecordRef::default() }, false);
            wal.kick();
        }
    };
    assert!(busy.gate.hook.set(Box::new(next)).is_ok());
    busy.append()?;
    idle.append()?;
    idle.settled(1)?;
    idle.wal.listen(Event::SYNC);
    idle.waiter.wait_for(|| (idle.wal.positions().durable == 1).then_some(()));
    ended.store(true, Ordering::Release);
    assert_eq!(LEFT.load(Ordering::Acquire), 0);
    idle.wal.close()?;
    busy.wal.close()
}

#[test]
fn logs_that_always_have_something_to_do_take_turns() -> Result<()> {
    const LOGS: usize = 5;
    const TURNS: usize = 40;
    let one = threads(1);
    let turns = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let logs = (0..LOGS).map(|_| Log::open(one, Fsync::Always)).collect::<Result<Vec<_>>>()?;
    // Each append has a successor before it is durable, so its thread has work at every step.
    for (n, log) in logs.iter().enumerate() {
        let (wal, turns): (Weak<Wal>, _) = (Arc::downgrade(&log.wal), turns.clone());
        let next = move || {
            if std::thread::current().name() != Some("forelog-commit") {
                return;
            }
            let all = {
                let mut taken = locked(&turns.0);
                if taken.last() != Some(&n) {
                    taken.push(n);
                }
                turns.1.notify_all();
                taken.len()
            };
            if let Some(wal) = wal.upgrade().filter(|_| all < LOGS * TURNS) {
                let _ = wal.append(RecordRef { value: Some(b"next"), ..RecordRef::default() }, false);
                wal.kick();
            }
        };
        assert!(log.gate.hook.set(Box::new(next)).is_ok());
    }
    logs[0].hang()?;
    for log in &logs[1..] {
        log.append()?;
    }
    logs[0].gate.go(Way::Through);
    let mut taken = locked(&turns.0);
    while taken.len() < LOGS * TURNS {
        taken = turns.1.wait(taken).unwrap_or_else(PoisonError::into_inner);
    }
    for round in taken[..LOGS * (TURNS - 1)].chunks(2 * LOGS) {
        assert!((0..LOGS).all(|n| round.contains(&n)), "{round:?}");
    }
    drop(taken);
    logs.iter().try_for_each(|log| log.wal.close())
}
