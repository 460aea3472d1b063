//! Writes frames to the active segment, in steps: frames are sealed, their write is submitted, and the write is completed. What happens
//! between the last two needs nothing of the writer but the bytes.

use crate::format::frame::{self, Frame, Kind, Seed, HEADER};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::options::Compression;
use crate::segments::catalog::CatalogSegment;
use crate::segments::footer_writer::PendingFooter;
use crate::segments::placement::Placement;
use crate::storage::{FileRef, ShortWrite};
use crate::util::bytes::mask;
use crate::util::limits::PAGE;
use crate::write::group::{Group, PendingFrame};
use std::ops::Range;
use std::sync::Arc;

/// The active segment: where its frames end, and where their bytes go.
pub struct SegmentWriter {
    pub header: Header,
    pub entry: Arc<CatalogSegment>,
    pub placement: Placement,
    /// The boundary after the last frame that is written.
    pub end: FrameBoundary,
    /// The boundary after the last frame that is proven durable.
    pub synced: FrameBoundary,
    /// Up to this offset the file may hold debris: bytes that are not zero and belong to no frame. They are left in place.
    pub debris_end: u64,
    /// The bytes past `end` may be parts of frames that an earlier process wrote and a crash tore.
    pub may_be_torn: bool,
    /// The boundaries after each frame that is sealed and not written. The buffer is reused.
    sealed: Vec<FrameBoundary>,
}

/// Frames of a group with their headers, ready to be written.
pub struct SealedFrames {
    /// Place of the frames in the group's bytes.
    pub bytes: Range<usize>,
    /// Number of frames of the group, without padding.
    pub frames: usize,
    /// The boundary after the last of them.
    pub end: FrameBoundary,
    /// The frames are durable once they are written past the page cache, and are padded to a page so that they can be.
    pub is_direct: bool,
}

/// How the bytes of a write reach the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the page cache. They are durable after a sync.
    Cached,
    /// Past the page cache. They are durable when the write has succeeded.
    Direct,
}

/// A write of sealed frames between its submission and its completion.
pub struct PendingWrite {
    file: FileRef,
    pub offset: u64,
    pub end: FrameBoundary,
    pub way: Way,
}

impl PendingWrite {
    /// Performs the write; blocking. `bytes` are those that it was submitted with.
    pub fn run(&self, bytes: &[u8]) -> Result<(), ShortWrite> {
        self.file.write_at(bytes, self.offset)
    }
}

impl SegmentWriter {
    /// Begins in a segment whose frames end at `end`.
    pub fn new(header: Header, entry: Arc<CatalogSegment>, placement: Placement, end: FrameBoundary, synced: FrameBoundary) -> Self {
        SegmentWriter { header, entry, placement, end, synced, debris_end: 0, may_be_torn: false, sealed: Vec::new() }
    }

    /// Whether `frame` may be written at `offset` when frames have room up to `limit`. A segment begun without compression may be read by
    /// a version that does not know it, so it takes only raw frames.
    pub fn takes(&self, frame: &PendingFrame, offset: u64, limit: u64) -> bool {
        offset + frame.span() <= limit && (self.header.compressed || frame.codec == Compression::None)
    }

    /// Writes the headers of the frames of `group` from the one at `from` on, as many as have room up to `limit`. If they are the rest of
    /// the group and take `large` bytes or more, they are padded to a page for a direct write; without `large` they are not.
    pub fn seal(&mut self, group: &mut Group, from: usize, limit: u64, large: Option<u64>) -> SealedFrames {
        self.sealed.clear();
        let seed = self.header.seed();
        let (mut end, synced, mut to) = (self.end, self.synced.offset, from);
        while to < group.frames.len() && self.takes(&group.frames[to], end.offset, limit) {
            let pending = &group.frames[to];
            let (head, body) = group.bytes[pending.start..].split_at_mut(HEADER);
            let frame = Frame {
                body_len: pending.body_len as u32,
                first: end.next,
                count: pending.count,
                kind: pending.kind,
                codec: pending.codec,
                synced,
                body_crc: mask(crc32c::crc32c(&body[..pending.body_len])),
                prev: end.crc,
                crc: 0,
            };
            debug_assert_eq!(pending.first, end.next, "positions are dense");
            let crc = frame::encode(head, &frame, seed, end.offset);
            end = FrameBoundary { offset: end.offset + frame.span(), next: frame.next_position(), crc };
            self.sealed.push(end);
            to += 1;
        }
        // Frames that a roll makes durable need no padding, and for a small commit padding would be most of what is written.
        let is_large = large.is_some_and(|large| end.offset - self.end.offset >= large);
        let is_direct = is_large && to == group.frames.len() && self.placement.direct.is_some();
        if is_direct {
            let room = room_to_page(end.offset, limit);
            if room > 0 {
                end = pad(&mut group.bytes, room, end, synced, seed);
                self.sealed.push(end);
            }
        }
        let stop = group.frames.get(to).map_or(group.bytes.len(), |frame| frame.start);
        SealedFrames { bytes: group.frames[from].start..stop, frames: to - from, end, is_direct }
    }

    /// Makes `bytes` a padding frame. The body, which is in place already, is everything after the header.
    pub fn seal_padding(&mut self, bytes: &mut [u8]) -> SealedFrames {
        let end = padding(bytes, self.end, self.synced.offset, self.header.seed());
        self.sealed.clear();
        self.sealed.push(end);
        SealedFrames { bytes: 0..bytes.len(), frames: 0, end, is_direct: false }
    }

    /// Submits the write of sealed frames, whose bytes are `bytes`, and decides which way they go. With `readers_wait`, they go to the page
    /// cache, where the readers find them.
    pub fn submit(&self, frames: &SealedFrames, bytes: &[u8], readers_wait: bool) -> PendingWrite {
        let (offset, end) = (self.end.offset, frames.end);
        self.placement.wait_until_clear(end.offset);
        let is_direct = frames.is_direct && !readers_wait && self.placement.takes_direct(bytes, offset, self.synced.offset);
        match &self.placement.direct {
            Some(direct) if is_direct => PendingWrite { file: direct.clone(), offset, end, way: Way::Direct },
            _ => PendingWrite { file: self.placement.file.clone(), offset, end, way: Way::Cached },
        }
    }

    /// Submits a direct write that was refused once more, to the page cache. No further write is direct.
    pub fn submit_cached(&mut self, refused: PendingWrite) -> PendingWrite {
        self.placement.direct = None;
        PendingWrite { file: self.placement.file.clone(), way: Way::Cached, ..refused }
    }

    /// Completes a write that has succeeded: its frames are part of the log, and durable if it was direct.
    pub fn complete(&mut self, write: &PendingWrite) {
        self.end = write.end;
        if write.way == Way::Direct {
            self.synced = write.end;
            self.placement.note_direct();
        }
        self.entry.add_index_entries(&self.sealed);
    }

    /// Whether frames wait for an fsync.
    pub fn is_behind(&self) -> bool {
        self.synced.offset < self.end.offset
    }

    /// Records an fsync that has covered the frames up to `end`, when the file was `len` bytes long. It is a large one if it had at least
    /// `large` bytes of frames to write. Returns whether it was.
    pub fn note_sync(&mut self, end: FrameBoundary, len: u64, large: u64) -> bool {
        let is_large = end.offset - self.synced.offset >= large;
        self.synced = end;
        self.placement.note_sync(len, is_large);
        is_large
    }

    /// Starts writeback of frames that are not synced, if enough have gathered.
    pub fn write_back(&mut self) {
        self.placement.write_back(self.synced.offset, self.end.offset);
    }

    /// Returns the end of the frames and of the debris. Past it the file holds only zeroes, or stale bytes of a recycled
    /// file.
    fn used(&self) -> u64 {
        self.end.offset.max(self.debris_end)
    }

    /// Ends writing, and returns what the footer needs. The next segment already has its name and says that this one ends at `end`.
    pub fn into_sealed(self, end: FrameBoundary) -> PendingFooter {
        PendingFooter { seed: self.header.seed(), used: self.used(), file: self.placement.file, entry: self.entry, end }
    }

    /// Gives the blocks after the last frame and the debris back to the file system.
    ///
    /// A segment that is dead, or whose log is closed, would otherwise keep them for as long as the file exists. No page
    /// that holds a frame is touched.
    pub fn give_back(&self) {
        let (file, used) = (&self.placement.file, self.used().next_multiple_of(PAGE));
        if file.len().is_ok_and(|len| used < len) {
            file.shrink(used);
            self.entry.set_len(used);
        }
    }
}

/// Returns how many bytes lie between `offset` and the next page boundary at which a padding frame can end.
///
/// Returns 0 if `offset` is on a boundary, or if that boundary is past `limit`. Any other result has room for a padding
/// frame.
fn room_to_page(offset: u64, limit: u64) -> usize {
    let end = offset.next_multiple_of(PAGE);
    let end = if end != offset && end - offset < HEADER as u64 { end + PAGE } else { end };
    if end <= limit {
        (end - offset) as usize
    } else {
        0
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
