//! The chain of segments: which of them are live, which are missing, and the holes that they begin with.

use crate::error::Fault;
use crate::format::file_names::Name;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::recovery::missing::{self, Missing};
use crate::recovery::survey::{Survey, SurveyedSegment};
use crate::recovery::verdict::Verdict;
use crate::segments::frame_scan::{self, WalkEnd};
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::storage::Storage;

impl Survey {
    /// Finds the live segments. Names alone decide, except where ids are not consecutive.
    pub(super) fn follow_chain(&mut self, storage: &dyn Storage) -> Result<(), Fault> {
        let names: Vec<Name> = self.listing.segments.values().rev().cloned().collect();
        for name in names {
            match self.live.last().cloned() {
                None => {}
                // Segments with lower ids end below the low mark. A segment that starts at or above the first position of one with a higher
                // id is dead.
                Some(above) if above.first <= self.low_mark => break,
                Some(above) if name.first >= above.first => continue,
                Some(above) if above.id == name.id + 1 => {}
                Some(above) => {
                    if let Some(last_id) = self.missing_between(storage, &above, &name)? {
                        self.record_gap(storage, last_id, &name, &above)?;
                    }
                }
            }
            self.live.push(name);
        }
        self.live.reverse();
        let Some(oldest) = self.live.first().cloned() else { return Ok(()) };
        if !self.evidence.control {
            self.low_mark = self.low_mark.max(oldest.first);
        } else if oldest.first > self.low_mark {
            self.evidence.late = true;
            let lost = (self.low_mark, oldest.first - 1);
            let header = SegmentFile::open(storage, &oldest.file, false)?.header.ok();
            let Missing { file, text } = missing::before(&oldest, lost, header.and_then(|header| header.predecessor).map(|p| p.id));
            self.record_damage(Verdict::LateStart, text, (&file, 0), Some(lost), None);
        }
        Ok(())
    }

    /// Returns the last predecessor that is missing between `name` and `above`, see [`missing::predecessor_gone`]. Records a bad header on
    /// the way.
    fn missing_between(&mut self, storage: &dyn Storage, above: &Name, name: &Name) -> Result<Option<Option<u64>>, Fault> {
        let mut at = above.clone();
        loop {
            let Some(segment) = self.open_segment(storage, &at, false)? else { return Ok(None) };
            if at.id == above.id {
                self.note_hole(&segment.header);
            }
            let Some(predecessor) = segment.header.predecessor else { return Ok(Some(None)) };
            if predecessor.id == name.id {
                return Ok(None);
            }
            match self.listing.segments.get(&predecessor.id).filter(|_| predecessor.id > name.id) {
                Some(between) => at = between.clone(),
                None => return Ok(Some(Some(predecessor.id))),
            }
        }
    }

    /// Records the hole that the oldest live segment may begin with. Its header is read if its id allows for a hole. A failure to read is
    /// not reported here, because reading records there meets it again.
    pub(super) fn inspect_oldest(&mut self, storage: &dyn Storage, newest: Option<&SurveyedSegment>) {
        let Some(oldest) = self.live.first().filter(|oldest| oldest.id > 2) else { return };
        let known = newest.filter(|newest| newest.name.id == oldest.id).map(|newest| newest.header.clone());
        let read = || SegmentFile::open(storage, &oldest.file, false).ok()?.header.ok();
        let header = known.or_else(read).filter(|header| header.is_of(oldest.id, oldest.first));
        if let Some(header) = header {
            self.note_hole(&header);
        }
    }

    fn note_hole(&mut self, header: &Header) {
        if header.hole > 0 {
            self.holes.push((header.first, header.start() - 1));
        }
    }

    /// Sorts the holes by position. Positions below the low mark are no part of the log and are dropped.
    pub(super) fn clip_holes(&mut self) {
        let low_mark = self.low_mark;
        self.holes.sort();
        self.holes.retain_mut(|(first, last)| {
            *first = low_mark.max(*first);
            *first <= *last
        });
    }

    fn record_gap(&mut self, storage: &dyn Storage, last_id: Option<u64>, below: &Name, above: &Name) -> Result<(), Fault> {
        self.evidence.gap = true;
        let end = match self.open_segment(storage, below, false)? {
            Some(segment) => {
                let mut window = Window::new(&*segment.file, segment.file.len()?);
                let (WalkEnd::Whole(end) | WalkEnd::Broken(end)) =
                    frame_scan::check_frames(&mut window, &segment.header, FrameBoundary::start(&segment.header), above.first, |_, _| {})?;
                end
            }
            None => FrameBoundary { offset: 0, next: below.first, crc: 0 },
        };
        let lost = (end.next, above.first - 1);
        let Missing { file, text } = missing::between(below, missing::sealed_end(storage, &below.file), lost, last_id, &above.file);
        self.record_damage(Verdict::Gap, text, (&file, 0), Some(lost), None);
        Ok(())
    }

    pub(super) fn record_lost_active(&mut self, storage: &dyn Storage, newest: Option<&Name>) {
        let first = match (&self.active, newest) {
            (Some(active), _) => active.scan.end.next,
            (None, Some(newest)) => newest.first,
            (None, None) => self.low_mark,
        };
        let lost = (first, self.marked(self.state.active).unwrap_or(0).max(first));
        let Missing { file, text } =
            missing::last(newest, newest.and_then(|name| missing::sealed_end(storage, &name.file)), first, self.state.active);
        self.record_damage(Verdict::LostActive, text, (&file, 0), Some(lost), None);
    }
}
