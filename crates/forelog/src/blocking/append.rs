//! Appends that wait for their outcome, and those that leave the waiting to a [`Pending`].

use crate::blocking::lane::{Lane, SubmitTerms};
use crate::blocking::log::{Log, LogInner};
use crate::blocking::options::{rust_names, WhenFull};
use crate::error::{Code, Error, Result};
use crate::format::record::RecordRef;
use crate::options::Options;
use crate::write::group::Batch;
use crate::write::submission_queue::{AppendTerms, SubmissionQueue};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

impl Log {
    /// Appends a record and waits until it is acknowledged: durable under [`Fsync::Always`](crate::Fsync::Always), written under the other
    /// policies. Returns its position.
    ///
    /// A record is a value, or a [`RecordRef`] with more fields.
    ///
    /// ```
    /// use forelog::{Log, RecordRef};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let log = Log::open(dir.path())?;
    /// log.append("a value")?;
    /// log.append(RecordRef::new(b"Ada").with_key(b"user:1"))?;
    /// log.append(RecordRef::deletion(b"user:1"))?;
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Refused, so that the record has no position:
    ///
    /// - [`Code::InvalidArg`], [`Code::TooLarge`]: the record has neither key, value nor tombstone, or has a tombstone and a value, or is
    ///   above [`LogOptions::max_record_bytes`](crate::LogOptions::max_record_bytes).
    /// - [`Code::Backpressure`]: too many bytes wait for their commit, under [`WhenFull::Fail`].
    /// - [`Code::OutOfRange`]: positions end at 2^53 - 1.
    /// - [`Code::Closed`], [`Code::ReadOnly`]: the log accepts nothing.
    /// - Any error below, for an earlier record of this thread whose failure the thread does not know yet.
    ///
    /// Rejected, so that its position goes to another record:
    ///
    /// - [`Code::NoSpace`], [`Code::ReadOnly`], [`Code::Io`]: the record was not written. The log goes on, and a later append may succeed.
    /// - [`Code::Poisoned`]: it is unknown whether the record is on the disk. The log has to be opened again.
    /// - [`Code::Detached`]: the directory is no longer at its path. The log has to be opened again.
    pub fn append<'r>(&self, record: impl Into<RecordRef<'r>>) -> Result<u64> {
        self.append_with(record, AppendTerms::default())
    }

    /// Appends a record like [`Log::append`] and waits until it is durable, under every policy.
    ///
    /// # Errors
    /// The errors of [`Log::append`].
    pub fn append_durable<'r>(&self, record: impl Into<RecordRef<'r>>) -> Result<u64> {
        self.append_with(record, AppendTerms::durable())
    }

    /// Appends a record like [`Log::append`], under terms of its own.
    ///
    /// ```
    /// use forelog::{Code, Log, AppendTerms};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let log = Log::open(dir.path())?;
    /// log.append_with("first", AppendTerms::expecting(1))?;
    /// let refused = log.append_with("again", AppendTerms::expecting(1));
    /// assert!(refused.is_err_and(|error| error.code == Code::Conflict && error.actual == Some(2)));
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Log::append`], and [`Code::Conflict`] if the expected position is not the next one.
    pub fn append_with<'r>(&self, record: impl Into<RecordRef<'r>>, terms: AppendTerms) -> Result<u64> {
        self.submit_record(record.into(), terms, true)?.wait()
    }

    /// Appends a record without waiting for it. The record has its position at once, and [`Pending::wait`] returns when it is acknowledged.
    ///
    /// ```
    /// use forelog::Log;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let log = Log::open(dir.path())?;
    /// let pending: Vec<_> = ["one", "two", "three"].map(|value| log.submit(value)).into_iter().collect::<Result<_, _>>()?;
    /// for pending in pending {
    ///     pending.wait()?;
    /// }
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those errors of [`Log::append`] with which a record is refused. [`Code::Backpressure`] is one of them under [`WhenFull::Wait`] too,
    /// because this call never waits.
    pub fn submit<'r>(&self, record: impl Into<RecordRef<'r>>) -> Result<Pending> {
        self.submit_with(record, AppendTerms::default())
    }

    /// Appends a record like [`Log::submit`], under terms of its own.
    ///
    /// # Errors
    /// The errors of [`Log::submit`], and [`Code::Conflict`] if the expected position is not the next one.
    pub fn submit_with<'r>(&self, record: impl Into<RecordRef<'r>>, terms: AppendTerms) -> Result<Pending> {
        self.submit_record(record.into(), terms, false)
    }

    fn submit_record(&self, record: RecordRef<'_>, terms: AppendTerms, waits: bool) -> Result<Pending> {
        let len = record.check(self.inner.wal.options().max_record_bytes).map_err(rust_names)?;
        self.append_by("append", waits, |queue, client, options| {
            let position = queue.append(client, &record, len, terms, options)?;
            Ok((position, position))
        })
    }

    /// Accepts all of the records or none, appends them as single ones, and waits until they are acknowledged. Returns their positions. No
    /// record of another thread is between them. A crash or a failure may leave the first of them without the others; if that must not
    /// happen, use [`Log::append_batch`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let log = forelog::Log::open(dir.path())?;
    /// assert_eq!(log.append_all(["one", "two", "three"])?, 1..=3);
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Log::append`]. If records are rejected, the error's `position` is that of the first one, and the records before it
    /// are in the log. [`Code::InvalidArg`] if there is no record.
    pub fn append_all<'r, R: Into<RecordRef<'r>>>(&self, records: impl IntoIterator<Item = R>) -> Result<RangeInclusive<u64>> {
        self.append_all_with(records, AppendTerms::default())
    }

    /// Appends records like [`Log::append_all`], under terms of their own. The expected position is that of the first.
    ///
    /// # Errors
    /// The errors of [`Log::append_all`], and [`Code::Conflict`] if the expected position is not the next one.
    pub fn append_all_with<'r, R>(&self, records: impl IntoIterator<Item = R>, terms: AppendTerms) -> Result<RangeInclusive<u64>>
    where
        R: Into<RecordRef<'r>>,
    {
        let records: Vec<RecordRef<'r>> = records.into_iter().map(Into::into).collect();
        if records.is_empty() {
            return Err(Error::new(Code::InvalidArg, "there is no record to append").during("append"));
        }
        let max = self.inner.wal.options().max_record_bytes;
        let bytes = records.iter().try_fold(0, |bytes, record| Ok(bytes + record.check(max)? as u64)).map_err(rust_names)?;
        let size = (records.len() as u64, bytes);
        let pending = self.append_by("append", true, |queue, client, options| {
            queue.check_expected_position(client, terms)?;
            let first = queue.append_all(client, records.iter().copied(), size, terms.durable, options)?;
            Ok((first, first + size.0 - 1))
        })?;
        let positions = pending.first..=pending.position;
        pending.wait().map(|_| positions)
    }

    /// Appends records as one atomic batch, and waits until it is acknowledged. Returns the positions. After a crash all of the records are
    /// in the log or none.
    ///
    /// ```
    /// use forelog::{Log, RecordRef};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let log = Log::open(dir.path())?;
    /// let transfer = [RecordRef::new(b"-5").with_key(b"Ada"), RecordRef::new(b"+5").with_key(b"Grace")];
    /// assert_eq!(log.append_batch(transfer)?, 1..=2);
    /// # log.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Log::append`]. [`Code::InvalidArg`] if there is no record, [`Code::TooLarge`] if the batch is above
    /// [`LogOptions::max_batch_bytes`](crate::LogOptions::max_batch_bytes).
    pub fn append_batch<'r, R: Into<RecordRef<'r>>>(&self, records: impl IntoIterator<Item = R>) -> Result<RangeInclusive<u64>> {
        self.append_batch_with(records, AppendTerms::default())
    }

    /// Appends a batch like [`Log::append_batch`], under terms of its own. The expected position is that of its first record.
    ///
    /// # Errors
    /// The errors of [`Log::append_batch`], and [`Code::Conflict`] if the expected position is not the next one.
    pub fn append_batch_with<'r, R>(&self, records: impl IntoIterator<Item = R>, terms: AppendTerms) -> Result<RangeInclusive<u64>>
    where
        R: Into<RecordRef<'r>>,
    {
        let max = self.inner.wal.options().max_record_bytes;
        let mut batch = Batch::new();
        records.into_iter().try_for_each(|record| batch.push(record.into(), max)).map_err(rust_names)?;
        self.inner.wal.check_batch(&batch).map_err(rust_names)?;
        let pending =
            self.append_by("appendBatch", true, |queue, client, options| queue.append_batch(client, &mut batch, terms, options))?;
        let positions = pending.first..=pending.position;
        pending.wait().map(|_| positions)
    }

    /// Submits records through `act`, which returns their first and last position. With `waits` the caller is going to wait for them.
    fn append_by(
        &self,
        operation: &'static str,
        waits: bool,
        act: impl FnMut(&mut SubmissionQueue, usize, &Options) -> Result<(u64, u64)>,
    ) -> Result<Pending> {
        let lane = self.inner.lanes.own(&self.inner.wal);
        let waits_for_room = waits && self.inner.when_full == WhenFull::Wait;
        let terms = SubmitTerms { appends: true, waits_for_room, leads: waits };
        let submitted = lane.0.submit(&self.inner.wal, operation, terms, act);
        let ((first, position), call) = submitted.map_err(rust_names)?;
        Ok(Pending { inner: self.inner.clone(), lane: lane.0.clone(), call: Some(call), first, position })
    }
}

/// A record that was accepted and whose outcome can be waited for, in any thread.
///
/// If it is dropped, the record is appended all the same. If that record is then rejected, the failure is returned by the next append or
/// [`Log::sync`] of the thread that submitted it, or by [`Log::close`].
#[must_use = "a record may still be rejected: call `wait`"]
pub struct Pending {
    inner: Arc<LogInner>,
    lane: Arc<Lane>,
    /// The number of the call in its lane, until its outcome has been taken.
    call: Option<u64>,
    first: u64,
    position: u64,
}

impl Pending {
    /// Returns the position of the record. If the record is rejected, the position goes to another record.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the record was acknowledged or rejected, so that [`Pending::wait`] would not block.
    pub fn is_settled(&self) -> bool {
        self.call.is_none_or(|call| self.lane.is_settled(&self.inner.wal, call))
    }

    /// Waits until the record is acknowledged, and returns its position.
    ///
    /// # Errors
    /// Those errors of [`Log::append`] with which a record is rejected.
    pub fn wait(mut self) -> Result<u64> {
        let Some(call) = self.call.take() else { return Ok(self.position) };
        self.lane.wait(&self.inner.wal, call).map(|()| self.position).map_err(|(nth, mut error)| {
            // The failure of a truncation has a position of its own.
            error.position = Some(self.first + nth);
            error
        })
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.lane.forget(call);
        }
    }
}
