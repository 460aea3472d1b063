//! Rolling: the next segment is made durable, then named in CONTROL, and only then written to.

use crate::error::{Code, Error, Result};
use crate::format::control::Mark;
use crate::format::file_names::{file_name, Name, MAX_ID};
use crate::format::footer::Index;
use crate::format::frame::{self, span, Frame, Kind, HEADER};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::format::horizon::LogEnd;
use crate::observe::events::Event;
use crate::options::Compression;
use crate::segments::catalog::CatalogSegment;
use crate::segments::frame_scan::next_header;
use crate::segments::log_ends::DurableEnd;
use crate::segments::placement::{Filling, Placement};
use crate::segments::spare_files::{least_len, Spare};
use crate::storage::window::Window;
use crate::storage::FileRef;
use crate::util::bytes::mask;
use crate::util::healing::On;
use crate::util::limits::PAGE;
use crate::util::locks::locked;
use crate::write::segment_writer::SegmentWriter;
use crate::write::writer::Writer;
use std::sync::Arc;

/// Good frames that are written again into the next segment, because recovery could not prove them durable.
pub struct CarriedFrames {
    pub file: FileRef,
    pub header: Header,
    /// The boundary before the first of them in `file`.
    pub from: FrameBoundary,
    pub to: u64,
}

/// The part of a frame that a truncation keeps.
pub struct PartialFrame {
    pub kind: Kind,
    pub count: u32,
    pub body: Vec<u8>,
    /// When the records were committed, 0 if that is not known.
    pub committed_ms: u64,
}

/// The frames that the next segment starts with.
pub enum Carry {
    Nothing,
    Frames(CarriedFrames),
    Part(PartialFrame),
}

impl Carry {
    /// Number of bytes that they take at most. Headers that carry no time become longer.
    fn span(&self) -> u64 {
        match self {
            Carry::Nothing => 0,
            Carry::Frames(frames) => {
                let (bytes, head) = (frames.to - frames.from.offset, frames.header.seed().head());
                bytes + bytes / head as u64 * (HEADER - head) as u64
            }
            Carry::Part(part) => span(part.body.len()),
        }
    }
}

/// A roll that must come before anything else is written. Without a predecessor, the log starts over at `first`.
pub struct RollPlan {
    pub predecessor: Option<Predecessor>,
    pub first: u64,
    /// Number of positions from `first` on that were lost before this log was made: see [`Header::hole`].
    pub hole: u64,
    /// See [`Header::greatest_before`].
    pub greatest_before: u64,
    pub carry: Carry,
    /// Last position that stays valid: everything after it is cut off. 0 for a reset, `None` if no position is taken back.
    pub truncate_to: Option<u64>,
}

/// The work that follows a roll once its segment is durable under its name.
pub struct Naming {
    mark: Mark,
    /// The segment before, and where it ends now; without an end if it is dead.
    left: Option<(SegmentWriter, Option<FrameBoundary>)>,
    /// The first attempt has failed.
    late: bool,
}

impl Writer {
    /// Plans a roll after the last complete frame, so that the next write starts a new segment.
    pub fn plan_roll(&mut self) {
        if let (Some(active), None) = (&self.active, &self.plan) {
            let end = active.end;
            let predecessor = Predecessor { id: active.header.id, salt: active.header.salt, end: end.offset, crc: end.crc };
            self.plan = Some(RollPlan {
                predecessor: Some(predecessor),
                first: end.next,
                hole: 0,
                greatest_before: active.header.greatest_before.max(active.entry.greatest_known()),
                carry: Carry::Nothing,
                truncate_to: None,
            });
        }
    }

    /// Rolls if a roll is planned, into a segment with room for a frame of `span` bytes.
    pub fn finish_plan(&mut self, span: u64) -> Result<()> {
        self.health.check()?;
        self.finish_naming()?;
        let Some(plan) = self.plan.take() else { return Ok(()) };
        match self.roll(&plan, span) {
            Ok(()) => {
                self.unproven = false;
                self.watch_active();
                Ok(())
            }
            Err(error) => {
                self.plan = Some(plan);
                Err(error)
            }
        }
    }

    /// Starts the next segment, in the order that makes every crash in between harmless.
    pub fn roll(&mut self, plan: &RollPlan, span: u64) -> Result<()> {
        debug_assert!(!self.is_ahead(), "commits under way come first");
        // No part of a roll may go to a directory that is no longer at the log's path.
        self.health.check_attached()?;
        // Opening would not recognize a file with a higher id as a segment.
        if self.highest_id() >= MAX_ID {
            return Err(Error::new(Code::OutOfRange, "the log has used up its segment ids, the highest of which is 2^63 - 1"));
        }
        self.finish_naming()?;
        // At most one segment waits for its footer, so the footer of the segment that was left last comes first.
        let sealer = self.sealer.clone();
        sealer.flush().map_err(|fault| self.health.poison(fault))?;
        // (1) The frames that the next header will seal are durable before that header exists.
        if !self.unproven {
            self.sync_active()?;
        }
        // (2) The header and the carried frames become durable under the name of a spare.
        let carried = plan.carry.span();
        let mut salt = [0; 8];
        self.storage.random(&mut salt)?;
        let spare = self.spares.take(least_len(carried + span))?;
        let mut header = Header {
            uuid: self.uuid,
            id: self.highest_id() + 1,
            first: plan.first,
            salt: u64::from_le_bytes(salt),
            predecessor: plan.predecessor,
            carried_end: PAGE,
            recycled: spare.recycled,
            // Carried frames are copied as they are stored.
            compressed: self.packer.is_some() || matches!(&plan.carry, Carry::Frames(frames) if frames.header.compressed),
            stamped: true,
            created_ms: self.storage.wall_clock(),
            hole: plan.hole,
            greatest_before: plan.greatest_before,
        };
        let (end, index) = match fill(&spare, &mut header, plan) {
            Ok(filled) => filled,
            Err(error) => {
                self.spares.take_back(spare, false);
                return Err(error);
            }
        };
        self.sync_file(&spare.file)?;
        // (3) The commit point: after a crash from here on, opening finds the new segment.
        let name = file_name(header.first, header.id);
        match self.storage.rename(&spare.name, &name) {
            Ok(()) => self.spares.used(&spare.name),
            Err(fault) if fault.heals(On::Name) => {
                // The next attempt overwrites the header page first. Carried frames would be left after it, so a spare with such frames is
                // not reused.
                let is_good = carried == 0 && !fault.is_no_space() && !fault.is_not_found();
                self.spares.take_back(spare, is_good);
                return Err(fault.into());
            }
            Err(fault) => return Err(self.health.poison(fault)),
        }
        self.meter.counters.fsyncs += 1;
        if let Err(fault) = self.storage.sync_dir() {
            return Err(self.health.poison(fault));
        }
        self.names.push(Name { first: header.first, id: header.id, file: name });
        let entry = Arc::new(CatalogSegment::of_header(&header));
        entry.set_index(index);
        let durable_end = DurableEnd { segment: header.id, durable: LogEnd { offset: end.offset, position: end.next - 1 } };
        entry.set_len(spare.len);
        entry.lend_file(&spare.file);
        match (header.predecessor, plan.truncate_to) {
            (None, truncate_to) => {
                let kept = truncate_to.unwrap_or(header.first - 1);
                self.publisher.truncate(kept);
                self.catalog.restart(entry.clone(), durable_end, kept);
            }
            (_, Some(last)) => {
                self.publisher.truncate(last);
                self.catalog.truncate_after(entry.clone(), durable_end, last);
            }
            (_, None) => self.catalog.add(entry.clone(), durable_end),
        }
        // (4) CONTROL names the segment. Only then may anything in it be acknowledged and anything below it be removed.
        let mark = Mark { segment: header.id, offset: end.offset, position: end.next - 1 };
        let filling = match spare.filled {
            _ if !self.storage.overwrites_in_place() => Filling::Never,
            true => Filling::Done,
            false => Filling::WORTHWHILE,
        };
        let direct = self.storage.open_direct(&entry.file);
        self.stop_filling();
        let placement = Placement::new(spare.file, direct, spare.room, spare.len, spare.len, filling);
        // Bytes after the frames of a recycled file are stale, and no debris: no write to it has been torn since.
        let next = SegmentWriter::new(header, entry, placement, end, end);
        let left = self.active.replace(next).map(|left| {
            let sealed = plan.predecessor.filter(|p| p.id == left.header.id);
            (left, sealed.map(|p| FrameBoundary { offset: p.end, next: plan.first, crc: p.crc }))
        });
        self.watch_active();
        self.meter.counters.rolls += 1;
        self.naming = Some(Naming { mark, left, late: false });
        match self.finish_naming() {
            // After a crash, opening finds the new segment already. The next write to it names it first.
            Err(error) if error.heals() => Ok(()),
            named => named,
        }
    }

    /// Makes CONTROL name the active segment, if it does not yet.
    pub fn finish_naming(&mut self) -> Result<()> {
        let Some(Naming { mark, late, .. }) = &mut self.naming else { return Ok(()) };
        let was_late = std::mem::replace(late, true);
        self.meter.counters.fsyncs += 1;
        let low = self.catalog.low_mark();
        let named = locked(&self.control).update(|state| {
            state.active = mark.segment;
            state.mark = Some(*mark);
            state.low_mark = low;
        });
        match named {
            Ok(()) => {}
            // The slot that counts is unchanged, and either state of the other slot is true.
            Err(short) if short.fault.heals(On::Named) => return Err(short.fault.into()),
            Err(short) => return Err(self.health.poison(short.fault)),
        }
        match self.naming.take().and_then(|naming| naming.left) {
            Some((left, Some(end))) => self.sealer.push(left.into_sealed(end)),
            Some((left, None)) => left.give_back(),
            None => {}
        }
        if let Some(name) = self.names.last() {
            self.events.record(Event::ROLL, || Event::Roll { segment: name.file.clone(), first: name.first });
        }
        // Segments that a reset left below the low mark had to stay until now.
        if was_late {
            if let Err(error) = self.remove_below() {
                return if error.heals() { Ok(()) } else { Err(error) };
            }
        }
        Ok(())
    }
}

/// Writes a new segment's header and the frames carried into it, and returns their end and an index of them. The header gets their end as
/// well. The file has no final name yet, so a failure costs nothing but the roll.
fn fill(spare: &Spare, header: &mut Header, plan: &RollPlan) -> Result<(FrameBoundary, Index)> {
    let (end, index) = carry(spare, header, plan)?;
    header.carried_end = end.offset;
    spare.file.write_at(&header.encode(), 0).map_err(|short| Error::from(short.fault))?;
    Ok((end, index))
}

/// Writes the frames that are carried into a new segment, and returns their end and an index of them.
fn carry(spare: &Spare, header: &Header, plan: &RollPlan) -> Result<(FrameBoundary, Index)> {
    let write = |bytes: &[u8], offset: u64| spare.file.write_at(bytes, offset).map_err(|short| Error::from(short.fault));
    let (mut end, mut index) = (FrameBoundary::start(header), Index::default());
    let carry = match &plan.carry {
        Carry::Nothing => return Ok((end, index)),
        Carry::Part(part) => {
            let frame = Frame {
                body_len: part.body.len() as u32,
                first: end.next,
                count: part.count,
                kind: part.kind,
                codec: Compression::None,
                synced: PAGE,
                body_crc: mask(crc32c::crc32c(&part.body)),
                prev: end.crc,
                crc: 0,
                committed_ms: Some(part.committed_ms),
            };
            let mut bytes = vec![0; HEADER];
            let crc = frame::encode(&mut bytes, &frame, header.seed(), end.offset);
            bytes.extend_from_slice(&part.body);
            write(&bytes, end.offset)?;
            end = end.after(&Frame { crc, ..frame });
            index.note_frame(&frame, end);
            return Ok((end, index));
        }
        Carry::Frames(frames) => frames,
    };
    let mut window = Window::new(&*carry.file, carry.to);
    let new = header.seed();
    let mut from = carry.from;
    while from.offset < carry.to {
        let changed = || {
            Error::new(Code::Corrupt, "a frame changed between two reads of it")
                .at(file_name(carry.header.first, carry.header.id), from.offset)
        };
        let frame = next_header(&mut window, &carry.header, from)?.ok_or_else(changed)?;
        let moved = Frame { synced: PAGE, prev: end.crc, ..frame.stamped() };
        let mut head = [0; HEADER];
        let crc = frame::encode(&mut head, &moved, new, end.offset);
        write(&head, end.offset)?;
        copy_body(&mut window, &frame, from.offset, |bytes, at| write(bytes, end.offset + HEADER as u64 + at))?
            .then_some(())
            .ok_or_else(changed)?;
        from = from.after(&frame);
        end = end.after(&Frame { crc, ..moved });
        index.note_frame(&moved, end);
    }
    Ok((end, index))
}

/// Passes a frame's body to `put` in pieces, with their offsets in the body. Returns false if the body does not match its CRC.
fn copy_body(window: &mut Window, frame: &Frame, offset: u64, mut put: impl FnMut(&[u8], u64) -> Result<()>) -> Result<bool> {
    let (body, len) = (offset + frame.head() as u64, u64::from(frame.body_len));
    let (mut at, mut crc) = (0, 0);
    while at < len {
        let piece = window.some(body + at, len - at)?;
        if piece.is_empty() {
            return Ok(false);
        }
        crc = frame::body_crc(crc, piece);
        put(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(frame::stored(crc) == frame.body_crc)
}
