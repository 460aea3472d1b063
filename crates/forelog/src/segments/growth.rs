//! Lengthens the file of the active segment as it is used: by a little at first, and to its full size once that pays. A log
//! of a few records then takes little space, and a busy one finds its blocks already allocated.

use crate::error::Fault;
use crate::storage::FileRef;
use crate::util::limits::PAGE;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Initial length of a segment's file if nothing suggests that the segment will be filled. With the default segment size of
/// 64 MiB this is 256 KiB.
pub fn first_len(segment_bytes: u64) -> u64 {
    (segment_bytes / 256).next_multiple_of(PAGE).max(2 * PAGE)
}

#[derive(Default)]
struct GrowthState {
    /// Length of the part of the file that has blocks allocated.
    len: u64,
    /// A caller of `is_due` got `true` and its `run` has not begun.
    claimed: bool,
    running: bool,
    stopped: bool,
    /// The file could not be grown to its full size.
    failed: bool,
}

/// The growth of one segment's file. The writer writes no byte past [`Growth::len`].
pub struct Growth {
    file: FileRef,
    /// The full length of the file.
    target: u64,
    /// How much the writer adds when it has to grow the file itself.
    step: u64,
    state: Mutex<GrowthState>,
    changed: Condvar,
}

impl Growth {
    /// Starts with a file whose first `len` bytes have blocks allocated.
    pub fn new(file: FileRef, len: u64, target: u64) -> Growth {
        let state = GrowthState { len, ..GrowthState::default() };
        Growth { file, target, step: first_len(target), state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, GrowthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> MutexGuard<'_, GrowthState> {
        let mut state = self.state();
        while state.running {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Returns the length of the part of the file that has blocks allocated.
    pub fn len(&self) -> u64 {
        self.state().len
    }

    /// Whether the file has its full length.
    pub fn is_done(&self) -> bool {
        self.len() >= self.target
    }

    /// Whether [`Growth::run`] should be called: more than a quarter of the current length is used, or the caller passes
    /// `soon`. The caller that gets `true` must call it.
    pub fn is_due(&self, head: u64, soon: bool) -> bool {
        let mut state = self.state();
        let used = soon || head > state.len / 4;
        let free = !state.claimed && !state.running && !state.stopped && !state.failed;
        let due = used && free && state.len < self.target;
        state.claimed |= due;
        due
    }

    /// Grows the file to its full length, blocking. If there is no space for that, the file keeps its length.
    pub fn run(&self) {
        let len = {
            let mut state = self.rest();
            state.claimed = false;
            if state.stopped || state.len >= self.target {
                return;
            }
            state.running = true;
            state.len
        };
        let grown = self.grow(len, self.target);
        let mut state = self.state();
        match grown {
            Ok(()) => state.len = self.target,
            Err(_) => state.failed = true,
        }
        state.running = false;
        self.changed.notify_all();
    }

    fn grow(&self, from: u64, len: u64) -> Result<(), Fault> {
        // Give back what was allocated of a failed growth: on a full disk other files need that space.
        self.file.grow(from, len).inspect_err(|_| self.file.shrink(from))
    }

    /// Makes sure that the file has blocks up to `end`, which is at most its full length. Waits for a growth that is
    /// running, or grows the file itself.
    ///
    /// # Errors
    /// The file could not be grown and keeps its length.
    pub fn reserve(&self, end: u64) -> Result<(), Fault> {
        if end <= self.len() {
            return Ok(());
        }
        let mut state = self.rest();
        if end <= state.len {
            return Ok(());
        }
        let least = end.next_multiple_of(PAGE);
        let ample = (least + self.step).min(self.target).max(least);
        let mut grown = self.grow(state.len, ample).map(|()| ample);
        if grown.as_ref().is_err_and(Fault::is_no_space) && least < ample {
            grown = self.grow(state.len, least).map(|()| least);
        }
        state.len = grown?;
        Ok(())
    }

    /// Prevents further growth, and waits for one that is running.
    pub fn stop(&self) {
        self.state().stopped = true;
        drop(self.rest());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;
    use crate::testing::sim::{Faults, SimDisk};

    const TARGET: u64 = 16 << 20;

    #[test]
    fn a_file_stays_small_until_a_quarter_of_it_is_used_and_then_grows_to_its_full_length() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        let growth = Growth::new(disk.create("spare-x", 64 << 10)?, 64 << 10, TARGET);
        assert!(!growth.is_due(16 << 10, false) && !growth.is_done());
        growth.reserve(64 << 10)?;
        assert_eq!(growth.len(), 64 << 10);
        growth.reserve((64 << 10) + 1)?;
        assert_eq!(growth.len(), (64 << 10) + PAGE + (64 << 10));
        assert!(growth.is_due(1 << 20, false) && !growth.is_due(1 << 20, false), "one at a time");
        growth.run();
        assert!(growth.is_done() && !growth.is_due(TARGET, true));
        assert_eq!(disk.open("spare-x", false)?.len()?, TARGET);
        Ok(())
    }

    #[test]
    fn a_file_keeps_its_length_if_there_is_no_space_to_grow() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        let growth = Growth::new(disk.create("spare-x", 64 << 10)?, 64 << 10, TARGET);
        disk.set_faults(Faults { full: true, ..Faults::default() });
        assert!(growth.reserve(TARGET).is_err_and(|fault| fault.is_no_space()));
        assert!(growth.is_due(1 << 20, false));
        growth.run();
        assert!(!growth.is_done() && !growth.is_due(1 << 20, true), "it is left to the writer then");
        assert_eq!((growth.len(), disk.open("spare-x", false)?.len()?), (64 << 10, 64 << 10));
        disk.set_faults(Faults::default());
        growth.reserve(1 << 20)?;
        growth.stop();
        assert!(growth.len() >= 1 << 20);
        Ok(())
    }
}
