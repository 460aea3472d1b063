//! A log with its commit thread on a simulated disk, for unit tests.

use crate::error::{Code, Error, Result};
use crate::format::file_names::RESERVE;
use crate::format::record::RecordRef;
use crate::log::commit_threads::{CommitThreads, COMMON};
use crate::log::wal::Wal;
use crate::options::{Fsync, Options};
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use crate::util::notify::Waiter;
use crate::write::submission_queue::Settled;
use std::sync::Arc;
use tempfile::TempDir;

/// Options with segments so small that a test fills several.
pub fn options(fsync: Fsync) -> Options {
    Options { fsync, segment_bytes: 64 << 10, ..Options::default() }
}

pub fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code)
}

/// An open log with one client.
pub struct TestLog {
    pub wal: Arc<Wal>,
    pub disk: SimDisk,
    pub waiter: Arc<Waiter>,
    /// The directory that holds the lock.
    pub dir: TempDir,
}

impl TestLog {
    pub fn open(disk: SimDisk, fsync: Fsync) -> Result<TestLog> {
        TestLog::over(Arc::new(disk.clone()), disk, fsync, &COMMON)
    }

    /// Opens the log in `storage`, which is a layer over `disk`.
    pub fn over(storage: Arc<dyn Storage>, disk: SimDisk, fsync: Fsync, threads: &'static CommitThreads) -> Result<TestLog> {
        let dir = tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?;
        let waiter = Arc::new(Waiter::default());
        let wal = Arc::new(Wal::open_on(storage, dir.path(), options(fsync), waiter.clone(), threads)?);
        Ok(TestLog { wal, disk, waiter, dir })
    }

    pub fn append(&self, value: &[u8]) -> Result<u64> {
        self.wal.append(RecordRef { value: Some(value), ..RecordRef::default() }, false)
    }

    /// Waits until operation `ops` has settled. Returns the error of the first one that failed.
    pub fn settled(&self, ops: u64) -> Result<()> {
        self.wal.kick();
        self.waiter.wait_for(|| match self.wal.settled() {
            Settled::Done(done) => (done >= ops).then_some(Ok(())),
            Settled::Failed(_, error) => Some(Err(error)),
        })
    }

    /// Waits until the background jobs that the first commit starts are done: the reserve exists, and the active segment's file has its
    /// full length. From then on only the test itself changes the disk.
    pub fn await_background(&self) {
        let len = |name: &String| self.disk.open(name, false).and_then(|file| file.len()).unwrap_or(0);
        loop {
            let names = self.disk.names();
            let grown = names.iter().filter(|name| name.ends_with(".wal")).all(|name| len(name) >= 64 << 10);
            if grown && names.iter().any(|name| name == RESERVE) {
                return;
            }
            std::thread::yield_now();
        }
    }

    pub fn last_readable(&self) -> Result<u64> {
        let mut reader = self.wal.reader(1, u64::MAX)?;
        let mut last = 0;
        while let Some(block) = reader.next_block(1 << 16)? {
            last = block.first_position + block.len() as u64 - 1;
        }
        Ok(last)
    }
}
