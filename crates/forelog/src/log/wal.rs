//! The handle on a log that its users hold.
//!
//! An append goes from the handle to the submission queue (position, bytes), the thread that has the log, the writer and the disk. The result comes
//! back as horizons, settlements and one wake per client. No operation is settled before the writer has returned how far the log is written
//! and durable.

use crate::cursors::Claimant;
use crate::error::{closed, Code, Error, Result};
use crate::format::record::RecordRef;
use crate::log::registry::DirectorySlot;
use crate::log::state::{LogState, Positions};
use crate::maintenance::backup::Backup;
use crate::maintenance::progress::JobProgress;
use crate::maintenance::verify::{self, Verification};
use crate::observe::events::PendingEvents;
use crate::observe::stats::Stats;
use crate::options::Options;
use crate::read::follow::FollowedLog;
use crate::recovery::report::Recovery;
use crate::storage::write_queue::WriteQueue;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::write::encoded_records::EncodedRecords;
use crate::write::group::Batch;
use crate::write::submission_queue::{AppendTerms, Command, Settled, SubmissionQueue, WriteRoute};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A handle on a log: one client with its own queue of operations. Share it by reference; dropping it closes it.
pub struct Wal {
    shared: Arc<LogState>,
    slot: Arc<DirectorySlot>,
    client: usize,
    closed: AtomicBool,
    outcome: Mutex<Option<Result<()>>>,
    /// Scrubs that are running, which closing ends.
    scrubs: Mutex<Vec<Arc<JobProgress>>>,
    claimant: Arc<Claimant>,
}

impl Wal {
    /// Opens the log in `dir` and recovers it if necessary; blocking. If this process has the log open already, the handle shares it.
    ///
    /// # Errors
    /// - `InvalidArg`: options are out of range, or differ from those that the log is open with in this process.
    /// - `NotFound`: there is no log, and `create` is off or the mode is `readOnly`.
    /// - `Locked`: another process has the log open.
    /// - `Detached`: this process has the log open from a path that no longer leads to it.
    /// - `Corrupt`: the log is damaged.
    /// - `Format`: the directory is foreign, or the log was written by a newer version.
    /// - `NoSpace`, `ReadOnly`, `Io`: the file system failed.
    ///
    /// None of them changes what is on disk.
    pub fn open(dir: &Path, options: Options, notify: Arc<dyn Notify>) -> Result<Wal> {
        Wal::open_with_progress(dir, options, notify, &Arc::default())
    }

    /// Opens a log like [`Wal::open`]. Stopping `job` ends the reading of the directory, which may take long.
    ///
    /// # Errors
    /// The errors of [`Wal::open`], and `Closed` if `job` was stopped.
    pub fn open_with_progress(dir: &Path, options: Options, notify: Arc<dyn Notify>, job: &Arc<JobProgress>) -> Result<Wal> {
        options.validate()?;
        let opened = Wal::open_checked(dir, options, notify, job);
        opened.map_err(|error| error.during("open"))
    }

    /// Returns a number that is the same for every handle on this log in this process.
    pub fn identity(&self) -> u64 {
        self.shared.identity
    }

    /// Returns the options that the log is open with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Returns what opening found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// Copies the record and returns its position. Never blocks on I/O. The record is acknowledged when `settled` counts this operation as
    /// done: written under `Every` and `Os`, durable under `Always` or with `durable`.
    ///
    /// The record is committed after [`Wal::kick`], or at once if much is pending.
    ///
    /// # Errors
    /// A refused record takes no position and is no operation.
    ///
    /// - `InvalidArg`, `TooLarge`: the record is invalid or too large.
    /// - `Backpressure`: too many bytes are waiting for their commit.
    /// - `Conflict`, with `actual`: the record expects another position.
    /// - `OutOfRange`: there are no more positions.
    /// - `Closed`, `Poisoned`, `Detached`, `ReadOnly`: the log accepts nothing.
    ///
    /// Once operations of this handle have failed, with `NoSpace`, `ReadOnly` or `Io` or as a truncation did, appends are refused with the
    /// same error until `settled` has returned that failure and is called again. So no record overtakes a rejected one.
    pub fn append(&self, record: RecordRef<'_>, terms: impl Into<AppendTerms>) -> Result<u64> {
        let len = record.check(self.shared.options.max_record_bytes)?;
        let mut submissions = self.submissions("append")?;
        let position = submissions.append(self.client, &record, len, terms, &self.shared.options).map_err(|e| e.during("append"))?;
        if submissions.is_eager() {
            self.shared.go_ahead(submissions);
        }
        Ok(position)
    }

    /// Appends records in their final form as single ones, all of them or none, and returns the position of the first. The others follow it.
    /// Each record is an operation of its own. The log may take their memory until they are on the disk, if the records allow it.
    ///
    /// # Errors
    /// The errors of [`Wal::append`]. No record has been accepted then, and the memory was not taken.
    pub fn append_encoded(&self, records: &mut EncodedRecords<'_>, durable: bool) -> Result<u64> {
        let mut submissions = self.submissions("append")?;
        let first = submissions.append_encoded(self.client, records, durable, &self.shared.options).map_err(|e| e.during("append"))?;
        if submissions.is_eager() {
            self.shared.go_ahead(submissions);
        }
        Ok(first)
    }

    /// Appends a batch like [`Wal::append`]. After a crash all of its records are in the log or none. Empties the batch in any case.
    pub fn append_batch(&self, batch: &mut Batch, terms: impl Into<AppendTerms>) -> Result<(u64, u64)> {
        let appended = self.enter_batch(batch, terms.into()).map_err(|e| e.during("appendBatch"));
        batch.clear();
        appended
    }

    /// Checks the size of a batch.
    pub(crate) fn check_batch(&self, batch: &Batch) -> Result<()> {
        let max = self.shared.options.max_batch_bytes;
        if batch.is_empty() {
            return Err(Error::new(Code::InvalidArg, "a batch needs at least one record"));
        }
        if batch.bytes() > max {
            return Err(Error::new(Code::TooLarge, format!("the batch has {} bytes, but maxBatchBytes is {max}", batch.bytes())));
        }
        Ok(())
    }

    fn enter_batch(&self, batch: &mut Batch, terms: AppendTerms) -> Result<(u64, u64)> {
        self.check_batch(batch)?;
        let mut submissions = self.submissions("appendBatch")?;
        let range = submissions.append_batch(self.client, batch, terms, &self.shared.options)?;
        if submissions.is_eager() {
            self.shared.go_ahead(submissions);
        }
        Ok(range)
    }

    /// Submits an operation that succeeds once everything accepted before it is durable.
    pub fn sync(&self) -> Result<()> {
        self.submissions("sync")?.sync(self.client, &self.shared.options).map_err(|e| e.during("sync"))
    }

    /// Submits an operation that makes `first` the first position of the log. The position is exact, although only whole segments below it
    /// are removed. The change is durable when the operation succeeds. `first` may be any position up to the next one. If the log already
    /// starts at `first` or later, nothing changes. Works on a full disk.
    ///
    /// # Errors
    /// `OutOfRange` if `first` is above the next position. `Closed`, `Poisoned` or `Detached` if the log accepts nothing.
    ///
    /// The operation itself fails with `NoSpace`, `ReadOnly` or `Io` if CONTROL cannot be written; the log is unchanged then. It also fails
    /// with `Io` if the log starts at `first` now, but a file could not be removed.
    pub fn truncate_before(&self, first: u64) -> Result<()> {
        self.command(Command::TruncateBefore(first), "truncateBefore")
    }

    fn command(&self, command: Command, operation: &'static str) -> Result<()> {
        self.submissions(operation)?.command(self.client, command, &self.shared.options).map_err(|e| e.during(operation))
    }

    /// Submits an operation that makes `last` the last position of the log. Everything accepted after it is removed for good, and the next
    /// record gets the position after `last` at once. What is kept is durable when the operation succeeds. If `last` is inside an atomic
    /// batch, the kept part becomes a smaller batch. Readers that are past `last` end with `Truncated`, and a reader that does not follow
    /// ends after `last` without an error.
    ///
    /// # Errors
    /// `OutOfRange` if `last` is the next position or above it, `Truncated` if it is below the position before the first. `Closed`,
    /// `Poisoned` or `Detached` if the log accepts nothing.
    ///
    /// The operation itself fails with `NoSpace`, `ReadOnly`, `Corrupt` or `Io`. Nothing was removed then, everything accepted since the
    /// call is rejected with the same error, and positions go on after the last record in the log.
    pub fn truncate_after(&self, last: u64) -> Result<()> {
        self.command(Command::TruncateAfter(last), "truncateAfter")
    }

    /// Submits an operation that empties the log, which goes on at position `first`, from 1 to 2^53 - 1. The position may be below or above
    /// the present ones, for example after the installation of a snapshot. Readers end with `Truncated`, except one that begins at an end
    /// of the log and has returned nothing yet.
    ///
    /// # Errors
    /// `InvalidArg` if `first` is out of range. `Closed`, `Poisoned` or `Detached` if the log accepts nothing. The operation itself fails
    /// with `NoSpace`, `ReadOnly` or `Io`, with the same effects as [`Wal::truncate_after`].
    pub fn reset(&self, first: u64) -> Result<()> {
        self.command(Command::Reset(first), "reset")
    }

    /// Commits what has been accepted: on this thread as far as that does not block it, and otherwise on a commit thread. Cheap if a thread
    /// is about to do so already.
    pub fn kick(&self) {
        let submissions = locked(&self.shared.submissions);
        if !(submissions.kicked || submissions.group.is_empty() && submissions.queue.is_empty()) {
            self.shared.go_ahead(submissions);
        }
    }

    /// Makes this thread submit the writes of the log when it calls [`Wal::kick`], as long as this handle is the only client of the log. Their
    /// completions arrive in `queue`: for each one call [`Wal::complete`]. `token` is what the queue hands out for a write of this handle.
    ///
    /// This takes effect where the log's file system and policy allow it: under [`Fsync::Always`](crate::Fsync::Always), on a file system
    /// that takes direct writes. Anything else is written by commit threads as before.
    pub fn route_writes(&self, queue: Arc<dyn WriteQueue>, token: u64) {
        if let Some(client) = locked(&self.shared.submissions).clients.get_mut(self.client).and_then(Option::as_mut) {
            client.route = Some(WriteRoute { queue, token });
        }
    }

    /// Completes writes that the disk is done with, settles their operations, and submits what has gathered since. Never blocks.
    pub fn complete(&self) {
        self.shared.go_ahead(locked(&self.shared.submissions));
    }

    /// Returns the next settlement of this handle's operations, or `Done` with an unchanged count if there is none. Call it until then:
    /// after a failure, appends are refused until the next call.
    pub fn settled(&self) -> Settled {
        match locked(&self.shared.submissions).clients.get_mut(self.client).and_then(Option::as_mut) {
            Some(client) => client.collect(),
            None => Settled::Done(0),
        }
    }

    /// Returns the number of the last operation that has failed or will fail, 0 if there is none. Until `settled` has returned that failure
    /// and is called again, appends are refused.
    pub fn failing(&self) -> u64 {
        locked(&self.shared.submissions).failing(self.client).map_or(0, |(upto, _)| *upto)
    }

    /// Returns the positions of the log as they are now.
    pub fn positions(&self) -> Positions {
        self.shared.positions(locked(&self.shared.submissions).next)
    }

    /// Whether a truncation of the end or a reset waits. Until it has settled, [`Wal::positions`] may count a position as acknowledged that was
    /// assigned again since.
    pub fn has_cut(&self) -> bool {
        locked(&self.shared.submissions).has_cut()
    }

    /// Returns how many times `truncate_after` and `reset` have cut the log since it was opened. Every client is woken when the number
    /// changes; the positions of its readers then show what was kept.
    pub fn truncation_count(&self) -> u64 {
        self.shared.catalog.truncation_count()
    }

    /// Returns the encoded bytes that are accepted and not yet settled, for all handles together.
    pub fn pending_bytes(&self) -> u64 {
        locked(&self.shared.submissions).pending_bytes
    }

    /// Returns counters and histograms since the log was opened in this process.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Records the events of these kinds (bits of [`crate::Event`]) for this handle from now on, and wakes it for them. 0 ends that. A
    /// handle that begins to listen to a poisoned log gets the event of the poisoning.
    pub fn listen(&self, kinds: u32) {
        let client = locked(&self.shared.submissions).clients.get(self.client).and_then(Option::as_ref).map(|client| client.notify.clone());
        if let Some(notify) = client {
            self.shared.events.listen(self.client, kinds, notify);
        }
    }

    /// Takes the events that were recorded since the last call.
    pub fn events(&self) -> PendingEvents {
        self.shared.events.take(self.client)
    }

    /// Begins a backup of the log as it is durable at the first step, into a directory that is created if necessary and must be empty. The
    /// log may be appended to, rolled and truncated meanwhile. Blocking.
    ///
    /// # Errors
    /// `Format` if the directory is not empty, `InvalidArg` if it is the log's own or inside it, `Locked` if another process is at work
    /// there, `Closed`.
    pub fn backup(&self, dir: &Path) -> Result<Backup> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during("backup"));
        }
        let backup = Backup::into_dir(self.shared.clone(), dir, self.shared.options.allow_unsafe_filesystem);
        backup.map_err(|error| error.during("backup"))
    }

    /// Verifies the sealed segments at the pace of `job`; blocking. Appends, reads and truncation go on meanwhile. On Linux it drops what
    /// the page cache holds of the segments, a MiB ahead of its reading, so that the bytes come from the disk.
    ///
    /// # Errors
    /// `Closed` if `job` is stopped or this handle is closed, `Io` if the directory cannot be listed. Damage is not an error: it is in
    /// the report.
    pub fn scrub(&self, job: &Arc<JobProgress>) -> Result<Verification> {
        {
            let mut scrubs = locked(&self.scrubs);
            if self.closed.load(Ordering::Acquire) {
                return Err(closed().during("scrub"));
            }
            scrubs.push(job.clone());
        }
        let verified =
            verify::scrub(&self.shared.storage, &self.shared.catalog, &|last| FollowedLog::refresh_for(&*self.shared, last), job);
        locked(&self.scrubs).retain(|other| !Arc::ptr_eq(other, job));
        if let Ok(found) = &verified {
            locked(&self.shared.measures).scrub.note(found.segments, found.bytes, found.problems.len(), self.shared.storage.wall_clock());
        }
        verified.map_err(|error| error.during("scrub"))
    }

    /// Commits and syncs everything accepted, under every policy; blocking. Closing the last handle ends the log's work and releases the
    /// directory. Idempotent: later calls return the same result.
    ///
    /// # Errors
    /// `Poisoned` after a failed fsync or a write of unknown outcome, `Detached` if the directory is no longer at its path. Records that
    /// could not be written have been rejected with errors of their own, which closing does not repeat.
    pub fn close(&self) -> Result<()> {
        let mut outcome = locked(&self.outcome);
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        self.closed.store(true, Ordering::Release);
        for scrub in locked(&self.scrubs).iter() {
            scrub.stop();
        }
        let mut open_log = self.slot.open_log();
        let last = open_log.handles == 1;
        if last {
            self.shared.cursors.finish(&*self.shared);
        }
        let result = if last { self.shared.shut_down() } else { self.shared.flush() };
        if !last {
            // Followers of this handle look whether it is closed.
            self.shared.followers.wake_all();
        }
        open_log.handles -= 1;
        if last {
            open_log.shared = None;
        }
        let result = result.map_err(|e| e.during("close"));
        *outcome = Some(result.clone());
        result
    }

    fn submissions(&self, operation: &'static str) -> Result<MutexGuard<'_, SubmissionQueue>> {
        let submissions = locked(&self.shared.submissions);
        // Checked under the lock: what is accepted before closing takes the lock is settled by it.
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during(operation));
        }
        Ok(submissions)
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

mod clients;
mod cursor;
mod opening;
mod readers;
pub use cursor::NamedCursor;
pub use readers::ReadOptions;

#[cfg(test)]
mod ancestry;
#[cfg(test)]
mod cursor_histories;
#[cfg(test)]
mod detached;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod submitted;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod views;
