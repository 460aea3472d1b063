//! Zeroes written ahead of the frames, in the background, where a segment's blocks are allocated but were never
//! written: a sync over blocks that were written before is a third faster than one that has to convert them.

use crate::error::Fault;
use crate::storage::FileRef;
use crate::util::healing::On;
use crate::util::limits::PAGE;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Each step is synced on its own, so that no commit has to flush more than this much of it.
const STEP: u64 = 256 << 10;
/// The page cache keeps pages in units of up to this much, one way or the other: dirty, or dropped by a write past it.
const UNIT: u64 = 2 << 20;
/// Filled this far ahead of the frames, and again once only half of it is left.
const LEAD: u64 = 8 << 20;

#[derive(Default)]
struct PrefillState {
    /// End of what the writer has written or is about to.
    head: u64,
    /// Everything below was filled or belongs to the writer.
    filled: u64,
    /// Start of the step under way.
    claim: Option<u64>,
    /// A job has been asked for, and has not begun.
    claimed: bool,
    running: bool,
    stopped: bool,
}

/// The filling of one segment. Writer and filler never touch the same bytes: the filler claims a step only past the
/// writer's head, and the writer waits for a claim that its next write would reach.
pub struct Prefill {
    /// A descriptor of its own: an error that a sync on the writer's would have met must not be reported here instead.
    file: FileRef,
    len: u64,
    state: Mutex<PrefillState>,
    changed: Condvar,
}

impl Prefill {
    pub fn new(file: FileRef, len: u64, head: u64) -> Prefill {
        let state = PrefillState { head, filled: head, ..PrefillState::default() };
        Prefill { file, len, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, PrefillState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, PrefillState>) -> MutexGuard<'a, PrefillState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer is about to write up to `end`.
    pub fn reserve(&self, end: u64) {
        let mut state = self.state();
        state.head = end;
        while state.claim.is_some_and(|start| start < end) {
            state = self.wait(state);
        }
    }

    /// Whether everything below `end` that is not the writer's was filled and synced, and shares no unit of the page
    /// cache with what is being filled.
    pub fn is_filled(&self, end: u64) -> bool {
        let filled = self.state().filled;
        end <= if filled < self.len { filled - filled % UNIT } else { filled }
    }

    /// Claims the right to run `fill`, if there is enough for it to do.
    pub fn is_due(&self) -> bool {
        let mut state = self.state();
        let start = state.filled.max(state.head.next_multiple_of(PAGE));
        let due = !state.claimed && !state.running && !state.stopped && start < self.len.min(state.head + LEAD / 2);
        state.claimed |= due;
        due
    }

    /// Fills up to the lead, blocking. An error is the disk's: what the writer has written may be gone as well.
    pub fn fill(&self) -> Result<(), Fault> {
        {
            let mut state = self.state();
            state.claimed = false;
            if state.stopped {
                return Ok(());
            }
            state.running = true;
        }
        let zeroes = vec![0; STEP as usize];
        let result = loop {
            let Some((start, end)) = self.claim() else { break Ok(()) };
            let filled = match self.file.write_at(&zeroes[..(end - start) as usize], start) {
                Ok(()) => self.file.sync(),
                Err(short) => Err(short.fault),
            };
            let mut state = self.state();
            state.claim = None;
            self.changed.notify_all();
            match filled {
                Ok(()) => state.filled = end,
                // Nothing but zeroes may have been written: the segment goes on without the filling.
                Err(fault) if fault.heals(On::Named) => {
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
        let start = state.filled.max(state.head.next_multiple_of(PAGE));
        let end = (start + STEP).min(self.len);
        if state.stopped || start >= end || start >= state.head + LEAD {
            return None;
        }
        state.claim = Some(start);
        Some((start, end))
    }

    /// Ends the filling, and waits for the step under way. A job that has not begun does nothing when its turn comes.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        while state.running {
            state = self.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;
    use crate::testing::sim::SimDisk;

    #[test]
    fn only_what_was_filled_and_is_apart_from_what_is_being_filled_is_said_to_be() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 4096);
        let ahead = Prefill::new(disk.create("file", 9 << 20)?, 9 << 20, 5000);
        assert!(!ahead.is_filled(8192));
        ahead.fill()?;
        let filled = ahead.state().filled;
        assert!((8 << 20..9 << 20).contains(&filled), "{filled}");
        assert!(ahead.is_filled(8 << 20) && !ahead.is_filled((8 << 20) + 1));
        ahead.reserve(3 << 20);
        ahead.fill()?;
        assert!(ahead.is_filled(9 << 20) && !ahead.is_filled((9 << 20) + 1));

        let ahead = Prefill::new(disk.create("other", 64 << 10)?, 64 << 10, 4096);
        // On the last page there is nothing to fill.
        ahead.reserve((60 << 10) + 1);
        assert!(!ahead.is_due());
        let ahead = Prefill::new(disk.create("third", 64 << 10)?, 64 << 10, 4096);
        // No space: what was not filled is not said to be.
        disk.set_trip(0);
        ahead.fill()?;
        assert!(!ahead.is_filled(8192));
        Ok(())
    }
}
