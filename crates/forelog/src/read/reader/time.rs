//! Finds where the records from a time on begin.
//!
//! The time of a frame is the wall clock at its commit, so times need not rise along the log. The header of each segment has the greatest
//! time before it, which never falls, so the first segment that may hold a record of that time is found by halving. From there on, segments
//! whose greatest time is too low are left out by their footers. Only in the first one that is not are frame headers read.

use super::plain::PlainReader;
use super::segment_reader::{open_file, SegmentReader};
use crate::error::{Error, Result};
use crate::recovery::missing::sealed_end;
use crate::segments::catalog::CatalogSegment;
use crate::segments::frame_scan::next_header;
use crate::storage::window::Window;
use std::sync::Arc;

/// Bytes that are read at once while frame headers are looked through.
const STEP: usize = 16 << 10;

/// The time at which a reader begins.
pub struct Since {
    /// In ms since 1970. A record without a time is before every time.
    pub time: u64,
    /// Maximum number of records, counted from where that is.
    pub max_records: u64,
    /// The reader stands there, or after it.
    pub is_located: bool,
}

impl PlainReader {
    /// Whether the reader still has to find the time at which it begins.
    pub(super) fn has_to_locate(&self) -> bool {
        self.since.as_ref().is_some_and(|since| !since.is_located)
    }

    /// Moves to the first record at or after the time at which the reader begins, or behind the last one that may be read.
    pub(super) fn locate(&mut self) -> Result<()> {
        let Some(time) = self.since.as_ref().map(|since| since.time.max(1)) else { return Ok(()) };
        let found = self.find_time(time)?;
        self.next = found.unwrap_or(self.limit.saturating_add(1)).max(self.next);
        self.position.advance(self.next);
        if let Some(since) = &mut self.since {
            since.is_located = true;
            self.to = self.to.min((self.next - 1).saturating_add(since.max_records));
            self.limit = self.limit.min(self.to);
        }
        self.cursor = None;
        Ok(())
    }

    /// Returns the lowest position, from the next one up to the limit, whose record was committed at `time` or later.
    fn find_time(&mut self, time: u64) -> Result<Option<u64>> {
        let mut segments = self.catalog.all();
        segments.retain(|segment| segment.first <= self.limit);
        let oldest = segments.partition_point(|segment| segment.first <= self.next).saturating_sub(1);
        let from = self.first_candidate(&segments, oldest, time)?;
        for i in from..segments.len() {
            let (segment, following) = (&segments[i], segments.get(i + 1));
            let end = following.map_or(self.limit, |following| self.limit.min(following.first - 1));
            if end < self.next {
                continue;
            }
            // Without a segment for the next position, seeking says what is missing.
            let mut cursor = if i == oldest || segment.first <= self.next {
                self.seek()?
            } else {
                self.open(segment.clone()).map_err(|error| lost_from(error, segment.first))?
            };
            let times = cursor.segment.times(&*cursor.file, cursor.header.seed());
            let is_older = !cursor.header.stamped || times.is_some_and(|times| times.greatest < time);
            if is_older && self.reaches(segment, following, end) {
                continue;
            }
            if let Some(found) = self.scan_for_time(&mut cursor, end, time)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the index of the first segment that may hold a record of `time` or later, from the one at `oldest` on.
    fn first_candidate(&self, segments: &[Arc<CatalogSegment>], oldest: usize, time: u64) -> Result<usize> {
        let (mut low, mut high) = (oldest, segments.len().saturating_sub(1).max(oldest));
        while low < high {
            let middle = low + (high - low) / 2;
            let following = &segments[middle + 1];
            let found = open_file(&*self.storage, following)?;
            // Without a header all segments are candidates.
            let Some(header) = found.header_of(following.id, following.first) else { return Ok(oldest) };
            if header.greatest_before >= time {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Whether no segment is missing between `segment` and `following`, so that the records of `segment` reach up to the position `end`.
    fn reaches(&self, segment: &CatalogSegment, following: Option<&Arc<CatalogSegment>>, end: u64) -> bool {
        let is_next = following.is_some_and(|following| following.id == segment.id + 1);
        // Only the active segment and one that was just left have no footer.
        is_next || sealed_end(&*self.storage, &segment.file).map_or(following.is_none(), |next| next > end)
    }

    /// Looks through the frame headers from where `cursor` stands up to the position `end`.
    fn scan_for_time(&self, cursor: &mut SegmentReader, end: u64, time: u64) -> Result<Option<u64>> {
        let len = cursor.file.len()?;
        let mut window = Window::of(&*cursor.file, len, STEP);
        while cursor.at.next <= end {
            let frame =
                next_header(&mut window, &cursor.header, cursor.at)?.filter(|frame| frame.span() <= len.saturating_sub(cursor.at.offset));
            let Some(frame) = frame else {
                let text = format!(
                    "{} is damaged at offset {}: when the records from position {} on were committed cannot be read",
                    cursor.segment.file, cursor.at.offset, cursor.at.next
                );
                return Err(lost_from(self.corrupt(&cursor.segment, cursor.at.offset, text), cursor.at.next));
            };
            if frame.count > 0 && frame.committed_ms.is_some_and(|ms| ms >= time) {
                return Ok(Some(frame.first.max(self.next)));
            }
            cursor.at = cursor.at.after(&frame);
        }
        Ok(None)
    }
}

/// Returns a report of damage as one that covers no position before `first`.
fn lost_from(mut error: Error, first: u64) -> Error {
    if let Some((lost, _)) = &mut error.lost {
        *lost = first.max(*lost);
    }
    error
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::error::{Code, Result};
    use crate::options::Options;
    use crate::read::reader::{ReadPlan, Reader};
    use crate::segments::catalog::{Catalog, CatalogSegment};
    use crate::storage::Storage;
    use crate::testing::campaign::named::Log;
    use crate::testing::sim::SimDisk;
    use std::sync::Arc;

    const NOW: u64 = 1_700_000_000_000;

    /// A log with a segment for nearly each record. They were committed at the given times.
    fn log(times: &[u64]) -> Log {
        let mut log = Log::on(SimDisk::new(1, 512), Options { segment_bytes: 16 << 10, ..Options::default() });
        for time in times {
            log.disk.set_wall_clock(*time);
            log.commit(&[&[11_000]], true);
        }
        log.opened.writer.sealer.run().unwrap();
        log
    }

    /// Returns where the records of `time` or later begin in the segments that are there, in a log from `first` on.
    fn position_at(log: &Log, first: u64, time: u64) -> Result<u64> {
        let names = log.opened.catalog.names().into_iter().filter(|name| log.disk.names().contains(&name.file));
        let catalog = Arc::new(Catalog::default());
        catalog.replace(names.map(|name| Arc::new(CatalogSegment::of_name(&name))).collect(), first);
        let plan = ReadPlan { since: Some(time), ..(first..=log.expected.end).into() };
        Reader::new(Arc::new(log.disk.clone()), catalog, plan).locate()
    }

    #[test]
    fn a_search_for_a_time_never_passes_over_a_missing_segment_that_may_hold_it() {
        // In the second log the clock was far ahead for a record before the first one, so that no header shows where the others begin.
        for (ahead, first) in [(0, 1), (1 << 40, 2)] {
            let times: Vec<u64> = (1..=8).map(|n| NOW + n * 1000 + if n < first { ahead } else { 0 }).collect();
            for i in 2..5 {
                let log = log(&times);
                let names = log.opened.catalog.names();
                let missing = names[i].first..names[i + 1].first;
                log.disk.remove(&names[i].file).unwrap();
                for (position, time) in (1..).zip(&times).skip(first as usize - 1) {
                    let may_be_missing = missing.contains(&position) || ahead > 0 && position >= missing.end;
                    match position_at(&log, first, *time) {
                        Ok(found) => assert_eq!((found, may_be_missing), (position, false), "{missing:?}"),
                        Err(error) => {
                            assert_eq!((error.code, error.verdict), (Code::Corrupt, Some("gap")), "{error}");
                            assert_eq!((error.lost, may_be_missing), (Some((missing.start, missing.end - 1)), true), "{position}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn damage_that_a_search_for_a_time_meets_is_reported_where_it_is() {
        let times: Vec<u64> = (1..=8).map(|n| NOW + n * 1000).collect();
        let log = log(&times);
        let names = log.opened.catalog.names();
        let (first, last) = (names[3].first, names[4].first - 1);
        for (offset, verdict) in [(4096, "damaged-sealed"), (0, "bad-header")] {
            log.disk.damage(&names[3].file, offset, &[0xa5; 40]);
            let error = position_at(&log, 1, times[first as usize - 1]).unwrap_err();
            assert_eq!((error.code, error.lost, error.verdict), (Code::Corrupt, Some((first, last)), Some(verdict)), "{error}");
            assert_eq!([1, 2, 8].map(|n| position_at(&log, 1, times[n - 1]).ok()), [1, 2, 8].map(|n| Some(n as u64)));
        }
    }
}
