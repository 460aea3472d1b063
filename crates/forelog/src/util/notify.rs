//! Wake-ups that let a client know that an operation of its own may have settled.

use std::sync::{Condvar, Mutex, PoisonError};

/// Is called when operations of a client may have settled.
///
/// The log's threads make the call, so it must return quickly and must not call the log. It carries no data: `Wal::settled`
/// returns the results.
pub trait Notify: Send + Sync + 'static {
    /// Wakes the client.
    fn wake(&self);
}

/// Blocks a thread until its operations settle. For callers that have nothing else to do meanwhile.
#[derive(Default)]
pub struct Waiter {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Waiter {
    /// Blocks until `ask` returns a value. `ask` is called at once, and again after every wake.
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
