//! Distinguishes a missing segment from damage to the segment before it. Both end that segment's frames too soon.

use super::Reader;
use crate::error::{Code, Error, Fault};
use crate::format::file_names::Name;
use crate::recovery::directory::{Listing, Slots};
use crate::recovery::missing::{self, Missing};
use crate::recovery::verdict::Verdict;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::segment_file::SegmentFile;
use crate::storage::Storage;

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
    match catalog.following(segment.id) {
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

impl Reader {
    /// Returns the error for segments that are missing from the next position on.
    pub(super) fn missing(&self, segment: &CatalogSegment, missing: Missing, verdict: Verdict) -> Error {
        let last = self.catalog.following(segment.id).map_or(self.limit, |following| following.first - 1);
        let mut error = Error::new(Code::Corrupt, missing.text).at(missing.file, 0).judged(verdict.label()).during("read");
        error.lost = Some((self.next, last.max(self.next)));
        error
    }
}
