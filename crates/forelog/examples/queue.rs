//! A job queue that survives restarts and crashes. A job is handed out again if its worker ends before it has finished the job.
//!
//! ```sh
//! cargo run --example queue -- /tmp/jobs add "send the invoice" "water the plants"
//! cargo run --example queue -- /tmp/jobs work
//! ```

use forelog::{Log, LogCursor, Result, StartPosition};
use std::path::Path;

/// Finished jobs are removed from the log when there are this many of them.
const KEPT: u64 = 1000;

/// A queue in a directory. The log holds the jobs, and a cursor how many of them are finished.
pub struct Queue {
    log: Log,
    finished: LogCursor,
}

impl Queue {
    /// Opens the queue in `dir`, or creates it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Queue> {
        let log = Log::open(dir)?;
        let finished = log.cursor("finished", StartPosition::First)?;
        Ok(Queue { log, finished })
    }

    /// Adds jobs, all of them or none. They are durable when the call returns.
    pub fn add<'j>(&self, jobs: impl IntoIterator<Item = &'j str>) -> Result<()> {
        self.log.append_batch(jobs).map(drop)
    }

    /// Returns how many jobs are not finished.
    pub fn waiting(&self) -> u64 {
        self.log.next_position() - 1 - self.finished.position()
    }

    /// Works on the jobs that are there, in their order, until `work` returns false. Returns how many were finished.
    pub fn work(&self, mut work: impl FnMut(&str) -> bool) -> Result<u64> {
        let mut count = 0;
        for job in self.finished.records() {
            let job = job?;
            if !work(&String::from_utf8_lossy(job.value().unwrap_or_default())) {
                break;
            }
            // From here on the job is never handed out again, whatever happens.
            self.finished.commit(job.position())?;
            count += 1;
        }
        let finished = self.finished.position();
        if finished + 1 >= self.log.first_position() + KEPT {
            self.log.truncate_before(finished + 1)?;
        }
        Ok(count)
    }

    /// Closes the queue. Errors show here that dropping it would hide.
    pub fn close(self) -> Result<()> {
        self.log.close()
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (dir, jobs) = match arguments[..] {
        [dir, "add", ref jobs @ ..] if !jobs.is_empty() => (dir, jobs),
        [dir, "work"] => (dir, &[][..]),
        _ => {
            eprintln!("usage: queue DIRECTORY add JOB... | queue DIRECTORY work");
            std::process::exit(2);
        }
    };
    let queue = Queue::open(dir)?;
    if jobs.is_empty() {
        let count = queue.work(|job| {
            println!("{job}");
            true
        })?;
        println!("{count} finished");
    } else {
        queue.add(jobs.iter().copied())?;
        println!("{} waiting", queue.waiting());
    }
    queue.close()
}
