//! The commit logic: a state machine without threads, clock or sleeping. The commit thread steps it in production,
//! a test can step the same code over a simulated disk.
//!
//! Nothing is acknowledged here; each method returns how far the log is written and durable, and what that rests on
//! stands beside the return.

use crate::ahead::Ahead;
use crate::bytes::mask;
use crate::catalog::{Catalog, Segment};
use crate::control::{Control, Fence, Mark};
use crate::error::{Code, Error, Result};
use crate::frame::{self, Frame, HEADER};
use crate::group::Group;
use crate::options::PAGE;
use crate::recovery::Joint;
use crate::segment::{file_name, Header, Predecessor, RESERVE};
use crate::spares::{least_len, Spare, Spares};
use crate::storage::window::Window;
use crate::storage::{Fault, FileRef, Storage};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Good frames that recovery could not prove durable, to be written again into the next segment.
pub struct Carry {
    pub file: FileRef,
    pub header: Header,
    /// Where they begin, and what they continue there.
    pub from: Joint,
    pub to: u64,
}

/// A roll that has to come before anything else is written.
pub struct Plan {
    pub predecessor: Option<Predecessor>,
    pub first: u64,
    pub carry: Option<Carry>,
}

/// The segment being written.
pub struct Active {
    pub file: FileRef,
    pub header: Header,
    pub capacity: u64,
    /// Where the next frame goes, and what it continues.
    pub end: Joint,
    /// How much of it is proven durable.
    pub synced: Joint,
    pub entry: Arc<Segment>,
    pub filling: Filling,
}

/// Whether a segment's blocks are written ahead of its frames.
pub enum Filling {
    /// They all are, or it would gain nothing here.
    Done,
    /// They may not be: filling begins once this many more syncs show that it would pay.
    After(u32),
    Running(Arc<Ahead>),
}

impl Filling {
    /// A log that is synced now and then is not worth the writing.
    pub const WORTHWHILE: Filling = Filling::After(64);
}

/// How far a commit got.
pub struct Progress {
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
    pub written_bytes: u64,
}

pub struct Writer {
    storage: Arc<dyn Storage>,
    spares: Arc<Spares>,
    control: Arc<Mutex<Control>>,
    catalog: Arc<Catalog>,
    uuid: [u8; 16],
    highest_id: u64,
    active: Option<Active>,
    /// Set when nothing may be written to the active segment any more.
    plan: Option<Plan>,
    /// The plan stems from opening: what the active segment holds past its proven offset is not known to be durable.
    unproven: bool,
    poisoned: Option<Error>,
    /// Ends of the frames being written; kept to be used again.
    joints: Vec<Joint>,
    /// Monotonic nanoseconds, for the statistics alone.
    clock: fn() -> u64,
    pub counters: Counters,
    /// Duration of each fsync of a segment since they were last taken, in nanoseconds.
    pub fsync_times: Vec<u64>,
}

/// A log that has just been found or made, as opening hands it over.
pub struct Start {
    pub storage: Arc<dyn Storage>,
    pub spares: Arc<Spares>,
    pub control: Control,
    pub catalog: Arc<Catalog>,
    pub highest_id: u64,
    pub active: Option<Active>,
    pub plan: Option<Plan>,
    pub clock: fn() -> u64,
}

fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub fn new(start: Start) -> Writer {
        Writer {
            uuid: start.control.state().uuid,
            unproven: start.plan.is_some(),
            storage: start.storage,
            spares: start.spares,
            control: Arc::new(Mutex::new(start.control)),
            catalog: start.catalog,
            highest_id: start.highest_id,
            active: start.active,
            plan: start.plan,
            poisoned: None,
            joints: Vec::new(),
            clock: start.clock,
            counters: Counters::default(),
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

    pub fn poisoned(&self) -> Option<&Error> {
        self.poisoned.as_ref()
    }

    /// Whether written frames wait for an fsync.
    pub fn is_behind(&self) -> bool {
        self.poisoned.is_none() && self.active.as_ref().is_some_and(|a| a.synced.offset < a.end.offset)
    }

    /// Whether it is time to prepare the next segment: an eighth of this one is used.
    pub fn wants_spare(&self) -> bool {
        self.active.as_ref().is_some_and(|a| a.end.offset > a.capacity / 8) && self.spares.wanted()
    }

    pub fn spares(&self) -> Arc<Spares> {
        self.spares.clone()
    }

    /// The first failed fsync, or a failure that leaves unknown what reached the disk, is final: after it the kernel
    /// may call pages clean that never were written, so no later success proves anything.
    pub fn poison(&mut self, fault: Fault) -> Error {
        let mut error = Error::new(Code::Poisoned, format!("the log is poisoned until it is reopened: {fault}"));
        error.cause = Some(fault);
        self.poisoned.get_or_insert(error).clone()
    }

    fn alive(&self) -> Result<()> {
        match &self.poisoned {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Writes a group's frames, rolling where they do not fit, and makes them durable if `durable`.
    pub fn commit(&mut self, group: &mut Group, durable: bool) -> Progress {
        group.seal();
        let mut done = 0;
        while done < group.frames.len() {
            match self.write_some(group, done) {
                Ok(more) => done += more,
                // Frames before this one are in segments that a roll has made durable: each pass of this loop but
                // the last ends at a roll, and a roll begins with an fsync of the segment it leaves.
                Err(error) if error.code == Code::NoSpace => return Progress { frames: done, failure: Some(error) },
                Err(error) => return Progress { frames: 0, failure: Some(error) },
            }
        }
        let synced = if durable { self.sync() } else { self.alive() };
        match synced {
            Ok(()) => Progress { frames: done, failure: None },
            Err(error) => Progress { frames: 0, failure: Some(error) },
        }
    }

    /// Writes as many frames from `from` on as the active segment has room for, at least one.
    fn write_some(&mut self, group: &mut Group, from: usize) -> Result<usize> {
        self.alive()?;
        self.finish_plan(group.frames[from].span())?;
        let room = |active: &Active, bytes: u64| active.end.offset + bytes <= active.capacity;
        if !self.active.as_ref().is_some_and(|a| room(a, group.frames[from].span())) {
            self.plan_roll();
            self.finish_plan(group.frames[from].span())?;
        }
        let Some(active) = self.active.as_mut() else {
            return Err(Error::new(Code::Closed, "the log has no active segment"));
        };
        self.joints.clear();
        let seed = active.header.seed();
        let (mut end, synced, mut to) = (active.end, active.synced.offset, from);
        while to < group.frames.len() && end.offset + group.frames[to].span() <= active.capacity {
            let gathered = &group.frames[to];
            let (head, body) = group.bytes[gathered.start..].split_at_mut(HEADER);
            let frame = Frame {
                body_len: gathered.body_len as u32,
                first: end.next,
                count: gathered.count,
                kind: gathered.kind,
                synced,
                body_crc: mask(crc32c::crc32c(&body[..gathered.body_len])),
                prev: end.crc,
                crc: 0,
            };
            debug_assert_eq!(gathered.first, end.next, "positions are dense");
            let crc = frame::encode(head, &frame, seed, end.offset);
            end = Joint { offset: end.offset + frame.span(), next: frame.next_position(), crc };
            self.joints.push(end);
            to += 1;
        }
        let start = group.frames[from].start;
        let stop = group.frames.get(to).map_or(group.bytes.len(), |f| f.start);
        if let Filling::Running(ahead) = &active.filling {
            ahead.reserve(end.offset);
        }
        match active.file.write_at(&group.bytes[start..stop], active.end.offset) {
            Ok(()) => {
                active.end = end;
                active.entry.note(&self.joints);
                self.counters.written_bytes += (stop - start) as u64;
                Ok(to - from)
            }
            Err(short) if short.fault.is_no_space() => Err(self.fence(short.fault)),
            Err(short) => Err(self.poison(short.fault)),
        }
    }

    /// A full disk cut a write short. Before anybody is told, CONTROL says in both slots that nothing past the last
    /// good frame is ever read: the torn bytes may hold whole frames of records that are about to be rejected.
    fn fence(&mut self, fault: Fault) -> Error {
        let Some(active) = &self.active else { return fault.into() };
        let fence = Fence { segment: active.header.id, offset: active.end.offset };
        for _ in 0..2 {
            let written = lock(&self.control).update(|state| state.fence = Some(fence));
            self.counters.fsyncs += 1;
            if let Err(fault) = written {
                return self.poison(fault);
            }
        }
        self.plan_roll();
        fault.into()
    }

    /// The next write starts a new segment after the last complete frame.
    fn plan_roll(&mut self) {
        if let (Some(active), None) = (&self.active, &self.plan) {
            let end = active.end;
            let predecessor = Predecessor { id: active.header.id, salt: active.header.salt, end: end.offset, crc: end.crc };
            self.plan = Some(Plan { predecessor: Some(predecessor), first: end.next, carry: None });
        }
    }

    /// Rolls if a roll is due, into a segment with room for a frame of `span` bytes.
    pub fn finish_plan(&mut self, span: u64) -> Result<()> {
        self.alive()?;
        let Some(plan) = self.plan.take() else { return Ok(()) };
        match self.roll(&plan, span) {
            Ok(()) => {
                self.unproven = false;
                Ok(())
            }
            Err(error) => {
                self.plan = Some(plan);
                Err(error)
            }
        }
    }

    /// Starts the next segment, in the order that makes every crash in between harmless.
    fn roll(&mut self, plan: &Plan, span: u64) -> Result<()> {
        // (1) Whatever the next header will seal is durable before that header exists.
        if !self.unproven {
            self.sync_active()?;
        }
        // (2) Header and carried frames become durable under a spare's name.
        let carried = plan.carry.as_ref().map_or(0, |c| c.to - c.from.offset);
        let salt = random()?;
        let spare = self.spares.take(least_len(carried + span))?;
        let header = Header {
            uuid: self.uuid,
            id: self.highest_id + 1,
            first: plan.first,
            salt,
            predecessor: plan.predecessor,
            carried_end: PAGE + carried,
            recycled: spare.recycled,
            created_ms: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        };
        let end = match self.fill(&spare, &header, plan) {
            Ok(end) => end,
            Err(error) => return Err(self.discard(&spare, error)),
        };
        self.sync_file(&spare.file)?;
        // (3) The commit point: from here on a crash opens the new segment.
        let name = file_name(header.first, header.id);
        match self.storage.rename(&spare.name, &name) {
            Ok(()) => {}
            Err(fault) if fault.is_no_space() => return Err(self.discard(&spare, fault.into())),
            Err(fault) => return Err(self.poison(fault)),
        }
        self.counters.fsyncs += 1;
        if let Err(fault) = self.storage.sync_dir() {
            return Err(self.poison(fault));
        }
        self.highest_id = header.id;
        let entry = Arc::new(Segment::of_header(&header));
        self.catalog.add(entry.clone());
        // (4) CONTROL names it; only then may anything in it be acknowledged, and anything below it be removed.
        let mark = Mark { segment: header.id, offset: end.offset, position: end.next - 1 };
        let filling = if spare.filled { Filling::Done } else { Filling::WORTHWHILE };
        self.stop_filling();
        self.active = Some(Active { file: spare.file, header, capacity: spare.len, end, synced: end, entry, filling });
        self.counters.rolls += 1;
        self.counters.fsyncs += 1;
        let named = lock(&self.control).update(|state| {
            state.active = mark.segment;
            state.mark = Some(mark);
        });
        named.map_err(|fault| self.poison(fault))
    }

    /// Drops a spare that never got a final name: on a full disk its room is worth more than its bytes.
    fn discard(&self, spare: &Spare, error: Error) -> Error {
        if spare.name != RESERVE {
            let _ = self.storage.remove(&spare.name);
        }
        error
    }

    /// Writes a new segment's header and the frames carried into it, and gives their end.
    fn fill(&mut self, spare: &Spare, header: &Header, plan: &Plan) -> Result<Joint> {
        let write = |writer: &mut Writer, bytes: &[u8], offset: u64| match spare.file.write_at(bytes, offset) {
            Ok(()) => Ok(()),
            // The file has no final name yet, so a full disk costs nothing but the roll.
            Err(short) if short.fault.is_no_space() => Err(Error::from(short.fault)),
            Err(short) => Err(writer.poison(short.fault)),
        };
        write(self, &header.encode(), 0)?;
        let mut end = Joint::start(header);
        let Some(carry) = &plan.carry else { return Ok(end) };
        let mut window = Window::new(&*carry.file, carry.to);
        let (old, new) = (carry.header.seed(), header.seed());
        let mut from = carry.from;
        while from.offset < carry.to {
            let found = frame::decode(window.get(from.offset, HEADER)?, old, from.offset);
            let changed = || {
                Error::new(Code::Corrupt, "a frame changed between two readings")
                    .at(file_name(carry.header.first, carry.header.id), from.offset)
            };
            let frame = found.filter(|f| f.first == from.next && f.prev == from.crc).ok_or_else(changed)?;
            let moved = Frame { synced: PAGE, prev: end.crc, ..frame };
            let mut head = [0; HEADER];
            let crc = frame::encode(&mut head, &moved, new, end.offset);
            write(self, &head, end.offset)?;
            self.copy_body(&mut window, &frame, from.offset, |writer, bytes, at| write(writer, bytes, end.offset + at))?
                .then_some(())
                .ok_or_else(changed)?;
            from = Joint { offset: from.offset + frame.span(), next: frame.next_position(), crc: frame.crc };
            end = Joint { offset: end.offset + frame.span(), next: frame.next_position(), crc };
        }
        Ok(end)
    }

    /// Hands on a frame's body in pieces, with their offsets in the frame; false when it no longer matches its CRC.
    fn copy_body(
        &mut self,
        window: &mut Window,
        frame: &Frame,
        offset: u64,
        mut put: impl FnMut(&mut Writer, &[u8], u64) -> Result<()>,
    ) -> Result<bool> {
        let (mut at, end) = (HEADER as u64, HEADER as u64 + u64::from(frame.body_len));
        let mut crc = 0;
        while at < end {
            let piece = window.get(offset + at, (end - at).min(128 << 10) as usize)?;
            if piece.is_empty() {
                return Ok(false);
            }
            crc = frame::body_crc(crc, piece);
            put(self, piece, at)?;
            at += piece.len() as u64;
        }
        Ok(frame::stored(crc) == frame.body_crc)
    }

    fn sync_file(&mut self, file: &FileRef) -> Result<()> {
        self.counters.fsyncs += 1;
        let began = (self.clock)();
        let synced = file.sync();
        self.fsync_times.push((self.clock)().saturating_sub(began));
        synced.map_err(|fault| self.poison(fault))
    }

    fn sync_active(&mut self) -> Result<()> {
        let Some(active) = &self.active else { return Ok(()) };
        if active.synced.offset == active.end.offset {
            return Ok(());
        }
        // The descriptor that wrote is the one that is synced, and its end was fixed before the call.
        let (file, end) = (active.file.clone(), active.end);
        self.sync_file(&file)?;
        if let Some(active) = &mut self.active {
            active.synced = end;
            if let Filling::After(syncs) = &mut active.filling {
                *syncs = syncs.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Makes everything written durable. After an unproven opening that takes the roll: an fsync would prove nothing.
    pub fn sync(&mut self) -> Result<()> {
        self.alive()?;
        if self.unproven {
            return self.finish_plan(0);
        }
        self.sync_active()
    }

    /// The durable mark as it stands, to be written to CONTROL off the commit path; `None` when it says nothing new.
    pub fn mark(&self) -> Option<MarkJob> {
        let active = self.active.as_ref().filter(|_| self.poisoned.is_none() && !self.unproven)?;
        let mark = Mark { segment: active.header.id, offset: active.synced.offset, position: active.synced.next - 1 };
        Some(MarkJob { control: self.control.clone(), mark })
    }

    /// Syncs, and leaves a mark that lets the next opening go on in place. Writes nothing to a poisoned log.
    pub fn close(&mut self) -> Result<()> {
        self.alive()?;
        // Without space to roll, the mark of the last opening stays: it is all that is proven.
        if self.unproven {
            return Ok(());
        }
        self.sync_active()?;
        match self.mark().map(|job| job.run()) {
            Some(Err(fault)) => Err(self.poison(fault)),
            _ => Ok(()),
        }
    }
}

impl Writer {
    /// Ends every background write: the directory is about to be somebody else's.
    pub fn retire(&mut self) {
        self.stop_filling();
        lock(&self.control).retire();
    }

    fn stop_filling(&mut self) {
        if let Some(Active { filling: Filling::Running(ahead), .. }) = &self.active {
            ahead.stop();
        }
    }

    /// The filling of the active segment, when it is time to run it.
    pub fn due_filling(&mut self) -> Option<Arc<Ahead>> {
        let active = self.active.as_mut().filter(|_| self.plan.is_none() && self.poisoned.is_none())?;
        if let Filling::After(0) = active.filling {
            active.filling = match self.storage.open(&active.entry.file, true) {
                Ok(file) => Filling::Running(Arc::new(Ahead::new(file, active.capacity, active.end.offset))),
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
        control.update(|state| state.mark = Some(self.mark))
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| Error::new(Code::Io, format!("no random numbers: {e}")))?;
    Ok(u64::from_le_bytes(bytes))
}
