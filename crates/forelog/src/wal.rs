//! The log as its users hold it: handles, the intake they share, and the commit thread behind it.
//!
//! An append goes: handle → intake (position, bytes) → commit thread → writer → disk; and back: horizons →
//! settlements → one wake per client. Nothing is settled before the writer has returned what it rests on.

use crate::catalog::Catalog;
use crate::error::{Code, Error, Result};
use crate::group::{Batch, Group};
use crate::intake::{closed, Client, Intake, Phase, Settled};
use crate::open::{self, Listing, Opened, Recovery};
use crate::options::{Fsync, Options};
use crate::pool;
use crate::reader::Reader;
use crate::record::RecordRef;
use crate::registry::{self, Place};
use crate::stats::{Measure, Stats};
use crate::storage::disk::{create_dir, Disk, Lock};
use crate::storage::{Fault, Storage};
use crate::writer::{Counters, Progress, Writer};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Told when operations of a client may have settled. Called from the log's threads: it must return quickly and must
/// not call the log. It carries no data; ask `Wal::settled`.
pub trait Notify: Send + Sync + 'static {
    fn wake(&self);
}

/// The durable mark in CONTROL is at most this old while the durable horizon moves.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Positions of a log; all but `first` and `next` are inclusive, 0 when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// First position that can be read; equal to `next` in an empty log.
    pub first: u64,
    /// Position of the next record accepted.
    pub next: u64,
    /// Handed to the operating system.
    pub written: u64,
    /// Readers see up to here.
    pub acknowledged: u64,
    /// Survives power loss.
    pub durable: u64,
}

/// What the commit thread publishes; everyone else reads it without a lock.
#[derive(Default)]
struct Horizons {
    first: AtomicU64,
    written: AtomicU64,
    acknowledged: AtomicU64,
    durable: AtomicU64,
}

struct Measures {
    commits: u64,
    counters: Counters,
    group: Measure,
    commit: Measure,
    fsync: Measure,
}

/// One open log; all handles on it in this process share it.
pub struct Shared {
    identity: u64,
    options: Options,
    storage: Arc<dyn Storage>,
    catalog: Arc<Catalog>,
    recovery: Recovery,
    intake: Mutex<Intake>,
    work: Condvar,
    horizons: Horizons,
    measures: Mutex<Measures>,
    /// Tells the commit thread to finish what is accepted and end.
    stop: AtomicBool,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Monotonic nanoseconds since this process first asked.
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// A handle on a log: one client with a queue of operations of its own. Share it by reference; `Drop` closes it.
pub struct Wal {
    shared: Arc<Shared>,
    place: Arc<Place>,
    client: usize,
    closed: AtomicBool,
    outcome: Mutex<Option<Result<()>>>,
}

impl Wal {
    /// Opens the log in `dir`, recovering it if need be; blocking. A log that this process has open already is shared.
    ///
    /// # Errors
    /// `InvalidArg` for options out of range or other than those it is open with, `NotFound` without `create`,
    /// `Locked` when another process has it, `Corrupt` for damage, `Format` for a foreign directory or a newer
    /// version, `NoSpace`, `ReadOnly` and `Io` from the file system. None of them changes what is on disk.
    pub fn open(dir: &Path, options: Options, notify: Arc<dyn Notify>) -> Result<Wal> {
        options.validate()?;
        let opened = Wal::open_checked(dir, options, notify);
        opened.map_err(|error| error.during("open"))
    }

    fn open_checked(dir: &Path, options: Options, notify: Arc<dyn Notify>) -> Result<Wal> {
        prepare_dir(dir, &options)?;
        let disk = Arc::new(Disk::new(dir, options.allow_unsafe_filesystem)?);
        let listing = Listing::read(&*disk)?;
        open::refuse_unknown(&*disk, &listing)?;
        if !options.create && !listing.control && listing.segments.is_empty() {
            return Err(not_found(dir));
        }
        let mut lock = Lock::open(dir)?;
        let place = registry::place(lock.identity(dir)?);
        let mut tenant = place.tenant();
        let shared = match &tenant.shared {
            Some(shared) if shared.options != options => {
                let text = "the log is open in this process with other options";
                return Err(Error::new(Code::InvalidArg, text));
            }
            Some(shared) => shared.clone(),
            None => {
                lock.acquire(dir)?;
                let opened = open::open(disk.clone(), &options, clock)?;
                lock.sign();
                let shared = Shared::start(disk, options, opened, lock)?;
                tenant.shared = Some(shared.clone());
                shared
            }
        };
        tenant.handles += 1;
        drop(tenant);
        let client = locked(&shared.intake).join(Client::new(notify));
        Ok(Wal { shared, place, client, closed: AtomicBool::new(false), outcome: Mutex::new(None) })
    }

    /// The same number for every handle on this log in this process.
    pub fn identity(&self) -> u64 {
        self.shared.identity
    }

    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// Copies the record and gives its position; never blocks on I/O. It is acknowledged when `settled` counts this
    /// operation as done: written under `Every` and `Os`, durable under `Always` or with `durable`.
    ///
    /// The commit thread is told by `kick`, or at once when much is pending.
    ///
    /// # Errors
    /// A refused record takes no position and is no operation: `InvalidArg`, `TooLarge`, `Backpressure`, `Closed`,
    /// `Poisoned`, `OutOfRange`.
    pub fn append(&self, record: RecordRef<'_>, durable: bool) -> Result<u64> {
        let len = record.check(self.shared.options.max_record_bytes)?;
        let mut intake = self.intake("append")?;
        let position = intake.append(self.client, &record, len, durable, &self.shared.options).map_err(|e| e.during("append"))?;
        if intake.is_eager() {
            self.shared.rouse(&mut intake);
        }
        Ok(position)
    }

    /// Like `append`, for a batch: after a crash all of its records are there or none. Empties the batch either way.
    pub fn append_batch(&self, batch: &mut Batch, durable: bool) -> Result<(u64, u64)> {
        let appended = self.enter_batch(batch, durable).map_err(|e| e.during("appendBatch"));
        batch.clear();
        appended
    }

    fn enter_batch(&self, batch: &Batch, durable: bool) -> Result<(u64, u64)> {
        let max = self.shared.options.max_batch_bytes;
        if batch.is_empty() {
            return Err(Error::new(Code::InvalidArg, "a batch needs at least one record"));
        }
        if batch.bytes() > max {
            return Err(Error::new(Code::TooLarge, format!("batch of {} bytes is above maxBatchBytes ({max})", batch.bytes())));
        }
        let mut intake = self.intake("appendBatch")?;
        let range = intake.append_batch(self.client, batch, durable, &self.shared.options)?;
        if intake.is_eager() {
            self.shared.rouse(&mut intake);
        }
        Ok(range)
    }

    /// Enters an operation that is done once everything accepted before it is durable.
    pub fn sync(&self) -> Result<()> {
        self.intake("sync")?.sync(self.client, &self.shared.options).map_err(|e| e.during("sync"))
    }

    /// Tells the commit thread to take what has been accepted. Cheap when it has been told already.
    pub fn kick(&self) {
        let mut intake = locked(&self.shared.intake);
        if !intake.kicked && !intake.group.is_empty() {
            self.shared.rouse(&mut intake);
        }
    }

    /// The next settlement of this handle's operations; `Done` with an unchanged count when there is no news.
    pub fn settled(&self) -> Settled {
        match locked(&self.shared.intake).clients.get_mut(self.client).and_then(Option::as_mut) {
            Some(client) => client.collect(),
            None => Settled::Done(0),
        }
    }

    pub fn positions(&self) -> Positions {
        self.shared.positions(locked(&self.shared.intake).next)
    }

    /// Encoded bytes accepted and not yet acknowledged, by all handles together.
    pub fn pending_bytes(&self) -> u64 {
        locked(&self.shared.intake).pending_bytes
    }

    pub fn stats(&self) -> Stats {
        let measures = locked(&self.shared.measures);
        let intake = locked(&self.shared.intake);
        Stats {
            appends: intake.appends,
            batches: intake.batches,
            bytes: intake.bytes,
            pending_bytes: intake.pending_bytes,
            commits: measures.commits,
            fsyncs: measures.counters.fsyncs,
            rolls: measures.counters.rolls,
            written_bytes: measures.counters.written_bytes,
            group: measures.group.snapshot(),
            commit_us: measures.commit.snapshot(),
            fsync_us: measures.fsync.snapshot(),
        }
    }

    /// A reader of `from..=to`, as far as that is acknowledged now. No I/O happens before its first block.
    ///
    /// # Errors
    /// `Truncated` below the first position, `OutOfRange` above the next one, `Closed`.
    pub fn reader(&self, from: u64, to: u64) -> Result<Reader> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during("read"));
        }
        let (positions, limit) = {
            let intake = locked(&self.shared.intake);
            let positions = self.shared.positions(intake.next);
            // What was acknowledged without being durable may be gone once an fsync has failed.
            let limit = if matches!(intake.phase, Phase::Poisoned(_)) { positions.durable } else { positions.acknowledged };
            (positions, limit)
        };
        if from < positions.first {
            let mut error = Error::new(Code::Truncated, format!("position {from} is below the first one, {}", positions.first));
            error.first_position = Some(positions.first);
            return Err(error.at_position(from).during("read"));
        }
        if from > positions.next {
            let text = format!("position {from} is above the next one, {}", positions.next);
            return Err(Error::new(Code::OutOfRange, text).at_position(from).during("read"));
        }
        Ok(Reader::new(self.shared.storage.clone(), self.shared.catalog.clone(), from, to.min(limit)))
    }

    /// Commits and syncs everything accepted, under every policy; blocking. The last handle ends the commit thread and
    /// releases the directory. Idempotent: later calls give the same result.
    ///
    /// # Errors
    /// `Poisoned` after a failed fsync, `NoSpace` when what was accepted could not be written.
    pub fn close(&self) -> Result<()> {
        let mut outcome = locked(&self.outcome);
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        self.closed.store(true, Ordering::Release);
        let mut tenant = self.place.tenant();
        let last = tenant.handles == 1;
        let result = if last { self.shared.shut_down() } else { self.shared.flush() };
        tenant.handles -= 1;
        if last {
            tenant.shared = None;
        }
        let result = result.map_err(|e| e.during("close"));
        *outcome = Some(result.clone());
        result
    }

    fn intake(&self, operation: &'static str) -> Result<MutexGuard<'_, Intake>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during(operation));
        }
        Ok(locked(&self.shared.intake))
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        let _ = self.close();
        let mut intake = locked(&self.shared.intake);
        if let Some(slot) = intake.clients.get_mut(self.client) {
            *slot = None;
        }
    }
}

fn not_found(dir: &Path) -> Error {
    Error::new(Code::NotFound, format!("no log in {}", dir.display()))
}

fn prepare_dir(dir: &Path, options: &Options) -> Result<()> {
    match std::fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => {
            let error = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            let mut fault = Fault::new("scandir", dir.to_string_lossy(), &error);
            fault.errno = std::fs::read_dir(dir).err().and_then(|e| e.raw_os_error());
            Err(fault.into())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && options.create => Ok(create_dir(dir)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(not_found(dir)),
        Err(e) => Err(Fault::new("stat", dir.to_string_lossy(), &e).into()),
    }
}

impl Shared {
    fn start(storage: Arc<dyn Storage>, options: Options, opened: Opened, lock: Lock) -> Result<Arc<Shared>> {
        static IDENTITIES: AtomicU64 = AtomicU64::new(1);
        let Opened { writer, catalog, recovery } = opened;
        let shared = Arc::new(Shared {
            identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
            options,
            storage,
            catalog,
            intake: Mutex::new(Intake::new(writer.next_position())),
            work: Condvar::new(),
            horizons: Horizons::default(),
            measures: Mutex::new(Measures {
                commits: 0,
                counters: writer.counters,
                group: Measure::new(1.0),
                commit: Measure::new(1e-3),
                fsync: Measure::new(1e-3),
            }),
            recovery,
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        shared.horizons.first.store(shared.recovery.first_position, Ordering::Release);
        shared.publish(&writer, true);
        let thread = std::thread::Builder::new().name("forelog-commit".into()).spawn({
            let shared = shared.clone();
            move || CommitThread::new(shared, writer).run(lock)
        });
        let thread = thread.map_err(|e| Error::from(Fault::new("thread", "forelog-commit", &e)))?;
        *locked(&shared.thread) = Some(thread);
        Ok(shared)
    }

    fn positions(&self, next: u64) -> Positions {
        let at = |horizon: &AtomicU64| horizon.load(Ordering::Acquire);
        let h = &self.horizons;
        Positions { first: at(&h.first), next, written: at(&h.written), acknowledged: at(&h.acknowledged), durable: at(&h.durable) }
    }

    /// The horizons as the writer stands; what is written is acknowledged unless a waiter's fsync failed.
    fn publish(&self, writer: &Writer, acknowledged: bool) {
        let written = writer.next_position() - 1;
        self.horizons.durable.store(writer.durable_position(), Ordering::Release);
        self.horizons.written.store(written, Ordering::Release);
        if acknowledged {
            self.horizons.acknowledged.store(written, Ordering::Release);
        }
    }

    fn rouse(&self, intake: &mut Intake) {
        intake.kicked = true;
        if intake.asleep {
            intake.asleep = false;
            self.work.notify_one();
        }
    }

    /// A background write to CONTROL failed: the commit thread learns of it before it acknowledges anything more.
    fn report(&self, fault: Fault) {
        let mut intake = locked(&self.intake);
        intake.fault = Some(fault);
        self.rouse(&mut intake);
    }

    /// Waits until everything accepted so far is durable.
    fn flush(&self) -> Result<()> {
        let latch = Arc::new(Waiter::default());
        let client = {
            let mut intake = locked(&self.intake);
            let client = intake.join(Client::new(latch.clone()));
            let entered = intake.sync(client, &self.options);
            if let Err(error) = entered {
                intake.clients[client] = None;
                return Err(error);
            }
            self.rouse(&mut intake);
            client
        };
        let settled = latch.wait_for(|| {
            let mut intake = locked(&self.intake);
            let client = intake.clients.get_mut(client).and_then(Option::as_mut)?;
            (client.settled == client.entered).then(|| client.collect())
        });
        locked(&self.intake).clients[client] = None;
        match settled {
            Settled::Done(_) => Ok(()),
            Settled::Failed(_, error) => Err(error),
        }
    }

    fn shut_down(&self) -> Result<()> {
        {
            let mut intake = locked(&self.intake);
            if matches!(intake.phase, Phase::Open) {
                intake.phase = Phase::Closing;
            }
            self.stop.store(true, Ordering::Release);
            self.rouse(&mut intake);
        }
        match locked(&self.thread).take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::new(Code::Poisoned, "the commit thread ended in a panic")),
            None => Ok(()),
        }
    }
}

/// Lets a thread sleep until its operations settle: the `Notify` of callers that have nothing else to do.
#[derive(Default)]
pub struct Waiter {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Waiter {
    /// Blocks until `ask` gives something, asking again at every wake.
    pub fn wait_for<T>(&self, mut ask: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let mut woken = locked(&self.woken);
            while !*woken {
                woken = self.wake.wait(woken).unwrap_or_else(PoisonError::into_inner);
            }
            *woken = false;
        }
    }
}

impl Notify for Waiter {
    fn wake(&self) {
        *locked(&self.woken) = true;
        self.wake.notify_all();
    }
}

/// Steps the writer: takes what has gathered, commits it, settles it, and keeps the deadlines of the policy.
struct CommitThread {
    shared: Arc<Shared>,
    writer: Writer,
    group: Group,
    wake: Vec<Arc<dyn Notify>>,
    /// When the oldest write that no fsync has covered began.
    behind_since: Option<Instant>,
    marked_at: Instant,
    /// Durable position of the last mark handed out.
    marked: u64,
}

impl CommitThread {
    fn new(shared: Arc<Shared>, writer: Writer) -> CommitThread {
        let marked = writer.durable_position();
        CommitThread { shared, writer, group: Group::default(), wake: Vec::new(), behind_since: None, marked_at: Instant::now(), marked }
    }

    fn run(mut self, lock: Lock) -> Result<()> {
        let result = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let result = result.unwrap_or_else(|_| {
            let error = Error::new(Code::Poisoned, "the log is poisoned: its commit thread failed unexpectedly");
            self.fail(&error);
            self.await_stop();
            Err(error)
        });
        // No background job may touch the directory once it is given up.
        self.writer.retire();
        self.writer.spares().close();
        drop(lock);
        result
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            let stop = self.take();
            if !self.group.is_empty() {
                self.commit();
            }
            self.keep_deadlines();
            if stop {
                let closed = self.writer.close();
                self.collect_counters(None);
                self.shared.publish(&self.writer, closed.is_ok());
                return closed;
            }
        }
    }

    /// Sleeps until there is something to do, and takes what has gathered. True when this is the last time.
    fn take(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut intake = locked(&shared.intake);
        loop {
            let stop = shared.stop.load(Ordering::Acquire);
            let due = self.deadline();
            let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
            if stop || intake.kicked || wait == Some(Duration::ZERO) {
                break;
            }
            intake.asleep = true;
            intake = match wait {
                Some(wait) => self.shared.work.wait_timeout(intake, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.work.wait(intake).unwrap_or_else(PoisonError::into_inner),
            };
            intake.asleep = false;
        }
        if let Some(fault) = intake.fault.take() {
            let error = self.writer.poison(fault);
            drop(intake);
            self.fail(&error);
            return shared.stop.load(Ordering::Acquire);
        }
        intake.kicked = false;
        self.group.clear();
        std::mem::swap(&mut intake.group, &mut self.group);
        shared.stop.load(Ordering::Acquire)
    }

    fn deadline(&self) -> Option<Instant> {
        if self.writer.poisoned().is_some() {
            return None;
        }
        let sync = match self.shared.options.fsync {
            Fsync::Every(period) => self.behind_since.map(|since| since + period),
            Fsync::Always | Fsync::Os => None,
        };
        let mark = (self.writer.durable_position() != self.marked).then(|| self.marked_at + MARK_EVERY);
        [sync, mark].into_iter().flatten().min()
    }

    fn commit(&mut self) {
        let began = Instant::now();
        let durable = self.group.durable || self.shared.options.fsync == Fsync::Always;
        let progress = self.writer.commit(&mut self.group, durable);
        let took = began.elapsed();
        self.settle(progress);
        self.behind_since = self.writer.is_behind().then(|| self.behind_since.unwrap_or(began));
        self.collect_counters(Some(took));
        if self.writer.wants_spare() {
            let spares = self.writer.spares();
            pool::spawn(move || spares.prepare());
        }
        if let Some(ahead) = self.writer.due_filling() {
            let shared = self.shared.clone();
            pool::spawn(move || {
                if let Err(fault) = ahead.fill() {
                    shared.report(fault);
                }
            });
        }
    }

    /// Tells the clients how their operations ended.
    fn settle(&mut self, progress: Progress) {
        let Progress { frames, failure } = progress;
        match &failure {
            Some(error) if error.code != Code::NoSpace => {
                let error = match self.writer.poisoned() {
                    Some(poisoned) => poisoned.clone(),
                    // Neither full nor poisoned: the bytes that opening left to be carried do not read back.
                    None => error.clone(),
                };
                return self.fail(&error);
            }
            _ => {}
        }
        // Frames that were written are acknowledged: the writer has synced them, or nobody asked for that.
        self.shared.publish(&self.writer, true);
        let shared = self.shared.clone();
        let mut intake = locked(&shared.intake);
        if failure.is_none() || frames > 0 {
            intake.succeed(self.group.runs_of(0, frames), &mut self.wake);
        }
        match failure {
            None => intake.pending_bytes -= self.group.record_bytes,
            Some(error) => intake.fail(&error, self.writer.next_position(), &mut self.wake),
        }
        drop(intake);
        self.notify();
    }

    /// Rejects everything that waits, and all that comes.
    fn fail(&mut self, error: &Error) {
        let shared = self.shared.clone();
        self.shared.publish(&self.writer, false);
        let mut intake = locked(&shared.intake);
        intake.phase = Phase::Poisoned(error.clone());
        let next = intake.next;
        intake.fail(error, next, &mut self.wake);
        drop(intake);
        self.group.clear();
        self.behind_since = None;
        self.notify();
    }

    fn notify(&mut self) {
        self.wake.dedup_by(|a, b| Arc::ptr_eq(a, b));
        for client in self.wake.drain(..) {
            client.wake();
        }
    }

    fn keep_deadlines(&mut self) {
        if self.writer.poisoned().is_some() {
            return;
        }
        if let (Fsync::Every(period), Some(since)) = (self.shared.options.fsync, self.behind_since) {
            if since.elapsed() >= period {
                match self.writer.sync() {
                    Ok(()) => self.shared.publish(&self.writer, true),
                    // A log opened on a full disk cannot roll yet; its next write tries again.
                    Err(error) if error.code == Code::NoSpace => {}
                    Err(error) => return self.fail(&error),
                }
                self.behind_since = None;
                self.collect_counters(None);
            }
        }
        let durable = self.writer.durable_position();
        if durable != self.marked && self.marked_at.elapsed() >= MARK_EVERY {
            self.marked = durable;
            self.marked_at = Instant::now();
            if let Some(job) = self.writer.mark() {
                let shared = self.shared.clone();
                pool::spawn(move || {
                    if let Err(fault) = job.run() {
                        shared.report(fault);
                    }
                });
            }
        }
    }

    fn collect_counters(&mut self, commit: Option<Duration>) {
        let mut measures = locked(&self.shared.measures);
        measures.counters = self.writer.counters;
        for nanos in self.writer.fsync_times.drain(..) {
            measures.fsync.record(nanos);
        }
        if let Some(took) = commit {
            measures.commits += 1;
            measures.commit.record(took.as_nanos() as u64);
            measures.group.record(self.group.records);
        }
    }

    /// A failed thread stays until it is told to end, so that the directory remains locked while handles are open.
    fn await_stop(&mut self) {
        let mut intake = locked(&self.shared.intake);
        while !self.shared.stop.load(Ordering::Acquire) {
            intake.asleep = true;
            intake = self.shared.work.wait(intake).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
