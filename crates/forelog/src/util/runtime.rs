//! What the commit thread needs of the machine besides a disk: time, somebody to do what blocks, and other logs to go to. A simulation gives
//! it a clock that is set and jobs that wait until they are run, and so steps the same code.

use crate::util::pool;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub type Job = Box<dyn FnOnce() + Send>;

pub trait Runtime: Send + Sync {
    /// Monotonic, since a moment that stays the same.
    fn now(&self) -> Duration;
    /// Runs a job that blocks, soon, beside the caller.
    fn spawn(&self, job: Job);
    /// How long a thread stays with a log that has nothing to do; `None` while it may.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// The process that this is.
pub struct SystemRuntime;

impl Runtime for SystemRuntime {
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn spawn(&self, job: Job) {
        pool::spawn(job);
    }
}

/// Monotonic nanoseconds since this process first asked.
pub fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
