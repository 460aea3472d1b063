//! The services that the commit thread needs from the system besides a disk: time, threads for blocking jobs, and a limit
//! on how long it stays idle with one log. A simulation supplies a clock that it sets and jobs that it runs itself, and so
//! steps the same code.

use crate::util::pool;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub type Job = Box<dyn FnOnce() + Send>;

/// The system as the commit thread uses it.
pub trait Runtime: Send + Sync {
    /// Returns the time since a fixed moment. It never goes back.
    fn now(&self) -> Duration;
    /// Runs a blocking job soon, in parallel with the caller.
    fn spawn(&self, job: Job);
    /// Returns how long a thread stays with a log that has nothing to do, or `None` if there is no limit.
    fn idle_timeout(&self) -> Option<Duration> {
        None
    }
}

/// The real process: the monotonic clock and the blocking pool.
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

/// Returns monotonic nanoseconds since the first call in this process.
pub fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
