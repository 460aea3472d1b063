//! The behaviour of a log whose directory is no longer at its path, over a simulated disk.

use super::*;
use crate::format::file_names::LOCK;
use crate::log::commit_loop::CommitLoop;
use crate::log::open;
use crate::observe::events::Event;
use crate::options::Fsync;
use crate::read::follow::FollowedLog;
use crate::segments::reader_positions::StartPosition;
use crate::storage::dir_handle::DirHandle;
use crate::storage::lock::Lock;
use crate::storage::Storage;
use crate::testing::log::{code, TestLog};
use crate::testing::sim::{Faults, SimDisk};
use crate::util::notify::Waiter;
use crate::util::runtime::{Job, Runtime};
use crate::write::submission_queue::Client;
use std::sync::mpsc::channel;
use std::time::Duration;

const GONE: &str = "the directory /data was moved to /elsewhere";

fn open_log(fsync: Fsync) -> Result<TestLog> {
    TestLog::open(SimDisk::new(1, 4096), fsync)
}

#[test]
fn a_detached_log_writes_and_acknowledges_nothing_more_and_its_acknowledged_records_stay_readable() -> Result<()> {
    let log = open_log(Fsync::Always)?;
    log.append(b"acknowledged")?;
    log.settled(1)?;
    log.await_background();
    log.disk.lose(GONE);
    for _ in 0..3 {
        log.append(b"late")?;
    }
    let error = log.settled(4).err().map(|e| (e.code, e.message.contains(GONE)));
    assert_eq!(error, Some((Code::Detached, true)));
    let changes = log.disk.changes();
    assert_eq!(code(log.append(b"later")), Some(Code::Detached));
    assert_eq!(code(log.wal.sync()), Some(Code::Detached));
    assert_eq!(code(log.wal.truncate_before(2)), Some(Code::Detached));
    assert_eq!((log.last_readable()?, log.wal.positions().next), (1, 2), "rejected positions are free again");
    assert!(log.wal.stats().detached && !log.wal.stats().poisoned);
    assert_eq!(code(log.wal.close()), Some(Code::Detached));
    assert_eq!(code(log.wal.close()), Some(Code::Detached), "closing again returns the same error");
    assert_eq!(log.disk.changes(), changes);
    Ok(())
}

#[test]
fn records_acknowledged_without_an_fsync_stay_readable_after_detaching() -> Result<()> {
    let log = open_log(Fsync::Os)?;
    log.append(b"written")?;
    log.settled(1)?;
    log.disk.lose(GONE);
    log.append(&[1; 100 << 10])?;
    assert_eq!(code(log.settled(2)), Some(Code::Detached), "a roll checks the path first");
    assert_eq!((log.wal.positions().durable, log.last_readable()?), (0, 1));
    Ok(())
}

#[test]
fn a_missing_or_replaced_control_or_segment_detaches_the_log_at_the_next_roll() -> Result<()> {
    for replaced in [false, true] {
        for which in ["CONTROL", ".wal"] {
            let log = open_log(Fsync::Always)?;
            log.append(b"acknowledged")?;
            log.settled(1)?;
            let name = log.disk.names().into_iter().find(|name| name.ends_with(which)).unwrap_or_default();
            log.disk.swap(&name, replaced);
            log.append(&[1; 100 << 10])?;
            let error = log.settled(2).err().map(|e| (e.code, e.message.contains(&name)));
            assert_eq!(error, Some((Code::Detached, true)), "{name}");
            assert_eq!(log.last_readable()?, 1, "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_truncation_rejected_by_a_detached_log_leaves_its_records_readable() -> Result<()> {
    let commands: [fn(&Wal) -> Result<()>; 3] = [|wal| wal.truncate_before(3), |wal| wal.truncate_after(1), |wal| wal.reset(100)];
    for command in commands {
        let log = open_log(Fsync::Always)?;
        for _ in 0..3 {
            log.append(b"acknowledged")?;
        }
        log.settled(3)?;
        log.disk.lose(GONE);
        command(&log.wal)?;
        assert_eq!(code(log.settled(4)), Some(Code::Detached));
        let at = log.wal.positions();
        assert_eq!((at.first, at.next, log.last_readable()?), (1, 4, 3));
    }
    Ok(())
}

#[test]
fn a_cursor_commit_that_finds_the_directory_gone_is_rejected_and_detaches_the_log() -> Result<()> {
    let log = open_log(Fsync::Always)?;
    log.append(b"acknowledged")?;
    log.settled(1)?;
    let (made, cursor) = channel();
    log.wal.cursor("worker", StartPosition::First, move |cursor| drop(made.send(cursor)));
    let cursor = cursor.recv().map_err(|e| Error::new(Code::Io, e.to_string()))??;
    log.disk.lose(GONE);
    let (done, committed) = channel();
    cursor.commit(1, move |outcome| drop(done.send(outcome)));
    assert_eq!(committed.recv().ok().and_then(code), Some(Code::Detached));
    assert_eq!(cursor.position(), 0);
    assert_eq!(code(log.append(b"late")), Some(Code::Detached));
    Ok(())
}

#[test]
fn detaching_is_reported_as_one_event() -> Result<()> {
    let log = open_log(Fsync::Always)?;
    log.wal.listen(Event::DETACHED | Event::POISONED);
    log.disk.lose(GONE);
    log.append(b"late")?;
    assert_eq!(code(log.settled(1)), Some(Code::Detached));
    let _ = log.wal.close();
    let told = log.wal.events().events;
    let told: Vec<Event> = told.into_iter().collect();
    assert!(matches!(told.as_slice(), [Event::Detached(error)] if error.code == Code::Detached), "{told:?}");
    Ok(())
}

#[test]
fn while_the_log_is_detached_its_directory_stays_locked_until_it_is_closed() -> Result<()> {
    let log = open_log(Fsync::Always)?;
    log.disk.lose(GONE);
    log.append(b"late")?;
    assert_eq!(code(log.settled(1)), Some(Code::Detached));
    let home = DirHandle::open(log.dir.path()).map_err(|e| Error::new(Code::Io, e.to_string()))?;
    assert!(Lock::is_held(&home)?);
    assert_eq!(code(log.wal.close()), Some(Code::Detached));
    assert!(!Lock::is_held(&home)?);
    assert!(log.dir.path().join(LOCK).exists());
    Ok(())
}

/// A runtime whose clock is set by the test, and whose background jobs never run.
#[derive(Default)]
struct Clock(Mutex<Duration>);

impl Runtime for Clock {
    fn now(&self) -> Duration {
        *locked(&self.0)
    }

    fn spawn(&self, _: Job) {}
}

/// A log whose commit thread is stepped by the test.
struct Stepped {
    disk: SimDisk,
    shared: Arc<LogState>,
    thread: CommitLoop,
    clock: Arc<Clock>,
    client: usize,
}

impl Stepped {
    fn open(fsync: Fsync) -> Result<Stepped> {
        let disk = SimDisk::new(1, 4096);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let options = Options { fsync, ..Options::default() };
        let (shared, writer) = LogState::writable(storage.clone(), options.clone(), open::open(storage, &options, || 0)?);
        let clock = Arc::new(Clock::default());
        let client = locked(&shared.submissions).join(Client::new(Arc::new(Waiter::default())));
        let thread = CommitLoop::new(shared.clone(), writer, clock.clone());
        Ok(Stepped { disk, shared, thread, clock, client })
    }

    /// Steps the commit thread at `at` milliseconds after the log was opened.
    fn step(&mut self, at: u64) {
        *locked(&self.clock.0) = Duration::from_millis(at);
        locked(&self.shared.submissions).kicked = true;
        self.thread.step();
    }

    /// Appends `at` milliseconds after the log was opened, and returns the result.
    fn append(&mut self, at: u64) -> Result<()> {
        let record = RecordRef { value: Some(b"value"), ..RecordRef::default() };
        locked(&self.shared.submissions).append(self.client, &record, record.encoded_len(), false, &self.shared.options)?;
        self.step(at);
        let collected = locked(&self.shared.submissions).clients[self.client].as_mut().map(Client::collect);
        match collected {
            Some(Settled::Failed(_, error)) => Err(error),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_log_that_writes_without_fsync_checks_its_path_once_a_second() -> Result<()> {
    let mut log = Stepped::open(Fsync::Os)?;
    log.append(0)?;
    log.disk.lose(GONE);
    log.append(999)?;
    assert_eq!(code(log.append(1000)), Some(Code::Detached));
    Ok(())
}

#[test]
fn an_idle_log_checks_its_path_once_a_second_while_a_follower_waits() -> Result<()> {
    let mut log = Stepped::open(Fsync::Always)?;
    log.append(0)?;
    // By then the mark and the horizon page have been written.
    log.step(1100);
    assert_eq!(log.thread.deadline(), None);
    let (woken, told) = channel();
    let _ticket = log.shared.clone().wait(2, Box::new(move || woken.send(()).unwrap_or_default()));
    assert_eq!(log.thread.deadline(), Some(Duration::from_millis(2100)));
    log.disk.lose(GONE);
    log.step(2099);
    assert!(told.try_recv().is_err());
    log.step(2100);
    assert!(told.try_recv().is_ok());
    assert_eq!(code(log.shared.limit(2)), Some(Code::Detached));
    Ok(())
}

#[test]
fn a_failed_fsync_poisons_the_log_even_if_its_directory_is_gone() -> Result<()> {
    let mut log = Stepped::open(Fsync::Every(Duration::from_millis(5)))?;
    log.append(0)?;
    log.disk.lose(GONE);
    log.disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
    log.step(10);
    assert_eq!(code(log.append(20)), Some(Code::Poisoned));
    Ok(())
}
