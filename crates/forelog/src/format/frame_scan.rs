//! Reading a segment's frames in order, and finding them again behind damage: pure functions of bytes.
//!
//! Nothing is believed before its checksum, and nothing here writes.

use crate::error::Fault;
use crate::format::footer::Index;
use crate::format::frame::{self, Frame, Kind, ALIGN, HEADER};
use crate::format::header::Header;
use crate::options::Compression;
use crate::storage::window::Window;
use crate::util::bytes::first_non_zero;
use crate::util::limits::PAGE;
use std::ops::Range;

/// A place between two frames: what a frame that starts there must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBoundary {
    pub offset: u64,
    /// Position of the next record.
    pub next: u64,
    /// CRC field of the frame that ends here.
    pub crc: u32,
}

impl FrameBoundary {
    pub fn start(header: &Header) -> FrameBoundary {
        FrameBoundary { offset: PAGE, next: header.start(), crc: header.first_prev() }
    }

    pub fn after(self, frame: &Frame) -> FrameBoundary {
        FrameBoundary { offset: self.offset + frame.span(), next: frame.next_position(), crc: frame.crc }
    }
}

/// What a scan of a segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// X: where the first byte stands that does not continue the log.
    pub end: FrameBoundary,
    pub records: u64,
    /// Of the frames up to the end.
    pub index: Index,
    /// The furthest synced offset that any valid frame claims, on either side of the end.
    pub claimed: u64,
    /// Valid frames past the end.
    pub strays: u64,
    /// Positions of the records in them, lowest and highest.
    pub stray: Option<(u64, u64)>,
    /// First and last non-zero byte past the end.
    pub garbage: Option<(u64, u64)>,
}

/// The valid frame at `offset`, body checked; `None` when the bytes there are not one.
fn valid(bytes: &mut Window, header: &Header, offset: u64) -> Result<Option<Frame>, Fault> {
    let Some(frame) = frame::decode(bytes.get(offset, HEADER)?, header.seed(), offset) else { return Ok(None) };
    let readable = header.compressed || frame.codec == Compression::None;
    if !readable || frame.first < header.start() || frame.span() > bytes.len() - offset {
        return Ok(None);
    }
    let (mut at, end) = (offset + HEADER as u64, offset + HEADER as u64 + u64::from(frame.body_len));
    let mut crc = 0;
    while at < end {
        let data = bytes.next_data(at).min(end);
        if data > at {
            crc = frame::body_crc_of_zeroes(crc, (data - at) as usize);
            at = data;
            continue;
        }
        let piece = bytes.some(at, end - at)?;
        if piece.is_empty() {
            return Ok(None);
        }
        crc = frame::body_crc(crc, piece);
        at += piece.len() as u64;
    }
    Ok((frame::stored(crc) == frame.body_crc).then_some(frame))
}

/// The valid frame that continues the log at `joint`.
pub fn read_frame(bytes: &mut Window, header: &Header, joint: FrameBoundary) -> Result<Option<Frame>, Fault> {
    Ok(valid(bytes, header, joint.offset)?.filter(|frame| continues(frame, &joint)))
}

/// Whether `frame` is the one that continues the log at `joint`.
fn continues(frame: &Frame, joint: &FrameBoundary) -> bool {
    frame.first == joint.next && frame.prev == joint.crc
}

/// Where the first byte from `at` on stands that is not zero.
fn non_zero(bytes: &mut Window, mut at: u64) -> Result<Option<u64>, Fault> {
    loop {
        at = bytes.next_data(at);
        let step = bytes.some(at, u64::MAX)?;
        if step.is_empty() {
            return Ok(None);
        }
        if let Some(found) = first_non_zero(step) {
            return Ok(Some(at + found as u64));
        }
        at += step.len() as u64;
    }
}

/// The first place from `at` on, a multiple of 8, where by its plain fields a frame of the segment may start, and the last
/// byte before it that is not zero. A recycled file is full of what is none.
fn may_start(bytes: &mut Window, header: &Header, mut at: u64) -> Result<(Option<u64>, Option<u64>), Fault> {
    let mut last = None;
    loop {
        // A frame's header may begin with the last zeroes of a hole.
        let data = bytes.next_data(at);
        at = at.max(data.saturating_sub(HEADER as u64) / ALIGN * ALIGN);
        let ends = bytes.get(at, HEADER)?.len() < HEADER;
        let piece = bytes.some(at, u64::MAX)?;
        let starts = if ends { 0 } else { (piece.len() - HEADER) / ALIGN as usize + 1 };
        let found = frame::find(piece, starts, header.start(), at);
        let passed = match (found, ends) {
            (Some(found), _) => found,
            (None, true) => piece.len(),
            (None, false) => starts * ALIGN as usize,
        };
        last = piece[..passed].iter().rposition(|b| *b != 0).map(|i| at + i as u64).or(last);
        match found {
            Some(found) => return Ok((Some(at + found as u64), last)),
            None if ends => return Ok((None, last)),
            None => at += passed as u64,
        }
    }
}

/// Reads a segment to its end, through zeroes: a crash may leave a hole where an earlier page was lost.
/// The window's length is the file's, or the fence.
pub fn scan(bytes: &mut Window, header: &Header) -> Result<Scan, Fault> {
    let mut scan =
        Scan { end: FrameBoundary::start(header), records: 0, index: Index::default(), claimed: 0, strays: 0, stray: None, garbage: None };
    while let Some(frame) = valid(bytes, header, scan.end.offset)?.filter(|f| continues(f, &scan.end)) {
        scan.claimed = scan.claimed.max(frame.synced);
        scan.records += u64::from(frame.count);
        scan.end = scan.end.after(&frame);
        scan.index.note(scan.end);
    }
    let mut at = scan.end.offset;
    while let Some(dirty) = non_zero(bytes, at)? {
        at = dirty - dirty % ALIGN;
        let (first, _) = *scan.garbage.get_or_insert((dirty, dirty));
        let (place, last) = may_start(bytes, header, at)?;
        if let Some(last) = last {
            scan.garbage = Some((first, (last - last % ALIGN + ALIGN).min(bytes.len()) - 1));
        }
        let Some(place) = place else { break };
        at = place;
        let frame = valid(bytes, header, at)?;
        let span = frame.map_or(ALIGN, |f| f.span());
        scan.garbage = Some((first, (at + span).min(bytes.len()) - 1));
        if let Some(frame) = frame {
            scan.claimed = scan.claimed.max(frame.synced);
            scan.strays += 1;
            if frame.kind != Kind::Padding {
                let last = frame.next_position() - 1;
                let (low, high) = scan.stray.unwrap_or((frame.first, last));
                scan.stray = Some((low.min(frame.first), high.max(last)));
            }
        }
        at += span;
    }
    Ok(scan)
}

/// The last joint at or before `offset`, reached from `joint` on by the frame headers alone.
pub fn boundary_before(bytes: &mut Window, header: &Header, mut joint: FrameBoundary, offset: u64) -> Result<FrameBoundary, Fault> {
    loop {
        let frame = frame::decode(bytes.get(joint.offset, HEADER)?, header.seed(), joint.offset);
        match frame.filter(|f| continues(f, &joint) && joint.offset + f.span() <= offset) {
            Some(frame) => joint = joint.after(&frame),
            None => return Ok(joint),
        }
    }
}

/// The joint at `offset`, reached by frame headers from the segment's start on; tells `pass` of those on the way, and
/// gives up when it says so.
pub fn boundary_at(
    bytes: &mut Window,
    header: &Header,
    offset: u64,
    mut pass: impl FnMut(FrameBoundary) -> bool,
) -> Result<Option<FrameBoundary>, Fault> {
    let mut joint = FrameBoundary::start(header);
    while joint.offset < offset {
        let frame = frame::decode(bytes.get(joint.offset, HEADER)?, header.seed(), joint.offset);
        match frame.filter(|f| continues(f, &joint)) {
            Some(frame) => joint = joint.after(&frame),
            None => return Ok(None),
        }
        if !pass(joint) {
            return Ok(None);
        }
    }
    Ok((joint.offset == offset).then_some(joint))
}

/// The joint before the frame that holds `position`, reached by frame headers from `joint` on, telling `pass` of those
/// on the way; `Err` is where the chain of them breaks first.
pub fn boundary_near(
    bytes: &mut Window,
    header: &Header,
    mut joint: FrameBoundary,
    position: u64,
    mut pass: impl FnMut(FrameBoundary),
) -> Result<Result<FrameBoundary, FrameBoundary>, Fault> {
    while joint.next < position {
        let frame = frame::decode(bytes.get(joint.offset, HEADER)?, header.seed(), joint.offset);
        match frame.filter(|f| continues(f, &joint)) {
            Some(frame) if frame.next_position() > position => break,
            Some(frame) => joint = joint.after(&frame),
            None => return Ok(Err(joint)),
        }
        pass(joint);
    }
    Ok(Ok(joint))
}

/// The joint behind the padding that may follow `joint`, no further than `end`.
pub fn past_padding(bytes: &mut Window, header: &Header, mut joint: FrameBoundary, end: u64) -> Result<FrameBoundary, Fault> {
    while joint.offset < end {
        let frame = frame::decode(bytes.get(joint.offset, HEADER)?, header.seed(), joint.offset);
        match frame.filter(|f| continues(f, &joint) && f.kind == Kind::Padding) {
            Some(frame) => joint = joint.after(&frame),
            None => break,
        }
    }
    Ok(joint)
}

/// Where a walk over a sealed segment's frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// At the position asked for.
    Whole(FrameBoundary),
    /// At the first frame that does not hold.
    Broken(FrameBoundary),
}

/// Reads and checks the frames from `joint` up to the one that holds `position`, bodies included; tells `pass` of every
/// joint on the way.
pub fn check_frames(
    bytes: &mut Window,
    header: &Header,
    mut joint: FrameBoundary,
    position: u64,
    mut pass: impl FnMut(FrameBoundary),
) -> Result<WalkEnd, Fault> {
    while joint.next < position {
        match valid(bytes, header, joint.offset)?.filter(|f| continues(f, &joint)) {
            Some(frame) => joint = joint.after(&frame),
            None => return Ok(WalkEnd::Broken(joint)),
        }
        pass(joint);
    }
    Ok(WalkEnd::Whole(joint))
}

/// The next place behind damage at which a valid frame starts, from `from` on: one that ends within `positions`.
pub fn resync(bytes: &mut Window, header: &Header, from: u64, positions: Range<u64>) -> Result<Option<FrameBoundary>, Fault> {
    let mut at = from.next_multiple_of(ALIGN);
    while let Some(dirty) = non_zero(bytes, at)? {
        let Some(place) = may_start(bytes, header, dirty - dirty % ALIGN)?.0 else { break };
        at = place;
        match valid(bytes, header, at)? {
            Some(frame) if frame.next_position() > positions.start && frame.next_position() <= positions.end => {
                return Ok(Some(FrameBoundary { offset: at, next: frame.first, crc: frame.prev }));
            }
            frame => at += frame.map_or(ALIGN, |f| f.span()),
        }
    }
    Ok(None)
}
