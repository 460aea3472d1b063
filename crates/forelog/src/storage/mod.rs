//! The boundary between the engine and a disk: the few operations that a log needs, with errors that tell failures apart.
//! Random numbers and the wall clock also come through it, because they reach the bytes on disk.
//!
//! `disk` is the real disk and the only module that makes anything durable. A simulated disk can replace it.

pub mod dir_handle;
pub mod disk;
pub mod layer;
pub mod lock;
pub mod uncached;
pub mod window;
pub mod write_queue;
pub mod zero_on_read_error;

use crate::error::Fault;
use crate::util::page_buffer::PageBuffer;
use dir_handle::{DirHandle, Identity};
use std::ops::Range;
use std::sync::Arc;
use write_queue::{Refusal, SubmittedWrite, WriteQueue};

/// A write that did not complete: how many of its bytes reached the file, and why it stopped.
#[derive(Clone, Debug)]
pub struct ShortWrite {
    pub written: usize,
    pub fault: Fault,
}

/// One open file of the log's directory.
pub trait File: Send + Sync {
    /// Reads from `offset` on until `buffer` is full or the file ends. Returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault>;
    /// Writes all of `bytes` at `offset`. The error says how many of them were written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ShortWrite>;
    /// Submits a write of the bytes of `range` at `offset`, which completes later and is durable then. Never blocks. Only a file of
    /// [`Storage::open_direct`] supports it, with the same conditions as for its other writes. `token` tells the owner of `queue` whose
    /// write has completed.
    ///
    /// # Errors
    /// Nothing was submitted. The memory comes back.
    fn submit(
        &self,
        _queue: &Arc<dyn WriteQueue>,
        bytes: PageBuffer,
        _range: Range<usize>,
        _offset: u64,
        _token: u64,
    ) -> Result<Box<dyn SubmittedWrite>, (PageBuffer, Refusal)> {
        Err((bytes, Refusal::Unsupported))
    }
    /// Makes the file's data durable, with the metadata that is needed to read it back.
    fn sync(&self) -> Result<(), Fault>;
    fn len(&self) -> Result<u64, Fault>;
    /// Returns the first range of bytes from `offset` on that may hold something other than zero, or `None` if only zeroes
    /// follow.
    ///
    /// The bytes before the range are a hole: they read as zeroes, and callers skip them at no cost. A file system that
    /// does not report holes has one range without an end.
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        Some(offset..u64::MAX)
    }
    /// Returns how many bytes of the disk the file occupies, without holes and with blocks that are allocated ahead. If the
    /// file system does not say, this is the length of the file.
    fn allocated(&self) -> Result<u64, Fault> {
        self.len()
    }
    /// Hints that the page cache need not keep the `len` bytes from `offset` on, so that the next read of them goes to the
    /// disk. Only whole pages that are the same on disk are dropped.
    fn drop_cache(&self, _offset: u64, _len: u64) {}
    /// Hints that the `len` bytes from `offset` on should be written to the disk soon, and does not wait for that. It
    /// proves nothing: an error of this writeback is still reported by `sync`.
    fn write_back(&self, _offset: u64, _len: u64) {}
    /// Shortens the file to `len`. The caller knows that the bytes past it are zeroes or stale, and does not depend on
    /// success.
    fn shrink(&self, len: u64);
    /// Allocates blocks for the bytes from `from` on, and makes the file `len` bytes long if it is shorter. Existing bytes
    /// stay as they are, and new ones read as zeroes. A hole before `from` stays a hole.
    fn grow(&self, from: u64, len: u64) -> Result<(), Fault>;
    /// Makes the file longer, to `len` bytes, by a hole.
    fn lengthen(&self, len: u64) -> Result<(), Fault>;
    /// Returns what distinguishes the file from every other one, or `None` if that cannot be determined.
    fn identity(&self) -> Option<Identity> {
        None
    }
    /// Returns how many names (hard links) the file has, in all directories, or `None` if that cannot be determined.
    fn link_count(&self) -> Option<u64> {
        None
    }
}

pub type FileRef = Arc<dyn File>;

/// Returns how many of the first `len` bytes of `file` are not in a hole.
pub fn data_len(file: &dyn File, len: u64) -> u64 {
    let (mut at, mut data) = (0, 0);
    while let Some(range) = file.next_data(at).filter(|range| range.start < len) {
        at = range.end.min(len);
        data += at - range.start;
    }
    data
}

/// The directory of one log.
pub trait Storage: Send + Sync {
    /// Returns the names of all entries of the directory, in no particular order.
    fn list(&self) -> Result<Vec<String>, Fault>;
    /// Opens an existing file for reading and, with `write`, for writing.
    fn open(&self, name: &str, write: bool) -> Result<FileRef, Fault>;
    /// Opens an existing file for write-through: it only writes, and past the page cache. Bytes are durable once the write
    /// returns. If the write fails, their state is unknown, as after a failed sync.
    ///
    /// The file accepts only whole pages, at multiples of 4096 in the file and in memory, over blocks that are allocated.
    /// Returns `None` if the storage does not support this.
    fn open_direct(&self, _name: &str) -> Option<FileRef> {
        None
    }
    /// Returns the size in bytes from which a commit counts as large. Large commits should use write-through. They gain
    /// less from blocks that were written before than filling those blocks costs.
    fn large_commit(&self) -> u64 {
        32 << 10
    }
    /// Creates a file of `len` bytes that read as zeroes, with its blocks allocated. Fails if the name exists.
    fn create(&self, name: &str, len: u64) -> Result<FileRef, Fault>;
    /// Renames a file, replacing any file that has the new name.
    fn rename(&self, from: &str, to: &str) -> Result<(), Fault>;
    fn remove(&self, name: &str) -> Result<(), Fault>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self) -> Result<(), Fault>;
    /// Returns the open directory. A simulated disk has none.
    fn home(&self) -> Option<&Arc<DirHandle>> {
        None
    }
    /// Says what became of the directory if its path no longer leads to it. Returns `None` if the path does, or if this
    /// cannot be determined. All other calls work on the directory itself, wherever it is.
    fn lost(&self) -> Option<String> {
        None
    }
    /// Returns the identity of the file that has `name` now, or `None` if there is none.
    fn find(&self, name: &str) -> Result<Option<Identity>, Fault>;
    /// Makes a hard link to the file `name` of another directory, under the same name here. Returns false if that is not
    /// possible.
    fn link(&self, _from: &dyn Storage, _name: &str) -> Result<bool, Fault> {
        Ok(false)
    }
    /// Copies the file `name` of another directory as a clone that shares its blocks until one is written. Returns `None`
    /// if that is not possible.
    fn clone_file(&self, _from: &dyn Storage, _name: &str) -> Result<Option<FileRef>, Fault> {
        Ok(None)
    }
    /// Whether all data is lost when the machine restarts, whatever `sync` returns.
    fn is_volatile(&self) -> bool {
        false
    }
    /// Whether filling a file with zeroes before its use makes later syncs faster. It does not on copy-on-write file
    /// systems, nor in memory.
    fn overwrites_in_place(&self) -> bool;
    /// Whether a file may be recycled under another name. This requires that overwriting pays, that all processes that read
    /// the directory see at once when a name is gone, and that the names of a file can be counted.
    fn recycles(&self) -> bool {
        false
    }
    /// Whether no file has `name` any more. A file that was open under that name may be another segment by now, but its
    /// bytes never change before the name is gone.
    fn is_gone(&self, name: &str) -> bool {
        self.open(name, false).is_err_and(|fault| fault.is_not_found())
    }
    /// Fills `out` with unpredictable bytes, for the uuid of a log, salts, and the names of spares.
    fn random(&self, out: &mut [u8]) -> Result<(), Fault>;
    /// Returns the wall clock in milliseconds since the epoch. No decision of recovery depends on it.
    fn wall_clock(&self) -> u64;
}
