//! The handle on a log whose calls block until their operation is settled.

use crate::blocking::cursor::LogCursor;
use crate::blocking::lane::{Lanes, SubmitTerms};
use crate::blocking::options::{rust_names, LogOptions, WhenFull};
use crate::blocking::records::{Follower, Records, StoredRecord};
use crate::error::{closed, Code, Result};
use crate::format::frame::MERGED_BYTES;
use crate::log::state::Positions;
use crate::log::wal::Wal;
use crate::maintenance::backup::Progress;
use crate::maintenance::verify::Verification;
use crate::observe::stats::Stats;
use crate::options::Options;
use crate::recovery::report::Recovery;
use crate::segments::reader_positions::StartPosition;
use crate::util::notify::Notify;
use crate::write::submission_queue::{Command, SubmissionQueue};
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

/// A log, open in this process.
///
/// Threads share a log by reference. The records of one thread get their positions in the order of its calls, and after one of them was
/// rejected, no further record of the thread is accepted until the thread has been given that failure. Threads that append at the same time
/// share one write and one fsync.
///
/// Dropping the log closes it and ignores an error, so call [`Log::close`] instead.
///
/// ```
/// use forelog::Log;
///
/// # let dir = tempfile::tempdir()?;
/// let log = Log::open(dir.path())?;
/// assert_eq!(log.append("first")?, 1);
/// assert_eq!(log.append("second")?, 2);
/// for record in log.iter() {
///     let record = record?;
///     println!("{}: {:?}", record.position(), record.value());
/// }
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log {
    pub(super) inner: Arc<LogInner>,
}

/// The parts of a log, which its pending calls and iterators share.
pub(super) struct LogInner {
    pub wal: Wal,
    pub lanes: Lanes,
    pub when_full: WhenFull,
}

impl Drop for LogInner {
    fn drop(&mut self) {
        // Everything accepted is settled then, so no client has an operation left.
        let _ = self.wal.close();
        self.wal.leave(self.lanes.clients().into_iter());
    }
}

/// The client of the handle itself, which submits nothing.
struct Silent;

impl Notify for Silent {
    fn wake(&self) {}
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("positions", &self.positions()).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir` with the default options, creates it if necessary, and recovers it after a crash.
    ///
    /// # Errors
    /// The errors of [`LogOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Log> {
        Log::options().open(dir)
    }

    /// Returns the default options, to be changed before [`LogOptions::open`].
    pub fn options() -> LogOptions {
        LogOptions::new()
    }

    pub(super) fn open_with(dir: &Path, options: Options, when_full: WhenFull) -> Result<Log> {
        Ok(Log::over(Wal::open(dir, options, Arc::new(Silent))?, when_full))
    }

    pub(super) fn over(wal: Wal, when_full: WhenFull) -> Log {
        Log { inner: Arc::new(LogInner { wal, lanes: Lanes::default(), when_full }) }
    }

    #[cfg(test)]
    pub(super) fn inner(&self) -> (&Wal, &Lanes) {
        (&self.inner.wal, &self.inner.lanes)
    }

    /// Waits until everything accepted before this call is durable, under every policy.
    ///
    /// # Errors
    /// [`Code::Poisoned`] if an fsync failed, [`Code::Detached`], [`Code::NoSpace`], [`Code::ReadOnly`] or [`Code::Io`] if the commit that
    /// the call waits for failed. If a [`Pending`](crate::Pending) of this thread was dropped and its record rejected, that failure, once.
    /// [`Code::Closed`].
    pub fn sync(&self) -> Result<()> {
        self.perform("sync", |queue, client, options| queue.sync(client, options))
    }

    /// Makes `first` the first position of the log, durably. The position is exact, although only whole segments below it are removed. If
    /// the log already starts at `first` or later, nothing changes. Works on a full disk.
    ///
    /// # Errors
    /// - [`Code::OutOfRange`]: `first` is above the next position.
    /// - [`Code::NoSpace`], [`Code::ReadOnly`], [`Code::Io`]: CONTROL could not be written, and the log is unchanged. `Io` can also mean
    ///   that the log starts at `first` now, but a file could not be removed.
    /// - [`Code::Closed`], [`Code::Poisoned`], [`Code::Detached`].
    pub fn truncate_before(&self, first: u64) -> Result<()> {
        self.command("truncateBefore", Command::TruncateBefore(first))
    }

    /// Makes `last` the last position of the log, durably. Every record after `last` is removed for good, also those that wait for their
    /// commit, and the next record gets the position `last + 1`. `last` may be the position before the first one. If it is inside a batch,
    /// the kept part becomes a smaller batch.
    ///
    /// Iterators that have not ended yet end with [`Code::Truncated`] if a record that they would have returned is removed. Those of
    /// [`Log::follow`] go on if they have not returned such a record.
    ///
    /// # Errors
    /// - [`Code::OutOfRange`]: `last` is the next position or above it.
    /// - [`Code::Truncated`]: `last` is below the position before the first one.
    /// - [`Code::NoSpace`], [`Code::ReadOnly`], [`Code::Corrupt`], [`Code::Io`]: nothing was removed. Records that were accepted after the
    ///   call and before its failure are rejected with the same error.
    /// - [`Code::Closed`], [`Code::Poisoned`], [`Code::Detached`].
    pub fn truncate_after(&self, last: u64) -> Result<()> {
        self.command("truncateAfter", Command::TruncateAfter(last))
    }

    /// Removes all records, durably. The log goes on at position `first`, from 1 to 2^53 - 1, which may be below or above the present
    /// positions.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if `first` is out of range, otherwise the errors of [`Log::truncate_after`] with the same effects.
    pub fn reset(&self, first: u64) -> Result<()> {
        self.command("reset", Command::Reset(first))
    }

    fn command(&self, operation: &'static str, command: Command) -> Result<()> {
        self.perform(operation, |queue, client, options| queue.command(client, command, options))
    }

    /// Submits an operation without records, and waits for it.
    fn perform(&self, operation: &'static str, act: impl FnMut(&mut SubmissionQueue, usize, &Options) -> Result<()>) -> Result<()> {
        let lane = self.inner.lanes.own(&self.inner.wal);
        let ((), call) = lane
            .0
            .submit(&self.inner.wal, operation, SubmitTerms { leads: operation == "sync", ..SubmitTerms::default() }, act)
            .map_err(rust_names)?;
        lane.0.wait(&self.inner.wal, call).map_err(|(_, error)| error)?;
        // A truncation says nothing of records, so the failure waits for the next append or sync.
        let dropped = if operation == "sync" { lane.0.dropped_failure(&self.inner.wal) } else { None };
        dropped.map_or(Ok(()), Err)
    }

    /// Returns the positions of the log as they are now.
    pub fn positions(&self) -> Positions {
        self.inner.wal.positions()
    }

    /// Returns the first position that can be read, which is the next one in an empty log.
    pub fn first_position(&self) -> u64 {
        self.positions().first
    }

    /// Returns the last position that can be read, or `None` if there is none.
    pub fn last_position(&self) -> Option<u64> {
        let Positions { first, acknowledged, .. } = self.positions();
        Some(acknowledged).filter(|last| *last >= first)
    }

    /// Returns the position of the next record to be appended.
    pub fn next_position(&self) -> u64 {
        self.positions().next
    }

    /// Returns the record at `position`, or `None` if nothing is acknowledged there, or if the position is in a hole that a salvage has
    /// recorded.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let log = forelog::Log::open(dir.path())?;
    /// log.append("first")?;
    /// assert_eq!(log.get(1)?.as_ref().and_then(|record| record.value()), Some(&b"first"[..]));
    /// assert!(log.get(2)?.is_none());
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Code::Truncated`] if the record is no longer in the log, [`Code::Corrupt`] if it is damaged, [`Code::Io`], [`Code::Closed`].
    pub fn get(&self, position: u64) -> Result<Option<StoredRecord>> {
        let block = match self.inner.wal.reader(position, position).and_then(|mut reader| reader.next_block(MERGED_BYTES)) {
            Ok(block) => block,
            Err(error) if error.code == Code::OutOfRange => None,
            Err(error) => return Err(error),
        };
        Ok(block.and_then(|block| StoredRecord::of(Arc::new(block), 0)))
    }

    /// Iterates over all records that are acknowledged now.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let log = forelog::Log::open(dir.path())?;
    /// log.append_all(["one", "two"])?;
    /// let values = log.iter().map(|record| Ok(record?.value().unwrap_or_default().to_vec())).collect::<forelog::Result<Vec<_>>>()?;
    /// assert_eq!(values, [b"one", b"two"]);
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The iterator returns the errors of [`Records`]. This call itself does not fail.
    pub fn iter(&self) -> Records {
        self.records(StartPosition::First, u64::MAX)
    }

    /// Iterates over the records from `position` on that are acknowledged now. If `position` is the next one, there are none.
    ///
    /// The iterator returns the errors of [`Records`].
    pub fn read_from(&self, position: u64) -> Records {
        self.records(StartPosition::At(position), u64::MAX)
    }

    /// Returns the lowest position whose record was committed at `time_ms`, in milliseconds since 1970, or later. That is exact also if the
    /// clock was set back meanwhile. If there is none, returns the position after the last acknowledged record. Records whose time is not
    /// known are before every time.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let log = forelog::Log::open(dir.path())?;
    /// let position = log.append("first")?;
    /// let committed_at = log.get(position)?.and_then(|record| record.committed_at()).unwrap_or_default();
    /// assert_eq!(log.position_at(committed_at)?, 1);
    /// assert_eq!(log.position_at(u64::MAX)?, 2);
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Code::Corrupt`] if bytes that show it are damaged, [`Code::Io`], [`Code::Closed`].
    pub fn position_at(&self, time_ms: u64) -> Result<u64> {
        self.inner.wal.position_at(time_ms)
    }

    /// Iterates over the records in a range of positions, as far as they are acknowledged now. A range without a start begins at the first
    /// record.
    ///
    /// The iterator returns the errors of [`Records`].
    pub fn range(&self, positions: impl RangeBounds<u64>) -> Records {
        let start = match positions.start_bound() {
            Bound::Included(first) => StartPosition::At(*first),
            Bound::Excluded(before) => StartPosition::At(before.saturating_add(1)),
            Bound::Unbounded => StartPosition::First,
        };
        let to = match positions.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(end) => end.saturating_sub(1),
            Bound::Unbounded => u64::MAX,
        };
        self.records(start, to)
    }

    fn records(&self, start: StartPosition, to: u64) -> Records {
        Records::new(self.inner.clone(), start, to)
    }

    /// Iterates over the records from `start` on, and waits at the end of the log for more. [`StartPosition`] is a position or an end of the log.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let log = forelog::Log::open(dir.path())?;
    /// let follower = log.follow(1);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         for record in follower.take(3) {
    ///             println!("{:?}", record?.value());
    ///         }
    ///         forelog::Result::Ok(())
    ///     });
    ///     log.append_all(["one", "two", "three"])
    /// })?;
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The iterator returns the errors of [`Follower`].
    pub fn follow(&self, start: impl Into<StartPosition>) -> Follower {
        Follower::new(self.inner.clone(), start.into())
    }

    /// Opens the named cursor, or creates it at `start`, durably. A name has 1 to 255 bytes.
    ///
    /// ```
    /// use forelog::{Log, StartPosition};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let log = Log::open(dir.path())?;
    /// log.append_all(["one", "two"])?;
    /// let cursor = log.cursor("mailer", StartPosition::First)?;
    /// for record in cursor.records() {
    ///     // Process the record, then:
    ///     cursor.commit(record?.position())?;
    /// }
    /// assert_eq!(cursor.position(), 2);
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// - [`Code::Truncated`], [`Code::OutOfRange`]: `start` is below the first position, or above the next one.
    /// - [`Code::InvalidArg`], [`Code::TooLarge`]: the name is invalid, or there are 4096 cursors.
    /// - [`Code::Corrupt`], [`Code::Format`], [`Code::Io`]: CURSORS cannot be read.
    /// - [`Code::NoSpace`], [`Code::ReadOnly`], [`Code::Poisoned`], [`Code::Detached`], [`Code::Closed`].
    pub fn cursor(&self, name: &str, start: impl Into<StartPosition>) -> Result<LogCursor> {
        LogCursor::open(self.inner.clone(), name, start.into())
    }

    /// Returns the names and positions of all cursors, in the byte order of their names.
    ///
    /// # Errors
    /// [`Code::Corrupt`], [`Code::Format`] or [`Code::Io`] if CURSORS cannot be read, [`Code::Closed`].
    pub fn cursors(&self) -> Result<Vec<(Arc<str>, u64)>> {
        self.inner.wal.cursors()
    }

    /// Copies the log, as far as it is durable now, into `dir`, which is created if necessary and must be empty. The copy is a log, and is
    /// durable when the call returns. The log can be used meanwhile.
    ///
    /// # Errors
    /// - [`Code::Format`], [`Code::InvalidArg`], [`Code::Locked`]: `dir` is not empty, is inside the log's own directory, or is in use.
    /// - [`Code::NoSpace`], [`Code::ReadOnly`], [`Code::Io`]: reading the log or writing the copy failed.
    /// - [`Code::Truncated`]: truncation has overtaken the backup again and again.
    /// - [`Code::Corrupt`]: a segment is missing.
    /// - [`Code::Closed`].
    ///
    /// The files that a failed backup has made are removed.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<Progress> {
        let mut backup = self.inner.wal.backup(dir.as_ref())?;
        loop {
            let progress = backup.step()?;
            if backup.is_done() {
                return Ok(progress);
            }
        }
    }

    /// Checks every byte of the sealed segments, while the log is in use. [`crate::verify()`] checks the active segment too.
    ///
    /// # Errors
    /// [`Code::Io`] if the directory cannot be listed, [`Code::Closed`]. Damage is not an error: it is in the report.
    pub fn verify(&self) -> Result<Verification> {
        self.inner.wal.scrub(&Arc::default())
    }

    /// Returns what opening found and did.
    pub fn recovery(&self) -> &Recovery {
        self.inner.wal.recovery()
    }

    /// Returns counters and histograms since the log was opened in this process.
    pub fn stats(&self) -> Stats {
        self.inner.wal.stats()
    }

    /// Makes everything accepted durable, under every policy, and closes the log. Calls that wait in other threads return first, with their
    /// results, and iterators of [`Log::follow`] end. If the log is open in this process through another [`Log`], the directory stays locked
    /// until that one is closed as well.
    ///
    /// Later calls return the same result, except for the failure of a dropped [`Pending`](crate::Pending), which is returned once.
    ///
    /// # Errors
    /// [`Code::Poisoned`] after a failed fsync or a write of unknown outcome, [`Code::Detached`] if the directory is no longer at its path.
    /// If a [`Pending`](crate::Pending) was dropped and its record rejected, that failure.
    pub fn close(&self) -> Result<()> {
        let closed = self.inner.wal.close();
        let dropped = self.inner.lanes.dropped_failure(&self.inner.wal);
        closed.and(dropped.map_or(Ok(()), Err))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Pending calls may outlive the log and keep the rest of it.
        let _ = self.inner.wal.close();
    }
}

impl LogInner {
    /// Fails once the log is closed.
    pub fn check_open(&self) -> Result<()> {
        if self.wal.is_closed() {
            return Err(closed().during("read"));
        }
        Ok(())
    }
}
