//! Where the readers of a log stand: what a cut tells them, and what retention leaves for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A [`Start`] in one number: positions stand for themselves.
const FIRST: u64 = 0;
const END: u64 = u64::MAX;

/// Where a reader begins, and a new cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Before the first position of the log.
    First,
    /// After the last one acknowledged.
    End,
    /// Before this one.
    At(u64),
}

impl From<u64> for Start {
    fn from(position: u64) -> Start {
        Start::At(position)
    }
}

/// One reader's place.
#[derive(Debug)]
pub struct ReaderPosition {
    /// Position that it reads next; `u64::MAX` when it needs nothing more.
    next: AtomicU64,
    /// Where a reader has to begin that gives the same records.
    start: AtomicU64,
    /// Times that the log was cut since the reader began.
    cuts: AtomicU64,
    /// Last position that those cuts kept which came since the reader began; `u64::MAX` without one.
    kept: AtomicU64,
    /// The same of those that the reader has not taken note of.
    unheeded: AtomicU64,
}

impl ReaderPosition {
    /// Last position kept by every `truncate_after` and `reset` since the reader began; `None` without one. What
    /// the reader gave out above it is not in the log any more.
    pub fn kept(&self) -> Option<u64> {
        Some(self.kept.load(Ordering::Acquire)).filter(|kept| *kept != u64::MAX)
    }

    /// Where a reader has to begin that gives the same records as this one. An end of the log stays one for as long as the
    /// reader may still begin elsewhere.
    pub fn start(&self) -> Start {
        match self.start.load(Ordering::Acquire) {
            FIRST => Start::First,
            END => Start::End,
            position => Start::At(position),
        }
    }

    /// The reader begins at `position` and nowhere else.
    pub fn fix(&self, position: u64) {
        self.start.store(position, Ordering::Release);
    }

    /// Nothing more is read through this place.
    pub fn is_left(&self) -> bool {
        self.next.load(Ordering::Acquire) == u64::MAX
    }

    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Takes note of the cuts since the last time: the last position that they kept.
    pub fn heed(&self) -> u64 {
        self.unheeded.swap(u64::MAX, Ordering::AcqRel)
    }

    /// The last position kept by the cuts that it has not taken note of; `u64::MAX` without one.
    pub fn pending_truncation(&self) -> u64 {
        self.unheeded.load(Ordering::Acquire)
    }

    /// Takes note of the cuts since the last time, if `kept` is the last position that they kept.
    pub fn heed_if(&self, kept: u64) {
        let _ = self.unheeded.compare_exchange(kept, u64::MAX, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The reader has everything below `next`.
    pub fn advance(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }
}

#[derive(Default)]
pub struct ReaderPositions {
    places: Mutex<Vec<Weak<ReaderPosition>>>,
}

impl ReaderPositions {
    fn each(&self, mut visit: impl FnMut(&Arc<ReaderPosition>)) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place.upgrade().inspect(&mut visit).is_some());
    }

    pub fn enter(&self, next: u64) -> Arc<ReaderPosition> {
        self.enter_at(Start::At(next), next)
    }

    /// Enters a reader that begins at `start`, which is `next` as far as is known.
    pub fn enter_at(&self, start: Start, next: u64) -> Arc<ReaderPosition> {
        let start = match start {
            Start::First => FIRST,
            Start::End => END,
            Start::At(position) => position,
        };
        let [next, start, cuts, kept, unheeded] = [next, start, 0, u64::MAX, u64::MAX].map(AtomicU64::new);
        let place = Arc::new(ReaderPosition { next, start, cuts, kept, unheeded });
        self.each(|_| {});
        self.places.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&place));
        place
    }

    /// The reader at `place` begins anew: what was cut so far does not concern it any more. Returns the last position that was kept
    /// since it last began, `u64::MAX` without a cut.
    pub fn begin_anew(&self, place: &ReaderPosition) -> u64 {
        // Under the lock that cuts are noted under, so that none of them is noted in part.
        let _held = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        place.cuts.store(0, Ordering::Release);
        place.unheeded.store(u64::MAX, Ordering::Release);
        place.kept.swap(u64::MAX, Ordering::AcqRel)
    }

    /// Tells every reader that nothing above `last` is what it was.
    pub fn cut(&self, last: u64) {
        self.each(|place| {
            place.kept.fetch_min(last, Ordering::AcqRel);
            place.unheeded.fetch_min(last, Ordering::AcqRel);
            place.cuts.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// How many readers still have something to read.
    pub fn count(&self) -> u64 {
        let mut count = 0;
        self.each(|place| count += u64::from(place.next.load(Ordering::Acquire) != u64::MAX));
        count
    }

    /// Lowest position that a reader still has to read.
    pub fn floor(&self) -> u64 {
        let mut floor = u64::MAX;
        self.each(|place| floor = floor.min(place.next.load(Ordering::Acquire)));
        floor
    }
}
