//! Reading past damage: returns every good record, before and after damage, and reports the holes.

use super::gap::{self, Cause};
use super::{Block, Reader, SegmentReader};
use crate::error::{Code, Error, Fault, Flipped, Result};
use crate::format::frame::ALIGN;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::recovery::verdict::Verdict;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::frame_scan;
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::{FileRef, Storage};
use crate::util::limits::PAGE;
use std::sync::Arc;

/// Positions that can no longer be read from anywhere, and the bytes where they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub first: u64,
    pub last: u64,
    /// Name of the file that held them.
    pub segment: String,
    pub offset: u64,
    /// Number of bytes from `offset` to the next good frame, or to the end of the file.
    pub bytes: u64,
    /// The single flipped bit that explains the damage to the first frame, if there is one.
    pub flipped: Option<Flipped>,
    /// The segment's header says that these positions were lost before this log was made, so nothing in the segment is damaged. `offset`
    /// and `bytes` are 0 then.
    pub recorded: bool,
}

/// The state of a salvaging reader besides its position.
#[derive(Default)]
pub struct Salvage {
    /// The segment and offset from which reading last went on. A frame that fails there again is not good, although it looks good.
    tried: Option<(u64, u64)>,
}

/// Returns the file of a segment and its header. A damaged header is repaired by its single flipped bit, or from what the next segment
/// repeats of it. `None` if the segment's frames can no longer be recognized.
pub fn header_of(storage: &Arc<dyn Storage>, catalog: &Arc<Catalog>, segment: &Arc<CatalogSegment>) -> Result<Option<(FileRef, Header)>> {
    let reader = Reader::salvaging(storage.clone(), catalog.clone(), 1, 0);
    Ok(reader.open_damaged(segment.clone())?.map(|cursor| (cursor.file, cursor.header)))
}

impl Reader {
    /// Creates a reader that goes on after damage. What the disk fails to read counts as damaged.
    pub fn salvaging(storage: Arc<dyn Storage>, catalog: Arc<Catalog>, next: u64, to: u64) -> Reader {
        Reader::new(storage, catalog, next, to).past_damage()
    }

    /// Makes the reader go on after damage. What the disk fails to read counts as damaged.
    pub fn past_damage(self) -> Reader {
        Reader { salvage: Some(Salvage::default()), storage: Arc::new(ZeroOnReadError::new(self.storage.clone())), ..self }
    }

    /// Returns the next verified records, with the holes before them. Returns holes alone at the end, or if no record can be read yet.
    ///
    /// # Errors
    /// `Truncated` if the next record was removed meanwhile, `Corrupt` if an acknowledged frame does not match its checksum, `Io` if the
    /// disk fails to read. A follower also ends with `Closed` or `Poisoned` after the last record that can be read. A salvaging reader
    /// reports neither damage nor a failure to read an existing file.
    pub fn next_block(&mut self, max_bytes: usize) -> Result<Option<Block>> {
        loop {
            match self.next_verified(max_bytes) {
                Ok(None) if self.holes.is_empty() => return Ok(None),
                Ok(block) => {
                    let mut block = block.unwrap_or_else(|| Block { first_position: self.next, ..Block::default() });
                    block.holes = std::mem::take(&mut self.holes);
                    return Ok(Some(block));
                }
                Err(error) if self.salvage.is_none() => return Err(self.judged(error)),
                Err(error) if error.code == Code::Corrupt => match self.skip(&error) {
                    // The file vanished just now. The next attempt shows why.
                    Err(error) if error.cause.as_ref().is_some_and(Fault::is_not_found) => {}
                    skipped => skipped?,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on after the damage that `error` reports. Each call gets a position further, or to a frame that has not been tried.
    fn skip(&mut self, error: &Error) -> Result<()> {
        self.cursor = None;
        let Some(segment) = self.catalog.segment_containing(self.next) else {
            let oldest = self.catalog.following(0);
            let (first, file) =
                oldest.map_or((self.to + 1, String::new()), |oldest| (oldest.first, gap::before(&*self.storage, &oldest, self.next)));
            self.leave_out(first - 1, file, 0, 0, None);
            return Ok(());
        };
        let end = self.catalog.following(segment.id).map_or(u64::MAX, |following| following.first);
        // The damage may be at the end of the segment before. This segment is then read from its start.
        let met = error.offset.filter(|_| error.segment.as_ref() == Some(&segment.file)).unwrap_or(0).max(PAGE);
        let Some(mut cursor) = self.open_damaged(segment.clone())? else {
            let len = self.storage.open(&segment.file, false)?.len()?;
            self.leave_out(end - 1, segment.file.clone(), 0, len, None);
            return Ok(());
        };
        let tried = self.salvage.as_ref().and_then(|salvage| salvage.tried) == Some((segment.id, met));
        let file = cursor.file.clone();
        let len = file.len()?;
        let mut window = Window::new(&*file, len);
        let found = frame_scan::resync(&mut window, &cursor.header, if tried { met + ALIGN } else { met }, self.next..end)?;
        let found = found.filter(|joint| joint.next <= self.to);
        let flipped = frame_scan::flipped_bit(&mut window, &cursor.header, met)?;
        // A hole in a file that has become another segment would be none.
        self.storage.open(&segment.file, false)?;
        let (next, offset) = found.map_or((end, len), |joint| (joint.next, joint.offset));
        let cause = if found.is_none() { gap::cause(&*self.storage, &self.catalog, &segment, self.next) } else { Cause::Damage };
        match cause {
            Cause::Missing(missing, _) => self.leave_out(next - 1, missing.file, 0, 0, None),
            // The missing segment after it is met next.
            Cause::Both(own_end) => {
                self.leave_out(own_end.min(next) - 1, segment.file.clone(), met, offset.saturating_sub(met), flipped);
            }
            Cause::Damage if next > self.next => {
                self.leave_out(next - 1, segment.file.clone(), met, offset.saturating_sub(met), flipped);
            }
            Cause::Damage => {}
        }
        if let (Some(joint), Some(salvage)) = (found, &mut self.salvage) {
            salvage.tried = Some((segment.id, joint.offset));
            cursor.at = joint;
            self.cursor = Some(cursor);
        }
        Ok(())
    }

    /// Records that the positions up to `last`, as far as they were asked for, are in a hole.
    fn leave_out(&mut self, last: u64, segment: String, offset: u64, bytes: u64, flipped: Option<Flipped>) {
        let last = last.min(self.to);
        self.holes.push(Hole { first: self.next, last, segment, offset, bytes, flipped, recorded: false });
        self.next = last + 1;
    }

    /// Opens a segment whose header may be damaged. The header is repaired by its single flipped bit, or from what the next segment knows
    /// of it. `None` if the segment's frames can no longer be recognized.
    fn open_damaged(&self, segment: Arc<CatalogSegment>) -> Result<Option<SegmentReader>> {
        match self.open(segment.clone()) {
            Ok(cursor) => return Ok(Some(cursor)),
            Err(error) if error.code == Code::Corrupt => {}
            Err(error) => return Err(error),
        }
        let found = SegmentFile::open(&*self.storage, &segment.file, false)?;
        let repaired = found.repaired_header().map(|(header, _)| header);
        let header = match repaired.filter(|header| header.is_of(segment.id, segment.first)) {
            Some(header) => Some(header),
            None => self.known_by_next(&segment)?,
        };
        let file = found.file;
        Ok(header.map(|header| SegmentReader { at: FrameBoundary::start(&header), segment, file, header }))
    }

    /// Returns as much of a segment's header as its successor repeats, which is enough to recognize its frames.
    fn known_by_next(&self, segment: &CatalogSegment) -> Result<Option<Header>> {
        let Some(following) = self.catalog.following(segment.id) else { return Ok(None) };
        let next = match self.open(following) {
            Ok(cursor) => cursor.header,
            Err(error) if error.code == Code::Corrupt => return Ok(None),
            Err(error) => return Err(error),
        };
        let predecessor = next.predecessor.filter(|p| p.id == segment.id);
        // Each frame says itself whether it is compressed.
        Ok(predecessor.map(|p| Header {
            id: segment.id,
            first: segment.first,
            salt: p.salt,
            predecessor: None,
            carried_end: PAGE,
            recycled: true,
            compressed: true,
            // Unknown: where a hole was, reading finds no frame before the first one.
            hole: 0,
            ..next
        }))
    }

    /// Adds to a report of damage its verdict and the flipped bit that explains it.
    fn judged(&self, error: Error) -> Error {
        let (Code::Corrupt, Some(file), Some(offset)) = (error.code, error.segment.clone(), error.offset) else { return error };
        let Some(segment) = self.catalog.segment_containing(self.next).filter(|segment| segment.file == file) else { return error };
        if offset > 0 {
            if let Cause::Missing(missing, verdict) = gap::cause(&*self.storage, &self.catalog, &segment, self.next) {
                return self.missing(&segment, missing, verdict);
            }
        }
        let sealed = self.catalog.following(segment.id).is_some();
        let verdict = match (offset, sealed) {
            (0, _) => Verdict::BadHeader,
            (_, true) => Verdict::DamagedSealed,
            (_, false) => Verdict::DamagedActive,
        };
        let mut error = error.judged(verdict.label());
        error.flipped = self.flipped(&segment, offset);
        error
    }

    /// Returns the flipped bit, which only explains the damage. If the disk fails to read, there is no explanation.
    fn flipped(&self, segment: &Arc<CatalogSegment>, offset: u64) -> Option<Flipped> {
        if offset == 0 {
            let found = SegmentFile::open(&*self.storage, &segment.file, false).ok()?;
            return found.repaired_header().map(|(_, flipped)| flipped);
        }
        let cursor = self.open(segment.clone()).ok()?;
        let mut window = Window::new(&*cursor.file, cursor.file.len().ok()?);
        frame_scan::flipped_bit(&mut window, &cursor.header, offset).ok()?
    }
}
