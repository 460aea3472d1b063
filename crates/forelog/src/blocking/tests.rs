//! Logs over a simulated disk, and what the tests of them share.

use super::*;
use crate::error::{Code, Error, Fault, Result};
use crate::format::record::RecordRef;
use crate::log::commit_threads::{CommitThreads, COMMON};
use crate::log::wal::Wal;
use crate::options::{Fsync, Options};
use crate::segments::reader_positions::StartPosition;
use crate::storage::layer::{layered, Layer, Layered};
use crate::storage::{File, FileRef, Storage};
use crate::testing::sim::{Faults, SimDisk};
use crate::util::notify::Notify;
use crate::write::submission_queue::AppendTerms;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

mod leading;
mod reading;
mod threads;

struct Silent;

impl Notify for Silent {
    fn wake(&self) {}
}

/// A disk whose syncs can be held up.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Default)]
struct GateState {
    closed: bool,
    /// Number of syncs that may pass all the same.
    passes: usize,
    /// Number of syncs that wait.
    waiting: usize,
    /// A sync panics.
    panics: bool,
    /// The thread of the last sync that began.
    thread: Option<ThreadId>,
}

impl Gate {
    fn set(&self, closed: bool) {
        self.0 .0.lock().unwrap_or_else(PoisonError::into_inner).closed = closed;
        self.0 .1.notify_all();
    }

    /// Waits until a sync is held up, and returns its thread.
    fn await_sync(&self) -> Option<ThreadId> {
        let mut state = self.0 .0.lock().unwrap_or_else(PoisonError::into_inner);
        while state.waiting == 0 {
            state = self.0 .1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.thread
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.0 .0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0 .1.notify_all();
    }

    /// Returns the thread of the last sync that began.
    fn thread(&self) -> Option<ThreadId> {
        self.0 .0.lock().unwrap_or_else(PoisonError::into_inner).thread
    }
}

impl Layer for Gate {
    fn sync(&self, file: &dyn File) -> std::result::Result<(), Fault> {
        // Jobs in the background sync spares and the reserve at any time. The tests are about commits.
        if thread::current().name() == Some("forelog-pool") {
            return file.sync();
        }
        let mut state = self.0 .0.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        state.thread = Some(thread::current().id());
        self.0 .1.notify_all();
        while state.closed && state.passes == 0 {
            state = self.0 .1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.passes = state.passes.saturating_sub(1);
        let panics = state.panics;
        drop(state);
        assert!(!panics, "a sync that was to panic");
        file.sync()
    }

    fn create(&self, below: &dyn Storage, name: &str, len: u64) -> std::result::Result<FileRef, Fault> {
        Ok(layered(below.create(name, len)?, self.clone()))
    }
}

struct Fixture {
    log: Log,
    disk: SimDisk,
    gate: Gate,
    storage: Arc<dyn Storage>,
    /// The directory that holds the lock.
    dir: tempfile::TempDir,
}

fn small(fsync: Fsync) -> Options {
    Options { fsync, segment_bytes: 64 << 10, ..Options::default() }
}

impl Fixture {
    fn open(options: Options, when_full: WhenFull) -> Result<Fixture> {
        Fixture::open_on(&COMMON, options, when_full)
    }

    fn open_on(threads: &'static CommitThreads, options: Options, when_full: WhenFull) -> Result<Fixture> {
        let dir = tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?;
        let (disk, gate) = (SimDisk::new(7, 4096), Gate::default());
        let storage: Arc<dyn Storage> = Arc::new(Layered::over(Arc::new(disk.clone()), gate.clone()));
        let wal = Wal::open_on(storage.clone(), dir.path(), options, Arc::new(Silent), threads)?;
        Ok(Fixture { log: Log::over(wal, when_full), disk, gate, storage, dir })
    }

    fn new() -> Result<Fixture> {
        Fixture::open(small(Fsync::Always), WhenFull::Wait)
    }

    /// Opens another log over the same directory in this process.
    fn again(&self) -> Result<Log> {
        let options = self.log.inner().0.options().clone();
        let wal = Wal::open_on(self.storage.clone(), self.dir.path(), options, Arc::new(Silent), &COMMON)?;
        Ok(Log::over(wal, WhenFull::Wait))
    }

    /// Makes rolls fail, and with them every record that does not fit into the active segment.
    fn fill_disk(&self) {
        self.disk.set_faults(Faults { full: true, ..Faults::default() });
    }

    fn mend_disk(&self) {
        self.disk.set_faults(Faults::default());
    }

    /// The values in the log, by position.
    fn values(&self) -> Result<BTreeMap<u64, Vec<u8>>> {
        self.log.iter().map(|record| record.map(|record| (record.position(), record.value().unwrap_or_default().to_vec()))).collect()
    }
}

fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code)
}

fn positions(records: impl Iterator<Item = Result<StoredRecord>>) -> (Vec<u64>, Option<Code>) {
    let (mut found, mut end) = (Vec::new(), None);
    for record in records {
        match record {
            Ok(record) => found.push(record.position()),
            Err(error) => end = Some(error.code),
        }
    }
    (found, end)
}
