//! The active segment: the file that the writer appends frames to.

use crate::format::frame::HEADER;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::segments::catalog::CatalogSegment;
use crate::segments::footer_writer::PendingFooter;
use crate::segments::growth::Growth;
use crate::segments::prefill::Prefill;
use crate::storage::FileRef;
use crate::util::limits::PAGE;
use std::sync::Arc;

/// The active segment, as the writer has it open.
pub struct ActiveSegment {
    pub file: FileRef,
    /// A second handle on the file, for write-through. `None` if the file system does not support it, and after its first
    /// refusal.
    pub through: Option<FileRef>,
    pub header: Header,
    /// The offset up to which frames may be written once the file has grown that long.
    pub capacity: u64,
    pub growth: Arc<Growth>,
    /// A lower bound of the durable length of the file. Unless a prefill is running, no write-through goes past it.
    pub durable_len: u64,
    /// The place of the next frame, and the checksum of the frame that it continues.
    pub end: FrameBoundary,
    /// The end of the frames that are proven durable.
    pub synced: FrameBoundary,
    pub entry: Arc<CatalogSegment>,
    pub filling: Filling,
    /// Everything below this offset is on the disk, or the operating system has been asked to write it.
    pub written_back: u64,
    /// Up to this offset the file may hold debris: bytes that are not zero and belong to no frame. They are left in place.
    pub debris_end: u64,
    /// The bytes past `end` may be parts of frames that an earlier process wrote and a crash tore.
    pub may_be_torn: bool,
}

/// Whether the blocks of a segment are filled with zeroes before its frames are written.
pub enum Filling {
    /// All blocks have been written before, by a prefill or by an earlier use of the file.
    Done,
    /// The file is not filled: on this storage it gains nothing, or filling it is not possible.
    Never,
    /// Not filled yet. The prefill starts after this many more small syncs.
    After(u32),
    /// A prefill is running, or has finished.
    Running(Arc<Prefill>),
}

impl Filling {
    /// The state of a segment that is not filled yet. A log that is synced only now and then does not repay the prefill.
    pub const WORTHWHILE: Filling = Filling::After(64);

    /// Counts a sync. Only an unbroken run of small syncs starts the prefill; a large one starts the count again.
    pub fn note_sync(&mut self, is_large: bool) {
        match self {
            Filling::After(_) if is_large => *self = Filling::WORTHWHILE,
            Filling::After(syncs) => *syncs = syncs.saturating_sub(1),
            _ => {}
        }
    }
}

/// When frames are written without an fsync, writeback starts each time that this many bytes have gathered.
const WRITTEN_BACK: u64 = 4 << 20;

impl ActiveSegment {
    /// Whether `bytes` can be written at the end by write-through.
    ///
    /// Everything before the end has to be durable, so that no sector that holds frames is written again. No prefill may be
    /// working near these bytes.
    pub fn can_write_direct(&self, bytes: &[u8]) -> bool {
        let (from, to) = (self.end.offset, self.end.offset + bytes.len() as u64);
        let on_pages = [from, to, bytes.as_ptr() as u64].iter().all(|at| at.is_multiple_of(PAGE));
        let apart = !matches!(&self.filling, Filling::Running(ahead) if !ahead.is_filled(to));
        // Each step of a prefill syncs the file at its full length.
        let long_enough = to <= self.durable_len || matches!(&self.filling, Filling::Running(_));
        on_pages && apart && self.synced.offset == from && long_enough
    }

    /// Returns how many bytes lie between `offset` and the next page boundary at which a padding frame can end.
    ///
    /// Returns 0 if `offset` is on a boundary, or if that boundary is past `limit`. Any other result has room for a padding
    /// frame.
    pub fn room_to_page(&self, offset: u64, limit: u64) -> usize {
        let end = offset.next_multiple_of(PAGE);
        let end = if end != offset && end - offset < HEADER as u64 { end + PAGE } else { end };
        if end <= limit {
            (end - offset) as usize
        } else {
            0
        }
    }

    /// Returns the end of the frames and of the debris. Past it the file holds only zeroes, or stale bytes of a recycled
    /// file.
    fn used(&self) -> u64 {
        self.end.offset.max(self.debris_end)
    }

    /// Starts writeback of the frames that are not synced yet, if enough have gathered. The fsync of the next roll then has
    /// little left to write.
    pub fn write_back(&mut self) {
        let from = self.written_back.max(self.synced.offset);
        if self.end.offset >= from + WRITTEN_BACK {
            self.file.write_back(from, self.end.offset - from);
            self.written_back = self.end.offset;
        }
    }

    /// Turns the active segment into a sealed one that needs a footer. Its successor already has its name and says that
    /// this segment ends at `end`.
    pub fn sealed(self, end: FrameBoundary) -> PendingFooter {
        PendingFooter { seed: self.header.seed(), used: self.used(), file: self.file, entry: self.entry, end }
    }

    /// Gives the blocks after the last frame and the debris back to the file system.
    ///
    /// A segment that is dead, or whose log is closed, would otherwise keep them for as long as the file exists. No page
    /// that holds a frame is touched.
    pub fn give_back(&self) {
        let used = self.used().next_multiple_of(PAGE);
        if self.file.len().is_ok_and(|len| used < len) {
            self.file.shrink(used);
            self.entry.set_len(used);
        }
    }
}
