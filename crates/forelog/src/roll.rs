//! Rolling: the next segment is made durable, named, and only then written to.

use crate::active::{Active, Filling};
use crate::catalog::Segment;
use crate::control::Mark;
use crate::error::{Code, Error, Result};
use crate::frame::{self, Frame, HEADER};
use crate::options::PAGE;
use crate::scan::Joint;
use crate::segment::{file_name, Header, Predecessor, RESERVE};
use crate::spares::{least_len, Spare};
use crate::storage::window::Window;
use crate::storage::FileRef;
use crate::writer::{lock, Writer};
use std::sync::Arc;

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

impl Writer {
    /// The next write starts a new segment after the last complete frame.
    pub fn plan_roll(&mut self) {
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
        // One segment behind at most: the footer of the one that was left last comes first.
        let sealer = self.sealer.clone();
        sealer.flush().map_err(|fault| self.poison(fault))?;
        // (1) Whatever the next header will seal is durable before that header exists.
        if !self.unproven {
            self.sync_active()?;
        }
        // (2) Header and carried frames become durable under a spare's name.
        let carried = plan.carry.as_ref().map_or(0, |c| c.to - c.from.offset);
        let mut salt = [0; 8];
        self.storage.random(&mut salt)?;
        let spare = self.spares.take(least_len(carried + span))?;
        let header = Header {
            uuid: self.uuid,
            id: self.highest_id + 1,
            first: plan.first,
            salt: u64::from_le_bytes(salt),
            predecessor: plan.predecessor,
            carried_end: PAGE + carried,
            recycled: spare.recycled,
            // Carried frames stay as they are stored.
            compressed: self.packer.is_some() || plan.carry.as_ref().is_some_and(|c| c.header.compressed),
            created_ms: self.storage.wall_clock(),
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
        let debris_end = if spare.recycled { spare.len } else { 0 };
        let next = Active { file: spare.file, header, capacity: spare.len, end, synced: end, entry, filling, debris_end };
        let left = self.active.replace(next);
        self.counters.rolls += 1;
        self.counters.fsyncs += 1;
        let named = lock(&self.control).update(|state| {
            state.active = mark.segment;
            state.mark = Some(mark);
        });
        named.map_err(|fault| self.poison(fault))?;
        match (left, plan.predecessor) {
            (Some(left), Some(p)) if p.id == left.header.id => {
                self.sealer.push(left.sealed(Joint { offset: p.end, next: plan.first, crc: p.crc }));
            }
            (Some(left), _) => left.give_back(),
            (None, _) => {}
        }
        Ok(())
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
}
