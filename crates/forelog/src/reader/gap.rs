//! Tells a segment that is missing from damage to the segment before it: both end a reader at the same place.

use super::Reader;
use crate::catalog::Segment;
use crate::directory::{first_page, Listing, Slots};
use crate::error::{Code, Error};
use crate::missing::{self, Missing};
use crate::recovery::Verdict;
use crate::segment::{Header, Name};
use crate::storage::Fault;

/// What ends a segment's frames too soon.
pub enum Cause {
    /// The segment itself is damaged, as far as can be told.
    Damage,
    /// The segment is whole, and what followed it is missing.
    Missing(Missing, Verdict),
    /// What followed it is missing, and the segment is damaged as well: its footer says that its own records end before this position.
    Both(u64),
}

impl Reader {
    /// Why no frame of `segment` continues at the next position. Reads names, headers and a footer; where one of them
    /// does not read, that is no answer, and the damage stays what it seemed to be.
    pub(super) fn cause(&self, segment: &Segment) -> Cause {
        let Ok(Some((missing, verdict))) = self.missing_after(segment) else { return Cause::Damage };
        match missing::sealed_end(&*self.storage, &segment.file) {
            Some(end) if end > self.next => Cause::Both(end),
            _ => Cause::Missing(missing, verdict),
        }
    }

    fn missing_after(&self, segment: &Segment) -> Result<Option<(Missing, Verdict)>, Fault> {
        let end = missing::sealed_end(&*self.storage, &segment.file);
        let below = Name { first: segment.first, id: segment.id, file: segment.file.clone() };
        match self.catalog.following(segment.id) {
            Some(following) => {
                let listing = Listing::read(&*self.storage)?;
                let Some(last_id) = missing::predecessor_gone(&*self.storage, &listing, segment.id, &following.file)? else {
                    return Ok(None);
                };
                let lost = (self.next, following.first - 1);
                Ok(Some((missing::between(&below, end, lost, last_id, &following.file), Verdict::Gap)))
            }
            None => {
                // CONTROL first: the name that it gives was there before.
                let Ok((control, _)) = Slots::read(&*self.storage, false)?.chosen else { return Ok(None) };
                let listing = Listing::read(&*self.storage)?;
                let lost = control.active > segment.id && !listing.segments.contains_key(&control.active);
                Ok(lost.then(|| (missing::last(Some(&below), end, self.next, control.active), Verdict::LostActive)))
            }
        }
    }

    /// File name of the segment that stood before the oldest one, where that is certain; otherwise of the oldest one.
    pub(super) fn before(&self, oldest: &Segment) -> String {
        let name = Name { first: oldest.first, id: oldest.id, file: oldest.file.clone() };
        let page = self.storage.open(&oldest.file, false).and_then(|file| first_page(&*file));
        let header = page.ok().and_then(|page| Header::decode(&page).ok());
        missing::before(&name, (self.next, oldest.first - 1), header.and_then(|header| header.predecessor).map(|p| p.id)).file
    }

    /// The error for segments that are missing from the next position on.
    pub(super) fn missing(&self, segment: &Segment, missing: Missing, verdict: Verdict) -> Error {
        let last = self.catalog.following(segment.id).map_or(self.limit, |following| following.first - 1);
        let mut error = Error::new(Code::Corrupt, missing.text).at(missing.file, 0).judged(verdict.label()).during("read");
        error.lost = Some((self.next, last.max(self.next)));
        error
    }
}
