//! The statistics of an open log: the counters and histograms that its threads feed, and the disk space that its files take.

use super::LogState;
use crate::log::stat;
use crate::observe::stats::{ScaledHistogram, Scrubs, Stats};
use crate::util::locks::locked;
use crate::util::pool;
use crate::write::meter::Counters;
use crate::write::submission_queue::{LogPhase, SubmissionQueue};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum age of the disk usage in the statistics, once the statistics have been asked for.
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// What the threads of a log count and time.
pub struct Measures {
    pub commits: u64,
    pub counters: Counters,
    /// Bytes used of the active segment, and the size of its file.
    pub active: (u64, u64),
    pub scrub: Scrubs,
    /// Number of segments met whose creation time is in the future.
    pub ahead: u64,
    pub group: ScaledHistogram,
    pub commit: ScaledHistogram,
    pub fsync: ScaledHistogram,
    pub wait: ScaledHistogram,
}

impl Measures {
    pub(super) fn new(counters: Counters) -> Measures {
        let micros = || ScaledHistogram::new(1e-3);
        Measures {
            commits: 0,
            counters,
            active: (0, 0),
            scrub: Scrubs::default(),
            ahead: 0,
            group: ScaledHistogram::new(1.0),
            commit: micros(),
            fsync: micros(),
            wait: micros(),
        }
    }
}

impl LogState {
    pub fn stats(self: &Arc<Self>) -> Stats {
        let segments = self.catalog.all();
        let (allocated_bytes, measured_at) = *locked(&self.allocated);
        if segments.iter().any(|segment| segment.len() == 0) || measured_at.is_none_or(|at| at.elapsed() >= MEASURED_EVERY) {
            self.measure();
        }
        let (events, dropped_events) = self.events.counts();
        let accepted = {
            let submissions = locked(&self.submissions);
            let (poisoned, detached) =
                (matches!(submissions.phase, LogPhase::Poisoned(_)), matches!(submissions.phase, LogPhase::Detached(_)));
            let SubmissionQueue { appends, batches, bytes, pending_bytes, .. } = *submissions;
            Stats { appends, batches, bytes, pending_bytes, poisoned, detached, ..Stats::default() }
        };
        // Quantiles take tens of microseconds, so the lock of the queue is released first: no append waits for them.
        let measures = locked(&self.measures);
        Stats {
            commits: measures.commits,
            fsyncs: measures.counters.fsyncs,
            rolls: measures.counters.rolls,
            removed_segments: measures.counters.removed,
            written_bytes: measures.counters.written_bytes,
            group: measures.group.snapshot(),
            commit_us: measures.commit.snapshot(),
            fsync_us: measures.fsync.snapshot(),
            wait_us: measures.wait.snapshot(),
            segments: segments.len() as u64,
            disk_bytes: segments.iter().map(|segment| segment.len()).sum(),
            allocated_bytes,
            used_bytes: match measures.active.0 {
                // The log is opened read-only.
                0 => segments.iter().map(|segment| segment.len()).sum(),
                active => segments.iter().rev().skip(1).map(|segment| segment.len()).sum::<u64>() + active,
            },
            active_bytes: measures.active.0,
            active_capacity: measures.active.1,
            readers: self.catalog.reader_positions.count(),
            followers: self.followers.count(),
            events,
            dropped_events,
            scrub: measures.scrub,
            ahead: measures.ahead,
            ..accepted
        }
    }

    /// Measures the lengths of files that are not known and the disk space of all files, in the background because the caller must not wait
    /// for a disk.
    pub(super) fn measure(self: &Arc<Self>) {
        if self.ended.load(Ordering::Acquire) || self.measuring.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.clone();
        pool::spawn(move || {
            for segment in shared.catalog.all().iter().filter(|segment| segment.len() == 0) {
                // A segment that has been removed meanwhile is no longer counted.
                let len = shared.storage.open(&segment.file, false).and_then(|file| file.len());
                segment.measured(len.unwrap_or(0));
            }
            if let Ok(allocated) = stat::allocated(&*shared.storage) {
                *locked(&shared.allocated) = (allocated, Some(Instant::now()));
            }
            shared.measuring.store(false, Ordering::Release);
        });
    }
}
