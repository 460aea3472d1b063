//! What damage is: distinguishes a missing segment from damage to the segment before it, both of which end that segment's frames too soon.

use super::plain::PlainReader;
use crate::error::{Code, Error, Fault, Flipped};
use crate::format::file_names::Name;
use crate::recovery::directory::{Listing, Slots};
use crate::recovery::missing::{self, Missing};
use crate::recovery::verdict::Verdict;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::frame_scan;
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::storage::Storage;
use std::sync::Arc;

/// Why a segment's frames end too soon.
pub enum Cause {
    /// The segment itself is damaged, as far as is known.
    Damage,
    /// The segment is whole, and the segment after it is missing.
    Missing(Missing, Verdict),
    /// The segment after it is missing, and this one is damaged as well: its footer says that its own records end before this position.
    Both(u64),
}

fn name_of(segment: &CatalogSegment) -> Name {
    Name { first: segment.first, id: segment.id, file: segment.file.clone() }
}

/// Returns why no frame of `segment` continues at position `next`. Reads names, headers and a footer. If one of them cannot be read, that
/// is no answer, and the cause remains damage.
pub fn cause(storage: &dyn Storage, catalog: &Catalog, segment: &CatalogSegment, next: u64) -> Cause {
    let end = missing::sealed_end(storage, &segment.file);
    match (missing_after(storage, catalog, segment, end, next), end) {
        (Ok(Some(_)), Some(end)) if end > next => Cause::Both(end),
        (Ok(Some((missing, verdict))), _) => Cause::Missing(missing, verdict),
        _ => Cause::Damage,
    }
}

fn missing_after(
    storage: &dyn Storage,
    catalog: &Catalog,
    segment: &CatalogSegment,
    end: Option<u64>,
    next: u64,
) -> Result<Option<(Missing, Verdict)>, Fault> {
    let below = name_of(segment);
    match catalog.segment_after(segment.id) {
        Some(following) => {
            let listing = Listing::read(storage)?;
            let gone = missing::predecessor_gone(storage, &listing, segment.id, &following.file)?;
            let lost = (next, following.first - 1);
            Ok(gone.map(|last_id| (missing::between(&below, end, lost, last_id, &following.file), Verdict::Gap)))
        }
        None => {
            // CONTROL first: the name that it gives existed before the listing.
            let Ok((control, _)) = Slots::read(storage, false)?.chosen else { return Ok(None) };
            let listing = Listing::read(storage)?;
            let is_lost = control.active > segment.id && !listing.segments.contains_key(&control.active);
            Ok(is_lost.then(|| (missing::last(Some(&below), end, next, control.active), Verdict::LostActive)))
        }
    }
}

/// Returns the file name of the segment that held position `next` and came before the oldest one, if that is certain. Otherwise returns the
/// name of the oldest one.
pub fn before(storage: &dyn Storage, oldest: &CatalogSegment, next: u64) -> String {
    let header = SegmentFile::open(storage, &oldest.file, false).ok().and_then(|found| found.header.ok());
    let predecessor = header.and_then(|header| header.predecessor).map(|p| p.id);
    missing::before(&name_of(oldest), (next, oldest.first - 1), predecessor).file
}

impl PlainReader {
    /// Adds to a report of damage its verdict and the flipped bit that explains it.
    pub fn judged(&self, error: Error) -> Error {
        let (Code::Corrupt, Some(file), Some(offset)) = (error.code, error.segment.clone(), error.offset) else { return error };
        // A reader that begins at a time may meet damage far after its next position.
        let next = error.lost.map_or(self.next, |(first, _)| first);
        let Some(segment) = self.catalog.segment_containing(next).filter(|segment| segment.file == file) else { return error };
        if offset > 0 {
            if let Cause::Missing(missing, verdict) = cause(&*self.storage, &self.catalog, &segment, next) {
                return self.missing(&segment, next, missing, verdict);
            }
        }
        let sealed = self.catalog.segment_after(segment.id).is_some();
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

    /// Returns the error for segments that are missing from the position `next` on.
    fn missing(&self, segment: &CatalogSegment, next: u64, missing: Missing, verdict: Verdict) -> Error {
        let last = self.catalog.segment_after(segment.id).map_or(self.limit, |following| following.first - 1);
        let mut error = Error::new(Code::Corrupt, missing.text).at(missing.file, 0).judged(verdict.label()).during("read");
        error.lost = Some((next, last.max(next)));
        error
    }
}
