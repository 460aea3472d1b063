//! The progress, the pace and the end of a long reading job, for the caller that started it.

use crate::error::Fault;
use crate::storage::dir_handle::Identity;
use crate::storage::layer::{Layer, Layered};
use crate::storage::{File, FileRef, ShortWrite, Storage};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Report = Box<dyn Fn(u64, u64) + Send + Sync>;

/// Follows a [`crate::verify()`] or a [`crate::Wal::scrub`] from any thread, and stops one of these or a
/// [`crate::Wal::open_with_progress`].
#[derive(Default)]
pub struct JobProgress {
    bytes_per_second: Option<u64>,
    report: Option<Report>,
    state: Mutex<ProgressState>,
    changed: Condvar,
}

#[derive(Default)]
struct ProgressState {
    done: u64,
    total: u64,
    began: Option<Instant>,
    stopped: bool,
}

impl JobProgress {
    /// Creates the progress of a job. Without a limit the job reads as fast as the disk can.
    pub fn new(bytes_per_second: Option<u64>) -> JobProgress {
        JobProgress { bytes_per_second, ..JobProgress::default() }
    }

    /// Makes the job call `report` with the bytes done and the total after every read, on the job's thread.
    pub fn reporting(self, report: impl Fn(u64, u64) + Send + Sync + 'static) -> JobProgress {
        JobProgress { report: Some(Box::new(report)), ..self }
    }

    fn state(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bytes read so far and the bytes to be read. The total is 0 until it is known.
    pub fn progress(&self) -> (u64, u64) {
        let state = self.state();
        (state.done, state.total)
    }

    /// Stops the job soon, even during a pause.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Sets the total and starts the rate limiter.
    pub(crate) fn begin(&self, total: u64) {
        let mut state = self.state();
        (state.done, state.total, state.began) = (0, total, Some(Instant::now()));
    }

    /// Counts everything as read.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        state.done = state.total;
        drop(state);
        self.report();
    }

    fn report(&self) {
        if let Some(report) = &self.report {
            let (done, total) = self.progress();
            report(done, total);
        }
    }

    /// Counts bytes that were read, and waits as long as the pace requires. Returns false if the job has been stopped.
    fn advance(&self, bytes: u64) -> bool {
        let mut state = self.state();
        if let Some(began) = state.began {
            state.done = (state.done + bytes).min(state.total);
            let due = self.bytes_per_second.map(|rate| began + Duration::from_secs_f64(state.done as f64 / rate.max(1) as f64));
            while let Some(pause) = due.and_then(|due| due.checked_duration_since(Instant::now())).filter(|_| !state.stopped) {
                state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let goes_on = !state.stopped;
        drop(state);
        self.report();
        goes_on
    }
}

/// Ends the reading of an opening once its job is stopped. Nothing has been changed by then.
pub struct Opening {
    job: Arc<JobProgress>,
    /// The opening has read everything. Its files stay in use, and stopping the job no longer ends anything.
    over: AtomicBool,
}

impl Opening {
    pub fn of(storage: Arc<dyn Storage>, job: &Arc<JobProgress>) -> Layered<Opening> {
        Layered::over(storage, Opening { job: job.clone(), over: AtomicBool::new(false) })
    }

    /// Makes the reading go on even if the job is stopped later. Fails if it has been stopped already.
    pub fn finish(&self) -> Result<(), Fault> {
        self.over.store(true, Ordering::Relaxed);
        if self.job.is_stopped() {
            return Err(refused("pread"));
        }
        Ok(())
    }
}

impl Layer for Opening {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        if !self.over.load(Ordering::Relaxed) && self.job.is_stopped() {
            return Err(refused("pread"));
        }
        file.read_at(buffer, offset)
    }
}

/// A storage that reads at the pace of a job, and fails once the job is stopped. It never writes.
pub struct ProgressStorage {
    storage: Arc<dyn Storage>,
    job: Arc<JobProgress>,
}

impl ProgressStorage {
    pub fn new(storage: Arc<dyn Storage>, job: Arc<JobProgress>) -> ProgressStorage {
        ProgressStorage { storage, job }
    }
}

struct ProgressFile {
    file: FileRef,
    job: Arc<JobProgress>,
}

/// Returns a fault without an error number, which `ZeroOnReadError` passes on instead of returning zeroes.
fn refused(syscall: &'static str) -> Fault {
    Fault { syscall, path: String::new(), errno: None, message: "stopped, or opened only for reading".into() }
}

impl Storage for ProgressStorage {
    fn list(&self) -> Result<Vec<String>, Fault> {
        self.storage.list()
    }

    fn open(&self, name: &str, write: bool) -> Result<FileRef, Fault> {
        if write {
            return Err(refused("open"));
        }
        Ok(Arc::new(ProgressFile { file: self.storage.open(name, false)?, job: self.job.clone() }))
    }

    fn create(&self, _: &str, _: u64) -> Result<FileRef, Fault> {
        Err(refused("open"))
    }

    fn rename(&self, _: &str, _: &str) -> Result<(), Fault> {
        Err(refused("rename"))
    }

    fn remove(&self, _: &str) -> Result<(), Fault> {
        Err(refused("unlink"))
    }

    fn sync_dir(&self) -> Result<(), Fault> {
        Err(refused("fsync"))
    }

    fn lost(&self) -> Option<String> {
        self.storage.lost()
    }

    fn find(&self, name: &str) -> Result<Option<Identity>, Fault> {
        self.storage.find(name)
    }

    fn overwrites_in_place(&self) -> bool {
        self.storage.overwrites_in_place()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), Fault> {
        self.storage.random(out)
    }

    fn wall_clock(&self) -> u64 {
        self.storage.wall_clock()
    }
}

impl File for ProgressFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let n = self.file.read_at(buffer, offset)?;
        if self.job.advance(n as u64) {
            Ok(n)
        } else {
            Err(refused("pread"))
        }
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        self.file.drop_cache(offset, len);
    }

    fn write_at(&self, _: &[u8], _: u64) -> Result<(), ShortWrite> {
        Err(ShortWrite { written: 0, fault: refused("pwrite") })
    }

    fn sync(&self) -> Result<(), Fault> {
        Err(refused("fdatasync"))
    }

    fn len(&self) -> Result<u64, Fault> {
        self.file.len()
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.file.next_data(offset)
    }

    fn shrink(&self, _: u64) {}

    fn grow(&self, _: u64, _: u64) -> Result<(), Fault> {
        Err(refused("fallocate"))
    }

    fn lengthen(&self, _: u64) -> Result<(), Fault> {
        Err(refused("ftruncate"))
    }
}
