//! Reading past damage: everything that holds, on both sides of it, and where something is missing.

use super::gap::{self, Cause};
use super::{Block, Reader, SegmentReader};
use crate::error::{Code, Error, Fault, Flipped, Result};
use crate::format::bit_flip;
use crate::format::frame::ALIGN;
use crate::format::frame_scan::{self, FrameBoundary};
use crate::format::header::Header;
use crate::recovery::verdict::Verdict;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::storage::window::Window;
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::{FileRef, Storage};
use crate::util::limits::PAGE;
use std::sync::Arc;

/// Positions that nothing readable holds any more, and the bytes where they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub first: u64,
    pub last: u64,
    /// File name.
    pub segment: String,
    pub offset: u64,
    /// From there to the next good frame, or to the end of the file.
    pub bytes: u64,
    /// The one bit that explains the first frame of it.
    pub flipped: Option<Flipped>,
    /// The segment's header says that these positions were lost before this log was made: nothing in it is damaged. Then
    /// `offset` and `bytes` are 0.
    pub recorded: bool,
}

/// What a salvaging reader knows beside its place.
#[derive(Default)]
pub struct Salvage {
    /// The segment and offset that reading last went on from: what fails there again is not good, although it looks it.
    tried: Option<(u64, u64)>,
}

/// The file of a segment and its header, which may be damaged: then with its one flipped bit turned back, or by what the
/// next segment repeats of it. `None` when its frames cannot be told from others any more.
pub fn header_of(storage: &Arc<dyn Storage>, catalog: &Arc<Catalog>, segment: &Arc<CatalogSegment>) -> Result<Option<(FileRef, Header)>> {
    let reader = Reader::salvaging(storage.clone(), catalog.clone(), 1, 0);
    Ok(reader.open_damaged(segment.clone())?.map(|cursor| (cursor.file, cursor.header)))
}

impl Reader {
    /// A reader that goes on behind damage. What the disk does not give back counts as damaged.
    pub fn salvaging(storage: Arc<dyn Storage>, catalog: Arc<Catalog>, next: u64, to: u64) -> Reader {
        Reader::new(storage, catalog, next, to).past_damage()
    }

    /// Goes on behind damage. What the disk does not give back counts as damaged.
    pub fn past_damage(self) -> Reader {
        Reader { salvage: Some(Salvage::default()), storage: Arc::new(ZeroOnReadError::new(self.storage.clone())), ..self }
    }

    /// The next verified records, with the holes before them; or those alone, at the end or where nothing is there yet.
    ///
    /// # Errors
    /// As for [`Reader::next_verified`]; a salvaging reader meets no damage, and no failure to read a file that is there.
    /// A race with the writer is no damage: what it truncates meanwhile is `Truncated`.
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
                    // It vanished just now: the next attempt shows why.
                    Err(error) if error.cause.as_ref().is_some_and(Fault::is_not_found) => {}
                    skipped => skipped?,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on behind what `error` tells of: each time a position further, or at a frame that has not been tried.
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
        // The damage may be at the end of the segment before: then this one is read from its start.
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
        let flipped = bit_flip::in_frame(&mut window, &cursor.header, met)?;
        // A hole in a file that is another segment's by now would be none.
        self.storage.open(&segment.file, false)?;
        let (next, offset) = found.map_or((end, len), |joint| (joint.next, joint.offset));
        let cause = if found.is_none() { gap::cause(&*self.storage, &self.catalog, &segment, self.next) } else { Cause::Damage };
        match cause {
            Cause::Missing(missing, _) => self.leave_out(next - 1, missing.file, 0, 0, None),
            // What is missing after it is met next.
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

    /// The records up to `last`, as far as they were asked for, are in a hole.
    fn leave_out(&mut self, last: u64, segment: String, offset: u64, bytes: u64, flipped: Option<Flipped>) {
        let last = last.min(self.to);
        self.holes.push(Hole { first: self.next, last, segment, offset, bytes, flipped, recorded: false });
        self.next = last + 1;
    }

    /// Opens a segment whose header may be damaged: with its one flipped bit turned back, or by what the next segment
    /// knows of it. `None` when its frames cannot be told from others any more.
    fn open_damaged(&self, segment: Arc<CatalogSegment>) -> Result<Option<SegmentReader>> {
        match self.open(segment.clone()) {
            Ok(cursor) => return Ok(Some(cursor)),
            Err(error) if error.code == Code::Corrupt => {}
            Err(error) => return Err(error),
        }
        let file = self.storage.open(&segment.file, false)?;
        let mut page = vec![0; PAGE as usize];
        let n = file.read_at(&mut page, 0)?;
        let mended = bit_flip::mended(&page[..n]).map(|(header, _)| header);
        let header = match mended.filter(|header| header.id == segment.id && header.first == segment.first) {
            Some(header) => Some(header),
            None => self.known_by_next(&segment)?,
        };
        Ok(header.map(|header| SegmentReader { at: FrameBoundary::start(&header), segment, file, header }))
    }

    /// As much of a segment's header as its successor repeats: enough to tell its frames from others.
    fn known_by_next(&self, segment: &CatalogSegment) -> Result<Option<Header>> {
        let Some(following) = self.catalog.following(segment.id) else { return Ok(None) };
        let next = match self.open(following) {
            Ok(cursor) => cursor.header,
            Err(error) if error.code == Code::Corrupt => return Ok(None),
            Err(error) => return Err(error),
        };
        let predecessor = next.predecessor.filter(|p| p.id == segment.id);
        // Whether frames are compressed, each of them says itself.
        Ok(predecessor.map(|p| Header {
            id: segment.id,
            first: segment.first,
            salt: p.salt,
            predecessor: None,
            carried_end: PAGE,
            recycled: true,
            compressed: true,
            // Unknown: where it was, reading finds nothing before the first frame.
            hole: 0,
            ..next
        }))
    }

    /// Adds to a report of damage which case it is, and the bit that explains it.
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

    /// Only an explanation: where the disk does not answer, there is none.
    fn flipped(&self, segment: &Arc<CatalogSegment>, offset: u64) -> Option<Flipped> {
        if offset == 0 {
            let file = self.storage.open(&segment.file, false).ok()?;
            let mut page = vec![0; PAGE as usize];
            let n = file.read_at(&mut page, 0).ok()?;
            return bit_flip::mended(&page[..n]).map(|(_, flipped)| flipped);
        }
        let cursor = self.open(segment.clone()).ok()?;
        let mut window = Window::new(&*cursor.file, cursor.file.len().ok()?);
        bit_flip::in_frame(&mut window, &cursor.header, offset).ok()?
    }
}
