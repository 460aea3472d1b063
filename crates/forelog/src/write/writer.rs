//! The commit logic: a state machine without threads, clock or sleeping. The commit thread steps it in production,
//! a test can step the same code over a simulated disk.
//!
//! Nothing is acknowledged here; each method returns how far the log is written and durable, and what that rests on
//! stands beside the return.

use crate::error::{Code, Error, Fault, Result};
use crate::format::compression::Packer;
use crate::format::control::{Fence, Mark};
use crate::format::file_names::Name;
use crate::format::frame::{self, Frame, Kind, Seed, HEADER};
use crate::format::frame_scan::FrameBoundary;
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

/// How far a commit got.
pub struct CommitProgress {
    /// Frames of the group, from its first, that are written, and durable if that was asked for.
    pub frames: usize,
    /// Why the rest of the group was not.
    pub failure: Option<Error>,
}

/// What a log counts for `stats()`; written by the commit thread alone.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    pub fsyncs: u64,
    pub rolls: u64,
    /// Segments removed.
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
    /// Every segment file in the directory, by id: those of the log, and dead ones that the low mark has not passed.
    pub names: Vec<Name>,
    /// First position that counts.
    pub low: u64,
    pub active: Option<ActiveSegment>,
    /// Set when nothing may be written to the active segment any more.
    pub plan: Option<RollPlan>,
    /// The active segment is durable under its name, and CONTROL does not name it yet: nothing is written to it before that.
    pub naming: Option<Naming>,
    /// The plan stems from opening: what the active segment holds past its proven offset is not known to be durable.
    pub unproven: bool,
    /// Why nothing is written any more: the log is poisoned, or detached.
    pub poisoned: Option<Error>,
    pub attachment: Attachment,
    /// Compresses frames, if that is asked for.
    pub packer: Option<Packer>,
    pub publisher: Publisher,
    /// Something was written past the page cache, and became durable by that.
    through: bool,
    /// Somebody is about to read what is written next: it stays in the page cache.
    pub followed: bool,
    /// For retention.
    pub known: KnownSegments,
    /// Ends of the frames being written; kept to be used again.
    pub joints: Vec<FrameBoundary>,
    /// Monotonic nanoseconds, for the statistics and for retention.
    pub clock: fn() -> u64,
    pub counters: Counters,
    pub events: Arc<Events>,
    /// Of the last syncs, about so many were large.
    large_syncs: u32,
    /// Duration of each fsync of a segment since they were last taken, in nanoseconds.
    pub fsync_times: Vec<u64>,
}

/// What is called many of the last syncs.
const MANY: u32 = 8;

/// A log that has just been found or made, as opening hands it over.
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

    /// Position of the next record to be written.
    pub fn next_position(&self) -> u64 {
        // A plan starts later than the segment ends where the low mark is above all that was found.
        let planned = self.plan.as_ref().map_or(1, |plan| plan.first);
        self.active.as_ref().map_or(1, |active| active.end.next).max(planned)
    }

    /// Last position that survives power loss, 0 when none.
    pub fn durable_position(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.synced.next - 1)
    }

    /// Where the log can be cut; `None` while not even the frames that its segment began with are proven durable.
    pub fn cut(&self) -> Option<DurableEnd> {
        let active = self.active.as_ref().filter(|a| a.synced.offset >= a.header.carried_end)?;
        let durable = LogEnd { offset: active.synced.offset, position: active.synced.next - 1 };
        Some(DurableEnd { segment: active.header.id, durable })
    }

    /// Bytes used of the active segment, and the size of its file.
    pub fn fill_level(&self) -> (u64, u64) {
        self.active.as_ref().map_or((0, 0), |active| (active.end.offset, active.growth.len()))
    }

    /// Brings what the catalog knows of the active segment's file up to date.
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

    /// Whether it is time to prepare the next segment: an eighth of this one is used, or a truncated one's file waits.
    pub fn wants_spare(&self) -> bool {
        self.spares.needs_preparation(self.active.as_ref().is_some_and(|a| a.end.offset > a.capacity / 8))
    }

    /// Whether the blocks of the next segment had better be written ahead: not where most commits are large and durable, for
    /// which writing everything twice would only be in the way.
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

    /// The first failed fsync, or a failure that leaves unknown what reached the disk, is final: after it the kernel
    /// may call pages clean that never were written, so no later success proves anything.
    pub fn poison(&mut self, fault: Fault) -> Error {
        self.give_up(fault.into())
    }

    /// Ends all writing until the log is reopened, whatever `why` was. A directory that is gone explains what failed in it, but
    /// no failed write or sync of a file: those leave unknown what is on the disk, wherever that is.
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

    /// What a step returns to its caller: after a failure that heals the log goes on later, after any other it is poisoned. A
    /// directory that is gone explains either, and does not come back.
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
        // An active segment that opening could not vouch for may be under any name.
        let active = self.active.as_ref().filter(|_| !self.unproven);
        self.attachment.whole(active.map(|active| (active.entry.file.as_str(), &*active.file)))
    }

    /// Ends the log if its directory, or a file that it keeps open there, is not at the path any more.
    pub fn check_attached(&mut self) -> Result<()> {
        self.alive()?;
        match self.detachment() {
            Some(error) => Err(self.give_up(error)),
            None => Ok(()),
        }
    }

    /// Like `check_attached`, of the directory alone.
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
                // Frames before this one are in segments that a roll has made durable: each pass of this loop but
                // the last ends at a roll, and a roll begins with an fsync of the segment it leaves.
                Err(error) if error.heals() => return CommitProgress { frames: done, failure: Some(error) },
                Err(error) => return CommitProgress { frames: 0, failure: Some(error) },
            }
        }
        // Whatever is begun from now on is begun for a log that is in use.
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

    /// Writes as many frames from `from` on as the active segment has room for, at least one. The last of a group that is
    /// to be `durable` may be so already then.
    fn write_some(&mut self, group: &mut Group, from: usize, durable: bool) -> Result<usize> {
        self.alive()?;
        self.finish_plan(group.frames[from].span())?;
        self.write_random_padding()?;
        // A segment begun without compression may be read by a version without it: it takes raw frames only.
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
        // What a roll makes durable on its way needs no padding, and for a small commit it would be most of what is written.
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
            active.entry.note(&self.joints);
        }
        self.counters.written_bytes += bytes.len() as u64;
        Ok(to - from)
    }

    /// Has the active segment's file grow for the frames of a group from `from` on and a padding frame behind them; how far
    /// they may go. Where there is no room for all of them, that is as far as the file reaches.
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

    /// Goes on in a recycled file with a padding frame that cannot be foreseen. Torn frames look stale there: were the same
    /// records written again, what is left of the frames behind them could continue the log.
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
            active.entry.note(&[end]);
        }
        self.counters.written_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes frames, up to `end`, to the page cache.
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

    /// Writes frames, up to `end`, past the page cache: they are durable then. False when the file system says at the first
    /// time that it does not do that: nothing has happened then.
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
        // A failed fsync, whatever the reason: what is on the disk is unknown.
        written.map_err(|short| self.poison(short.fault))?;
        if let Some(active) = &mut self.active {
            (active.end, active.synced) = (end, end);
            self.note_sync(true);
        }
        self.through = true;
        Ok(true)
    }

    /// A write stopped for want of space or the like. Before anybody is told, CONTROL says in both slots that nothing past the
    /// last good frame is ever read: the torn bytes may hold whole frames of records that are about to be rejected.
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
                        // Neither file has changed: the next write goes to the same place.
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

    /// Makes everything written durable. After an unproven opening that takes the roll: an fsync would prove nothing.
    pub fn sync(&mut self) -> Result<()> {
        self.alive()?;
        let synced = if self.unproven { self.finish_plan(0) } else { self.sync_active() };
        self.poison_unless_it_heals(synced)
    }

    /// The durable mark as it stands, to be written to CONTROL off the commit path; `None` when it says nothing new.
    pub fn mark(&self) -> Option<MarkJob> {
        Some(MarkJob { control: self.control.clone(), mark: self.current_mark()? })
    }

    /// How much of the active segment is proven durable; `None` while that is no more than CONTROL says.
    pub fn current_mark(&self) -> Option<Mark> {
        let active = self.active.as_ref().filter(|_| self.poisoned.is_none() && !self.unproven)?;
        Some(Mark { segment: active.header.id, offset: active.synced.offset, position: active.synced.next - 1 })
    }

    /// The log as readers in other processes may see it; `None` while more is written than acknowledged.
    fn horizon(&self, low: u64, acknowledged: u64) -> Option<Horizon> {
        let is_told = self.poisoned.is_none() && self.naming.is_none();
        let active = self.active.as_ref().filter(|a| is_told && a.end.next - 1 == acknowledged)?;
        let place = |joint: FrameBoundary| LogEnd { offset: joint.offset, position: joint.next - 1 };
        Some(Horizon {
            uuid: self.uuid,
            sequence: 0,
            active: active.header.id,
            low,
            acknowledged: place(active.end),
            durable: place(active.synced),
            generation: 0,
            kept: 0,
        })
    }

    /// Whether `tell` has something new to say.
    pub fn is_untold(&self, low: u64, acknowledged: u64) -> bool {
        self.horizon(low, acknowledged).is_some_and(|now| self.publisher.is_behind(&now))
    }

    /// Publishes to other processes that positions from `low` to `acknowledged` can be read.
    pub fn tell(&mut self, low: u64, acknowledged: u64) {
        if let Some(now) = self.horizon(low, acknowledged) {
            self.publisher.publish(&self.control, &now);
        }
    }

    /// Syncs, leaves a mark that lets the next opening go on in place, and gives back the blocks that were allocated ahead.
    /// Writes nothing to a poisoned log.
    pub fn close(&mut self) -> Result<()> {
        self.check_attached()?;
        // Without space to roll, the mark of the last opening stays: it is all that is proven.
        if self.unproven {
            return Ok(());
        }
        self.sync_active()?;
        match self.finish_naming() {
            // All that was acknowledged is durable. The next opening does what is left to do.
            Err(error) if error.heals() => return Ok(()),
            named => named?,
        }
        let sealer = self.sealer.clone();
        sealer.flush().map_err(|fault| self.poison(fault))?;
        match self.mark().map(|job| job.run()) {
            // Without the new mark the next opening cannot tell where the frames end, and carries them.
            Some(Err(fault)) if fault.heals(On::Named) => return Ok(()),
            Some(Err(fault)) => return Err(self.poison(fault)),
            _ => {}
        }
        // The mark is durable: what opens the log next finds all that it vouches for, at whatever length of the file.
        self.stop_filling();
        if let Some(active) = &self.active {
            active.give_back();
        }
        self.spares.need_no_reserve();
        Ok(())
    }
}

impl Writer {
    /// Ends every background write: the directory is about to be somebody else's.
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

    /// The growth of the active segment's file, when it is time to run it.
    pub fn due_growth(&self) -> Option<Arc<Growth>> {
        let active = self.active.as_ref().filter(|_| self.plan.is_none() && self.poisoned.is_none())?;
        let soon = matches!(active.filling, Filling::After(0));
        active.growth.is_due(active.end.offset, soon).then(|| active.growth.clone())
    }

    /// The filling of the active segment, when it is time to run it.
    pub fn due_filling(&mut self) -> Option<Arc<Prefill>> {
        let active = self.active.as_mut().filter(|_| self.plan.is_none() && self.poisoned.is_none())?;
        if matches!(active.filling, Filling::After(0)) && active.growth.is_done() {
            active.filling = match self.storage.open(&active.entry.file, true) {
                Ok(file) => Filling::Running(Arc::new(Prefill::new(file, active.capacity, active.end.offset))),
                // It only makes syncs faster: without it everything works the same.
                Err(_) => Filling::Done,
            };
        }
        match &active.filling {
            Filling::Running(ahead) if ahead.is_due() => Some(ahead.clone()),
            _ => None,
        }
    }
}

/// Appends a padding frame of `room` bytes to frames that end at `end`, and gives the end behind it.
fn pad(bytes: &mut Vec<u8>, room: usize, end: FrameBoundary, synced: u64, seed: Seed) -> FrameBoundary {
    let start = bytes.len();
    bytes.resize(start + room, 0);
    padding(&mut bytes[start..], end, synced, seed)
}

/// Makes a padding frame of `bytes`, whose body is there already.
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

/// Writes a durable mark to CONTROL; blocking, off the commit path.
pub struct MarkJob {
    control: Arc<Mutex<Control>>,
    mark: Mark,
}

impl MarkJob {
    pub fn run(&self) -> std::result::Result<(), Fault> {
        let mut control = lock(&self.control);
        let known = control.state();
        // A roll may have overtaken this job, and another mark may be ahead of it: a mark only ever advances.
        let stale = control.is_retired()
            || known.active != self.mark.segment
            || known.mark.is_some_and(|m| m.segment == self.mark.segment && m.offset >= self.mark.offset);
        if stale {
            return Ok(());
        }
        control.update(|state| state.mark = Some(self.mark)).map_err(|short| short.fault)
    }
}
