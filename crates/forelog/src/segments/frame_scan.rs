//! Reads the frames of a segment in order, and finds frames again after damage.
//!
//! No byte is used before its checksum has been verified, and nothing here writes.

use crate::error::{Fault, Flipped};
use crate::format::bit_flip;
use crate::format::footer::Index;
use crate::format::frame::{self, Frame, Kind, ALIGN, MERGED_BYTES};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::options::Compression;
use crate::storage::window::Window;
use crate::util::bytes::first_non_zero;
use std::ops::Range;

/// The result of scanning a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The end of the log in this segment: the boundary before the first byte that does not continue it. docs/format.md
    /// calls it X.
    pub end: FrameBoundary,
    pub records: u64,
    /// The index of the frames up to the end.
    pub index: Index,
    /// The highest synced offset that any valid frame claims, before or after the end.
    pub claimed: u64,
    /// Number of valid frames past the end.
    pub strays: u64,
    /// Lowest and highest position of the records in those frames.
    pub stray: Option<(u64, u64)>,
    /// Offsets of the first byte past the end that is not zero, and of the last one. The last is rounded up to the end of
    /// its 8 bytes, or of the frame that it belongs to.
    pub garbage: Option<(u64, u64)>,
}

/// Returns the frame at `offset` if its header is valid.
pub fn frame_header(bytes: &mut Window, header: &Header, offset: u64) -> Result<Option<Frame>, Fault> {
    let seed = header.seed();
    Ok(frame::decode(bytes.get(offset, seed.head())?, seed, offset))
}

/// Returns the frame at `boundary` if its header is valid and continues the log there. Its body is not read.
pub fn next_header(bytes: &mut Window, header: &Header, boundary: FrameBoundary) -> Result<Option<Frame>, Fault> {
    Ok(frame_header(bytes, header, boundary.offset)?.filter(|frame| continues(frame, &boundary)))
}

/// Returns the frame at `offset` if it is valid, its body included.
fn valid(bytes: &mut Window, header: &Header, offset: u64) -> Result<Option<Frame>, Fault> {
    let Some(frame) = frame_header(bytes, header, offset)? else { return Ok(None) };
    let readable = header.compressed || frame.codec == Compression::None;
    if !readable || frame.first < header.start() || frame.span() > bytes.len() - offset {
        return Ok(None);
    }
    let body = offset + frame.head() as u64;
    let (mut at, end) = (body, body + u64::from(frame.body_len));
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

/// Returns the frame at `boundary` if it is valid and continues the log there.
pub fn read_frame(bytes: &mut Window, header: &Header, boundary: FrameBoundary) -> Result<Option<Frame>, Fault> {
    Ok(valid(bytes, header, boundary.offset)?.filter(|frame| continues(frame, &boundary)))
}

/// Whether `frame` continues the log at `boundary`.
fn continues(frame: &Frame, boundary: &FrameBoundary) -> bool {
    frame.first == boundary.next && frame.prev == boundary.crc
}

/// Returns the offset of the first byte from `at` on that is not zero.
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

/// Returns the first multiple of 8 from `at` on where a frame of the segment may start, judging by the header's plain
/// fields, and the last byte before it that is not zero.
///
/// A recycled file is full of stale frames, so this test must be cheap.
fn may_start(bytes: &mut Window, header: &Header, mut at: u64) -> Result<(Option<u64>, Option<u64>), Fault> {
    let (mut last, head) = (None, header.seed().head());
    loop {
        // The header of a frame may begin within the zeroes at the end of a hole.
        let data = bytes.next_data(at);
        at = at.max(data.saturating_sub(head as u64) / ALIGN * ALIGN);
        let ends = bytes.get(at, head)?.len() < head;
        let piece = bytes.some(at, u64::MAX)?;
        let starts = if ends { 0 } else { (piece.len() - head) / ALIGN as usize + 1 };
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

/// Reads a segment to its end, past zeroes too, because a crash may leave a hole where an earlier page was lost. The window
/// ends at the end of the file, or at the fence.
pub fn scan(bytes: &mut Window, header: &Header) -> Result<Scan, Fault> {
    let mut scan =
        Scan { end: FrameBoundary::start(header), records: 0, index: Index::default(), claimed: 0, strays: 0, stray: None, garbage: None };
    while let Some(frame) = valid(bytes, header, scan.end.offset)?.filter(|f| continues(f, &scan.end)) {
        scan.claimed = scan.claimed.max(frame.synced);
        scan.records += u64::from(frame.count);
        scan.end = scan.end.after(&frame);
        scan.index.note_frame(&frame, scan.end);
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

/// Returns the last boundary at or before `offset`. It is reached from `boundary` by the frame headers alone.
pub fn boundary_before(bytes: &mut Window, header: &Header, mut boundary: FrameBoundary, offset: u64) -> Result<FrameBoundary, Fault> {
    loop {
        match next_header(bytes, header, boundary)?.filter(|f| boundary.offset + f.span() <= offset) {
            Some(frame) => boundary = boundary.after(&frame),
            None => return Ok(boundary),
        }
    }
}

/// Returns the boundary at `offset`, or `None` if the frame headers from the start of the segment do not lead to it.
///
/// Calls `pass` with every frame on the way and the boundary after it, and stops with `None` if it returns false.
pub fn boundary_at(
    bytes: &mut Window,
    header: &Header,
    offset: u64,
    mut pass: impl FnMut(&Frame, FrameBoundary) -> bool,
) -> Result<Option<FrameBoundary>, Fault> {
    let mut boundary = FrameBoundary::start(header);
    while boundary.offset < offset {
        let Some(frame) = next_header(bytes, header, boundary)? else { return Ok(None) };
        boundary = boundary.after(&frame);
        if !pass(&frame, boundary) {
            return Ok(None);
        }
    }
    Ok((boundary.offset == offset).then_some(boundary))
}

/// Returns the boundary before the frame that holds `position`. It is reached from `boundary` by the frame headers, and `pass`
/// is called with every boundary on the way. The inner `Err` is the boundary at which the chain of frames breaks.
pub fn boundary_near(
    bytes: &mut Window,
    header: &Header,
    mut boundary: FrameBoundary,
    position: u64,
    mut pass: impl FnMut(FrameBoundary),
) -> Result<Result<FrameBoundary, FrameBoundary>, Fault> {
    while boundary.next < position {
        match next_header(bytes, header, boundary)? {
            Some(frame) if frame.next_position() > position => break,
            Some(frame) => boundary = boundary.after(&frame),
            None => return Ok(Err(boundary)),
        }
        pass(boundary);
    }
    Ok(Ok(boundary))
}

/// Returns the boundary after the padding frames that may follow `boundary`, looking no further than `end`.
pub fn past_padding(bytes: &mut Window, header: &Header, mut boundary: FrameBoundary, end: u64) -> Result<FrameBoundary, Fault> {
    while boundary.offset < end {
        match next_header(bytes, header, boundary)?.filter(|f| f.kind == Kind::Padding) {
            Some(frame) => boundary = boundary.after(&frame),
            None => break,
        }
    }
    Ok(boundary)
}

/// The end of a check of a sealed segment's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// All frames up to the requested position are valid.
    Whole(FrameBoundary),
    /// The boundary before the first frame that is not valid.
    Broken(FrameBoundary),
}

/// Reads and checks the frames from `boundary` up to the one that holds `position`, including their bodies. Calls `pass` with
/// every frame on the way and the boundary after it.
pub fn check_frames(
    bytes: &mut Window,
    header: &Header,
    mut boundary: FrameBoundary,
    position: u64,
    mut pass: impl FnMut(&Frame, FrameBoundary),
) -> Result<WalkEnd, Fault> {
    while boundary.next < position {
        match valid(bytes, header, boundary.offset)?.filter(|f| continues(f, &boundary)) {
            Some(frame) => {
                boundary = boundary.after(&frame);
                pass(&frame, boundary);
            }
            None => return Ok(WalkEnd::Broken(boundary)),
        }
    }
    Ok(WalkEnd::Whole(boundary))
}

/// Returns the next place after damage, from `from` on, at which a valid frame starts. The position after that frame is
/// above `positions.start` and at most `positions.end`.
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

/// Returns the flipped bit that makes the frame at `offset` invalid. Its header is searched, and its body if that has at most 64 KiB.
pub fn flipped_bit(bytes: &mut Window, header: &Header, offset: u64) -> Result<Option<Flipped>, Fault> {
    let len = header.seed().head();
    let head = bytes.get(offset, len)?;
    if head.len() < len {
        return Ok(None);
    }
    let found = match frame::decode(head, header.seed(), offset) {
        None => bit_flip::in_frame_header(head, header.seed(), offset),
        Some(frame) if frame.body_len as usize <= MERGED_BYTES => {
            let body = bytes.get(offset + len as u64, frame.body_len as usize)?;
            bit_flip::in_body(body, &frame).map(|(byte, bit)| (len + byte, bit))
        }
        Some(_) => None,
    };
    Ok(found.map(|(byte, bit)| Flipped { offset: offset + byte as u64, bit }))
}
