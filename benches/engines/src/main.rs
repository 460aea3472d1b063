//! One contestant, one row, one process: prints what it measured as a line of JSON.
//!
//! `forelog-bench-engines CONTESTANT ROW DIR RECORDS SECONDS`. The rows `one`, `eight` and `batches` write. `fill` writes RECORDS records and
//! is killed; `open` opens what it left, and `replay` opens and reads it.

mod grouped;
mod logs;
mod meter;

use grouped::Grouped;
use meter::Meter;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const VALUE_BYTES: usize = 100;
const BATCH: usize = 1000;
const WRITERS: usize = 8;
/// Not measured: the first commits make files, and write what was prepared.
const WARM_UP: usize = 64;

/// What a row does with a log. Rivals are set up for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Row {
    One,
    Eight,
    Batches,
    Fill,
    Open,
    Replay,
}

/// A log in which a record is durable once the call that appended it has returned.
pub trait Log: Sized + Sync {
    /// Whether it groups the appends of several threads by itself. Otherwise the bench does.
    const GROUPS: bool;

    /// Opens, creates or recovers the log. It is going to have about so many records of 100 bytes.
    fn open(dir: &Path, row: Row, records: u64) -> Result<Self>;

    fn append(&self, value: &[u8]) -> Result<()>;

    /// All of them durable together.
    fn append_batch(&self, values: &[&[u8]]) -> Result<()>;

    /// The number of records it has, from what opening knows.
    fn records(&self) -> Result<u64>;

    /// Reads all records; returns how many there were, and the bytes of their values.
    fn replay(&self) -> Result<(u64, u64)>;

    /// Called before every batch, outside of what is measured.
    fn between_batches(&self) -> Result<()> {
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String> {
    let [contestant, row, dir, records, seconds] = arguments else { return Err("CONTESTANT ROW DIR RECORDS SECONDS".into()) };
    let row = match row.as_str() {
        "one" => Row::One,
        "eight" => Row::Eight,
        "batches" => Row::Batches,
        "fill" => Row::Fill,
        "open" => Row::Open,
        "replay" => Row::Replay,
        other => return Err(format!("no row is called {other}").into()),
    };
    let job = Job { row, dir: Path::new(dir), records: records.parse()?, time: Duration::from_secs_f64(seconds.parse()?) };
    match contestant.as_str() {
        "forelog" => job.run::<logs::forelog::Forelog>(),
        "forelog-recycled" => job.run::<logs::forelog::Recycled>(),
        "okaywal" => job.run::<logs::okaywal::Okaywal>(),
        "raft-engine" => job.run::<logs::raft_engine::RaftEngine>(),
        "open-wal" => job.run::<logs::open_wal::OpenWal>(),
        "fjall" => job.run::<logs::fjall::Fjall>(),
        "bare" => job.run::<logs::bare::Bare>(),
        other => Err(format!("no contestant is called {other}").into()),
    }
}

struct Job<'d> {
    row: Row,
    dir: &'d Path,
    records: u64,
    time: Duration,
}

impl Job<'_> {
    fn run<L: Log>(&self) -> Result<String> {
        match self.row {
            Row::One => self.one::<L>(),
            Row::Eight => self.eight::<L>(),
            Row::Batches => self.batches::<L>(),
            Row::Fill => self.fill::<L>(),
            Row::Open => self.opening::<L>(),
            Row::Replay => self.replaying::<L>(),
        }
    }

    fn warm<L: Log>(&self) -> Result<L> {
        let log = L::open(self.dir, self.row, self.records)?;
        let value = value();
        for _ in 0..WARM_UP {
            log.append(&value)?;
        }
        Ok(log)
    }

    fn one<L: Log>(&self) -> Result<String> {
        let log: L = self.warm()?;
        let value = value();
        let mut meter = Meter::start(self.time);
        while meter.operations < self.records && !meter.is_over() {
            meter.time(1, || log.append(&value))?;
        }
        Ok(meter.stop())
    }

    /// Eight threads, each of which waits for its own records.
    fn eight<L: Log>(&self) -> Result<String> {
        let log: L = self.warm()?;
        if L::GROUPS {
            self.threads(|value| log.append(value))
        } else {
            let grouped = Grouped::new(log);
            self.threads(|value| grouped.append(value))
        }
    }

    fn threads(&self, append: impl Fn(&[u8]) -> Result<()> + Sync) -> Result<String> {
        let (value, share) = (value(), self.records / WRITERS as u64);
        let mut meter = Meter::start(self.time);
        let meters = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..WRITERS)
                .map(|_| {
                    scope.spawn(|| -> Result<Meter> {
                        let mut own = Meter::start(self.time);
                        while own.operations < share && !own.is_over() {
                            own.time(1, || append(&value))?;
                        }
                        Ok(own)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect::<Result<Vec<Meter>>>()
        })?;
        for own in meters {
            meter.add(own);
        }
        Ok(meter.stop())
    }

    fn batches<L: Log>(&self) -> Result<String> {
        let log: L = self.warm()?;
        let value = value();
        let values: Vec<&[u8]> = vec![&value; BATCH];
        let mut meter = Meter::start(self.time);
        while meter.operations < self.records && !meter.is_over() {
            log.between_batches()?;
            meter.time(BATCH as u64, || log.append_batch(&values))?;
        }
        Ok(meter.stop())
    }

    fn fill<L: Log>(&self) -> Result<String> {
        let log = L::open(self.dir, self.row, self.records)?;
        let value = value();
        let values: Vec<&[u8]> = vec![&value; BATCH];
        for _ in 0..self.records / BATCH as u64 {
            log.append_batch(&values)?;
        }
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        unreachable!("this process was killed")
    }

    /// Everything that was durable before the kill is there.
    fn opening<L: Log>(&self) -> Result<String> {
        let meter = Meter::start(self.time);
        let begun = Instant::now();
        let log = L::open(self.dir, self.row, self.records)?;
        let took = begun.elapsed();
        let records = log.records()?;
        if records != self.records {
            return Err(format!("{records} records of {} are there", self.records).into());
        }
        Ok(meter.stop_after(1, took))
    }

    fn replaying<L: Log>(&self) -> Result<String> {
        let mut meter = Meter::start(self.time);
        let log = L::open(self.dir, self.row, self.records)?;
        let (records, bytes) = log.replay()?;
        if (records, bytes) != (self.records, self.records * VALUE_BYTES as u64) {
            return Err(format!("replayed {records} records, {bytes} bytes").into());
        }
        meter.operations = records;
        Ok(meter.stop())
    }
}

/// Not a constant byte, so that a log that compresses has something to do.
fn value() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    (0..VALUE_BYTES)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}
