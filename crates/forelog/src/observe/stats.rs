//! What a log counts about itself.

use hdrhistogram::Histogram as Hdr;

/// Quantiles of one measured quantity, in the unit its field names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram {
    pub count: u64,
    /// Of all values, exactly.
    pub sum: f64,
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
}

/// A snapshot of a log's counters since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Records accepted by `append`; those of batches are in `batches` as one each.
    pub appends: u64,
    pub batches: u64,
    /// Encoded bytes of all records accepted.
    pub bytes: u64,
    /// Groups written.
    pub commits: u64,
    pub fsyncs: u64,
    pub rolls: u64,
    /// Segments that truncation has removed.
    pub removed_segments: u64,
    /// Bytes handed to the operating system, headers included.
    pub written_bytes: u64,
    /// Encoded bytes accepted and not yet acknowledged.
    pub pending_bytes: u64,
    /// Segments that make up the log, the active one included.
    pub segments: u64,
    /// Bytes that their files take, blocks ahead of the frames included; of files that opening found, once they have been
    /// measured, in the background.
    pub disk_bytes: u64,
    /// Bytes of the disk that all files of the log take, spares and CONTROL included, as they were when they were last measured:
    /// in the background, since opening and then since the last call, if that is a second ago.
    pub allocated_bytes: u64,
    /// Bytes of segments that are in use: headers, frames and footers.
    pub used_bytes: u64,
    /// Bytes of the active segment that are used, and the size of its file; 0 in a log that is only read.
    pub active_bytes: u64,
    pub active_capacity: u64,
    /// Readers that still have something to read, backups and followers included; and followers that wait at the end.
    pub readers: u64,
    pub followers: u64,
    pub poisoned: bool,
    /// The log's directory is not at its path any more.
    pub detached: bool,
    /// Events recorded for listeners, and how many of them were dropped because nobody took them in time.
    pub events: u64,
    pub dropped_events: u64,
    pub scrub: Scrubs,
    /// Segments that retention met and that were created in the future, by their stamps: a clock was wrong.
    pub ahead: u64,
    /// Records per commit.
    pub group: Histogram,
    /// Duration of a commit, write and fsync, in microseconds.
    pub commit_us: Histogram,
    /// Duration of an fsync of a segment, in microseconds.
    pub fsync_us: Histogram,
    /// From when a group's oldest record was accepted until the group was committed, in microseconds.
    pub wait_us: Histogram,
}

/// What the scrubs of a log that came to their end have done together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubs {
    pub runs: u64,
    pub segments: u64,
    /// Bytes of good frames.
    pub bytes: u64,
    pub problems: u64,
    /// When the last one ended, in ms since the epoch.
    pub finished_at: Option<u64>,
}

impl Scrubs {
    /// Adds a scrub that came to its end `now`.
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
    /// What one recorded unit is in the reported one.
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
