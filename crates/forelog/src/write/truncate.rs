//! Truncation removes records from either end of the log, in an order in which a crash at any step leaves the log either as it was before
//! or as it is after.

use crate::error::{out_of_range, truncated, Code, Error, Result};
use crate::format::compression::Unpacker;
use crate::format::file_names::Name;
use crate::format::frame;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Predecessor;
use crate::format::record::Parts;
use crate::segments::frame_scan::{boundary_near, frame_header};
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::util::healing::On;
use crate::util::locks::locked;
use crate::write::roll::{Carry, PartialFrame, RollPlan};
use crate::write::writer::Writer;

impl Writer {
    /// Makes `first` the first position of the log. The low mark is exact, and whole segments below it are removed. Needs no disk space. If
    /// the log already starts at `first` or later, only files that could not be removed before are removed.
    /// # Errors
    /// `OutOfRange` if `first` is above the next position. `NoSpace`, `ReadOnly` or `Io` if CONTROL cannot be written or does not name the
    /// active segment yet; the log is unchanged. `Io` also if the log starts at `first` now, but a file could not be removed. `Poisoned` or
    /// `Detached` if writing has ended.
    pub fn truncate_before(&mut self, first: u64) -> Result<()> {
        self.health.check()?;
        // A segment that CONTROL does not name may be gone after a crash, so the low mark must not depend on it.
        if self.unproven && !self.is_named() {
            let rolled = self.finish_plan(0);
            self.health.poison_unless_it_heals(rolled)?;
        }
        let named = self.finish_naming();
        self.health.poison_unless_it_heals(named)?;
        if first <= self.low_mark() {
            // A roll may have left a segment below the mark since then, or a file may have resisted the first removal.
            return self.remove_below();
        }
        if first > self.next_position() {
            return Err(out_of_range(first, self.next_position()));
        }
        self.health.check_attached()?;
        let mark = self.current_mark();
        self.meter.counters.fsyncs += 1;
        let marked = locked(&self.control).update(|state| {
            state.low_mark = first;
            state.mark = mark.or(state.mark);
        });
        match marked {
            Ok(()) => {}
            Err(short) if short.written == 0 && short.fault.heals(On::Named) => {
                return self.health.poison_unless_it_heals(Err(short.fault.into()))
            }
            Err(short) => return Err(self.health.poison(short.fault)),
        }
        // Readers learn of the low mark before a file goes, so that none of them takes its absence for damage.
        self.catalog.raise_low_mark(first);
        self.remove_below()
    }

    /// Makes `last` the last position of the log, by a roll to a segment that starts with the kept part of the frame that holds `last`.
    /// Nothing older is rewritten, and the bytes cut off stay on disk, dead. Everything kept is durable on return. If the log already ends
    /// at `last`, this only syncs.
    ///
    /// # Errors
    /// `OutOfRange` if `last` is the next position or above it, `Truncated` if it is below the position before the first. `NoSpace`,
    /// `ReadOnly` or `Io` if the roll fails, `Corrupt` or `Io` if the place of the truncation cannot be read. In all these cases the log is
    /// unchanged. `Poisoned` or `Detached` if writing has ended.
    pub fn truncate_after(&mut self, last: u64) -> Result<()> {
        self.go_on()?;
        let next = self.next_position();
        if last + 1 < self.low_mark() {
            return Err(truncated(last, self.low_mark()));
        }
        if last + 1 >= next {
            return if last + 1 == next { self.sync() } else { Err(out_of_range(last, next)) };
        }
        let plan = self.cut_after(last)?;
        self.roll_to(plan)
    }

    /// Empties the log, which goes on at `first`: a roll without a predecessor, which moves the low mark. Segments wholly below the mark
    /// are removed.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly` or `Io` if the roll fails; the log is unchanged. `Io` also if the log starts at `first` now, but a file could
    /// not be removed. `Poisoned` or `Detached` if writing has ended.
    pub fn reset(&mut self, first: u64) -> Result<()> {
        self.go_on()?;
        self.roll_to(RollPlan { predecessor: None, first, hole: 0, greatest_before: 0, carry: Carry::Nothing, truncate_to: Some(0) })?;
        self.remove_below()
    }

    /// Takes the roll that opening planned and could not do. Until then only a part of the files counts.
    fn go_on(&mut self) -> Result<()> {
        self.health.check()?;
        if !self.unproven {
            return Ok(());
        }
        let rolled = self.finish_plan(0);
        self.health.poison_unless_it_heals(rolled)
    }

    /// Rolls by `plan` instead of a roll that is already planned, which stays planned if this one fails.
    fn roll_to(&mut self, plan: RollPlan) -> Result<()> {
        let rolled = self.roll(&plan, 0);
        self.health.poison_unless_it_heals(rolled)?;
        self.plan = None;
        Ok(())
    }

    /// Plans the roll after which `last` is the last position: where the log ends, and which part of the frame there is kept.
    fn cut_after(&mut self, last: u64) -> Result<RollPlan> {
        let holder = self.catalog.segment_containing(last).or_else(|| self.catalog.oldest());
        let Some(segment) = holder else { return Err(Error::new(Code::Closed, "the log has no segment")) };
        let damaged =
            |offset: u64| Error::new(Code::Corrupt, format!("{} is damaged at offset {offset}", segment.file)).at(&segment.file, offset);
        let found = SegmentFile::open(&*self.storage, &segment.file, false)?;
        let header = found.header_of(segment.id, segment.first).cloned().ok_or_else(|| damaged(0))?;
        let file = found.file;
        if (header.first..header.start()).contains(&(last + 1)) {
            // The new end is within the hole that the segment begins with. A new segment replaces this one, with as much of the hole as is
            // kept.
            let hole = last + 1 - header.first;
            return Ok(RollPlan {
                predecessor: header.predecessor,
                first: header.first,
                hole,
                greatest_before: header.greatest_before,
                carry: Carry::Nothing,
                truncate_to: Some(last),
            });
        }
        let near = segment.index_entry_before(last + 1, &*file, header.seed()).unwrap_or(FrameBoundary::start(&header));
        let mut window = Window::new(&*file, file.len()?);
        let end = boundary_near(&mut window, &header, near, last + 1, |_| {})?.map_err(|at| damaged(at.offset))?;
        let mut carry = Carry::Nothing;
        if end.next <= last {
            let found = frame_header(&mut window, &header, end.offset)?;
            let room = file.len()?.saturating_sub(end.offset);
            let frame = found.filter(|f| f.span() <= room).ok_or_else(|| damaged(end.offset))?;
            let mut stored = vec![0; frame.body_len as usize];
            let n = file.read_at(&mut stored, end.offset + frame.head() as u64)?;
            if n < stored.len() || frame::stored(frame::body_crc(0, &stored)) != frame.body_crc {
                return Err(damaged(end.offset));
            }
            let mut body = Vec::new();
            Unpacker::default().unpack(frame.codec, &stored, &mut body).ok_or_else(|| damaged(end.offset))?;
            let count = (last + 1 - frame.first) as u32;
            let kept = (0..count).try_fold(0, |at, _| Some(Parts::parse(&body, at)?.end));
            body.truncate(kept.ok_or_else(|| damaged(end.offset))?);
            carry = Carry::Part(PartialFrame { kind: frame.kind, count, body, committed_ms: frame.committed_ms.unwrap_or(0) });
        }
        let predecessor = Predecessor { id: header.id, salt: header.salt, end: end.offset, crc: end.crc };
        // Without a footer the records of the segment may have been committed as late as any record of the log.
        let latest = || self.active.as_ref().map_or(0, |active| active.header.greatest_before.max(active.entry.greatest_known()));
        let greatest = segment.times(&*file, header.seed()).map_or_else(latest, |times| times.greatest);
        let greatest_before = header.greatest_before.max(greatest);
        Ok(RollPlan { predecessor: Some(predecessor), first: end.next, hole: 0, greatest_before, carry, truncate_to: Some(last) })
    }

    /// Whether CONTROL vouches for the active segment's name.
    pub fn is_named(&self) -> bool {
        let named = locked(&self.control).state().active;
        self.active.as_ref().is_some_and(|active| active.header.id <= named)
    }

    /// Removes segments wholly below the low mark, oldest first. Only the durable CONTROL decides which.
    pub fn remove_below(&mut self) -> Result<()> {
        let (active, low) = {
            let control = locked(&self.control);
            (control.state().active, control.state().low_mark)
        };
        // The segment that holds the low mark. Every segment with a lower id and a lower first position ends below the mark.
        let holder = self.names.iter().filter(|n| n.id <= active && n.first <= low).map(|n| n.id).max().unwrap_or(0);
        let gone: Vec<Name> = self.names.iter().filter(|n| n.id < holder && n.first < low).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        // Opening removes segments that are still in the catalog, because they were live until the roll that it made.
        self.catalog.drop_below(low);
        let (mut failure, mut to_recycle) = (None, Vec::new());
        for name in &gone {
            let spare = self.rename_to_spare(name, to_recycle.len());
            let removed = if spare.is_some() { Ok(()) } else { self.storage.remove(&name.file) };
            to_recycle.extend(spare);
            match removed {
                Err(fault) if !fault.is_not_found() => {
                    // This file and those after it stay listed for the next attempt.
                    failure = Some(Error::from(fault));
                    break;
                }
                _ => self.names.retain(|n| n.id != name.id),
            }
            self.meter.counters.removed += 1;
        }
        self.meter.counters.fsyncs += 1;
        if let Err(fault) = self.storage.sync_dir() {
            return Err(self.health.poison(fault));
        }
        self.spares.queue_for_recycling(to_recycle);
        failure.map_or(Ok(()), Err)
    }

    /// Renames a removed segment's file to a spare, if another one is needed beside the `before` files already renamed. Returns the new
    /// name.
    fn rename_to_spare(&self, name: &Name, before: usize) -> Option<String> {
        // The segment that the next roll leaves may be removed before that roll. Its footer is written after the roll, so the file stays
        // its own.
        let is_left = self.active.as_ref().is_some_and(|active| active.header.id == name.id);
        if is_left || self.spares.room() <= before || !self.sealer.release_segment(name.id) {
            return None;
        }
        let len = self.storage.open(&name.file, false).and_then(|file| file.len()).ok()?;
        if !self.spares.takes(len) {
            return None;
        }
        let spare = self.spares.name().ok()?;
        self.storage.rename(&name.file, &spare).ok().map(|()| spare)
    }
}
