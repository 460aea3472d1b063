//! Creates readers of a log: where they begin, and how they go on after the log was cut under them.

use super::Wal;
use crate::error::{closed, out_of_range, truncated, Code, Error, Result};
use crate::options::Mode;
use crate::read::reader::{ReadPlan, Reader, Tail};
use crate::recovery::verdict::Verdict;
use crate::segments::reader_positions::{ReaderPosition, StartPosition};
use crate::util::locks::locked;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// The range that [`Wal::read`] reads, and how it reads it.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// Where the reader begins.
    pub from: StartPosition,
    /// The reader leaves out everything before the first record that was committed at this time or later, in ms since 1970. If there is none,
    /// it begins after the last record. Excludes `salvage`.
    pub since: Option<u64>,
    /// Last position to be returned.
    pub to: u64,
    /// Maximum number of records.
    pub max_records: u64,
    /// The reader goes on as the log grows, see [`Reader::follow_wait`].
    pub follow: bool,
    /// The reader goes on after damage and reports what it had to leave out, see [`Block::holes`](crate::Block::holes). Needs a log that
    /// is open in mode `readOnly`. A follower ends at damage all the same.
    pub salvage: bool,
    /// The reader reports which records are one atomic batch, see [`Block::batches`](crate::Block::batches), and every number with all of
    /// its bits.
    pub detailed: bool,
}

impl ReadOptions {
    /// Returns the options of a reader from `from` to `to`, inclusive, that ends at damage and does not follow.
    pub fn range(from: impl Into<StartPosition>, to: u64) -> ReadOptions {
        ReadOptions { from: from.into(), since: None, to, max_records: u64::MAX, follow: false, salvage: false, detailed: false }
    }

    /// Makes the reader begin at a time, see [`ReadOptions::since`].
    #[must_use]
    pub fn since(self, time_ms: u64) -> ReadOptions {
        ReadOptions { since: Some(time_ms), ..self }
    }

    /// Makes the reader a follower.
    #[must_use]
    pub fn follow(self) -> ReadOptions {
        ReadOptions { follow: true, ..self }
    }
}

impl Wal {
    /// Creates a reader from `from` to `to`, inclusive, that ends at damage and does not follow. Shorthand for [`Wal::read`].
    ///
    /// # Errors
    /// The errors of [`Wal::read`].
    pub fn reader(&self, from: impl Into<StartPosition>, to: u64) -> Result<Reader> {
        self.read(ReadOptions::range(from, to))
    }

    /// Creates a reader. It reads as far as the log is acknowledged now, or as far as the log grows if it follows. No I/O happens before
    /// its first block.
    ///
    /// A reader that starts at the first position starts where that is when its first record is read, so no truncation passes it before. In
    /// mode `readOnly` the log is refreshed when the first block is asked for.
    ///
    /// # Errors
    /// `Truncated` if `from` is below the first position, `OutOfRange` if it is above the next one, `Closed`. In mode `readOnly` the first
    /// block returns the first two. `InvalidArg` for `salvage` in another mode than `readOnly`, or with `since`.
    pub fn read(&self, options: ReadOptions) -> Result<Reader> {
        if options.salvage && options.since.is_some() {
            return Err(Error::new(Code::InvalidArg, "salvage and since cannot be used together").during("read"));
        }
        let salvages = options.salvage && !options.follow;
        if salvages && self.shared.options.mode != Mode::ReadOnly {
            return Err(Error::new(Code::InvalidArg, "salvage needs mode 'readOnly'").during("read"));
        }
        let reader = self.placed(self.enter(options.from)?, options)?;
        let lost = if salvages { None } else { self.lost_start(reader.next_position()) };
        lost.map_or(Ok(reader), Err)
    }

    /// Returns the lowest position whose record was committed at `time_ms`, in milliseconds since 1970, or later; blocking. That is exact also
    /// if the writer's clock went back. If there is none, returns the position after the last acknowledged record. Records whose time is not
    /// known are before every time.
    ///
    /// Reads the headers of some segments and, within one segment, those of the frames.
    ///
    /// # Errors
    /// `Corrupt` or `Io` if they cannot be read, `Closed`.
    pub fn position_at(&self, time_ms: u64) -> Result<u64> {
        self.read(ReadOptions::range(StartPosition::First, u64::MAX).since(time_ms))?.locate()
    }

    /// Replaces a reader under which `truncate_after` or `reset` has cut the log. Returns the last position that those have kept, and the
    /// new reader. The reader begins at `next`, or where the old one began if that has returned no record; `options.from` is not used, and
    /// the reader does not salvage.
    ///
    /// # Errors
    /// `Truncated` if records before `next` were removed, `Closed`.
    pub fn resume(&self, left: &ReaderPosition, next: Option<u64>, options: ReadOptions) -> Result<(u64, Reader)> {
        let from = next.map_or(left.start(), StartPosition::At);
        // A reader that has returned a record is past the time at which it began.
        let since = options.since.filter(|_| next.is_none());
        let options = ReadOptions { from, since, salvage: false, ..options };
        let position = self.enter(from)?;
        // Asked after the new position is entered, so each truncation is recorded at one of the two.
        let kept = left.kept().unwrap_or(u64::MAX);
        let StartPosition::At(next) = from else { return Ok((kept, self.placed(position, options)?)) };
        if next - 1 > kept {
            return Err(truncated(next, self.shared.catalog.low_mark()).during("read"));
        }
        let limit = self.shared.readable(&locked(&self.shared.submissions)).min(kept);
        let tail = self.tail(options.follow, false);
        let to = if options.follow { options.to } else { options.to.min(limit) };
        Ok((kept, self.reader_of(position, options, ReadPlan { tail, ..(next..=to).into() })))
    }

    /// Enters a reader position before the ends of the log are looked up, so a truncation is recorded there or seen in them.
    fn enter(&self, start: StartPosition) -> Result<Arc<ReaderPosition>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during("read"));
        }
        let StartPosition::At(next) = start else {
            return Ok(self.shared.catalog.reader_positions.enter_at(start, self.shared.catalog.low_mark()));
        };
        Ok(self.shared.catalog.reader_positions.enter(next))
    }

    /// Creates a reader at a position that was just entered.
    fn placed(&self, position: Arc<ReaderPosition>, options: ReadOptions) -> Result<Reader> {
        let ReadOptions { from, to, follow, .. } = options;
        let is_remote = self.shared.remote.is_some();
        if from == StartPosition::End && !follow {
            // No record is after the last one.
            return Ok(self.reader_of(position, options, RangeInclusive::new(1, 0).into()));
        }
        let (next, limit) = match from {
            // How far another process has written shows at the first block.
            StartPosition::At(next) if is_remote => (next, u64::MAX),
            StartPosition::At(next) => (next, self.limit_from(next)?),
            _ => self.end_at(&position, from),
        };
        position.advance(next);
        let tail = self.tail(follow, true);
        let mut plan = ReadPlan::from(next..=if tail.is_some() { to } else { to.min(limit) });
        match from {
            StartPosition::At(_) => {}
            // The end is known here, and everything appended from now on belongs to the reader.
            StartPosition::End if !is_remote => position.fix_start(next),
            _ => plan.beginning = Some((from, self.shared.clone(), to)),
        }
        Ok(self.reader_of(position, options, ReadPlan { tail, ..plan }))
    }

    /// Returns the log as a reader asks it how far to read; `None` if the reader reads up to an end that is known already.
    fn tail(&self, follows: bool, is_new: bool) -> Option<Tail> {
        let is_remote = self.shared.remote.is_some();
        (is_remote || follows).then(|| Tail { log: self.shared.clone(), follows, check_start: is_remote && is_new })
    }

    fn reader_of(&self, position: Arc<ReaderPosition>, options: ReadOptions, plan: ReadPlan) -> Reader {
        let ReadOptions { since, max_records, detailed, salvage, follow, .. } = options;
        let plan = ReadPlan { since, max_records, detailed, past_damage: salvage && !follow, position: Some(position), ..plan };
        Reader::new(self.shared.storage.clone(), self.shared.catalog.clone(), plan)
    }

    /// Returns where an end of the log is, as far as that is known without I/O, and the last position that may be read.
    fn end_at(&self, position: &ReaderPosition, start: StartPosition) -> (u64, u64) {
        loop {
            self.shared.catalog.reader_positions.restart(position);
            let last = self.shared.readable(&locked(&self.shared.submissions));
            let first = self.shared.catalog.low_mark();
            let last = last.max(first - 1);
            if position.truncation_count() == 0 {
                return (if start == StartPosition::First { first } else { last + 1 }, last);
            }
        }
    }

    /// Returns the last position that a reader from `from` on may read now.
    fn limit_from(&self, from: u64) -> Result<u64> {
        let (positions, limit) = {
            let submissions = locked(&self.shared.submissions);
            (self.shared.positions(submissions.next), self.shared.readable(&submissions))
        };
        if from < positions.first {
            return Err(truncated(from, positions.first).during("read"));
        }
        if from > positions.next {
            return Err(out_of_range(from, positions.next).during("read"));
        }
        Ok(limit)
    }

    /// Returns why nothing can be read from `from` on, if a log opened read-only lacks its oldest segments.
    fn lost_start(&self, from: u64) -> Option<Error> {
        let damage = self.recovery().damage.as_ref().filter(|_| self.recovery().verdict == Verdict::LateStart.label())?;
        let (_, last) = damage.lost.filter(|(first, last)| (*first..=*last).contains(&from))?;
        let mut error = Error::new(Code::Corrupt, damage.text.clone()).at(damage.segment.clone(), damage.offset);
        error.lost = Some((from, last));
        Some(error.judged(Verdict::LateStart.label()).at_position(from).during("read"))
    }
}
