//! How other threads reach a JavaScript environment: they leave their work here, and wake it.
//!
//! The work is a log with settlements, or the outcome of a request. The wake is level-triggered and carries no data. Until JavaScript
//! rearms it, further wakes cost one atomic swap.

use crate::completion::Outcome;
use forelog::{Code, Error, Notify};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::Status;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threadsafe function without arguments. It is weak, so that it alone does not keep the process alive.
pub type Wake = ThreadsafeFunction<(), (), (), Status, false, true>;

/// The part of an environment that other threads hold. It may outlive the environment.
pub struct WakeState {
    /// `None` once the environment has ended. After that nothing may be called, and outcomes are dropped.
    wake: Mutex<Option<Wake>>,
    woken: AtomicBool,
    ready_logs: Mutex<Vec<u32>>,
    completions: Mutex<Vec<(f64, Outcome)>>,
    requests: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WakeState {
    pub fn new(wake: Wake) -> Self {
        WakeState {
            wake: Mutex::new(Some(wake)),
            woken: AtomicBool::new(false),
            ready_logs: Mutex::new(Vec::new()),
            completions: Mutex::new(Vec::new()),
            requests: AtomicU64::new(0),
        }
    }

    /// Ends the environment's part: from now on nothing is called, and outcomes are dropped.
    pub fn end(&self) {
        let wake = lock(&self.wake).take();
        drop(wake);
    }

    /// Takes the outcomes that have arrived.
    pub fn take_completions(&self) -> Vec<(f64, Outcome)> {
        std::mem::take(&mut *lock(&self.completions))
    }

    /// Takes the number of a log that has something to settle.
    pub fn take_ready_log(&self) -> Option<u32> {
        lock(&self.ready_logs).pop()
    }

    /// Calls `act`, which may settle operations of this environment on its own thread, without waking that thread. Returns whether there is
    /// anything to settle or to complete; the caller sees to it then.
    pub fn hold_wake(&self, act: impl FnOnce()) -> bool {
        let is_woken = self.woken.swap(true, Ordering::SeqCst);
        {
            // Also if `act` panics. If it was woken before, a turn is to come.
            let _release = Release { flag: &self.woken, stays: is_woken };
            act();
        }
        // What another thread has left meanwhile did not wake this one either.
        !lock(&self.ready_logs).is_empty() || !lock(&self.completions).is_empty()
    }

    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            if let Some(wake) = lock(&self.wake).as_ref() {
                wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
            }
        }
    }

    /// Runs blocking work on the engine's pool, and returns the number of the request that its completion will carry.
    pub fn request(self: &Arc<Self>, work: impl FnOnce() -> Outcome + Send + 'static) -> f64 {
        let id = self.number();
        let shared = self.clone();
        forelog::pool::spawn(move || shared.complete(id, work()));
        id
    }

    /// Runs work that may take hours on a thread of its own, and returns the number of the request.
    pub fn long_request(self: &Arc<Self>, work: impl FnOnce() -> Outcome + Send + 'static) -> f64 {
        let id = self.requests.fetch_add(1, Ordering::Relaxed) as f64;
        let shared = self.clone();
        let spawned = std::thread::Builder::new().name("forelog-verify".into()).spawn(move || shared.complete(id, work()));
        if let Err(error) = spawned {
            let error = Error::new(Code::Io, format!("no thread for the verification could be started: {error}"));
            self.complete(id, Outcome::Verified(Err(error.during("verify"))));
        }
        id
    }

    /// Returns a number for a request that the caller will complete.
    pub fn number(&self) -> f64 {
        self.requests.fetch_add(1, Ordering::Relaxed) as f64
    }

    pub fn complete(&self, id: f64, outcome: Outcome) {
        // If the environment has ended, the outcome is dropped here, on the pool's thread: a log that has just been opened is closed.
        let mut outcome = Some(outcome);
        {
            // Held during the push, so that the environment cannot end between the check and the push.
            let wake = lock(&self.wake);
            if let Some(outcome) = outcome.take_if(|_| wake.is_some()) {
                lock(&self.completions).push((id, outcome));
            }
        }
        drop(outcome);
        self.wake();
    }

    /// Enables the next wake and returns the number of completions. Call this before collecting: what arrives later wakes again.
    pub fn rearm(&self) -> usize {
        self.woken.store(false, Ordering::SeqCst);
        lock(&self.completions).len()
    }
}

/// Clears a flag at the end of a scope, unless it stays.
struct Release<'a> {
    flag: &'a AtomicBool,
    stays: bool,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if !self.stays {
            self.flag.store(false, Ordering::SeqCst);
        }
    }
}

/// Called by the engine when operations of one log have settled.
pub struct LogNotify {
    shared: Arc<WakeState>,
    log: u32,
    is_ready: AtomicBool,
}

impl LogNotify {
    pub fn new(shared: Arc<WakeState>, log: u32) -> Self {
        LogNotify { shared, log, is_ready: AtomicBool::new(false) }
    }

    /// Called when the log was taken from the list of those that have something to settle.
    pub fn taken(&self) {
        self.is_ready.store(false, Ordering::SeqCst);
    }
}

impl Notify for LogNotify {
    fn wake(&self) {
        if !self.is_ready.swap(true, Ordering::SeqCst) {
            lock(&self.shared.ready_logs).push(self.log);
        }
        self.shared.wake();
    }
}
