//! How a client learns that something it waits for may have settled.

use std::sync::{Condvar, Mutex, PoisonError};

/// Told when operations of a client may have settled. Called from the log's threads: it must return quickly and must
/// not call the log. It carries no data; ask `Wal::settled`.
pub trait Notify: Send + Sync + 'static {
    fn wake(&self);
}

/// Lets a thread sleep until its operations settle: the `Notify` of callers that have nothing else to do.
#[derive(Default)]
pub struct Waiter {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Waiter {
    /// Blocks until `ask` gives something, asking again at every wake.
    pub fn wait_for<T>(&self, mut ask: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            while !*woken {
                woken = self.wake.wait(woken).unwrap_or_else(PoisonError::into_inner);
            }
            *woken = false;
        }
    }
}

impl Notify for Waiter {
    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }
}
