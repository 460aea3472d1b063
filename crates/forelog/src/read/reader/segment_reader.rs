//! The segment that a reader is in: opening it, finding a position in it, and going on to the next one.

use super::plain::PlainReader;
use crate::error::{truncated, Code, Error, Fault, Result};
use crate::format::footer;
use crate::format::frame::HEADER;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::recovery::verdict::Verdict;
use crate::segments::catalog::CatalogSegment;
use crate::segments::frame_scan::{boundary_near, past_padding, resync};
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::storage::{FileRef, Storage};
use std::sync::Arc;

/// Bytes between two boundaries of an index, and a header: one read finds any position from the boundary before it.
const SEEK: usize = footer::EVERY as usize + HEADER;

/// The segment being read, and the place in it.
pub struct SegmentReader {
    pub segment: Arc<CatalogSegment>,
    pub file: FileRef,
    pub header: Header,
    pub at: FrameBoundary,
}

/// Opens the file of a segment.
pub fn open_file(storage: &dyn Storage, segment: &CatalogSegment) -> std::result::Result<SegmentFile, Fault> {
    let file = match (storage.open(&segment.file, false), segment.lent_file()) {
        // The directory may have been removed or may contain other files. The file that the writer has open is the segment.
        (Err(fault), Some(held)) if fault.is_not_found() => held,
        (Ok(file), Some(held)) if file.identity() != held.identity() => held,
        (opened, _) => opened?,
    };
    SegmentFile::of(file)
}

impl PlainReader {
    /// Opens a segment at its first frame.
    pub fn open(&self, segment: Arc<CatalogSegment>) -> Result<SegmentReader> {
        let found = open_file(&*self.storage, &segment)?;
        let Some(header) = found.header_of(segment.id, segment.first).cloned() else {
            return Err(self.corrupt(&segment, 0, format!("the header of {} is damaged", segment.file)));
        };
        Ok(SegmentReader { at: FrameBoundary::start(&header), segment, file: found.file, header })
    }

    /// Finds the frame that holds the next position, by frame headers alone, from the last known boundary before it.
    pub fn seek(&self) -> Result<SegmentReader> {
        let Some(segment) = self.catalog.segment_containing(self.next) else {
            let first = self.catalog.low_mark();
            if self.next >= first {
                let text = format!("the segment that contained position {} is missing", self.next);
                return Err(Error::new(Code::Corrupt, text).judged(Verdict::LateStart.label()).at_position(self.next).during("read"));
            }
            return Err(truncated(self.next, first).during("read"));
        };
        let mut cursor = self.open(segment)?;
        if let Some(near) = cursor.segment.index_entry_before(self.next, &*cursor.file, cursor.header.seed()) {
            cursor.at = near;
        }
        let mut window = Window::of(&*cursor.file, cursor.file.len()?, SEEK);
        let mut found =
            boundary_near(&mut window, &cursor.header, cursor.at, self.next, |boundary| cursor.segment.add_index_entries(&[boundary]))?;
        while let Err(broken) = found {
            // Damage to records below the first position is not damage to the log.
            let next = resync(&mut window, &cursor.header, broken.offset + 1, broken.next..u64::MAX)?;
            let Some(next) = next.filter(|next| next.next <= self.catalog.low_mark()) else { break };
            found = boundary_near(&mut window, &cursor.header, next, self.next, |_| {})?;
        }
        match found {
            Ok(boundary) => cursor.at = boundary,
            Err(broken) => return Err(self.broken(&cursor.segment, broken.offset)),
        }
        Ok(cursor)
    }

    /// Moves to the following segment if that holds the next position, and checks that the two fit together.
    pub fn advance(&self, cursor: SegmentReader) -> Result<SegmentReader> {
        let Some(following) = self.catalog.segment_after(cursor.segment.id).filter(|s| s.first <= cursor.at.next) else {
            return Ok(cursor);
        };
        // A writer that opened the log after another one has written the last frames of that one again.
        if following.first < cursor.at.next && self.tail.is_some() {
            return self.seek();
        }
        let next = self.open(following)?;
        let predecessor = next.header.predecessor;
        // Segments in between without records are not in the catalog. The chain of checksums runs through them.
        let end = match predecessor.filter(|p| p.id == cursor.header.id) {
            Some(p) => past_padding(&mut Window::of(&*cursor.file, p.end, SEEK), &cursor.header, cursor.at, p.end)?,
            None => cursor.at,
        };
        // If the positions fit, only padding can be left, and damage to padding loses nothing.
        let ends = |p: &Predecessor| end.offset < p.end || (p.end == end.offset && p.crc == end.crc);
        let fits = next.header.first == end.next
            && predecessor.is_some_and(|p| p.id != cursor.header.id || (p.salt == cursor.header.salt && ends(&p)));
        if !fits {
            let text = format!("{} does not continue {}", next.segment.file, cursor.segment.file);
            return Err(self.corrupt(&cursor.segment, cursor.at.offset, text));
        }
        Ok(next)
    }
}
