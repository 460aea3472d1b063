//! Finds where the records from a time on begin.
//!
//! The time of a frame is the wall clock at its commit, so times need not rise along the log. The header of each segment has the greatest
//! time before it, which never falls, so the first segment that may hold a record of that time is found by halving. From there on, segments
//! whose greatest time is too low are left out by their footers. Only in the first one that is not are frame headers read.

use super::plain::PlainReader;
use super::segment_reader::{open_file, SegmentReader};
use crate::error::Result;
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
            let segment = &segments[i];
            let end = segments.get(i + 1).map_or(self.limit, |following| self.limit.min(following.first - 1));
            if end < self.next {
                continue;
            }
            let mut cursor = if segment.first <= self.next { self.seek()? } else { self.open(segment.clone())? };
            let times = cursor.segment.times(&*cursor.file, cursor.header.seed());
            if !cursor.header.stamped || times.is_some_and(|times| times.greatest < time) {
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
                return Err(self.corrupt(&cursor.segment, cursor.at.offset, text));
            };
            if frame.count > 0 && frame.committed_ms.is_some_and(|ms| ms >= time) {
                return Ok(Some(frame.first.max(self.next)));
            }
            cursor.at = cursor.at.after(&frame);
        }
        Ok(None)
    }
}
