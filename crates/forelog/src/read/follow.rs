//! Following: readers that have read everything wait here for more. A waiting follower is an entry in a list and holds no thread.

use crate::error::Result;
use crate::segments::reader_positions::ReaderPosition;
use std::sync::atomic::{fence, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log that grows, as its followers use it.
pub trait FollowedLog: Send + Sync {
    /// Returns the last position that a reader whose next position is `next` may read now. Blocking.
    ///
    /// # Errors
    /// Why `next` can never be read: `Truncated`, `Closed`, `Poisoned`, `Detached`. In a log that another process writes also `Io`.
    fn limit(&self, next: u64) -> Result<u64>;

    /// Returns the first position of the log and the last one that may be read now. Blocking.
    ///
    /// # Errors
    /// `Closed`, and `Io` if the log is another process's and its files cannot be read.
    fn ends(&self) -> Result<(u64, u64)>;

    /// Refreshes the log after `next` could not be read, because its record may have been truncated just now.
    fn refresh_for(&self, next: u64);

    /// Waits until [`FollowedLog::limit`] is sure to include everything acknowledged before this call. Returns false, without waiting, if
    /// it always does.
    fn catch_up(&self) -> bool;

    /// Calls `wake` once, from any thread, when `next` may have come within the limit or never will. Calls it at once if that is so
    /// already.
    fn wait(self: Arc<Self>, next: u64, wake: Wake) -> WaitHandle;
}

/// Wakes a follower. It must return quickly and must not call the log.
pub type Wake = Box<dyn FnOnce() + Send>;

struct Waiting {
    id: u64,
    next: u64,
    wake: Wake,
}

#[derive(Default)]
struct WaitQueue {
    issued: u64,
    waiting: Vec<Waiting>,
}

/// The followers of one log.
pub struct Followers {
    queue: Mutex<WaitQueue>,
    /// Lowest position that a follower waits for. A commit without followers looks at nothing else.
    lowest: AtomicU64,
}

impl Default for Followers {
    fn default() -> Self {
        Followers { queue: Mutex::default(), lowest: AtomicU64::new(u64::MAX) }
    }
}

impl Followers {
    fn queue(&self) -> MutexGuard<'_, WaitQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a follower that waits for `next`, and wakes it at once if `is_due`, which is called after the entry, returns true.
    pub fn enter(self: &Arc<Self>, next: u64, wake: Wake, is_due: impl FnOnce() -> bool) -> WaitHandle {
        let id = {
            let mut queue = self.queue();
            queue.issued += 1;
            let id = queue.issued;
            queue.waiting.push(Waiting { id, next, wake });
            self.update_lowest(&queue);
            id
        };
        // With the fence in `wake_reached`: either `wake_reached` sees this entry, or `is_due` sees the position.
        fence(Ordering::SeqCst);
        let ticket = WaitHandle { followers: self.clone(), id };
        if is_due() {
            ticket.wake();
        }
        ticket
    }

    fn update_lowest(&self, queue: &WaitQueue) {
        let lowest = queue.waiting.iter().map(|w| w.next).min().unwrap_or(u64::MAX);
        self.lowest.store(lowest, Ordering::Relaxed);
    }

    /// Wakes the followers that wait for a position up to `position`, which has just been published.
    pub fn wake_reached(&self, position: u64) {
        fence(Ordering::SeqCst);
        if self.lowest.load(Ordering::Relaxed) <= position {
            self.wake_where(|waiting| waiting.next <= position);
        }
    }

    /// Wakes all followers, because each has to look again.
    pub fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    /// Whether a follower waits. Reads one atomic without a lock, so the answer may be a moment old.
    pub fn has_waiting(&self) -> bool {
        self.lowest.load(Ordering::Relaxed) != u64::MAX
    }

    pub fn count(&self) -> u64 {
        self.queue().waiting.len() as u64
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.queue().waiting.is_empty()
    }

    fn wake_where(&self, mut due: impl FnMut(&Waiting) -> bool) {
        let woken: Vec<Waiting> = {
            let mut queue = self.queue();
            let (woken, waiting) = std::mem::take(&mut queue.waiting).into_iter().partition(|w| due(w));
            queue.waiting = waiting;
            self.update_lowest(&queue);
            woken
        };
        for waiting in woken {
            (waiting.wake)();
        }
    }
}

/// The means to wait for a follower, without a reference to its reader.
pub struct FollowWait {
    pub(crate) log: Arc<dyn FollowedLog>,
    pub(crate) next: u64,
    pub(crate) position: Arc<ReaderPosition>,
    /// Number of truncations that the reader has acknowledged.
    pub(crate) truncations: u64,
}

impl FollowWait {
    /// Calls `wake` once, from any thread and possibly at once, when the next block is worth asking for: there is more, or there never will
    /// be.
    pub fn wait(self, wake: Wake) -> WaitHandle {
        let ticket = self.log.wait(self.next, wake);
        // A truncation wakes every waiting follower. One that came just before the entry is seen here.
        if self.position.truncation_count() != self.truncations {
            ticket.wake();
        }
        ticket
    }
}

/// The entry of a waiting follower.
pub struct WaitHandle {
    followers: Arc<Followers>,
    id: u64,
}

impl WaitHandle {
    /// Whether `other` is a later ticket of the same follower.
    pub fn is_older_than(&self, other: &WaitHandle) -> bool {
        self.id < other.id
    }

    /// Wakes the follower now. Does nothing if it has been woken.
    pub fn wake(&self) {
        self.followers.wake_where(|waiting| waiting.id == self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn counted(woken: &Arc<AtomicUsize>) -> Wake {
        let woken = woken.clone();
        Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn a_follower_is_woken_once_by_the_position_it_waits_for() {
        let (followers, woken) = (Arc::new(Followers::default()), Arc::new(AtomicUsize::new(0)));
        let count = || woken.load(Ordering::SeqCst);
        let _five = followers.enter(5, counted(&woken), || false);
        let nine = followers.enter(9, counted(&woken), || false);
        followers.wake_reached(4);
        assert_eq!(count(), 0);
        followers.wake_reached(5);
        followers.wake_reached(8);
        assert_eq!(count(), 1);
        nine.wake();
        nine.wake();
        followers.wake_reached(9);
        assert_eq!(count(), 2);
        let _due = followers.enter(3, counted(&woken), || true);
        assert_eq!((count(), followers.is_empty()), (3, true));
    }

    #[test]
    fn no_wake_is_lost_between_checking_the_end_and_starting_to_wait() {
        for _ in 0..2000 {
            let (followers, woken) = (Arc::new(Followers::default()), Arc::new(AtomicUsize::new(0)));
            let position = AtomicU64::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    position.store(1, Ordering::Release);
                    followers.wake_reached(1);
                });
                followers.enter(1, counted(&woken), || position.load(Ordering::Acquire) >= 1);
            });
            assert_eq!(woken.load(Ordering::SeqCst), 1);
        }
    }
}
