//! Reading past damage: returns every good record, before and after damage, and reports the holes.

use super::gap::{self, Cause};
use super::plain::PlainReader;
use super::segment_reader::{open_file, SegmentReader};
use super::Space;
use crate::error::{Code, Error, Fault, Flipped, Result};
use crate::format::frame::ALIGN;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::read::block::Block;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::frame_scan;
use crate::storage::window::Window;
use crate::storage::{FileRef, Storage};
use crate::util::limits::PAGE;

/// Positions that can no longer be read from anywhere, and the bytes where they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First position of the hole.
    pub first: u64,
    /// Last position of the hole.
    pub last: u64,
    /// Name of the file that held them.
    pub segment: String,
    /// Offset in that file at which the damage begins.
    pub offset: u64,
    /// Number of bytes from `offset` to the next good frame, or to the end of the file.
    pub bytes: u64,
    /// The single flipped bit that explains the damage to the first frame, if there is one.
    pub flipped: Option<Flipped>,
    /// The segment's header says that these positions were lost before this log was made, so nothing in the segment is damaged. `offset`
    /// and `bytes` are 0 then.
    pub recorded: bool,
}

/// Wraps a plain reader and goes on after the damage that it meets.
#[derive(Default)]
pub struct DamageSkipper {
    /// The segment and offset from which reading last went on. A frame that fails there again is not good, although it looks good.
    tried: Option<(u64, u64)>,
}

impl DamageSkipper {
    /// Returns the next good records of `plain`, with the holes before them, see [`Reader::next_block`](super::Reader::next_block).
    pub fn next_block(&mut self, plain: &mut PlainReader, space: &mut Space<'_>) -> Result<Option<Block>> {
        loop {
            match plain.next_verified(space) {
                Ok(read) => return Ok(plain.with_holes(read)),
                Err(error) if error.code == Code::Corrupt => match self.skip(plain, &error) {
                    // The file vanished just now. The next attempt shows why.
                    Err(error) if error.cause.as_ref().is_some_and(Fault::is_not_found) => {}
                    skipped => skipped?,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on after the damage that `error` reports. Each call gets a position further, or to a frame that has not been tried.
    fn skip(&mut self, plain: &mut PlainReader, error: &Error) -> Result<()> {
        let (storage, catalog) = (plain.storage.clone(), plain.catalog.clone());
        plain.cursor = None;
        let Some(segment) = catalog.segment_containing(plain.next) else {
            let oldest = catalog.segment_after(0);
            let (first, file) =
                oldest.map_or((plain.to + 1, String::new()), |oldest| (oldest.first, gap::before(&*storage, &oldest, plain.next)));
            plain.leave_out(first - 1, file, 0, 0, None);
            return Ok(());
        };
        let end = catalog.segment_after(segment.id).map_or(u64::MAX, |following| following.first);
        // The damage may be at the end of the segment before. This segment is then read from its start.
        let met = error.offset.filter(|_| error.segment.as_ref() == Some(&segment.file)).unwrap_or(0).max(PAGE);
        let Some((file, header)) = header_of(&*storage, &catalog, &segment)? else {
            let len = storage.open(&segment.file, false)?.len()?;
            plain.leave_out(end - 1, segment.file.clone(), 0, len, None);
            return Ok(());
        };
        let tried = self.tried == Some((segment.id, met));
        let len = file.len()?;
        let mut window = Window::new(&*file, len);
        let found = frame_scan::resync(&mut window, &header, if tried { met + ALIGN } else { met }, plain.next..end)?;
        let found = found.filter(|boundary| boundary.next <= plain.to);
        let flipped = frame_scan::flipped_bit(&mut window, &header, met)?;
        // A hole in a file that has become another segment would be none.
        storage.open(&segment.file, false)?;
        let (next, offset) = found.map_or((end, len), |boundary| (boundary.next, boundary.offset));
        let cause = if found.is_none() { gap::cause(&*storage, &catalog, &segment, plain.next) } else { Cause::Damage };
        match cause {
            Cause::Missing(missing, _) => plain.leave_out(next - 1, missing.file, 0, 0, None),
            // The missing segment after it is met next.
            Cause::Both(own_end) => {
                plain.leave_out(own_end.min(next) - 1, segment.file.clone(), met, offset.saturating_sub(met), flipped);
            }
            Cause::Damage if next > plain.next => {
                plain.leave_out(next - 1, segment.file.clone(), met, offset.saturating_sub(met), flipped);
            }
            Cause::Damage => {}
        }
        if let Some(boundary) = found {
            self.tried = Some((segment.id, boundary.offset));
            plain.cursor = Some(SegmentReader { segment, file, header, at: boundary });
        }
        Ok(())
    }
}

impl PlainReader {
    /// Records that the positions up to `last`, as far as they were asked for, are in a hole.
    fn leave_out(&mut self, last: u64, segment: String, offset: u64, bytes: u64, flipped: Option<Flipped>) {
        let last = last.min(self.to);
        self.holes.push(Hole { first: self.next, last, segment, offset, bytes, flipped, recorded: false });
        self.next = last + 1;
    }
}

/// Returns the file of a segment and its header. A damaged header is repaired by its single flipped bit, or from what the next segment
/// repeats of it. `None` if the segment's frames can no longer be recognized.
///
/// # Errors
/// `Io` if the file cannot be opened, also if it is gone. `storage` returns zeroes for what the disk fails to read.
pub fn header_of(storage: &dyn Storage, catalog: &Catalog, segment: &CatalogSegment) -> Result<Option<(FileRef, Header)>> {
    let found = open_file(storage, segment)?;
    let good = found.header_of(segment.id, segment.first).cloned();
    let repaired = || found.repaired_header().map(|(header, _)| header).filter(|header| header.is_of(segment.id, segment.first));
    let header = match good.or_else(repaired) {
        Some(header) => Some(header),
        None => header_by_successor(storage, catalog, segment)?,
    };
    Ok(header.map(|header| (found.file, header)))
}

/// Returns as much of a segment's header as its successor repeats, which is enough to recognize its frames.
fn header_by_successor(storage: &dyn Storage, catalog: &Catalog, segment: &CatalogSegment) -> Result<Option<Header>> {
    let Some(following) = catalog.segment_after(segment.id) else { return Ok(None) };
    let found = open_file(storage, &following)?;
    let Some(next) = found.header_of(following.id, following.first) else { return Ok(None) };
    let predecessor = next.predecessor.filter(|p| p.id == segment.id);
    // Each frame says itself whether it is compressed.
    let header = predecessor.map(|p| Header {
        id: segment.id,
        first: segment.first,
        salt: p.salt,
        predecessor: None,
        carried_end: PAGE,
        recycled: true,
        compressed: true,
        // Unknown: where a hole was, reading finds no frame before the first one.
        hole: 0,
        ..next.clone()
    });
    match header {
        // A log that is older than the times in it changes from one kind of frames to the other once.
        Some(header) if header.stamped => {
            let unstamped = Header { stamped: false, ..header.clone() };
            let is_unstamped = first_frame(storage, segment, &header)?.is_none() && first_frame(storage, segment, &unstamped)?.is_some();
            Ok(Some(if is_unstamped { unstamped } else { header }))
        }
        header => Ok(header),
    }
}

/// Returns the first frame of a segment that is valid if `header` is the segment's.
fn first_frame(storage: &dyn Storage, segment: &CatalogSegment, header: &Header) -> Result<Option<FrameBoundary>> {
    let file = open_file(storage, segment)?.file;
    let mut window = Window::new(&*file, file.len()?);
    Ok(frame_scan::resync(&mut window, header, PAGE, header.first..u64::MAX)?)
}
