//! The positions of the readers of a log. Truncations are reported to readers through them, and retention keeps what they
//! still have to read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// [`StartPosition`] encoded in one number, in which any other value is the position itself.
const FIRST: u64 = 0;
const END: u64 = u64::MAX;

/// The place where a reader begins, or where a new cursor is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// Before the first position of the log.
    First,
    /// After the last acknowledged position.
    End,
    /// Before this position.
    At(u64),
}

impl From<u64> for StartPosition {
    fn from(position: u64) -> StartPosition {
        StartPosition::At(position)
    }
}

/// The position of one reader, shared between the reader and the log.
#[derive(Debug)]
pub struct ReaderPosition {
    /// The position to read next; `u64::MAX` if the reader needs nothing more.
    next: AtomicU64,
    /// The place where another reader has to begin to return the same records.
    start: AtomicU64,
    /// Number of truncations from the end since the reader began.
    truncations: AtomicU64,
    /// Lowest position kept by the truncations since the reader began; `u64::MAX` if there was none.
    kept: AtomicU64,
    /// Lowest `kept` of the truncations that the reader has not acknowledged yet; `u64::MAX` if none.
    pending: AtomicU64,
}

impl ReaderPosition {
    /// Returns the last position that every `truncate_after` and `reset` since the reader began has kept, or `None` if
    /// there was none. Records that the reader returned above it are no longer in the log.
    pub fn kept(&self) -> Option<u64> {
        Some(self.kept.load(Ordering::Acquire)).filter(|kept| *kept != u64::MAX)
    }

    /// Returns the place where another reader has to begin to return the same records as this one. A reader that begins at
    /// the end of the log stays [`StartPosition::End`] for as long as it may still begin elsewhere.
    pub fn start(&self) -> StartPosition {
        match self.start.load(Ordering::Acquire) {
            FIRST => StartPosition::First,
            END => StartPosition::End,
            position => StartPosition::At(position),
        }
    }

    /// Fixes the place where the reader begins.
    pub fn fix_start(&self, position: u64) {
        self.start.store(position, Ordering::Release);
    }

    /// Whether the reader needs nothing more.
    pub fn is_left(&self) -> bool {
        self.next.load(Ordering::Acquire) == u64::MAX
    }

    /// Returns the number of truncations from the end since the reader began.
    pub fn truncation_count(&self) -> u64 {
        self.truncations.load(Ordering::Acquire)
    }

    /// Acknowledges all pending truncations. Returns the lowest position that they kept, or `u64::MAX` if none was pending.
    pub fn acknowledge_truncations(&self) -> u64 {
        self.pending.swap(u64::MAX, Ordering::AcqRel)
    }

    /// Returns the lowest position kept by the truncations that the reader has not acknowledged yet, or `u64::MAX` if there
    /// is none.
    pub fn pending_truncation(&self) -> u64 {
        self.pending.load(Ordering::Acquire)
    }

    /// Acknowledges pending truncations only if they kept exactly `kept` (compare-and-swap).
    pub fn acknowledge_truncation(&self, kept: u64) {
        let _ = self.pending.compare_exchange(kept, u64::MAX, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Records that the reader has read everything below `next`. With `u64::MAX` the reader needs nothing more.
    pub fn advance(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }
}

/// The positions of all readers of one log.
#[derive(Default)]
pub struct ReaderPositions {
    positions: Mutex<Vec<Weak<ReaderPosition>>>,
}

impl ReaderPositions {
    fn each(&self, mut visit: impl FnMut(&Arc<ReaderPosition>)) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.retain(|position| position.upgrade().inspect(&mut visit).is_some());
    }

    /// Adds a reader that begins before the position `next`.
    pub fn enter(&self, next: u64) -> Arc<ReaderPosition> {
        self.enter_at(StartPosition::At(next), next)
    }

    /// Adds a reader that begins at `start`, which is `next` as far as is known now.
    pub fn enter_at(&self, start: StartPosition, next: u64) -> Arc<ReaderPosition> {
        let start = match start {
            StartPosition::First => FIRST,
            StartPosition::End => END,
            StartPosition::At(position) => position,
        };
        let [next, start, truncations, kept, pending] = [next, start, 0, u64::MAX, u64::MAX].map(AtomicU64::new);
        let position = Arc::new(ReaderPosition { next, start, truncations, kept, pending });
        self.each(|_| {});
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&position));
        position
    }

    /// Lets the reader at `position` begin again: the truncations so far no longer concern it. Returns the lowest position
    /// kept since it last began, or `u64::MAX` without a truncation.
    pub fn restart(&self, position: &ReaderPosition) -> u64 {
        // Truncations are recorded under this lock, so that none of them is seen in part.
        let _held = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        position.truncations.store(0, Ordering::Release);
        position.pending.store(u64::MAX, Ordering::Release);
        position.kept.swap(u64::MAX, Ordering::AcqRel)
    }

    /// Records for every reader that the log was truncated after `last`.
    pub fn truncate(&self, last: u64) {
        self.each(|position| {
            position.kept.fetch_min(last, Ordering::AcqRel);
            position.pending.fetch_min(last, Ordering::AcqRel);
            position.truncations.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// Returns how many readers still have something to read.
    pub fn count(&self) -> u64 {
        let mut count = 0;
        self.each(|position| count += u64::from(position.next.load(Ordering::Acquire) != u64::MAX));
        count
    }

    /// Returns the lowest position that a reader still has to read, or `u64::MAX` without a reader.
    pub fn floor(&self) -> u64 {
        let mut floor = u64::MAX;
        self.each(|position| floor = floor.min(position.next.load(Ordering::Acquire)));
        floor
    }
}
