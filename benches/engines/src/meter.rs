//! The stopwatch of one run.

use crate::Result;
use hdrhistogram::Histogram;
use rustix::time::{clock_gettime, ClockId};
use std::time::{Duration, Instant};

pub struct Meter {
    pub operations: u64,
    begun: Instant,
    cpu: Duration,
    time: Duration,
    latencies: Histogram<u64>,
}

impl Meter {
    pub fn start(time: Duration) -> Meter {
        // Three significant digits of nanoseconds, up to a minute: these bounds are valid.
        let latencies = Histogram::new_with_max(60_000_000_000, 3).unwrap_or_else(|_| unreachable!("valid bounds"));
        Meter { operations: 0, begun: Instant::now(), cpu: cpu(), time, latencies }
    }

    pub fn is_over(&self) -> bool {
        self.begun.elapsed() > self.time
    }

    /// Counts the records of one operation, and takes its latency.
    pub fn time(&mut self, records: u64, operation: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        operation()?;
        self.latencies.saturating_record(begun.elapsed().as_nanos() as u64);
        self.operations += records;
        Ok(())
    }

    /// Adds what a thread counted.
    pub fn add(&mut self, other: Meter) {
        self.operations += other.operations;
        let _ = self.latencies.add(other.latencies);
    }

    pub fn stop(self) -> String {
        let elapsed = self.begun.elapsed();
        let operations = self.operations;
        self.stop_after(operations, elapsed)
    }

    /// Times are in seconds.
    pub fn stop_after(self, operations: u64, elapsed: Duration) -> String {
        let (seconds, cpu) = (elapsed.as_secs_f64(), (cpu() - self.cpu).as_secs_f64());
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let latencies = match self.latencies.is_empty() {
            true => String::new(),
            false => format!(r#","p50Micros":{},"p99Micros":{}"#, micros(0.5), micros(0.99)),
        };
        format!(r#"{{"operations":{operations},"seconds":{seconds},"cpuSeconds":{cpu}{latencies}}}"#)
    }
}

/// Of all threads of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
