//! Where the bytes of a segment are written: through the page cache or past it, and into which blocks. Blocks are allocated before they
//! are written, and filled with zeroes where that pays.

use crate::segments::growth::Growth;
use crate::segments::prefill::Prefill;
use crate::storage::{FileRef, Storage};
use crate::util::limits::PAGE;
use std::sync::Arc;

/// The file of the active segment, and how its blocks are prepared.
pub struct Placement {
    pub file: FileRef,
    /// A second handle on the file, for writes past the page cache. `None` if the file system does not support them, and after its first
    /// refusal.
    pub direct: Option<FileRef>,
    /// The offset up to which frames may be written once the file has grown that long.
    pub capacity: u64,
    pub growth: Arc<Growth>,
    pub filling: Filling,
    /// A lower bound of the durable length of the file. Unless a prefill is running, no direct write goes past it.
    durable_len: u64,
    /// Everything below this offset is on the disk, or the operating system has been asked to write it.
    written_back: u64,
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
    fn note_sync(&mut self, is_large: bool) {
        match self {
            Filling::After(_) if is_large => *self = Filling::WORTHWHILE,
            Filling::After(syncs) => *syncs = syncs.saturating_sub(1),
            _ => {}
        }
    }
}

/// What a log has learned about its writes, which decides where those of its next segments go.
#[derive(Default)]
pub struct PlacementPolicy {
    /// At least one write past the page cache has succeeded, so the file system supports such writes.
    pub direct_works: bool,
    /// At least one reader waits for the next commit, which stays in the page cache where the reader will find it.
    pub readers_wait: bool,
    /// Saturating counter (0 to `MANY`): up on a large sync, down on a small one.
    large_syncs: u32,
}

/// Upper bound of `large_syncs`.
const MANY: u32 = 8;

impl PlacementPolicy {
    pub fn note_sync(&mut self, is_large: bool) {
        self.large_syncs = if is_large { (self.large_syncs + 1).min(MANY) } else { self.large_syncs.saturating_sub(1) };
    }

    /// Whether the blocks of the next segment should be prefilled. They should not if most commits are large and durable, because writing
    /// everything twice would only slow those down.
    pub fn wants_prefill(&self) -> bool {
        self.large_syncs < MANY / 2
    }
}

/// When frames are written without an fsync, writeback starts each time that this many bytes have gathered.
const WRITTEN_BACK: u64 = 4 << 20;

impl Placement {
    /// Places the bytes of `file`, of which the first `allocated` bytes have blocks and the first `durable_len` survive power loss.
    pub fn new(file: FileRef, direct: Option<FileRef>, capacity: u64, allocated: u64, durable_len: u64, filling: Filling) -> Placement {
        let growth = Arc::new(Growth::new(file.clone(), allocated, capacity));
        Placement { file, direct, capacity, growth, filling, durable_len, written_back: 0 }
    }

    /// Makes sure that the file has blocks up to `end`, or to its capacity if that is less. Returns the offset up to which frames may be
    /// written. If the file cannot grow enough, that is its present end.
    pub fn reserve(&self, end: u64) -> u64 {
        match self.growth.reserve(end.min(self.capacity)) {
            Ok(()) => self.capacity,
            Err(_) => self.growth.len().min(self.capacity),
        }
    }

    /// Announces that bytes up to `end` are about to be written, and waits for the step of a prefill that these bytes would reach.
    pub fn wait_until_clear(&self, end: u64, is_direct: bool) {
        match &self.filling {
            Filling::Running(prefill) if is_direct => prefill.reserve(end),
            Filling::Running(prefill) => prefill.reserve_cached(end),
            _ => {}
        }
    }

    /// Whether whole pages from `from` to `to` can be written past the page cache. A small write only goes into blocks that were written
    /// before. No prefill may be working near these bytes.
    pub fn takes_direct(&self, from: u64, to: u64, is_large: bool) -> bool {
        let (was_written, is_clear) = match &self.filling {
            Filling::Done => (true, true),
            Filling::Running(prefill) => (prefill.is_filled(to), prefill.is_filled(to)),
            Filling::Never | Filling::After(_) => (false, true),
        };
        // Each step of a prefill syncs the file at its full length.
        let long_enough = to <= self.durable_len || matches!(&self.filling, Filling::Running(_));
        let on_pages = from.is_multiple_of(PAGE) && to.is_multiple_of(PAGE);
        self.direct.is_some() && on_pages && is_clear && (is_large || was_written) && long_enough && to <= self.growth.len()
    }

    /// Records an fsync of the file when it was `len` bytes long.
    pub fn note_sync(&mut self, len: u64, is_large: bool) {
        self.durable_len = self.durable_len.max(len);
        if let Filling::Running(prefill) = &self.filling {
            prefill.synced();
        }
        self.filling.note_sync(is_large);
    }

    /// Records a direct write.
    pub fn note_direct(&mut self, is_large: bool) {
        self.filling.note_sync(is_large);
    }

    /// Starts writeback of the frames between `synced` and `end`, if enough have gathered. The fsync of the next roll then has little left
    /// to write.
    pub fn write_back(&mut self, synced: u64, end: u64) {
        let from = self.written_back.max(synced);
        if end >= from + WRITTEN_BACK {
            self.file.write_back(from, end - from);
            self.written_back = end;
        }
    }

    /// Returns the growth of the file to its full length, if it is time to run it. The frames end at `end`.
    pub fn due_growth(&self, end: u64) -> Option<Arc<Growth>> {
        let soon = matches!(self.filling, Filling::After(0));
        self.growth.is_due(end, soon).then(|| self.growth.clone())
    }

    /// Returns the prefill of the file, which has this `name`, if it is time to run it. The frames end at `end`.
    pub fn due_prefill(&mut self, storage: &Arc<dyn Storage>, name: &str, end: u64) -> Option<Arc<Prefill>> {
        if matches!(self.filling, Filling::After(0)) && self.growth.is_done() {
            self.filling = Filling::Running(Arc::new(Prefill::new(storage.clone(), name, self.capacity, end)));
        }
        match &self.filling {
            Filling::Running(prefill) if prefill.is_due() => Some(prefill.clone()),
            _ => None,
        }
    }

    /// Prevents further growth and prefill, and waits for those that are running.
    pub fn stop(&self) {
        self.growth.stop();
        if let Filling::Running(prefill) = &self.filling {
            prefill.stop();
        }
    }
}
