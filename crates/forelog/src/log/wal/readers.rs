//! Creates readers of a log: where they begin, and how they go on after the log was cut under them.

use super::Wal;
use crate::error::{closed, out_of_range, truncated, Code, Error, Result};
use crate::options::Mode;
use crate::read::reader::Reader;
use crate::recovery::verdict::Verdict;
use crate::segments::reader_positions::{ReaderPosition, Start};
use crate::util::locks::locked;
use std::sync::atomic::Ordering;
use std::sync::Arc;

impl Wal {
    /// Creates a reader from `from` to `to`, inclusive, as far as the log is acknowledged now. No I/O happens before its first block.
    ///
    /// A reader that starts at the first position starts where that is when its first record is read, so no truncation passes it before. In
    /// mode `readOnly` the log is refreshed when the first block is asked for.
    ///
    /// # Errors
    /// `Truncated` if `from` is below the first position, `OutOfRange` if it is above the next one, `Closed`. In mode `readOnly` the first
    /// block returns the first two.
    pub fn reader(&self, from: impl Into<Start>, to: u64) -> Result<Reader> {
        self.begin(from.into(), to, false)
    }

    /// Creates a reader like [`Wal::reader`] that goes on as the log grows, see [`Reader::lookout`].
    ///
    /// # Errors
    /// The errors of [`Wal::reader`].
    pub fn follower(&self, from: impl Into<Start>, to: u64) -> Result<Reader> {
        self.begin(from.into(), to, true)
    }

    /// Creates a reader like [`Wal::reader`] that goes on after damage and reports what it had to leave out, see [`Block::holes`].
    ///
    /// # Errors
    /// The errors of [`Wal::reader`], and `InvalidArg` unless the log is open in mode `readOnly`.
    ///
    /// [`Block::holes`]: crate::Block::holes
    pub fn salvage(&self, from: impl Into<Start>, to: u64) -> Result<Reader> {
        if self.shared.options.mode != Mode::ReadOnly {
            return Err(Error::new(Code::InvalidArg, "salvage needs mode 'readOnly'").during("read"));
        }
        Ok(self.unchecked(from.into(), to, false)?.past_damage())
    }

    /// Replaces a reader under which `truncate_after` or `reset` has cut the log. Returns the last position that those have kept, and the
    /// new reader. The reader begins at `next`, or where the old one began if that has returned no record.
    ///
    /// # Errors
    /// `Truncated` if records before `next` were removed, `Closed`.
    pub fn resume(&self, left: &ReaderPosition, next: Option<u64>, to: u64, follows: bool) -> Result<(u64, Reader)> {
        let start = next.map_or(left.start(), Start::At);
        let place = self.enter(start)?;
        // Asked after the new position is entered, so each truncation is recorded at one of the two.
        let kept = left.kept().unwrap_or(u64::MAX);
        let Start::At(next) = start else { return Ok((kept, self.placed(place, start, to, follows)?)) };
        if next - 1 > kept {
            return Err(truncated(next, self.shared.catalog.first()).during("read"));
        }
        let limit = self.shared.readable(&locked(&self.shared.submissions)).min(kept);
        let reader = self.reader_at(place, next, if follows { to } else { to.min(limit) });
        let reader = match follows || self.shared.remote.is_some() {
            true => reader.watching(self.shared.clone(), follows, false),
            false => reader,
        };
        Ok((kept, reader))
    }

    pub(super) fn begin(&self, start: Start, to: u64, follows: bool) -> Result<Reader> {
        let reader = self.unchecked(start, to, follows)?;
        self.lost_start(reader.next_position()).map_or(Ok(reader), Err)
    }

    fn unchecked(&self, start: Start, to: u64, follows: bool) -> Result<Reader> {
        self.placed(self.enter(start)?, start, to, follows)
    }

    /// Enters a reader position before the ends of the log are looked up, so a truncation is recorded there or seen in them.
    fn enter(&self, start: Start) -> Result<Arc<ReaderPosition>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during("read"));
        }
        let Start::At(next) = start else { return Ok(self.shared.catalog.places.enter_at(start, self.shared.catalog.first())) };
        Ok(self.shared.catalog.places.enter(next))
    }

    /// Creates a reader at a position that was just entered.
    fn placed(&self, place: Arc<ReaderPosition>, start: Start, to: u64, follows: bool) -> Result<Reader> {
        let beside = self.shared.remote.is_some();
        if start == Start::End && !follows {
            // No record is after the last one.
            return Ok(self.reader_at(place, 1, 0));
        }
        let (next, limit) = match start {
            // How far another process has written shows at the first block.
            Start::At(next) if beside => (next, u64::MAX),
            Start::At(next) => (next, self.limit_from(next)?),
            _ => self.end_at(&place, start),
        };
        place.advance(next);
        let shared = self.shared.clone();
        let reader = match (beside, follows) {
            (true, _) => self.reader_at(place, next, to).watching(shared, follows, true),
            (false, true) => self.reader_at(place, next, to).watching(shared, true, false),
            (false, false) => self.reader_at(place, next, to.min(limit)),
        };
        // The end is known here, and everything appended from now on belongs to the reader.
        if start == Start::End && !beside {
            reader.place().fix(next);
            return Ok(reader);
        }
        Ok(reader.beginning_at(start, self.shared.clone(), to))
    }

    fn reader_at(&self, place: Arc<ReaderPosition>, next: u64, to: u64) -> Reader {
        Reader::at(place, self.shared.storage.clone(), self.shared.catalog.clone(), next, to)
    }

    /// Returns where an end of the log is, as far as that is known without I/O, and the last position that may be read.
    fn end_at(&self, place: &ReaderPosition, start: Start) -> (u64, u64) {
        loop {
            self.shared.catalog.places.begin_anew(place);
            let last = self.shared.readable(&locked(&self.shared.submissions));
            let first = self.shared.catalog.first();
            let last = last.max(first - 1);
            if place.cuts() == 0 {
                return (if start == Start::First { first } else { last + 1 }, last);
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
