//! What a log counts about itself.

use hdrhistogram::Histogram as Hdr;

/// Quantiles of one measured quantity, in the unit its field names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram {
    pub count: u64,
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
    /// Records per commit.
    pub group: Histogram,
    /// Duration of a commit, write and fsync, in microseconds.
    pub commit_us: Histogram,
    /// Duration of an fsync of a segment, in microseconds.
    pub fsync_us: Histogram,
}

/// A running histogram with three significant digits.
pub struct Measure {
    hdr: Option<Hdr<u32>>,
    /// What one recorded unit is in the reported one.
    unit: f64,
}

impl Measure {
    pub fn new(unit: f64) -> Measure {
        Measure { hdr: Hdr::new_with_bounds(1, 1 << 40, 2).ok(), unit }
    }

    pub fn record(&mut self, value: u64) {
        if let Some(hdr) = &mut self.hdr {
            hdr.saturating_record(value);
        }
    }

    pub fn snapshot(&self) -> Histogram {
        let Some(hdr) = self.hdr.as_ref().filter(|h| !h.is_empty()) else { return Histogram::default() };
        let at = |quantile| hdr.value_at_quantile(quantile) as f64 * self.unit;
        Histogram {
            count: hdr.len(),
            min: hdr.min() as f64 * self.unit,
            mean: hdr.mean() * self.unit,
            max: hdr.max() as f64 * self.unit,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}
