//! A file of the real disk: reading, writing, syncing, and its blocks and holes.

#[cfg(target_os = "linux")]
use super::{BTRFS, EXT4, TMPFS, XFS};
use crate::error::Fault;
use crate::storage::dir_handle::Identity;
#[cfg(target_os = "linux")]
use crate::storage::write_queue::{Completed, Outcome, RawWrite, Refusal, SubmittedWrite, WriteQueue};
use crate::storage::{File, ShortWrite};
#[cfg(any(target_os = "linux", target_os = "macos"))]
use crate::util::limits::PAGE;
#[cfg(target_os = "linux")]
use crate::util::page_buffer::PageBuffer;
use std::fs;
use std::io;
#[cfg(any(target_os = "linux", target_os = "macos"))]
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::sync::Arc;

#[cfg(target_os = "linux")]
pub fn allocate(file: &fs::File, from: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{fallocate, FallocateFlags};
    match fallocate(file, FallocateFlags::empty(), from, len - from) {
        // A file system that cannot allocate blocks ahead can still hold a log. A full disk is then noticed at a write.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => extend(file, len),
        other => Ok(other?),
    }
}

/// NTFS allocates the clusters of a file that is not sparse when its end is set (learn.microsoft.com, "SetEndOfFile"). APFS writes every
/// block to a new place, so nothing could be reserved for a later write: there a full disk is noticed at the write.
#[cfg(not(target_os = "linux"))]
pub fn allocate(file: &fs::File, _from: u64, len: u64) -> io::Result<()> {
    extend(file, len)
}

/// Lengthens the file to `len` bytes by a hole, unless it already is that long.
fn extend(file: &fs::File, len: u64) -> io::Result<()> {
    if file.metadata()?.len() < len {
        file.set_len(len)?;
    }
    Ok(())
}

/// No writer writes a frame past this offset of a segment: it is twice the largest segment, which leaves room for the
/// largest frame.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const FARTHEST: u64 = 2 * *crate::options::SEGMENT_BYTES.end();

/// Whether the file system never reports as a hole bytes that a write has so far put only into the page cache.
///
/// The file systems listed here consult the page cache under unwritten extents and delayed allocations
/// (`mapping_seek_hole_data` in mm/filemap.c of Linux, called by fs/iomap/seek.c for ext4 and XFS). ZFS has reported dirty
/// data as a hole (github.com/openzfs/zfs/issues/15526), and so has APFS (bugs.gnu.org/51857). FUSE asks a server that does
/// not know which pages are dirty on this machine.
#[cfg(target_os = "linux")]
fn reports_holes(file: &fs::File) -> bool {
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::fstatfs(file).is_ok_and(|s| matches!(s.f_type as i64, EXT4 | XFS | BTRFS | TMPFS))
}

#[cfg(target_os = "macos")]
fn reports_holes(_file: &fs::File) -> bool {
    false
}

/// Returns the next range of the file that may hold data.
///
/// A hole that is reported wrongly would hide frames from recovery. If the file system may do that, everything up to
/// `FARTHEST` counts as data. No writer writes past that offset, and reading up to it is bounded.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn next_data(file: &fs::File, offset: u64) -> Option<Range<u64>> {
    use rustix::fs::{seek, SeekFrom};
    if offset < FARTHEST && !reports_holes(file) {
        return Some(offset..FARTHEST);
    }
    match seek(file, SeekFrom::Data(offset)) {
        // A concurrent change may leave nothing between the two answers. The next search then starts one page later.
        Ok(start) => Some(start..seek(file, SeekFrom::Hole(start)).map_or(u64::MAX, |end| end.max(start + PAGE))),
        Err(rustix::io::Errno::NXIO) => None,
        Err(_) => Some(offset..u64::MAX),
    }
}

/// One open file of a directory on disk.
pub struct DiskFile {
    pub file: fs::File,
    /// The path, for messages only.
    pub path: PathBuf,
    /// Writes bypass the page cache. Only Linux opens such files.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    pub direct: bool,
}

impl DiskFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), ShortWrite> {
        let mut written = 0;
        while written < bytes.len() {
            match pwrite(&self.file, &bytes[written..], offset + written as u64) {
                Ok(0) => {
                    let error = io::Error::from(io::ErrorKind::WriteZero);
                    return Err(ShortWrite { written, fault: self.fault("pwrite", &error) });
                }
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ShortWrite { written, fault: self.fault("pwrite", &e) }),
            }
        }
        Ok(())
    }

    fn fault(&self, syscall: &'static str, error: &io::Error) -> Fault {
        Fault::new(syscall, self.path.to_string_lossy(), error)
    }
}

#[cfg(unix)]
fn pread(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn pwrite(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn pread(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn pwrite(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

impl File for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::result::Result<usize, Fault> {
        let mut done = 0;
        while done < buffer.len() {
            match pread(&self.file, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault("pread", &e)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), ShortWrite> {
        self.write_all_at(bytes, offset)
    }

    #[cfg(target_os = "linux")]
    fn submit(
        &self,
        queue: &Arc<dyn WriteQueue>,
        bytes: PageBuffer,
        range: Range<usize>,
        offset: u64,
        token: u64,
    ) -> std::result::Result<Box<dyn SubmittedWrite>, (PageBuffer, Refusal)> {
        if !self.direct {
            return Err((bytes, Refusal::Unsupported));
        }
        let whole = &bytes[range];
        let write = RawWrite { file: self.file.as_raw_fd(), start: whole.as_ptr(), len: whole.len(), offset };
        // SAFETY: the memory belongs to the `DiskWrite` below, which keeps it until the write is complete. A `PageBuffer` that moves does
        // not move its memory.
        match unsafe { queue.submit(write, token) } {
            Ok(number) => {
                Ok(Box::new(DiskWrite { queue: queue.clone(), number, len: write.len, bytes: Some(bytes), path: self.path.clone() }))
            }
            Err(refusal) => Err((bytes, refusal)),
        }
    }

    fn sync(&self) -> std::result::Result<(), Fault> {
        // `sync_data` is fdatasync on Linux. On macOS it is F_FULLFSYNC, because fsync there leaves the bytes in the drive's cache (man 2
        // fsync), and a file system without F_FULLFSYNC refuses it instead of doing less. On Windows it is FlushFileBuffers, which flushes
        // the drive's cache and needs a handle with write access (learn.microsoft.com, "FlushFileBuffers").
        self.file.sync_data().map_err(|e| self.fault("fdatasync", &e))
    }

    fn len(&self) -> std::result::Result<u64, Fault> {
        Ok(self.file.metadata().map_err(|e| self.fault("fstat", &e))?.len())
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        next_data(&self.file, offset)
    }

    #[cfg(unix)]
    fn allocated(&self) -> std::result::Result<u64, Fault> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.file.metadata().map_err(|e| self.fault("fstat", &e))?.blocks() * 512)
    }

    #[cfg(target_os = "linux")]
    fn drop_cache(&self, offset: u64, len: u64) {
        use rustix::fs::{fadvise, Advice};
        if let Some(len) = std::num::NonZeroU64::new(len) {
            let _ = fadvise(&self.file, offset, Some(len), Advice::DontNeed);
        }
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self, offset: u64, len: u64) {
        // SAFETY: the descriptor is open as long as `self`, and no memory is passed.
        unsafe { libc::sync_file_range(self.file.as_raw_fd(), offset as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn shrink(&self, len: u64) {
        let _ = self.file.set_len(len);
    }

    fn grow(&self, from: u64, len: u64) -> std::result::Result<(), Fault> {
        allocate(&self.file, from, len).map_err(|e| self.fault("fallocate", &e))
    }

    fn lengthen(&self, len: u64) -> std::result::Result<(), Fault> {
        self.file.set_len(len).map_err(|e| self.fault("ftruncate", &e))
    }

    fn identity(&self) -> Option<Identity> {
        Identity::of(&self.file).ok()
    }

    #[cfg(unix)]
    fn link_count(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().ok().map(|meta| meta.nlink())
    }
}

/// A write to a file of the real disk that is under way.
#[cfg(target_os = "linux")]
struct DiskWrite {
    queue: Arc<dyn WriteQueue>,
    number: u32,
    len: usize,
    /// The memory of the write. `None` once it has been given back.
    bytes: Option<PageBuffer>,
    /// The path, for messages only.
    path: PathBuf,
}

#[cfg(target_os = "linux")]
impl DiskWrite {
    fn completed(&mut self, result: i64) -> Option<Completed> {
        let outcome = match result {
            result if result == self.len as i64 => Outcome::Written,
            result if result >= 0 || result == -i64::from(libc::EAGAIN) => Outcome::Unfinished,
            errno => {
                let error = io::Error::from_raw_os_error(-errno as i32);
                Outcome::Failed(Fault::new("pwrite", self.path.to_string_lossy(), &error))
            }
        };
        Some(Completed { bytes: self.bytes.take()?, outcome })
    }
}

#[cfg(target_os = "linux")]
impl SubmittedWrite for DiskWrite {
    fn poll(&mut self) -> Option<Completed> {
        self.bytes.as_ref()?;
        let result = self.queue.poll(self.number)?;
        self.completed(result)
    }

    fn wait(&mut self) -> Option<Completed> {
        self.bytes.as_ref()?;
        let result = self.queue.wait(self.number);
        self.completed(result)
    }
}

#[cfg(target_os = "linux")]
impl Drop for DiskWrite {
    fn drop(&mut self) {
        // The kernel reads the memory until the write is complete.
        self.wait();
    }
}
