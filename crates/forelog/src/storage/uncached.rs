//! Reads a file from the disk itself: the page cache's copy of a range is dropped just before the range is read.
//!
//! Use it only for durable bytes. The system drops only clean pages, so no written byte is lost. But after a failed fsync,
//! pages that never reached the disk can be clean.

use super::layer::{layered, Layer};
use super::{File, FileRef};
use crate::error::Fault;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes dropped at a time: enough that the system's readahead is rarely dropped again, and too little to disturb other
/// readers.
const STEP: u64 = 1 << 20;

struct Uncached {
    /// Everything before this offset has been dropped already.
    to: AtomicU64,
}

/// Returns `file` with reads that bypass the page cache.
pub fn uncached(file: FileRef) -> FileRef {
    layered(file, Uncached { to: AtomicU64::new(0) })
}

impl Layer for Uncached {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let (dropped, end) = (self.to.load(Ordering::Relaxed), (offset + buffer.len() as u64).next_multiple_of(STEP));
        if end > dropped {
            // The footer is read before the frames, so its range is dropped separately.
            let start = if offset > dropped { offset - offset % STEP } else { dropped };
            file.drop_cache(start, end - start);
            if start == dropped {
                self.to.store(end, Ordering::Relaxed);
            }
        }
        file.read_at(buffer, offset)
    }
}
#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::disk::Disk;
    use super::super::Storage;
    use super::*;
    use rustix::io::{preadv2, Errno, ReadWriteFlags};

    #[test]
    fn durable_bytes_leave_the_page_cache_once_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), false).unwrap();
        let file = disk.create("spare-cold", STEP).unwrap();
        file.write_at(&vec![7; STEP as usize], 0).unwrap();
        file.sync().unwrap();
        let looker = std::fs::File::open(dir.path().join("spare-cold")).unwrap();
        // Reads a byte only if that needs no disk access.
        let cached = |page: u64| {
            let mut byte = [0];
            preadv2(&looker, &mut [std::io::IoSliceMut::new(&mut byte)], page * 4096, ReadWriteFlags::NOWAIT)
        };
        if disk.is_volatile() || cached(0) == Err(Errno::OPNOTSUPP) {
            println!("SKIP durable_bytes_leave_the_page_cache_once_they_are_forgotten: needs a file system on a disk");
            return;
        }
        // The kernel keeps a page that it is using itself at that moment. One of the next calls drops it.
        let goes = (0..1000).any(|_| {
            file.drop_cache(0, STEP);
            (0..STEP / 4096).all(|page| cached(page) == Err(Errno::AGAIN))
        });
        assert!(goes);
        assert!(file.read_at(&mut [0], 0).is_ok() && cached(0) == Ok(1));
    }
}
