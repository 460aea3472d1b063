//! Writes zeroes ahead of the frames, in the background, into blocks that are allocated but were never written. A sync over
//! blocks that were written before is a third faster than one that has to convert them.

use crate::error::Fault;
use crate::storage::{FileRef, Storage};
use crate::util::healing::On;
use crate::util::limits::PAGE;
use crate::util::page_buffer::PageBuffer;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes filled per step. Each step is durable before the next one begins, so that no commit has to flush more than this much of the
/// prefill.
const STEP: u64 = 256 << 10;
/// The page cache may handle pages in units of up to this size. A unit may be dirty as a whole, and a write past the cache
/// drops it as a whole.
const UNIT: u64 = 2 << 20;
/// How far ahead of the frames the file is filled. The next fill starts once only half of that is left.
const LEAD: u64 = 8 << 20;

#[derive(Default)]
struct PrefillState {
    /// End of the bytes that the writer has written or is about to write.
    head: u64,
    /// Everything below this offset was filled or belongs to the writer.
    filled: u64,
    /// Start of the step that is running.
    claim: Option<u64>,
    /// The steps are written past the page cache.
    passes: bool,
    /// The writer has written through the page cache, and not synced since.
    is_dirty: bool,
    /// A caller of `is_due` got `true` and its `fill` has not begun.
    claimed: bool,
    running: bool,
    stopped: bool,
}

/// The descriptors that a prefill writes through.
#[derive(Clone)]
struct Files {
    /// A separate descriptor. A writeback error that a sync through the writer's descriptor should report must not be consumed here.
    file: FileRef,
    /// One that writes past the page cache, if there is one.
    direct: Option<FileRef>,
}

/// The prefill of one segment. The writer and the prefill never touch the same bytes: the prefill claims a step only past
/// the writer's head, and the writer waits for a claimed step that its next write would reach.
pub struct Prefill {
    storage: Arc<dyn Storage>,
    name: String,
    /// Opened by the first fill, because the thread that makes the prefill may be one that must not wait.
    files: Mutex<Option<Files>>,
    len: u64,
    state: Mutex<PrefillState>,
    changed: Condvar,
}

impl Prefill {
    /// Fills the file `name`, up to `len`, past the bytes up to `head`.
    pub fn new(storage: Arc<dyn Storage>, name: &str, len: u64, head: u64) -> Prefill {
        let state = PrefillState { head, filled: head, ..PrefillState::default() };
        let len = len - len % PAGE;
        Prefill { storage, name: name.to_owned(), files: Mutex::default(), len, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns the descriptors, `None` if the file cannot be opened.
    fn files(&self) -> Option<Files> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.is_none() {
            let file = self.storage.open(&self.name, true).ok()?;
            let direct = self.storage.open_direct(&self.name);
            self.state().passes = direct.is_some();
            *files = Some(Files { file, direct });
        }
        files.clone()
    }

    fn state(&self) -> MutexGuard<'_, PrefillState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, PrefillState>) -> MutexGuard<'a, PrefillState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces that the writer is about to write up to `end` through the page cache, and waits for a running step that this would reach. No
    /// step past the page cache runs until [`Prefill::synced`]: the cache may hold pages of the frames and of the step as one unit, and a
    /// direct write over a unit that is dirty fails.
    pub fn reserve_cached(&self, end: u64) {
        let mut state = self.state();
        state.head = end;
        state.is_dirty = true;
        while state.claim.is_some_and(|start| state.passes || start < end) {
            state = self.wait(state);
        }
    }

    /// Announces that everything written through the page cache is synced.
    pub fn synced(&self) {
        self.state().is_dirty = false;
        self.changed.notify_all();
    }

    /// Announces that the writer is about to write up to `end`, and waits for a running step that this would reach.
    pub fn reserve(&self, end: u64) {
        let mut state = self.state();
        state.head = end;
        while state.claim.is_some_and(|start| start < end) {
            state = self.wait(state);
        }
    }

    /// Whether everything below `end` that is not the writer's was filled and is durable, and shares no unit of the page cache with the
    /// bytes that are being filled.
    pub fn is_filled(&self, end: u64) -> bool {
        let state = self.state();
        end <= if state.filled < self.len && !state.passes { state.filled - state.filled % UNIT } else { state.filled }
    }

    /// Whether [`Prefill::fill`] has enough to do to be called. The caller that gets `true` must call it.
    pub fn is_due(&self) -> bool {
        let mut state = self.state();
        let start = state.filled.max(state.head.next_multiple_of(PAGE));
        let must_not = state.claimed || state.running || state.stopped || state.passes && state.is_dirty;
        let due = !must_not && start < self.len.min(state.head + LEAD / 2);
        state.claimed |= due;
        due
    }

    /// Fills up to `LEAD` bytes past the writer's head, blocking.
    ///
    /// # Errors
    /// The disk failed. The bytes that the writer has written may be lost as well.
    pub fn fill(&self) -> Result<(), Fault> {
        {
            let mut state = self.state();
            state.claimed = false;
            if state.stopped {
                return Ok(());
            }
            state.running = true;
        }
        // The prefill only makes syncs faster. Without it everything works the same.
        let Some(Files { file, direct }) = self.files() else {
            let mut state = self.state();
            (state.stopped, state.running) = (true, false);
            self.changed.notify_all();
            return Ok(());
        };
        let mut zeroes = PageBuffer::default();
        zeroes.resize(STEP as usize);
        // The file may have grown since its last sync, and its length has to be durable before a direct write.
        let mut has_length = direct.is_none();
        let result = loop {
            let Some((start, end)) = self.claim() else { break Ok(()) };
            let lengthened = if has_length { Ok(()) } else { file.sync() };
            has_length = true;
            let passes = direct.as_ref().filter(|_| self.state().passes);
            let filled = lengthened.and_then(|()| {
                let written = passes.unwrap_or(&file).write_at(&zeroes[..(end - start) as usize], start);
                written.map_err(|short| short.fault)?;
                if passes.is_some() {
                    Ok(())
                } else {
                    file.sync()
                }
            });
            let mut state = self.state();
            state.claim = None;
            self.changed.notify_all();
            match filled {
                Ok(()) => state.filled = end,
                Err(fault) if passes.is_some() && fault.is_unsupported() => state.passes = false,
                // At most some zeroes were written, so the segment goes on without the prefill.
                Err(fault) if fault.heals(if passes.is_some() { On::Direct } else { On::Named }) => {
                    state.stopped = true;
                    break Ok(());
                }
                Err(fault) => break Err(fault),
            }
        };
        self.state().running = false;
        self.changed.notify_all();
        result
    }

    fn claim(&self) -> Option<(u64, u64)> {
        let mut state = self.state();
        // The next fill goes on.
        if state.passes && state.is_dirty {
            return None;
        }
        let start = state.filled.max(state.head.next_multiple_of(PAGE));
        let end = (start + STEP).min(self.len);
        if state.stopped || start >= end || start >= state.head + LEAD {
            return None;
        }
        state.claim = Some(start);
        Some((start, end))
    }

    /// Ends the prefill, and waits for the running step. A `fill` that has not begun does nothing when it runs.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        self.changed.notify_all();
        while state.running {
            state = self.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sim::{SimDisk, Through};

    #[test]
    fn only_blocks_whose_filling_has_finished_are_reported_as_filled() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 4096);
        disk.create("file", 9 << 20)?;
        let prefill = Prefill::new(Arc::new(disk.clone()), "file", 9 << 20, 5000);
        assert!(!prefill.is_filled(8192));
        prefill.fill()?;
        let filled = prefill.state().filled;
        assert!((8 << 20..9 << 20).contains(&filled), "{filled}");
        assert!(prefill.is_filled(8 << 20) && !prefill.is_filled((8 << 20) + 1));
        prefill.reserve(3 << 20);
        prefill.fill()?;
        assert!(prefill.is_filled(9 << 20) && !prefill.is_filled((9 << 20) + 1));

        disk.create("other", 64 << 10)?;
        let prefill = Prefill::new(Arc::new(disk.clone()), "other", 64 << 10, 4096);
        // On the last page there is nothing to fill.
        prefill.reserve((60 << 10) + 1);
        assert!(!prefill.is_due());
        // Frames in the page cache and a direct step may share a unit of it.
        disk.create("fourth", 64 << 10)?;
        disk.set_through(Through::Taken);
        let prefill = Prefill::new(Arc::new(disk.clone()), "fourth", 64 << 10, 4096);
        assert!(prefill.files().is_some());
        prefill.reserve_cached(5000);
        assert!(!prefill.is_due());
        prefill.fill()?;
        assert!(!prefill.is_filled(16 << 10), "no step past the page cache while frames in it are not synced");
        prefill.synced();
        assert!(prefill.is_due());
        prefill.fill()?;
        assert!(prefill.is_filled(64 << 10));
        disk.set_through(Through::None);

        disk.create("third", 64 << 10)?;
        let prefill = Prefill::new(Arc::new(disk.clone()), "third", 64 << 10, 4096);
        // No space: what was not filled is not said to be.
        disk.set_trip(0);
        prefill.fill()?;
        assert!(!prefill.is_filled(8192));
        Ok(())
    }
}
