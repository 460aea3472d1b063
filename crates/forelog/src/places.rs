//! Where the readers of a log stand: what a cut tells them, and what retention leaves for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One reader's place.
#[derive(Debug)]
pub struct Place {
    /// Position that it reads next; `u64::MAX` when it needs nothing more.
    next: AtomicU64,
    /// Times that the log was cut since the reader was made.
    cuts: AtomicU64,
    /// Last position that all of those cuts kept.
    kept: AtomicU64,
    /// The same of those that the reader has not taken note of.
    unheeded: AtomicU64,
}

impl Place {
    /// Last position kept by every `truncate_after` and `reset` since the reader was made; `None` without one. What
    /// the reader gave out above it is not in the log any more.
    pub fn kept(&self) -> Option<u64> {
        (self.cuts() > 0).then(|| self.kept.load(Ordering::Acquire))
    }

    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Takes note of the cuts since the last time: the last position that they kept.
    pub fn heed(&self) -> u64 {
        self.unheeded.swap(u64::MAX, Ordering::AcqRel)
    }

    /// The last position kept by the cuts that it has not taken note of; `u64::MAX` without one.
    pub fn unheeded(&self) -> u64 {
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
pub struct Places {
    places: Mutex<Vec<Weak<Place>>>,
}

impl Places {
    fn each(&self, mut visit: impl FnMut(&Arc<Place>)) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place.upgrade().inspect(&mut visit).is_some());
    }

    pub fn enter(&self, next: u64) -> Arc<Place> {
        let [next, cuts, kept, unheeded] = [next, 0, u64::MAX, u64::MAX].map(AtomicU64::new);
        let place = Arc::new(Place { next, cuts, kept, unheeded });
        self.each(|_| {});
        self.places.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&place));
        place
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
