//! The counters and histograms of a log.

use hdrhistogram::Histogram as Hdr;

/// Quantiles of one measured quantity, in the unit that the field's documentation names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Number of values.
    pub count: u64,
    /// Exact sum of all values.
    pub sum: f64,
    /// Lowest value.
    pub min: f64,
    /// Mean of all values.
    pub mean: f64,
    /// Highest value.
    pub max: f64,
    /// The median.
    pub p50: f64,
    /// 90 % of the values are at most this.
    pub p90: f64,
    /// 99 % of the values are at most this.
    pub p99: f64,
    /// 99.9 % of the values are at most this.
    pub p999: f64,
}

/// A snapshot of the counters of a log since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Records accepted by single appends. The records of batches are not included.
    pub appends: u64,
    /// Batches accepted.
    pub batches: u64,
    /// Encoded bytes of all accepted records.
    pub bytes: u64,
    /// Groups committed.
    pub commits: u64,
    /// Fsyncs of segments.
    pub fsyncs: u64,
    /// Rolls to a new segment.
    pub rolls: u64,
    /// Segments removed by truncation or retention.
    pub removed_segments: u64,
    /// Bytes handed to the operating system, including headers.
    pub written_bytes: u64,
    /// Encoded bytes of accepted records that are not acknowledged yet.
    pub pending_bytes: u64,
    /// Segments of the log, including the active one.
    pub segments: u64,
    /// Total length of the segment files in bytes, including blocks allocated ahead of the frames. Files that opening found
    /// are counted once they have been measured, in the background.
    pub disk_bytes: u64,
    /// Bytes of the disk that all files of the log occupy, including spares and CONTROL, as last measured. They are
    /// measured in the background after opening, and again when this is called a second or more after the last measurement.
    pub allocated_bytes: u64,
    /// Bytes of segments that are in use: headers, frames and footers. In a log that is open for reading only, the whole
    /// file of the active segment counts.
    pub used_bytes: u64,
    /// Bytes of the active segment that are in use; 0 in a log that is open for reading only.
    pub active_bytes: u64,
    /// Size of the active segment's file in bytes; 0 in a log that is open for reading only.
    pub active_capacity: u64,
    /// Readers that still have something to read, including backups and followers.
    pub readers: u64,
    /// Followers that wait at the end of the log.
    pub followers: u64,
    /// Whether the log is poisoned.
    pub poisoned: bool,
    /// Whether the log is detached: its directory is no longer at its path.
    pub detached: bool,
    /// Events recorded, counted for each listener.
    pub events: u64,
    /// Events that were dropped because a listener did not take them in time.
    pub dropped_events: u64,
    /// The totals of the scrubs of this log.
    pub scrub: Scrubs,
    /// Segments found by retention whose creation time lies in the future, so that a clock must have been wrong.
    pub ahead: u64,
    /// Records per commit.
    pub group: Histogram,
    /// Duration of a commit, write and fsync, in microseconds.
    pub commit_us: Histogram,
    /// Duration of an fsync of a segment, in microseconds.
    pub fsync_us: Histogram,
    /// Time from the acceptance of a group's oldest record to the end of its commit, in microseconds.
    pub wait_us: Histogram,
}

/// Totals of the scrubs of a log that ran to their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubs {
    /// Number of scrubs.
    pub runs: u64,
    /// Segments checked.
    pub segments: u64,
    /// Bytes of valid frames.
    pub bytes: u64,
    /// Problems found.
    pub problems: u64,
    /// End of the last scrub, in milliseconds since the epoch.
    pub finished_at: Option<u64>,
}

impl Scrubs {
    /// Adds a scrub that ended at `now`, in milliseconds since the epoch.
    pub fn note(&mut self, segments: u64, bytes: u64, problems: usize, now: u64) {
        self.runs += 1;
        self.segments += segments;
        self.bytes += bytes;
        self.problems += problems as u64;
        self.finished_at = Some(now);
    }
}

/// A running histogram with two significant digits, so that a quantile is within 1 %.
pub struct ScaledHistogram {
    hdr: Option<Hdr<u32>>,
    sum: u64,
    /// Factor from a recorded value to a reported one.
    unit: f64,
}

impl ScaledHistogram {
    pub fn new(unit: f64) -> ScaledHistogram {
        ScaledHistogram { hdr: Hdr::new_with_bounds(1, 1 << 40, 2).ok(), sum: 0, unit }
    }

    pub fn record(&mut self, value: u64) {
        if let Some(hdr) = &mut self.hdr {
            hdr.saturating_record(value);
            self.sum = self.sum.saturating_add(value);
        }
    }

    pub fn snapshot(&self) -> Histogram {
        let Some(hdr) = self.hdr.as_ref().filter(|h| !h.is_empty()) else { return Histogram::default() };
        let at = |quantile| hdr.value_at_quantile(quantile) as f64 * self.unit;
        let sum = self.sum as f64 * self.unit;
        Histogram {
            count: hdr.len(),
            sum,
            min: hdr.min() as f64 * self.unit,
            mean: sum / hdr.len() as f64,
            max: hdr.max() as f64 * self.unit,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}
