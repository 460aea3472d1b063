//! The segment being written.

use crate::format::frame::HEADER;
use crate::format::frame_scan::FrameBoundary;
use crate::format::header::Header;
use crate::segments::catalog::CatalogSegment;
use crate::segments::footer_writer::PendingFooter;
use crate::segments::growth::Growth;
use crate::segments::prefill::Prefill;
use crate::storage::FileRef;
use crate::util::limits::PAGE;
use std::sync::Arc;

/// The segment being written.
pub struct ActiveSegment {
    pub file: FileRef,
    /// Writes past the page cache, where the file system can; `None` from the first time that it refuses.
    pub through: Option<FileRef>,
    pub header: Header,
    /// How far frames may go, once the file has grown so long.
    pub capacity: u64,
    pub growth: Arc<Growth>,
    /// The length of the file that is durable, or less: nothing is written past the page cache behind it.
    pub durable_len: u64,
    /// Where the next frame goes, and what it continues.
    pub end: FrameBoundary,
    /// How much of it is proven durable.
    pub synced: FrameBoundary,
    pub entry: Arc<CatalogSegment>,
    pub filling: Filling,
    /// What is below is on its way to the disk, or there.
    pub written_back: u64,
    /// Bytes up to here may be other than zero although they are no frames: they stay.
    pub debris_end: u64,
    /// Stale bytes past the end may be parts of frames that an earlier process wrote and a crash tore.
    pub may_be_torn: bool,
}

/// Whether a segment's blocks are written ahead of its frames.
pub enum Filling {
    /// They all were, and synced, before it had its name.
    Done,
    /// It would gain nothing here, or cannot be.
    Never,
    /// They may not be: filling begins once this many more syncs show that it would pay.
    After(u32),
    Running(Arc<Prefill>),
}

impl Filling {
    /// A log that is synced now and then is not worth the writing.
    pub const WORTHWHILE: Filling = Filling::After(64);

    /// Takes note of a sync. Only small ones in a row are a reason to fill.
    pub fn note_sync(&mut self, is_large: bool) {
        match self {
            Filling::After(_) if is_large => *self = Filling::WORTHWHILE,
            Filling::After(syncs) => *syncs = syncs.saturating_sub(1),
            _ => {}
        }
    }
}

/// Frames that nobody waits for go to the disk by so many bytes.
const WRITTEN_BACK: u64 = 4 << 20;

impl ActiveSegment {
    /// Whether `bytes` can be written past the page cache at the end. All before it is durable: so no sector that holds
    /// frames is written again. And what is being filled is not near.
    pub fn can_write_direct(&self, bytes: &[u8]) -> bool {
        let (from, to) = (self.end.offset, self.end.offset + bytes.len() as u64);
        let on_pages = [from, to, bytes.as_ptr() as u64].iter().all(|at| at.is_multiple_of(PAGE));
        let apart = !matches!(&self.filling, Filling::Running(ahead) if !ahead.is_filled(to));
        // Each step of the filling has synced the file, at its full length.
        let long_enough = to <= self.durable_len || matches!(&self.filling, Filling::Running(_));
        on_pages && apart && self.synced.offset == from && long_enough
    }

    /// Bytes from `offset` to a page boundary that lies within `limit`: none, or enough for a padding frame.
    pub fn room_to_page(&self, offset: u64, limit: u64) -> usize {
        let end = offset.next_multiple_of(PAGE);
        let end = if end != offset && end - offset < HEADER as u64 { end + PAGE } else { end };
        if end <= limit {
            (end - offset) as usize
        } else {
            0
        }
    }

    /// Nothing but zeroes stands from here on.
    fn used(&self) -> u64 {
        self.end.offset.max(self.debris_end)
    }

    /// Frames that no fsync follows do not pile up: the one of the next roll finds little left to do.
    pub fn write_back(&mut self) {
        let from = self.written_back.max(self.synced.offset);
        if self.end.offset >= from + WRITTEN_BACK {
            self.file.write_back(from, self.end.offset - from);
            self.written_back = self.end.offset;
        }
    }

    /// To be given a footer, now that its successor has its name and says that it ends at `end`.
    pub fn sealed(self, end: FrameBoundary) -> PendingFooter {
        PendingFooter { seed: self.header.seed(), used: self.used(), file: self.file, entry: self.entry, end }
    }

    /// Gives back the blocks past the last frame, and past anything that may be debris: a segment that is left for dead, or
    /// whose log is closed, would hold them for as long as it lives. No page that holds a frame is touched.
    pub fn give_back(&self) {
        let used = self.used().next_multiple_of(PAGE);
        if self.file.len().is_ok_and(|len| used < len) {
            self.file.shrink(used);
            self.entry.set_len(used);
        }
    }
}
