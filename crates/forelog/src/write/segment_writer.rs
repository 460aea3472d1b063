//! Writes frames to the active segment, in steps: frames are sealed, their write is submitted, and the write is completed. What happens
//! between the last two needs nothing of the writer but the bytes.

use crate::format::frame::{self, Frame, Kind, Seed, HEADER};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::options::Compression;
use crate::segments::catalog::CatalogSegment;
use crate::segments::footer_writer::PendingFooter;
use crate::segments::placement::Placement;
use crate::storage::write_queue::{Refusal, SubmittedWrite, WriteQueue};
use crate::storage::{FileRef, ShortWrite};
use crate::util::bytes::mask;
use crate::util::limits::PAGE;
use crate::util::page_buffer::PageBuffer;
use crate::write::group::{Group, PendingFrame, FRAMES};
use crate::write::tail::Tail;
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
    tail: Tail,
}

/// What the writer knows about a commit when it chooses the way of its frames.
#[derive(Clone, Copy)]
pub struct CommitTerms {
    /// The frames have to be durable.
    pub durable: bool,
    /// Readers wait for them, and find them in the page cache.
    pub readers_wait: bool,
    /// Size in bytes from which a commit is large.
    pub large: u64,
}

/// How the frames of a write are laid out in the memory of their group, and where they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// As they are, to the page cache.
    Cached,
    /// Past the page cache, in whole pages. `lead` is a padding frame before them that ends on a page. With `trail`, one follows them;
    /// otherwise zeroes do, and the next write begins with the same page.
    Direct { lead: bool, trail: bool },
}

/// Frames of a group with their headers, ready to be written.
#[derive(Debug)]
pub struct SealedFrames {
    /// Place of the bytes to be written in the group's bytes.
    pub bytes: Range<usize>,
    /// Offset in the segment where they go.
    pub offset: u64,
    /// Number of frames of the group, without padding.
    pub frames: usize,
    /// The boundary after the last of them.
    pub end: FrameBoundary,
    pub way: Way,
    /// When they were committed, in ms since 1970; 0 if they are padding.
    pub committed_ms: u64,
}

/// How the bytes of a write reach the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// Length in bytes.
    pub len: usize,
    /// It was submitted before, and a part of it may be on the disk.
    pub is_repeated: bool,
    /// When its frames were committed, as they say.
    pub committed_ms: u64,
}

impl PendingWrite {
    /// Returns the write as one that was submitted before and is made once more.
    pub fn repeated(self) -> PendingWrite {
        PendingWrite { is_repeated: true, ..self }
    }

    /// Performs the write; blocking. `bytes` are those that it was submitted with.
    pub fn run(&self, bytes: &[u8]) -> Result<(), ShortWrite> {
        self.file.write_at(bytes, self.offset)
    }

    /// Gives the write, which is direct, to `queue`. Its bytes are those of `range` in `memory`.
    ///
    /// # Errors
    /// It was not submitted, and the memory comes back.
    pub fn submit(
        &self,
        queue: &Arc<dyn WriteQueue>,
        memory: PageBuffer,
        range: Range<usize>,
        token: u64,
    ) -> Result<Box<dyn SubmittedWrite>, (PageBuffer, Refusal)> {
        self.file.submit(queue, memory, range, self.offset, token)
    }
}

impl SegmentWriter {
    /// Begins in a segment whose frames end at `end`.
    pub fn new(header: Header, entry: Arc<CatalogSegment>, placement: Placement, end: FrameBoundary, synced: FrameBoundary) -> Self {
        let tail = Tail::at(end.offset);
        SegmentWriter { header, entry, placement, end, synced, debris_end: 0, may_be_torn: false, tail }
    }

    /// Whether `frame` may be written at `offset` when frames have room up to `limit`. A segment begun without compression may be read by
    /// a version that does not know it, so it takes only raw frames. One of a version that did not record times takes none.
    pub fn takes(&self, frame: &PendingFrame, offset: u64, limit: u64) -> bool {
        self.header.stamped && offset + frame.span() <= limit && (self.header.compressed || frame.codec == Compression::None)
    }

    /// Chooses how the frames of `group` from the one at `from` on are written at `at`, with room up to `limit`. `at` is the end of the
    /// frames, or of those whose write is under way.
    ///
    /// They go past the page cache if they are the rest of the group, so that no roll makes them durable anyway, and if that is the
    /// quicker way: large commits always, small ones into blocks that were written before.
    pub fn layout(&self, group: &Group, from: usize, at: FrameBoundary, limit: u64, terms: CommitTerms) -> Layout {
        let rest = &group.frames[from..];
        let span = rest.iter().map(PendingFrame::span).sum::<u64>();
        // No sector that holds frames is written again before they are durable.
        let is_proven = self.synced.offset == self.end.offset;
        let raw = self.header.compressed || rest.iter().all(|frame| frame.codec == Compression::None);
        // A write past the page cache takes whole pages of memory.
        let is_aligned = rest.first().is_some_and(|frame| frame.start == FRAMES);
        let may_pass = terms.durable && !terms.readers_wait && is_proven && raw && is_aligned;
        let Some(before) = self.tail.before(at.offset).filter(|_| may_pass) else { return Layout::Cached };
        let is_large = span >= terms.large;
        let lead = is_large && !before.is_empty() && PAGE as usize - before.len() >= HEADER;
        let start = at.offset - before.len() as u64;
        let frames_end = span + if lead { start + PAGE } else { at.offset };
        let end = if is_large { page_for_padding(frames_end) } else { frames_end.next_multiple_of(PAGE) };
        let fits = end <= limit && self.placement.takes_direct(start, end, is_large);
        if fits {
            Layout::Direct { lead, trail: is_large }
        } else {
            Layout::Cached
        }
    }

    /// Writes the headers of the frames of `group` from the one at `from` on, as many as have room up to `limit`. They follow `at`, and say
    /// that they were committed at `now`, in ms since 1970.
    pub fn seal(&self, group: &mut Group, from: usize, at: FrameBoundary, limit: u64, layout: Layout, now: u64) -> SealedFrames {
        group.sealed.clear();
        let Group { bytes, frames, sealed, .. } = group;
        let (seed, synced) = (self.header.seed(), self.synced.offset);
        let before = self.tail.before(at.offset).filter(|_| layout != Layout::Cached).unwrap_or(&[]);
        let first = frames[from].start;
        // The first byte to be written, in the memory of the group.
        let mut start = first;
        let mut end = at;
        match layout {
            Layout::Direct { lead: true, .. } => {
                start = first - PAGE as usize;
                let padding_frame = &mut bytes[start + before.len()..first];
                padding_frame[HEADER..].fill(0);
                end = padding(padding_frame, end, synced, seed);
                sealed.push(end);
            }
            Layout::Direct { lead: false, .. } if !before.is_empty() => {
                // Moving a few frames is cheaper than a padding frame would be on disk.
                start = first - PAGE as usize;
                let (place, len) = (start + before.len(), bytes.len());
                bytes.copy_within(first..len, place);
                bytes.truncate(len - (first - place));
                frames[from..].iter_mut().for_each(|frame| frame.start -= first - place);
            }
            _ => {}
        }
        bytes[start..start + before.len()].copy_from_slice(before);
        let mut to = from;
        while to < frames.len() && self.takes(&frames[to], end.offset, limit) {
            let pending = &frames[to];
            let (head, body) = bytes[pending.start..].split_at_mut(HEADER);
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
                committed_ms: Some(now),
            };
            debug_assert_eq!(pending.first, end.next, "positions are dense");
            let crc = frame::encode(head, &frame, seed, end.offset);
            end = end.after(&Frame { crc, ..frame });
            sealed.push(end);
            to += 1;
        }
        let mut stop = frames.get(to).map_or(bytes.len(), |frame| frame.start);
        match layout {
            Layout::Direct { trail: true, .. } => {
                let room = (page_for_padding(end.offset) - end.offset) as usize;
                if room > 0 {
                    bytes.resize(stop + room);
                    end = padding(&mut bytes[stop..], end, synced, seed);
                    sealed.push(end);
                }
                stop = bytes.len();
            }
            Layout::Direct { trail: false, .. } => {
                stop += (end.offset.next_multiple_of(PAGE) - end.offset) as usize;
                bytes.resize(stop);
            }
            Layout::Cached => {}
        }
        let way = if layout == Layout::Cached { Way::Cached } else { Way::Direct };
        let offset = at.offset - before.len() as u64;
        SealedFrames { bytes: start..stop, offset, frames: to - from, end, way, committed_ms: now }
    }

    /// Makes `bytes` a padding frame. The body, which is in place already, is everything after the header.
    pub fn seal_padding(&self, bytes: &mut [u8], sealed: &mut Vec<FrameBoundary>) -> SealedFrames {
        let end = padding(bytes, self.end, self.synced.offset, self.header.seed());
        sealed.clear();
        sealed.push(end);
        SealedFrames { bytes: 0..bytes.len(), offset: self.end.offset, frames: 0, end, way: Way::Cached, committed_ms: 0 }
    }

    /// Submits the write of sealed frames, whose bytes are `bytes`.
    pub fn submit(&mut self, frames: &SealedFrames, bytes: &[u8]) -> PendingWrite {
        let SealedFrames { offset, end, committed_ms, .. } = *frames;
        self.placement.wait_until_clear(offset + bytes.len() as u64, frames.way == Way::Direct);
        self.tail.note(bytes, offset, end.offset);
        let (file, way) = match &self.placement.direct {
            Some(direct) if frames.way == Way::Direct => (direct.clone(), Way::Direct),
            _ => (self.placement.file.clone(), Way::Cached),
        };
        PendingWrite { file, offset, end, way, len: bytes.len(), is_repeated: false, committed_ms }
    }

    /// Submits a direct write that was refused once more, to the page cache. No further write is direct.
    pub fn submit_cached(&mut self, refused: PendingWrite) -> PendingWrite {
        self.placement.direct = None;
        PendingWrite { file: self.placement.file.clone(), way: Way::Cached, ..refused }
    }

    /// Completes a write that has succeeded: its frames, which end at `sealed`, are part of the log, and durable if it was direct.
    pub fn complete(&mut self, write: &PendingWrite, sealed: &[FrameBoundary], is_large: bool) {
        self.end = write.end;
        if write.way == Way::Direct {
            self.synced = write.end;
            self.placement.note_direct(is_large);
        }
        self.entry.add_frames(sealed, write.committed_ms);
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

/// Returns the end of a padding frame that begins at `offset` and ends on a page: `offset` itself if that is on one.
fn page_for_padding(offset: u64) -> u64 {
    let end = offset.next_multiple_of(PAGE);
    if end != offset && end - offset < HEADER as u64 {
        end + PAGE
    } else {
        end
    }
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
        // It holds no record.
        committed_ms: Some(0),
    };
    let crc = frame::encode(head, &frame, seed, end.offset);
    FrameBoundary { offset: end.offset + frame.span(), next: end.next, crc }
}
