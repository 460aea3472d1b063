//! The seam between the engine and a disk: the few operations a log needs, with the failures told apart. What else of
//! the machine reaches the disk's bytes, random numbers and the wall clock, comes through it as well.
//!
//! `disk` is the real one and the only place that makes anything durable; a simulated disk can stand in for it.

pub mod dir_handle;
mod direct_buffer;
pub mod disk;
pub mod layer;
pub mod lock;
pub mod uncached;
pub mod window;
pub mod zero_on_read_error;

use crate::error::Fault;
use dir_handle::{DirHandle, Identity};
use std::ops::Range;
use std::sync::Arc;

/// A write that did not complete: how many bytes of it reached the file, and why it stopped.
#[derive(Clone, Debug)]
pub struct ShortWrite {
    pub written: usize,
    pub fault: Fault,
}

/// One open file of the log's directory.
pub trait File: Send + Sync {
    /// Reads at `offset` until `buffer` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault>;
    /// Writes all of `bytes` at `offset`, or says how many of them.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ShortWrite>;
    /// Makes the file's data, and whatever metadata is needed to read it back, durable.
    fn sync(&self) -> Result<(), Fault>;
    fn len(&self) -> Result<u64, Fault>;
    /// The first range of bytes from `offset` on that may hold something other than zero; `None` where only zeroes follow.
    /// The bytes before the range are a hole: a read gives zeroes for them and costs nothing to leave out. A file system
    /// without this knowledge has one range without an end.
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        Some(offset..u64::MAX)
    }
    /// Bytes of the disk that the file occupies, holes left out and blocks allocated ahead included; its length where the
    /// file system does not say.
    fn allocated(&self) -> Result<u64, Fault> {
        self.len()
    }
    /// A hint: what the page cache holds of `len` bytes from `offset` on is of no use, so that the next read of them asks
    /// the disk. It drops whole pages that are the same on disk, and no others.
    fn forget(&self, _offset: u64, _len: u64) {}
    /// A hint: `len` bytes from `offset` on begin their way to the disk, without anybody waiting. It proves nothing, and
    /// an error on that way is still there for `sync` to meet.
    fn write_back(&self, _offset: u64, _len: u64) {}
    /// Gives back what lies past `len`, which the caller knows to be zeroes or stale. Nothing rests on its success.
    fn shrink(&self, len: u64);
    /// Allocates blocks for the bytes from `from` on, and makes the file `len` bytes long if it is shorter. Bytes that the
    /// file had stay as they are, new ones read as zeroes. A hole before `from` stays one.
    fn grow(&self, from: u64, len: u64) -> Result<(), Fault>;
    /// Makes the file `len` bytes long, which is more than it has, by a hole.
    fn lengthen(&self, len: u64) -> Result<(), Fault>;
    /// Tells the file from every other one; `None` where that cannot be known.
    fn identity(&self) -> Option<Identity> {
        None
    }
    /// How many names the file has, in whatever directory; `None` where that cannot be known.
    fn names(&self) -> Option<u64> {
        None
    }
}

pub type FileRef = Arc<dyn File>;

/// Bytes of the first `len` of `file` that are not in a hole.
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
    /// Names of everything in the directory, in no order.
    fn list(&self) -> Result<Vec<String>, Fault>;
    /// Opens an existing file for reading and, with `write`, for writing.
    fn open(&self, name: &str, write: bool) -> Result<FileRef, Fault>;
    /// A descriptor of an existing file that only writes, past the page cache: what it has written is durable once the call
    /// returns, and unknown when it fails, as after a failed sync. It takes whole pages, at multiples of 4096 of the file
    /// and of memory, over blocks that are allocated. `None` where there is no such thing.
    fn open_through(&self, _name: &str) -> Option<FileRef> {
        None
    }
    /// A commit of so many bytes is large here: it had better go past the page cache, and gains less by blocks that were
    /// written ahead than writing them takes from it.
    fn large_commit(&self) -> u64 {
        32 << 10
    }
    /// Creates a file of `len` bytes that read as zeroes, with its blocks allocated; fails when the name exists.
    fn create(&self, name: &str, len: u64) -> Result<FileRef, Fault>;
    /// Renames over whatever has the new name.
    fn rename(&self, from: &str, to: &str) -> Result<(), Fault>;
    fn remove(&self, name: &str) -> Result<(), Fault>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self) -> Result<(), Fault>;
    /// The open directory; a simulated disk has none.
    fn home(&self) -> Option<&Arc<DirHandle>> {
        None
    }
    /// What has become of the directory, when its path does not lead to it any more; `None` while it does, and where that
    /// cannot be told. Every other call works on the directory itself, wherever it is.
    fn lost(&self) -> Option<String> {
        None
    }
    /// What `name` stands for now; `None` where it stands for nothing.
    fn find(&self, name: &str) -> Result<Option<Identity>, Fault>;
    /// Gives the file `name` of another directory the same name here: both are one file then. False where that cannot be.
    fn link(&self, _from: &dyn Storage, _name: &str) -> Result<bool, Fault> {
        Ok(false)
    }
    /// Copies the file `name` of another directory, sharing blocks until one is written. `None` where that cannot be.
    fn clone_file(&self, _from: &dyn Storage, _name: &str) -> Result<Option<FileRef>, Fault> {
        Ok(None)
    }
    /// Whether nothing here survives a restart of the machine, whatever a sync says.
    fn is_volatile(&self) -> bool {
        false
    }
    /// Whether zero-filling a file ahead of its use buys anything here: not on copy-on-write file systems, nor in memory.
    fn overwrites_in_place(&self) -> bool;
    /// Whether a file may be used again under another name here: overwriting pays, all who read the directory see at once
    /// that a name is gone, and a file's names can be counted.
    fn recycles(&self) -> bool {
        false
    }
    /// Whether `name` is not there any more. A file that was open under it may be another segment by now: its bytes never
    /// change before that name is gone.
    fn is_gone(&self, name: &str) -> bool {
        self.open(name, false).is_err_and(|fault| fault.is_not_found())
    }
    /// Fills `out` with bytes that nobody can foresee: for a log's uuid, salts, and names of spares.
    fn random(&self, out: &mut [u8]) -> Result<(), Fault>;
    /// Wall clock in milliseconds since the epoch. Nothing that recovery decides rests on it.
    fn wall_clock(&self) -> u64;
}
