//! The commit logic: a state machine without threads, clock or sleeping. The commit thread steps it in production. A test can step the same
//! code over a simulated disk.
//!
//! The writer never acknowledges anything. Each method returns how far the log is written and durable; a comment at the return says why
//! that is safe.

use crate::error::{Code, Error, Fault, Result};
use crate::format::compression::Packer;
use crate::format::control::{Fence, Mark};
use crate::format::file_names::Name;
use crate::format::frame::{self, Frame, Kind, Seed, HEADER};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::horizon::{Horizon, LogEnd};
use crate::observe::events::Events;
use crate::options::Compression;
use crate::segments::active::{ActiveSegment, Filling};
use crate::segments::attachment::Attachment;
use crate::segments::catalog::{Catalog, DurableEnd};
use crate::segments::control_file::Control;
use crate::segments::footer_writer::{FooterWriter, UnindexedSegment};
use crate::segments::growth::Growth;
use crate::segments::horizon_publisher::Publisher;
use crate::segments::prefill::Prefill;
use crate::segments::spare_files::SpareFiles;
use crate::storage::{FileRef, ShortWrite, Storage};
use crate::util::bytes::mask;
use crate::util::healing::On;
use crate::util::limits::PAGE;
use crate::write::group::{Group, PendingFrame};
use crate::write::retention::KnownSegments;
use crate::write::roll::{Naming, RollPlan};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The result of a commit.
pub struct CommitProgress {
    /// Number of frames of the group, counted from its first, that are written, and durable if that was asked for.
    pub frames: usize,
    /// Why the rest of the group was not written or made durable.
    pub failure: Option<Error>,
}

/// Counters of a log for `stats()`. Only the commit thread writes them.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    pub fsyncs: u64,
    pub rolls: u64,
    /// Number of segments removed.
    pub removed: u64,
    pub written_bytes: u64,
}

pub struct Writer {
    pub storage: Arc<dyn Storage>,
    pub spares: Arc<SpareFiles>,
    pub sealer: Arc<FooterWriter>,
    pub control: Arc<Mutex<Control>>,
    pub catalog: Arc<Catalog>,
    pub uuid: [u8; 16],
    pub highest_id: u64,
    /// Every segment file in the directory, by id: segments of the log, and dead ones that the low mark has not passed.
    pub names: Vec<Name>,
    /// First position of the log.
    pub low: u64,
    pub active: Option<ActiveSegment>,
    /// Set if nothing more may be written to the active segment.
    pub plan: Option<RollPlan>,
    /// Set while the active segment is durable under its name but CONTROL does not name it yet. Nothing is written to it before that.
    pub naming: Option<Naming>,
    /// The plan was made by opening: bytes of the active segment after its proven offset are not known to be durable.
    pub unproven: bool,
    /// Why nothing is written any more: the log is poisoned or detached.
    pub poisoned: Option<Error>,
    pub attachment: Attachment,
    /// Compresses frames, if compression is on.
    pub packer: Option<Packer>,
    pub publisher: Publisher,
    /// At least one write past the page cache has succeeded, so the file system supports such writes.
    through: bool,
    /// At least one follower is waiting, so the next commit stays in the page cache where the follower will read it.
    pub followed: bool,
    /// Facts about segments that retention has gathered.
    pub known: KnownSegments,
    /// Ends of the frames being written. The buffer is reused.
    pub joints: Vec<FrameBoundary>,
    /// Monotonic nanoseconds, for the statistics and for retention.
    pub clock: fn() -> u64,
    pub counters: Counters,
    pub events: Arc<Events>,
    /// Saturating counter (0 to `MANY`): up on a large sync, down on a small one.
    large_syncs: u32,
    /// Duration in nanoseconds of each fsync of a segment since the durations were last taken.
    pub fsync_times: Vec<u64>,
}

/// Upper bound of `large_syncs`.
const MANY: u32 = 8;

/// A log that opening has found or made, as it is handed to the writer.
pub struct WriterInit {
    pub storage: Arc<dyn Storage>,
    pub spares: Arc<SpareFiles>,
    pub control: Control,
    pub catalog: Arc<Catalog>,
    pub names: Vec<Name>,
    pub low: u64,
    pub active: Option<ActiveSegment>,
    pub plan: Option<RollPlan>,
    pub packer: Option<Packer>,
    /// The newest sealed segment, which may still need its footer.
    pub bare: Option<UnindexedSegment>,
    pub clock: fn() -> u64,
}

pub fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub fn new(start: WriterInit) -> Writer {
        let uuid = start.control.state().uuid;
        let planned = start.plan.as_ref().map_or(1, |plan| plan.first);
        let next = start.active.as_ref().map_or(1, |active| active.end.next).max(planned);
        Writer {
            through: false,
            followed: false,
            known: KnownSegments::default(),
            publisher: Publisher::resume(&*start.storage, start.control.horizon(), &uuid, next - 1),
            attachment: Attachment::new(start.storage.clone(), &**start.control.file()),
            uuid,
            unproven: start.plan.is_some(),
            sealer: Arc::new(FooterWriter::new(start.storage.clone(), start.bare)),
            storage: start.storage,
            spares: start.spares,
            control: Arc::new(Mutex::new(start.control)),
            catalog: start.catalog,
            highest_id: start.names.last().map_or(0, |newest| newest.id),
            names: start.names,
            low: start.low,
            active: start.active,
            plan: start.plan,
            naming: None,
            poisoned: None,
            packer: start.packer,
            joints: Vec::new(),
            clock: start.clock,
            counters: Counters::default(),
            events: Arc::default(),
            large_syncs: 0,
            fsync_times: Vec::new(),
        }
    }

    /// Returns the position of the next record to be written.
    pub fn next_position(&self) -> u64 {
        // The plan starts after the end of the segment if the low mark is above everything that opening found.
        let planned = self.plan.as_ref().map_or(1, |plan| plan.first);
        self.active.as_ref().map_or(1, |active| active.end.next).max(planned)
    }

    /// Returns the last position that survives power loss, 0 if there is none.
    pub fn durable_position(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.synced.next - 1)
    }

    /// Returns the durable end of the log, up to which a backup may copy; `None` until at least the frames that the active segment began
    /// with are proven durable.
    pub fn cut(&self) -> Option<DurableEnd> {
        let active = self.active.as_ref().filter(|a| a.synced.offset >= a.header.carried_end)?;
        let durable = LogEnd { offset: active.synced.offset, position: active.synced.next - 1 };
        Some(DurableEnd { segment: active.header.id, durable })
    }

    /// Returns how many bytes of the active segment are used, and the size of its file.
    pub fn fill_level(&self) -> (u64, u64) {
        self.active.as_ref().map_or((0, 0), |active| (active.end.offset, active.growth.len()))
    }

    /// Updates the length of the active segment's file in the catalog.
    pub fn note_len(&self) {
        if let Some(active) = &self.active {
            active.entry.set_len(active.growth.len());
        }
    }

    pub fn poisoned(&self) -> Option<&Error> {
        self.poisoned.as_ref()
    }

    /// Whether written frames wait for an fsync.
    pub fn is_behind(&self) -> bool {
        self.poisoned.is_none() && self.active.as_ref().is_some_and(|a| a.synced.offset < a.end.offset)
    }

    /// Whether it is time to prepare the next segment: an eighth of this one is used, or the file of a truncated one waits to be recycled.
    pub fn wants_spare(&self) -> bool {
        self.spares.needs_preparation(self.active.as_ref().is_some_and(|a| a.end.offset > a.capacity / 8))
    }

    /// Whether the blocks of the next segment should be prefilled. They should not if most commits are large and durable, because writing
    /// everything twice would only slow those down.
    pub fn wants_prefill(&self) -> bool {
        self.large_syncs < MANY / 2
    }

    fn note_sync(&mut self, is_large: bool) {
        self.large_syncs = if is_large { (self.large_syncs + 1).min(MANY) } else { self.large_syncs.saturating_sub(1) };
        if let Some(active) = &mut self.active {
            active.filling.note_sync(is_large);
        }
    }

    pub fn spares(&self) -> Arc<SpareFiles> {
        self.spares.clone()
    }

    /// Poisons the log because of `fault`. The first failed fsync is final, and so is any failure that leaves unknown what reached the
    /// disk: afterwards the kernel may call pages clean that were never written, so no later success proves anything.
    pub fn poison(&mut self, fault: Fault) -> Error {
        self.give_up(fault.into())
    }

    /// Ends all writing until the log is reopened, whatever the cause. If the directory is no longer at its path, the log is detached
    /// instead of poisoned. A failed write or sync of a file poisons it all the same, because it leaves unknown what is on the disk,
    /// wherever the directory is.
    pub fn give_up(&mut self, why: Error) -> Error {
        let is_in_doubt = why.cause.as_ref().is_some_and(|fault| matches!(fault.syscall, "pwrite" | "fdatasync"));
        let detachment = if why.code == Code::Detached { Some(why.clone()) } else { self.detachment().filter(|_| !is_in_doubt) };
        if let Some(mut error) = detachment {
            error.cause = error.cause.clone().or_else(|| why.cause.clone());
            self.sealer.halt();
            return self.poisoned.get_or_insert(error).clone();
        }
        let poisoned = || {
            let mut error = Error::new(Code::Poisoned, format!("the log is poisoned until it is reopened: {why}"));
            (error.cause, error.segment, error.offset) = (why.cause.clone(), why.segment.clone(), why.offset);
            error
        };
        self.sealer.halt();
        self.poisoned.get_or_insert_with(poisoned).clone()
    }

    /// Completes the error of a step. After an error that heals the log can go on later; any other error ends all writing. If the directory
    /// is no longer at its path, every error does, because that does not heal.
    pub fn poison_unless_it_heals<T>(&mut self, step: Result<T>) -> Result<T> {
        step.map_err(|mut error| {
            if !error.heals() || self.detachment().is_some() {
                return self.give_up(error);
            }
            error.message += "; the log goes on once the cause is gone";
            error
        })
    }

    pub fn alive(&self) -> Result<()> {
        match &self.poisoned {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn detachment(&self) -> Option<Error> {
        // An active segment that opening could not prove may have any name.
        let active = self.active.as_ref().filter(|_| !self.unproven);
        self.attachment.whole(active.map(|active| (active.entry.file.as_str(), &*active.file)))
    }

    /// Ends the log if its directory, or a file that it keeps open there, is no longer at the path.
    pub fn check_attached(&mut self) -> Result<()> {
        self.alive()?;
        match self.detachment() {
            Some(error) => Err(self.give_up(error)),
            None => Ok(()),
        }
    }

    /// Ends the log if its directory is no longer at the path. Unlike [`Writer::check_attached`], checks no file.
    pub fn check_directory(&mut self) -> Result<()> {
        self.alive()?;
        match self.attachment.directory() {
            Some(error) => Err(self.give_up(error)),
            None => Ok(()),
        }
    }

    /// Writes a group's frames, rolling where they do not fit, and makes them durable if `durable`.
    pub fn commit(&mut self, group: &mut Group, durable: bool) -> CommitProgress {
        group.seal();
        if let Some(packer) = &mut self.packer {
            group.compress(packer);
        }
        let mut done = 0;
        while done < group.frames.len() {
            let written = self.write_some(group, done, durable);
            match self.poison_unless_it_heals(written) {
                Ok(more) => done += more,
                // Frames before this one are in segments that a roll has made durable: each pass of this loop but the last ends at a roll,
                // and a roll begins with an fsync of the segment it leaves.
                Err(error) if error.heals() => return CommitProgress { frames: done, failure: Some(error) },
                Err(error) => return CommitProgress { frames: 0, failure: Some(error) },
            }
        }
        // The log is in use from now on, so the next segment is created at full size.
        self.spares.wake();
        let synced = if durable { self.sync() } else { self.alive() };
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
        self.alive()?;
        self.finish_plan(group.frames[from].span())?;
        self.write_random_padding()?;
        // A segment begun without compression may be read by a version that does not know it, so it takes only raw frames.
        let takes = |active: &ActiveSegment, frame: &PendingFrame, offset: u64, limit: u64| {
            offset + frame.span() <= limit && (active.header.compressed || frame.codec == Compression::None)
        };
        let mut limit = self.reserve(group, from);
        if self.plan.is_some() || !self.active.as_ref().is_some_and(|a| takes(a, &group.frames[from], a.end.offset, limit)) {
            self.plan_roll();
            self.finish_plan(group.frames[from].span())?;
            limit = self.reserve(group, from);
        }
        self.finish_naming()?;
        let Some(active) = self.active.as_mut() else {
            return Err(Error::new(Code::Closed, "the log has no active segment"));
        };
        self.joints.clear();
        let seed = active.header.seed();
        let (mut end, synced, mut to) = (active.end, active.synced.offset, from);
        while to < group.frames.len() && takes(active, &group.frames[to], end.offset, limit) {
            let gathered = &group.frames[to];
            let (head, body) = group.bytes[gathered.start..].split_at_mut(HEADER);
            let frame = Frame {
                body_len: gathered.body_len as u32,
                first: end.next,
                count: gathered.count,
                kind: gathered.kind,
                codec: gathered.codec,
                synced,
                body_crc: mask(crc32c::crc32c(&body[..gathered.body_len])),
                prev: end.crc,
                crc: 0,
            };
            debug_assert_eq!(gathered.first, end.next, "positions are dense");
            let crc = frame::encode(head, &frame, seed, end.offset);
            end = FrameBoundary { offset: end.offset + frame.span(), next: frame.next_position(), crc };
            self.joints.push(end);
            to += 1;
        }
        let start = group.frames[from].start;
        // Frames that a roll makes durable need no padding, and for a small commit padding would be most of what is written.
        let large = end.offset - active.end.offset >= self.storage.large_commit();
        let through = durable && large && to == group.frames.len() && active.through.is_some();
        if through {
            let room = active.room_to_page(end.offset, limit);
            if room > 0 {
                end = pad(&mut group.bytes, room, end, synced, seed);
                self.joints.push(end);
            }
        }
        let stop = group.frames.get(to).map_or(group.bytes.len(), |f| f.start);
        if let Filling::Running(ahead) = &active.filling {
            ahead.reserve(end.offset);
        }
        let bytes = &group.bytes[start..stop];
        let through = through && !self.followed && active.can_write_direct(bytes);
        if !(through && self.write_through(bytes, end)?) {
            self.write(bytes, end)?;
        }
        if let Some(active) = &self.active {
            active.entry.add_index_entries(&self.joints);
        }
        self.counters.written_bytes += bytes.len() as u64;
        Ok(to - from)
    }

    /// Grows the active segment's file for the frames of a group from `from` on and for a padding frame after them. Returns the offset up
    /// to which frames may be written. If the file cannot grow enough, that is its present end.
    fn reserve(&self, group: &Group, from: usize) -> u64 {
        let Some(active) = self.active.as_ref().filter(|_| self.plan.is_none()) else { return 0 };
        let frames = group.frames[from..].iter().map(PendingFrame::span).sum::<u64>();
        let padding = if active.through.is_some() && frames >= self.storage.large_commit() { 2 * PAGE } else { 0 };
        let end = (active.end.offset + frames + padding).min(active.capacity);
        match active.growth.reserve(end) {
            Ok(()) => active.capacity,
            Err(_) => active.growth.len().min(active.capacity),
        }
    }

    /// Writes a padding frame with a random body before the first append to a recycled file that an earlier process may have torn.
    /// Otherwise, if the same records were appended again, leftover frames after them would have matching CRCs and would be taken for part
    /// of the log.
    fn write_random_padding(&mut self) -> Result<()> {
        let Some(active) = self.active.as_mut().filter(|active| active.may_be_torn) else { return Ok(()) };
        let mut bytes = [0; HEADER + 8];
        self.storage.random(&mut bytes[HEADER..])?;
        let end = padding(&mut bytes, active.end, active.synced.offset, active.header.seed());
        if end.offset > active.capacity || active.growth.reserve(end.offset).is_err() {
            self.plan_roll();
            return Ok(());
        }
        self.write(&bytes, end)?;
        if let Some(active) = &mut self.active {
            active.may_be_torn = false;
            active.entry.add_index_entries(&[end]);
        }
        self.counters.written_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes frames, which end at `end`, to the page cache.
    fn write(&mut self, bytes: &[u8], end: FrameBoundary) -> Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        match active.file.write_at(bytes, active.end.offset) {
            Ok(()) => {
                active.end = end;
                Ok(())
            }
            Err(short) if short.fault.heals(On::Named) => Err(self.fence(short)),
            Err(short) => Err(self.poison(short.fault)),
        }
    }

    /// Writes frames, which end at `end`, past the page cache, so that they are durable on return. Returns false, with nothing written, if
    /// the file system refuses the first write of this kind.
    fn write_through(&mut self, bytes: &[u8], end: FrameBoundary) -> Result<bool> {
        let Some(active) = &mut self.active else { return Ok(false) };
        let Some(file) = &active.through else { return Ok(false) };
        let began = (self.clock)();
        let written = file.write_at(bytes, active.end.offset);
        let refused = |short: &ShortWrite| short.written == 0 && short.fault.is_unsupported();
        if !self.through && written.as_ref().is_err_and(refused) {
            active.through = None;
            return Ok(false);
        }
        self.counters.fsyncs += 1;
        self.fsync_times.push((self.clock)().saturating_sub(began));
        // This is a failed fsync, whatever the reason: what is on the disk is unknown.
        written.map_err(|short| self.poison(short.fault))?;
        if let Some(active) = &mut self.active {
            (active.end, active.synced) = (end, end);
            self.note_sync(true);
        }
        self.through = true;
        Ok(true)
    }

    /// Handles a write that stopped early, for want of space or the like. Before any record is rejected, both slots of CONTROL say that
    /// nothing past the last good frame is ever read, because the torn bytes may hold whole frames of records that are about to be
    /// rejected.
    fn fence(&mut self, ShortWrite { written, fault }: ShortWrite) -> Error {
        let Some(active) = &mut self.active else { return fault.into() };
        let fence = Fence { segment: active.header.id, offset: active.end.offset };
        let mut fenced = false;
        for _ in 0..2 {
            let updated = lock(&self.control).update(|state| state.fence = Some(fence));
            self.counters.fsyncs += 1;
            match updated {
                Ok(()) => fenced = true,
                // One durable slot has the fence, or there is nothing to fence off.
                Err(cut) if (fenced || written == 0) && cut.fault.heals(On::Named) => {
                    if !fenced && cut.written == 0 {
                        // Neither file has changed, so the next write goes to the same place.
                        return fault.into();
                    }
                    break;
                }
                Err(cut) => return self.poison(cut.fault),
            }
        }
        active.debris_end = active.debris_end.max(active.growth.len());
        self.plan_roll();
        fault.into()
    }

    pub fn sync_file(&mut self, file: &FileRef) -> Result<()> {
        self.counters.fsyncs += 1;
        let began = (self.clock)();
        let synced = file.sync();
        self.fsync_times.push((self.clock)().saturating_sub(began));
        synced.map_err(|fault| self.poison(fault))
    }

    pub fn sync_active(&mut self) -> Result<()> {
        let Some(active) = &self.active else { return Ok(()) };
        if active.synced.offset == active.end.offset {
            return Ok(());
        }
        // The descriptor that wrote is the one that is synced, and its end was fixed before the call.
        let (file, end, len) = (active.file.clone(), active.end, active.growth.len());
        self.sync_file(&file)?;
        if let Some(active) = &mut self.active {
            active.durable_len = active.durable_len.max(len);
            let is_large = end.offset - active.synced.offset >= self.storage.large_commit();
            active.synced = end;
            self.note_sync(is_large);
        }
        Ok(())
    }

    /// Makes everything written durable. After an opening that left frames unproven this takes a roll, because an fsync would prove
    /// nothing.
    pub fn sync(&mut self) -> Result<()> {
        self.alive()?;
        let synced = if self.unproven { self.finish_plan(0) } else { self.sync_active() };
        self.poison_unless_it_heals(synced)
    }

    /// Returns a job that writes the durable mark to CONTROL off the commit path; `None` if [`Writer::current_mark`] is.
    pub fn mark(&self) -> Option<MarkJob> {
        Some(MarkJob { control: self.control.clone(), mark: self.current_mark()? })
    }

    /// Returns how much of the active segment is proven durable; `None` while the log is poisoned or the segment is unproven.
    pub fn current_mark(&self) -> Option<Mark> {
        let active = self.active.as_ref().filter(|_| self.poisoned.is_none() && !self.unproven)?;
        Some(Mark { segment: active.header.id, offset: active.synced.offset, position: active.synced.next - 1 })
    }

    /// Returns the log as readers in other processes may see it; `None` while more is written than acknowledged, while CONTROL does not
    /// name the active segment, and after the log was poisoned.
    fn horizon(&self, low: u64, acknowledged: u64) -> Option<Horizon> {
        let is_told = self.poisoned.is_none() && self.naming.is_none();
        let active = self.active.as_ref().filter(|a| is_told && a.end.next - 1 == acknowledged)?;
        let place = |joint: FrameBoundary| LogEnd { offset: joint.offset, position: joint.next - 1 };
        Some(Horizon {
            uuid: self.uuid,
            sequence: 0,
            active: active.header.id,
            low_mark: low,
            acknowledged: place(active.end),
            durable: place(active.synced),
            generation: 0,
            kept: 0,
        })
    }

    /// Whether [`Writer::tell`] has anything new to publish.
    pub fn is_untold(&self, low: u64, acknowledged: u64) -> bool {
        self.horizon(low, acknowledged).is_some_and(|now| self.publisher.is_behind(&now))
    }

    /// Publishes to other processes that positions from `low` to `acknowledged` can be read.
    pub fn tell(&mut self, low: u64, acknowledged: u64) {
        if let Some(now) = self.horizon(low, acknowledged) {
            self.publisher.publish(&self.control, &now);
        }
    }

    /// Syncs, leaves a mark that lets the next opening go on in place, and gives back blocks that were allocated in advance. Writes nothing
    /// to a poisoned log.
    pub fn close(&mut self) -> Result<()> {
        self.check_attached()?;
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
        sealer.flush().map_err(|fault| self.poison(fault))?;
        match self.mark().map(|job| job.run()) {
            // Without the new mark the next opening cannot prove the last frames durable, and carries them.
            Some(Err(fault)) if fault.heals(On::Named) => return Ok(()),
            Some(Err(fault)) => return Err(self.poison(fault)),
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
}

impl Writer {
    /// Ends every background write, because the directory is about to belong to another writer.
    pub fn retire(&mut self) {
        self.stop_filling();
        self.sealer.stop();
        lock(&self.control).retire();
    }

    pub fn stop_filling(&mut self) {
        let Some(active) = &self.active else { return };
        active.growth.stop();
        if let Filling::Running(ahead) = &active.filling {
            ahead.stop();
        }
    }

    /// Returns the growth of the active segment's file, if it is time to run it.
    pub fn due_growth(&self) -> Option<Arc<Growth>> {
        let active = self.active.as_ref().filter(|_| self.plan.is_none() && self.poisoned.is_none())?;
        let soon = matches!(active.filling, Filling::After(0));
        active.growth.is_due(active.end.offset, soon).then(|| active.growth.clone())
    }

    /// Returns the prefill of the active segment, if it is time to run it.
    pub fn due_filling(&mut self) -> Option<Arc<Prefill>> {
        let active = self.active.as_mut().filter(|_| self.plan.is_none() && self.poisoned.is_none())?;
        if matches!(active.filling, Filling::After(0)) && active.growth.is_done() {
            active.filling = match self.storage.open(&active.entry.file, true) {
                Ok(file) => Filling::Running(Arc::new(Prefill::new(file, active.capacity, active.end.offset))),
                // The prefill only makes syncs faster: without it everything works the same.
                Err(_) => Filling::Done,
            };
        }
        match &active.filling {
            Filling::Running(ahead) if ahead.is_due() => Some(ahead.clone()),
            _ => None,
        }
    }
}

/// Appends a padding frame of `room` bytes to frames that end at `end`, and returns the boundary after it.
fn pad(bytes: &mut Vec<u8>, room: usize, end: FrameBoundary, synced: u64, seed: Seed) -> FrameBoundary {
    let start = bytes.len();
    bytes.resize(start + room, 0);
    padding(&mut bytes[start..], end, synced, seed)
}

/// Makes a padding frame of `bytes`, whose body is already in place, and returns the boundary after it.
fn padding(bytes: &mut [u8], end: FrameBoundary, synced: u64, seed: Seed) -> FrameBoundary {
    let (head, body) = bytes.split_at_mut(HEADER);
    let frame = Frame {
        body_len: body.len() as u32,
        first: end.next,
        count: 0,
        kind: Kind::Padding,
        codec: Compression::None,
        synced,
        body_crc: mask(crc32c::crc32c(body)),
        prev: end.crc,
        crc: 0,
    };
    let crc = frame::encode(head, &frame, seed, end.offset);
    FrameBoundary { offset: end.offset + frame.span(), next: end.next, crc }
}

/// A job that writes a durable mark to CONTROL. It blocks and runs off the commit path.
pub struct MarkJob {
    control: Arc<Mutex<Control>>,
    mark: Mark,
}

impl MarkJob {
    pub fn run(&self) -> std::result::Result<(), Fault> {
        let mut control = lock(&self.control);
        let known = control.state();
        // A roll may have overtaken this job, and another mark may be at a higher offset already: a mark only ever advances.
        let stale = control.is_retired()
            || known.active != self.mark.segment
            || known.mark.is_some_and(|m| m.segment == self.mark.segment && m.offset >= self.mark.offset);
        if stale {
            return Ok(());
        }
        control.update(|state| state.mark = Some(self.mark)).map_err(|short| short.fault)
    }
}
