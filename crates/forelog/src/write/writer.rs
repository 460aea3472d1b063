//! The commit logic: a state machine without threads, clock or sleeping. The thread that has the log steps it in production. A test can step the same
//! code over a simulated disk.
//!
//! The writer never acknowledges anything. Each method returns how far the log is written and durable; a comment at the return says why
//! that is safe.

use crate::error::{Code, Error, Result};
use crate::format::compression::Packer;
use crate::format::control::Fence;
use crate::format::file_names::Name;
use crate::format::frame::HEADER;
use crate::format::frame_boundary::FrameBoundary;
use crate::observe::events::Events;
use crate::segments::attachment::Attachment;
use crate::segments::catalog::Catalog;
use crate::segments::control_file::Control;
use crate::segments::footer_writer::{FooterWriter, UnindexedSegment};
use crate::segments::growth::Growth;
use crate::segments::horizon_publisher::Publisher;
use crate::segments::placement::PlacementPolicy;
use crate::segments::prefill::Prefill;
use crate::segments::spare_files::SpareFiles;
use crate::storage::{FileRef, ShortWrite, Storage};
use crate::util::healing::On;
use crate::util::limits::PAGE;
use crate::util::locks::locked;
use crate::write::ahead::Ahead;
use crate::write::group::{Group, PendingFrame};
use crate::write::health::Health;
use crate::write::meter::Meter;
use crate::write::retention::KnownSegments;
use crate::write::roll::{Naming, RollPlan};
use crate::write::segment_writer::{CommitTerms, PendingWrite, SegmentWriter, Way};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

/// The result of a commit.
pub struct CommitProgress {
    /// Number of frames of the group, counted from its first, that are written, and durable if that was asked for.
    pub frames: usize,
    /// Why the rest of the group was not written or made durable.
    pub failure: Option<Error>,
}

pub struct Writer {
    pub storage: Arc<dyn Storage>,
    pub spares: Arc<SpareFiles>,
    pub sealer: Arc<FooterWriter>,
    pub control: Arc<Mutex<Control>>,
    pub catalog: Arc<Catalog>,
    pub uuid: [u8; 16],
    /// Every segment file in the directory, by id: segments of the log, and dead ones that the low mark has not passed.
    pub names: Vec<Name>,
    pub active: Option<SegmentWriter>,
    /// Set if nothing more may be written to the active segment.
    pub plan: Option<RollPlan>,
    /// Set while the active segment is durable under its name but CONTROL does not name it yet. Nothing is written to it before that.
    pub naming: Option<Naming>,
    /// The plan was made by opening: bytes of the active segment after its proven offset are not known to be durable.
    pub unproven: bool,
    pub health: Health,
    /// Compresses frames, if compression is on.
    pub packer: Option<Packer>,
    pub publisher: Publisher,
    pub placement: PlacementPolicy,
    /// Facts about segments that retention has gathered.
    pub known: KnownSegments,
    pub meter: Meter,
    pub events: Arc<Events>,
    /// Commits that are under way.
    pub ahead: Ahead,
}

/// A log that opening has found or made, as it is handed to the writer.
pub struct WriterInit {
    pub storage: Arc<dyn Storage>,
    pub spares: Arc<SpareFiles>,
    pub control: Control,
    pub catalog: Arc<Catalog>,
    pub names: Vec<Name>,
    pub active: Option<SegmentWriter>,
    pub plan: Option<RollPlan>,
    pub packer: Option<Packer>,
    /// The newest sealed segment, which may still need its footer.
    pub bare: Option<UnindexedSegment>,
    pub clock: fn() -> u64,
}

impl Writer {
    pub fn new(start: WriterInit) -> Writer {
        let uuid = start.control.state().uuid;
        let planned = start.plan.as_ref().map_or(1, |plan| plan.first);
        let next = start.active.as_ref().map_or(1, |active| active.end.next).max(planned);
        let sealer = Arc::new(FooterWriter::new(start.storage.clone(), start.bare));
        let attachment = Attachment::new(start.storage.clone(), &**start.control.file());
        let mut writer = Writer {
            placement: PlacementPolicy::default(),
            known: KnownSegments::default(),
            publisher: Publisher::resume(&*start.storage, start.control.horizon(), &uuid, next - 1),
            health: Health::new(attachment, sealer.clone()),
            uuid,
            unproven: start.plan.is_some(),
            sealer,
            storage: start.storage,
            spares: start.spares,
            control: Arc::new(Mutex::new(start.control)),
            catalog: start.catalog,
            names: start.names,
            active: start.active,
            plan: start.plan,
            naming: None,
            packer: start.packer,
            meter: Meter::new(start.clock),
            events: Arc::default(),
            ahead: Ahead::default(),
        };
        writer.watch_active();
        writer
    }

    /// Makes the active segment a file that must stay at the log's path, once it is proven.
    pub fn watch_active(&mut self) {
        if let Some(active) = self.active.as_ref().filter(|_| !self.unproven) {
            self.health.watch(&active.entry.file, &active.placement.file);
        }
    }

    /// Returns the first position of the log.
    pub fn low_mark(&self) -> u64 {
        self.catalog.low_mark()
    }

    /// Returns the position of the next record to be written.
    pub fn next_position(&self) -> u64 {
        // The plan starts after the end of the segment if the low mark is above everything that opening found.
        let planned = self.plan.as_ref().map_or(1, |plan| plan.first);
        self.active.as_ref().map_or(1, |active| active.end.next).max(planned)
    }

    /// Returns how many bytes of the active segment are used, and the size of its file.
    pub fn fill_level(&self) -> (u64, u64) {
        self.active.as_ref().map_or((0, 0), |active| (active.end.offset, active.placement.growth.len()))
    }

    /// Updates the length of the active segment's file in the catalog.
    pub fn note_len(&self) {
        if let Some(active) = &self.active {
            active.entry.set_len(active.placement.growth.len());
        }
    }

    /// Returns the highest id of a segment file in the directory, 0 if there is none.
    pub fn highest_id(&self) -> u64 {
        self.names.last().map_or(0, |newest| newest.id)
    }

    /// Whether written frames wait for an fsync.
    pub fn is_behind(&self) -> bool {
        self.health.ended().is_none() && self.active.as_ref().is_some_and(SegmentWriter::is_behind)
    }

    /// Whether it is time to prepare the next segment: an eighth of this one is used, or the file of a truncated one waits to be recycled.
    pub fn wants_spare(&self) -> bool {
        self.spares.needs_preparation(self.active.as_ref().is_some_and(|a| a.end.offset > a.placement.capacity / 8))
    }

    pub fn spares(&self) -> Arc<SpareFiles> {
        self.spares.clone()
    }

    /// Writes a group's frames, rolling where they do not fit, and makes them durable if `durable`.
    pub fn commit(&mut self, group: &mut Group, durable: bool) -> CommitProgress {
        debug_assert!(!self.is_ahead(), "commits under way come first");
        group.pad();
        if let Some(packer) = &mut self.packer {
            group.compress(packer);
        }
        let mut done = 0;
        while done < group.frames.len() {
            let written = self.write_some(group, done, durable);
            match self.health.poison_unless_it_heals(written) {
                Ok(more) => done += more,
                // Most frames before this one are in segments that a roll has made durable. If the file could not grow at once and could a
                // moment later, some are in the active segment, and are made durable here.
                Err(error) if error.heals() => {
                    let synced = if durable && done > 0 { self.sync_active() } else { Ok(()) };
                    return match self.health.poison_unless_it_heals(synced) {
                        Ok(()) => CommitProgress { frames: done, failure: Some(error) },
                        Err(error) => CommitProgress { frames: 0, failure: Some(error) },
                    };
                }
                Err(error) => return CommitProgress { frames: 0, failure: Some(error) },
            }
        }
        // The log is in use from now on, so the next segment is created at full size.
        self.spares.wake();
        let synced = if durable { self.sync() } else { self.health.check() };
        if let Some(active) = self.active.as_mut().filter(|_| !durable) {
            active.write_back();
        }
        match synced {
            Ok(()) => CommitProgress { frames: done, failure: None },
            Err(error) => CommitProgress { frames: 0, failure: Some(error) },
        }
    }

    /// Writes as many frames as the active segment has room for, at least one, starting with the frame at `from`. If the group is to be
    /// `durable` and its last frame is among them, all of them may be durable already on return.
    fn write_some(&mut self, group: &mut Group, from: usize, durable: bool) -> Result<usize> {
        let limit = self.make_room(group, from)?;
        let terms = self.terms(durable);
        let Some(active) = self.active.as_mut() else {
            return Err(Error::new(Code::Closed, "the log has no active segment"));
        };
        let at = active.end;
        let layout = active.layout(group, from, at, limit, terms);
        let sealed = active.seal(group, from, at, limit, layout, self.storage.wall_clock());
        let bytes = &group.bytes[sealed.bytes.clone()];
        let write = active.submit(&sealed, bytes);
        self.perform(write, bytes, &group.sealed)?;
        Ok(sealed.frames)
    }

    /// Returns the terms of a commit.
    pub fn terms(&self, durable: bool) -> CommitTerms {
        CommitTerms { durable, readers_wait: self.placement.readers_wait, large: self.storage.large_commit() }
    }

    /// Does everything that the frame at `from` and those after it need before they can be sealed: the health of the log is checked, a roll
    /// that is due is made, CONTROL names the active segment, and its file grows. Returns the offset up to which frames may be written.
    fn make_room(&mut self, group: &Group, from: usize) -> Result<u64> {
        self.health.check()?;
        self.finish_plan(group.frames[from].span())?;
        self.write_random_padding()?;
        let mut limit = self.reserve(group, from);
        let is_taken = self.active.as_ref().is_some_and(|active| active.takes(&group.frames[from], active.end.offset, limit));
        if self.plan.is_some() || !is_taken {
            self.plan_roll();
            self.finish_plan(group.frames[from].span())?;
            limit = self.reserve(group, from);
        }
        self.finish_naming()?;
        Ok(limit)
    }

    /// Grows the active segment's file for the frames of a group from `from` on and for a padding frame after them. Returns the offset up
    /// to which frames may be written. If the file cannot grow enough, that is its present end.
    fn reserve(&self, group: &Group, from: usize) -> u64 {
        let Some(active) = self.active.as_ref().filter(|_| self.plan.is_none()) else { return 0 };
        let frames = group.frames[from..].iter().map(PendingFrame::span).sum::<u64>();
        // A page for the padding frames at either end, and another for each that does not fit into the rest of its page.
        let padding = if active.placement.direct.is_some() && frames >= self.storage.large_commit() { 3 * PAGE } else { 0 };
        active.placement.reserve(active.end.offset + frames + padding)
    }

    /// Writes a padding frame with a random body before the first append to a recycled file that an earlier process may have torn.
    /// Otherwise, if the same records were appended again, leftover frames after them would have matching CRCs and would be taken for part
    /// of the log.
    fn write_random_padding(&mut self) -> Result<()> {
        // Nothing is written to a segment that is not stamped.
        let Some(active) = self.active.as_mut().filter(|active| active.may_be_torn && active.header.stamped) else { return Ok(()) };
        let mut bytes = [0; HEADER + 8];
        self.storage.random(&mut bytes[HEADER..])?;
        let end = active.end.offset + bytes.len() as u64;
        if end > active.placement.capacity || active.placement.reserve(end) < end {
            self.plan_roll();
            return Ok(());
        }
        let mut boundaries = Vec::new();
        let sealed = active.seal_padding(&mut bytes, &mut boundaries);
        let write = active.submit(&sealed, &bytes);
        self.perform(write, &bytes, &boundaries)?;
        if let Some(active) = &mut self.active {
            active.may_be_torn = false;
        }
        Ok(())
    }

    /// Runs a write that was submitted, and completes it. Its frames end at `sealed`.
    pub fn perform(&mut self, write: PendingWrite, bytes: &[u8], sealed: &[FrameBoundary]) -> Result<()> {
        let mut next = Some(write);
        while let Some(write) = next {
            let began = if write.way == Way::Direct { (self.meter.clock)() } else { 0 };
            let outcome = write.run(bytes);
            next = self.complete(write, began, outcome, sealed)?;
        }
        Ok(())
    }

    /// Completes a write, which was submitted at `began`, by its outcome. Its frames are part of the log on return, and durable if it was a
    /// direct one. Returns another write of the same bytes if the file system refused its first direct write, so that nothing is written.
    ///
    /// # Errors
    /// None of the frames is part of the log. After an error that heals, they are fenced off.
    pub fn complete(
        &mut self,
        write: PendingWrite,
        began: u64,
        outcome: std::result::Result<(), ShortWrite>,
        sealed: &[FrameBoundary],
    ) -> Result<Option<PendingWrite>> {
        let Some(active) = &mut self.active else { return Ok(None) };
        let is_large = write.len as u64 >= self.storage.large_commit();
        let frames = write.end.offset - active.end.offset;
        let refused = |short: &ShortWrite| short.written == 0 && short.fault.is_unsupported();
        match (write.way, outcome) {
            (Way::Cached, Ok(())) => active.complete(&write, sealed, is_large),
            (Way::Cached, Err(short)) if short.fault.heals(On::Named) => return Err(self.fence(short)),
            (Way::Cached, Err(short)) => return Err(self.health.poison(short.fault)),
            (Way::Direct, Err(short)) if !self.placement.direct_works && refused(&short) => return Ok(Some(active.submit_cached(write))),
            (Way::Direct, outcome) => {
                self.meter.note_sync(began);
                match outcome {
                    Ok(()) => {}
                    // How much of it is on the disk is unknown. Everything before it is durable, so only these bytes are in doubt.
                    Err(short) if short.fault.heals(On::Direct) => {
                        // The limit of a file's size is checked before anything is written. A later write may be on the disk all the same.
                        let is_first_unwritten =
                            short.written == 0 && !write.is_repeated && short.fault.kind() == Some(ErrorKind::FileTooLarge);
                        let is_untouched = is_first_unwritten && self.ahead.is_empty();
                        let written = if is_untouched { 0 } else { write.len };
                        return Err(self.fence(ShortWrite { written, ..short }));
                    }
                    Err(short) => return Err(self.health.poison(short.fault)),
                }
                active.complete(&write, sealed, is_large);
                self.placement.note_sync(is_large);
                self.placement.direct_works = true;
            }
        }
        self.meter.counters.written_bytes += frames;
        Ok(None)
    }

    /// Handles a write that stopped early, for want of space or the like. Before any record is rejected, both slots of CONTROL say that
    /// nothing past the last good frame is ever read, because the torn bytes may hold whole frames of records that are about to be
    /// rejected.
    fn fence(&mut self, ShortWrite { written, fault }: ShortWrite) -> Error {
        let Some(active) = &mut self.active else { return fault.into() };
        let fence = Fence { segment: active.header.id, offset: active.end.offset };
        let mut fenced = false;
        for _ in 0..2 {
            let updated = locked(&self.control).update(|state| state.fence = Some(fence));
            self.meter.counters.fsyncs += 1;
            match updated {
                Ok(()) => fenced = true,
                // One durable slot has the fence, or there is nothing to fence off.
                Err(short) if (fenced || written == 0) && short.fault.heals(On::Named) => {
                    if !fenced && short.written == 0 {
                        // Neither file has changed, so the next write goes to the same place.
                        return fault.into();
                    }
                    break;
                }
                Err(short) => return self.health.poison(short.fault),
            }
        }
        active.debris_end = active.debris_end.max(active.placement.growth.len());
        self.plan_roll();
        fault.into()
    }

    pub fn sync_file(&mut self, file: &FileRef) -> Result<()> {
        self.meter.time_sync(|| file.sync()).map_err(|fault| self.health.poison(fault))
    }

    pub fn sync_active(&mut self) -> Result<()> {
        let Some(active) = self.active.as_ref().filter(|active| active.is_behind()) else { return Ok(()) };
        // The descriptor that wrote is the one that is synced, and its end was fixed before the call.
        let (file, end, len) = (active.placement.file.clone(), active.end, active.placement.growth.len());
        self.sync_file(&file)?;
        if let Some(active) = &mut self.active {
            let is_large = active.note_sync(end, len, self.storage.large_commit());
            self.placement.note_sync(is_large);
        }
        Ok(())
    }

    /// Makes everything written durable. After an opening that left frames unproven this takes a roll, because an fsync would prove
    /// nothing.
    pub fn sync(&mut self) -> Result<()> {
        self.health.check()?;
        let synced = if self.unproven { self.finish_plan(0) } else { self.sync_active() };
        self.health.poison_unless_it_heals(synced)
    }

    /// Syncs, leaves a mark that lets the next opening go on in place, and gives back blocks that were allocated in advance. Writes nothing
    /// to a poisoned log.
    pub fn close(&mut self) -> Result<()> {
        self.health.check_attached()?;
        // There was no space to roll: the mark of the last opening stays, because nothing more is proven.
        if self.unproven {
            return Ok(());
        }
        self.sync_active()?;
        match self.finish_naming() {
            // Everything acknowledged is durable. The next opening does the rest.
            Err(error) if error.heals() => return Ok(()),
            named => named?,
        }
        let sealer = self.sealer.clone();
        sealer.flush().map_err(|fault| self.health.poison(fault))?;
        match self.mark().map(|job| job.run()) {
            // Without the new mark the next opening cannot prove the last frames durable, and carries them.
            Some(Err(fault)) if fault.heals(On::Named) => return Ok(()),
            Some(Err(fault)) => return Err(self.health.poison(fault)),
            _ => {}
        }
        // The mark is durable, so the next opening finds everything that it covers, whatever the length of the file.
        self.stop_filling();
        if let Some(active) = &self.active {
            active.give_back();
        }
        self.spares.need_no_reserve();
        Ok(())
    }

    /// Ends every background write, because the directory is about to belong to another writer.
    pub fn retire(&mut self) {
        self.stop_filling();
        self.sealer.stop();
        locked(&self.control).retire();
    }

    /// Ends the growth and the prefill of the active segment's file.
    pub fn stop_filling(&mut self) {
        if let Some(active) = &self.active {
            active.placement.stop();
        }
    }

    /// Returns the growth of the active segment's file, if it is time to run it.
    pub fn due_growth(&self) -> Option<Arc<Growth>> {
        let active = self.active.as_ref().filter(|_| self.plan.is_none() && self.health.ended().is_none())?;
        active.placement.due_growth(active.end.offset)
    }

    /// Returns the prefill of the active segment, if it is time to run it.
    pub fn due_prefill(&mut self) -> Option<Arc<Prefill>> {
        let active = self.active.as_mut().filter(|_| self.plan.is_none() && self.health.ended().is_none())?;
        active.placement.due_prefill(&self.storage, &active.entry.file, active.end.offset)
    }
}
