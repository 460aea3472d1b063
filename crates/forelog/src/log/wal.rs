//! The log as its users hold it.
//!
//! An append goes: handle → submission queue (position, bytes) → commit thread → writer → disk; and back: horizons →
//! settlements → one wake per client. Nothing is settled before the writer has returned what it rests on.

use crate::error::{closed, Code, Error, Fault, Result};
use crate::format::record::RecordRef;
use crate::log::commit_threads::{CommitThreads, COMMON};
use crate::log::registry::{self, DirectorySlot};
use crate::log::state::{LogState, Positions};
use crate::log::{open, read_only, remote_writer};
use crate::maintenance::backup::Backup;
use crate::maintenance::progress::Watch;
use crate::maintenance::verify::{self, Verification};
use crate::observe::events::Unheard;
use crate::observe::stats::Stats;
use crate::options::{Mode, Options};
use crate::read::follow::FollowedLog;
use crate::recovery::directory::{named, prepare_dir};
use crate::recovery::evidence::refuse_unknown;
use crate::recovery::report::Recovery;
use crate::segments::attachment::detached_here;
use crate::storage::dir_handle::DirHandle;
use crate::storage::disk::Disk;
use crate::storage::lock::Lock;
use crate::storage::Storage;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::util::runtime::clock;
use crate::write::group::Batch;
use crate::write::submission_queue::{Client, Command, Settled, SubmissionQueue, Terms};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A handle on a log: one client with a queue of operations of its own. Share it by reference; `Drop` closes it.
pub struct Wal {
    shared: Arc<LogState>,
    place: Arc<DirectorySlot>,
    client: usize,
    closed: AtomicBool,
    outcome: Mutex<Option<Result<()>>>,
    /// Scrubs under way, which closing ends.
    scrubs: Mutex<Vec<Arc<Watch>>>,
}

impl Wal {
    /// Opens the log in `dir`, recovering it if need be; blocking. A log that this process has open already is shared.
    ///
    /// # Errors
    /// `InvalidArg` for options out of range or other than those it is open with, `NotFound` without `create` or when
    /// read-only, `Locked` when another process has it, `Detached` when this one has it from a path that does not lead to it
    /// any more, `Corrupt` for damage, `Format` for a foreign directory or a newer version, `NoSpace`, `ReadOnly` and `Io` from the file system. None of them changes what is on disk.
    pub fn open(dir: &Path, options: Options, notify: Arc<dyn Notify>) -> Result<Wal> {
        Wal::open_watched(dir, options, notify, &Arc::default())
    }

    /// Opens like [`Wal::open`]; stopping `watch` ends the reading of what the directory holds, which may take long.
    ///
    /// # Errors
    /// Those of `open`, and `Closed` when the watch was stopped.
    pub fn open_watched(dir: &Path, options: Options, notify: Arc<dyn Notify>, watch: &Arc<Watch>) -> Result<Wal> {
        options.validate()?;
        let opened = Wal::open_checked(dir, options, notify, watch);
        opened.map_err(|error| error.during("open"))
    }

    fn open_checked(dir: &Path, options: Options, notify: Arc<dyn Notify>, watch: &Arc<Watch>) -> Result<Wal> {
        if options.mode == Mode::ReadOnly {
            return Wal::open_read_only(dir, options, notify, watch);
        }
        prepare_dir(dir, options.create)?;
        let disk = Disk::new(dir, options.allow_unsafe_filesystem)?;
        Wal::open_on_watched(Arc::new(disk), dir, options, notify, watch, &COMMON)
    }

    #[cfg(test)]
    fn open_on(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: Options,
        notify: Arc<dyn Notify>,
        threads: &'static CommitThreads,
    ) -> Result<Wal> {
        Wal::open_on_watched(storage, dir, options, notify, &Arc::default(), threads)
    }

    /// Opens the log that `storage` holds; `dir` is where its lock is.
    fn open_on_watched(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: Options,
        notify: Arc<dyn Notify>,
        watch: &Arc<Watch>,
        threads: &'static CommitThreads,
    ) -> Result<Wal> {
        refuse_unknown(&*storage, options.create).map_err(|error| named(error, dir))?;
        let home = match storage.home() {
            Some(home) => home.clone(),
            // A simulated disk has its lock in a directory of its own.
            None => Arc::new(DirHandle::open(dir).map_err(|e| Fault::new("open", dir.to_string_lossy(), &e))?),
        };
        let place = registry::place(home.identity());
        let mut tenant = place.open_log();
        let shared = match &tenant.shared {
            Some(shared) if shared.options != options => {
                let text = "the log is open in this process with other options";
                return Err(Error::new(Code::InvalidArg, text));
            }
            Some(shared) => match shared.detachment() {
                Some(why) => return Err(detached_here(&why)),
                None => shared.clone(),
            },
            None => {
                let lock = Lock::acquire(&home)?;
                let opened = open::open_watched(storage.clone(), &options, watch, clock)?;
                lock.sign();
                let shared = LogState::start(storage, options, opened, lock, threads)?;
                tenant.shared = Some(shared.clone());
                shared
            }
        };
        tenant.handles += 1;
        drop(tenant);
        Ok(Wal::handle(shared, place, notify))
    }

    /// A handle of its own, whoever else has the log open: it writes nothing and locks nothing.
    fn open_read_only(dir: &Path, options: Options, notify: Arc<dyn Notify>, watch: &Arc<Watch>) -> Result<Wal> {
        prepare_dir(dir, false)?;
        // Nothing is written, so a network's locks and fsyncs do not matter.
        let disk = Disk::new(dir, true)?;
        let home = disk.handle();
        let disk: Arc<dyn Storage> = Arc::new(disk);
        let view = read_only::open_beside_writer(&disk, watch, || Lock::is_held(&home), clock).map_err(|error| named(error, dir))?;
        let shared = LogState::read_only(disk, options, view);
        if shared.remote.is_some() {
            remote_writer::watch_page(&shared);
        }
        let place = Arc::new(DirectorySlot::default());
        {
            let mut tenant = place.open_log();
            tenant.shared = Some(shared.clone());
            tenant.handles = 1;
        }
        Ok(Wal::handle(shared, place, notify))
    }

    fn handle(shared: Arc<LogState>, place: Arc<DirectorySlot>, notify: Arc<dyn Notify>) -> Wal {
        let client = locked(&shared.submissions).join(Client::new(notify));
        Wal { shared, place, client, closed: AtomicBool::new(false), outcome: Mutex::new(None), scrubs: Mutex::default() }
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
    /// `Poisoned`, `Detached`, `OutOfRange`; `Conflict`, with `actual`, when it expects another position. Once operations of this handle
    /// have failed, with `NoSpace`, `ReadOnly` or `Io` or as a truncation did, it refuses with the same error until `settled` has told that and is
    /// called again: no record passes one that was rejected.
    pub fn append(&self, record: RecordRef<'_>, terms: impl Into<Terms>) -> Result<u64> {
        let len = record.check(self.shared.options.max_record_bytes)?;
        let mut submissions = self.submissions("append")?;
        let position = submissions.append(self.client, &record, len, terms, &self.shared.options).map_err(|e| e.during("append"))?;
        if submissions.is_eager() {
            self.shared.rouse(submissions);
        }
        Ok(position)
    }

    /// Appends records as single ones, all of them or none, and gives the position of the first; the rest follow it. Each
    /// is an operation of its own.
    ///
    /// # Errors
    /// Those of `append`; then no record has been accepted.
    pub fn append_all<'r>(&self, records: impl Iterator<Item = Result<RecordRef<'r>>> + Clone, durable: bool) -> Result<u64> {
        let max = self.shared.options.max_record_bytes;
        let (mut count, mut bytes) = (0, 0);
        for record in records.clone() {
            count += 1;
            bytes += record?.check(max)? as u64;
        }
        let records = records.filter_map(Result::ok);
        let mut submissions = self.submissions("append")?;
        let options = &self.shared.options;
        let first = submissions.append_all(self.client, records, (count, bytes), durable, options).map_err(|e| e.during("append"))?;
        if submissions.is_eager() {
            self.shared.rouse(submissions);
        }
        Ok(first)
    }

    /// Like `append`, for a batch: after a crash all of its records are there or none. Empties the batch either way.
    pub fn append_batch(&self, batch: &mut Batch, terms: impl Into<Terms>) -> Result<(u64, u64)> {
        let appended = self.enter_batch(batch, terms.into()).map_err(|e| e.during("appendBatch"));
        batch.clear();
        appended
    }

    fn enter_batch(&self, batch: &Batch, terms: Terms) -> Result<(u64, u64)> {
        let max = self.shared.options.max_batch_bytes;
        if batch.is_empty() {
            return Err(Error::new(Code::InvalidArg, "a batch needs at least one record"));
        }
        if batch.bytes() > max {
            return Err(Error::new(Code::TooLarge, format!("batch of {} bytes is above maxBatchBytes ({max})", batch.bytes())));
        }
        let mut submissions = self.submissions("appendBatch")?;
        let range = submissions.append_batch(self.client, batch, terms, &self.shared.options)?;
        if submissions.is_eager() {
            self.shared.rouse(submissions);
        }
        Ok(range)
    }

    /// Enters an operation that is done once everything accepted before it is durable.
    pub fn sync(&self) -> Result<()> {
        self.submissions("sync")?.sync(self.client, &self.shared.options).map_err(|e| e.during("sync"))
    }

    /// Enters an operation that makes `first` the first position of the log: exact, although only whole segments below
    /// it are removed. When it is done that is durable. Positions up to the next one are right; one that the log
    /// starts at or after changes nothing. It works on a full disk.
    ///
    /// # Errors
    /// `OutOfRange` above the next position, `Closed`, `Poisoned`, `Detached`; as the outcome also `NoSpace`, `ReadOnly` and `Io` when
    /// CONTROL could not be written: then the log is as before. `Io` as well when the log starts at `first` but a file could not
    /// be removed.
    pub fn truncate_before(&self, first: u64) -> Result<()> {
        self.command(Command::TruncateBefore(first), "truncateBefore")
    }

    fn command(&self, command: Command, operation: &'static str) -> Result<()> {
        self.submissions(operation)?.command(self.client, command, &self.shared.options).map_err(|e| e.during(operation))
    }

    /// Enters an operation that makes `last` the last position of the log: whatever was accepted after it is removed
    /// for good, and the next record gets the position after it at once. What is kept is durable when it is done.
    /// Inside an atomic batch the kept part becomes a smaller batch. Readers past `last` end with `Truncated`.
    ///
    /// # Errors
    /// `OutOfRange` from the next position on, `Truncated` below the one before the first, `Closed`, `Poisoned`, `Detached`; as
    /// the outcome also `NoSpace`, `ReadOnly`, `Corrupt` and `Io`: then nothing was removed, what was accepted since the call is
    /// rejected with the same error, and positions go on after the last record there is.
    pub fn truncate_after(&self, last: u64) -> Result<()> {
        self.command(Command::TruncateAfter(last), "truncateAfter")
    }

    /// Enters an operation that empties the log and lets it go on at position `first`, from 1 to 2^53 - 1, be that
    /// below or above where it was: what follows the installation of a snapshot. Every reader ends with `Truncated`.
    ///
    /// # Errors
    /// `InvalidArg` for a `first` out of range, `Closed`, `Poisoned`, `Detached`; as the outcome also `NoSpace`, `ReadOnly` and
    /// `Io`, like `truncate_after`.
    pub fn reset(&self, first: u64) -> Result<()> {
        self.command(Command::Reset(first), "reset")
    }

    /// Tells the commit thread to take what has been accepted. Cheap when it has been told already.
    pub fn kick(&self) {
        let submissions = locked(&self.shared.submissions);
        if !(submissions.kicked || submissions.group.is_empty() && submissions.queue.is_empty()) {
            self.shared.rouse(submissions);
        }
    }

    /// The next settlement of this handle's operations; `Done` with an unchanged count when there is no news. Call it until
    /// then: after a failure nothing is appended before the next call.
    pub fn settled(&self) -> Settled {
        match locked(&self.shared.submissions).clients.get_mut(self.client).and_then(Option::as_mut) {
            Some(client) => client.collect(),
            None => Settled::Done(0),
        }
    }

    /// Appends are refused until `settled` has told that operations up to this one have failed, and is called again; 0 when
    /// they are not.
    pub fn failing(&self) -> u64 {
        locked(&self.shared.submissions).failing(self.client).map_or(0, |(upto, _)| *upto)
    }

    pub fn positions(&self) -> Positions {
        self.shared.positions(locked(&self.shared.submissions).next)
    }

    /// How many times `truncate_after` and `reset` have cut the log since it was opened: when it changes, ask the places
    /// of readers what was kept. Every client is woken then.
    pub fn cuts(&self) -> u64 {
        self.shared.catalog.cuts()
    }

    /// Encoded bytes accepted and not yet acknowledged, by all handles together.
    pub fn pending_bytes(&self) -> u64 {
        locked(&self.shared.submissions).pending_bytes
    }

    /// Counters and histograms since the log was opened in this process.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// From now on the events of these kinds (bits of [`crate::Event`]) are recorded for this handle, which is woken for them; 0
    /// for none any more. Who begins to listen to a log that is poisoned is told that.
    pub fn listen(&self, kinds: u32) {
        let client = locked(&self.shared.submissions).clients.get(self.client).and_then(Option::as_ref).map(|client| client.notify.clone());
        if let Some(notify) = client {
            self.shared.events.listen(self.client, kinds, notify);
        }
    }

    /// Takes what was recorded since the last time.
    pub fn events(&self) -> Unheard {
        self.shared.events.take(self.client)
    }

    /// A backup of the log as it is durable at the first step, into a directory that is created if need be and must be
    /// empty. The log may be appended to, rolled and truncated meanwhile. Blocking.
    ///
    /// # Errors
    /// `Format` when the directory is not empty, `InvalidArg` when it is the log's own or inside it, `Locked` when
    /// another process is at work there, `Closed`.
    pub fn backup(&self, dir: &Path) -> Result<Backup> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during("backup"));
        }
        let backup = Backup::into_dir(self.shared.clone(), dir, self.shared.options.allow_unsafe_filesystem);
        backup.map_err(|error| error.during("backup"))
    }

    /// Verifies the sealed segments, blocking, at the watch's pace; appends, reads and truncation go on beside it. On Linux
    /// it drops what the page cache holds of them, a MiB ahead of its reading, so that the disk is asked.
    ///
    /// # Errors
    /// `Closed` once the watch is stopped or this handle is closed, `Io` when the directory cannot be listed. Damage is
    /// no error: it is in the report.
    pub fn scrub(&self, watch: &Arc<Watch>) -> Result<Verification> {
        {
            let mut scrubs = locked(&self.scrubs);
            if self.closed.load(Ordering::Acquire) {
                return Err(closed().during("scrub"));
            }
            scrubs.push(watch.clone());
        }
        let verified =
            verify::scrub(&self.shared.storage, &self.shared.catalog, &|last| FollowedLog::look_again(&*self.shared, last), watch);
        locked(&self.scrubs).retain(|other| !Arc::ptr_eq(other, watch));
        if let Ok(found) = &verified {
            locked(&self.shared.measures).scrub.note(found.segments, found.bytes, found.problems.len(), self.shared.storage.wall_clock());
        }
        verified.map_err(|error| error.during("scrub"))
    }

    /// Commits and syncs everything accepted, under every policy; blocking. The last handle ends the log's work and
    /// releases the directory. Idempotent: later calls give the same result.
    ///
    /// # Errors
    /// `Poisoned` after a failed fsync or a write of unknown outcome, `Detached` where the directory is not at its path any more. What was accepted and could not be written has been rejected
    /// with a reason of its own, which closing does not repeat.
    pub fn close(&self) -> Result<()> {
        let mut outcome = locked(&self.outcome);
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        self.closed.store(true, Ordering::Release);
        for scrub in locked(&self.scrubs).iter() {
            scrub.stop();
        }
        let mut tenant = self.place.open_log();
        let last = tenant.handles == 1;
        if last {
            self.shared.cursors.finish(&*self.shared);
        }
        let result = if last { self.shared.shut_down() } else { self.shared.flush() };
        tenant.handles -= 1;
        if last {
            tenant.shared = None;
        }
        let result = result.map_err(|e| e.during("close"));
        *outcome = Some(result.clone());
        result
    }

    fn submissions(&self, operation: &'static str) -> Result<MutexGuard<'_, SubmissionQueue>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during(operation));
        }
        Ok(locked(&self.shared.submissions))
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        let _ = self.close();
        self.shared.events.leave(self.client);
        let mut submissions = locked(&self.shared.submissions);
        if let Some(slot) = submissions.clients.get_mut(self.client) {
            *slot = None;
        }
    }
}

mod cursor;
mod readers;
pub use cursor::Cursor;

#[cfg(test)]
mod ancestry;
#[cfg(test)]
mod cursor_histories;
#[cfg(test)]
mod detached;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod views;
