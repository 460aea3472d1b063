//! Counts and times what the writer does, for the statistics. No decision rests on it.

use crate::error::Fault;

/// Counters of a log for `stats()`. Only the thread that has the log writes them.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    pub fsyncs: u64,
    pub rolls: u64,
    /// Number of segments removed.
    pub removed: u64,
    pub written_bytes: u64,
}

/// The counters of a writer, and the durations of its syncs.
pub struct Meter {
    pub counters: Counters,
    /// Duration in nanoseconds of each sync of a segment since the durations were last taken.
    pub fsync_times: Vec<u64>,
    /// Monotonic nanoseconds.
    pub clock: fn() -> u64,
}

impl Meter {
    pub fn new(clock: fn() -> u64) -> Meter {
        Meter { counters: Counters::default(), fsync_times: Vec::new(), clock }
    }

    /// Runs a sync of a segment, and counts and times it.
    pub fn time_sync(&mut self, sync: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let began = (self.clock)();
        let synced = sync();
        self.note_sync(began);
        synced
    }

    /// Records a sync of a segment that began at `began` and ends now.
    pub fn note_sync(&mut self, began: u64) {
        self.counters.fsyncs += 1;
        self.fsync_times.push((self.clock)().saturating_sub(began));
    }
}
