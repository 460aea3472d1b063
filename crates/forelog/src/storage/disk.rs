//! The real disk. Every call that makes bytes or names durable is in this file, and nowhere else.

use super::{contiguous, Fault, File, FileRef, ShortWrite, Storage};
use crate::error::{Code, Error, Result};
use crate::segment::LOCK;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One log's directory.
pub struct Disk {
    dir: PathBuf,
    /// The open directory, so that a name can be made durable without a descriptor more.
    handle: Option<fs::File>,
    kind: Kind,
}

/// What kind of file system a directory is on, as far as durability is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    /// Local, and known to write past the page cache, in place and durably, when asked to.
    Direct,
    /// Overwriting never reuses a block, so filling ahead buys nothing.
    CopyOnWrite,
    /// In memory: an fsync succeeds and means nothing.
    Memory,
    /// Locks and fsyncs are promises of another machine.
    Network,
}

impl Disk {
    /// The directory as it is; nothing is created or changed.
    pub fn new(dir: &Path, allow_unsafe: bool) -> Result<Disk> {
        let kind = kind_of(dir);
        if kind == Kind::Network && !allow_unsafe {
            let text = "the directory is on a network file system, whose locks and fsyncs cannot be trusted; set allowUnsafeFilesystem to open it all the same";
            return Err(Error::new(Code::InvalidArg, text).during("open"));
        }
        let handle = if cfg!(unix) { fs::File::open(dir).ok() } else { None };
        Ok(Disk { dir: dir.to_owned(), handle, kind })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn fault(&self, syscall: &'static str, name: &str, error: &io::Error) -> Fault {
        Fault::new(syscall, self.path(name).to_string_lossy(), error)
    }
}

/// Makes the name of a directory durable that somebody else has created. One whose parent may not be opened is theirs to see to.
pub fn sync_name(dir: &Path) -> std::result::Result<(), Fault> {
    let fault = |error: io::Error| Fault::new("fsync", dir.to_string_lossy(), &error);
    match fs::canonicalize(dir).map_err(fault)?.parent().map(sync_directory) {
        Some(Err(e)) if e.kind() != io::ErrorKind::PermissionDenied => Err(fault(e)),
        _ => Ok(()),
    }
}

/// Creates `dir` and its missing parents, and makes their names durable.
pub fn create_dir(dir: &Path) -> std::result::Result<(), Fault> {
    let fault = |path: &Path, error: &io::Error| Fault::new("mkdir", path.to_string_lossy(), error);
    let mut missing = Vec::new();
    let mut at = dir;
    while !at.as_os_str().is_empty() {
        match fs::metadata(at) {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(at),
            Err(e) => return Err(fault(at, &e)),
        }
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(fault(path, &e)),
            _ => {}
        }
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(parent).map_err(|e| Fault::new("fsync", parent.to_string_lossy(), &e))?;
    }
    Ok(())
}

/// How a file is opened that is there: should it be a pipe, nobody waits for its other end.
#[cfg(unix)]
fn existing() -> fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    options
}

#[cfg(not(unix))]
fn existing() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    options
}

#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Windows cannot flush a directory; renames there are written through instead.
#[cfg(not(unix))]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::windows::ffi::OsStrExt;
    use windows_sys::Win32::Storage::FileSystem::{MoveFileExW, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH};
    let wide = |path: &Path| path.as_os_str().encode_wide().chain([0]).collect::<Vec<u16>>();
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both are NUL-terminated UTF-16 strings that live until the call returns.
    let moved = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) };
    if moved == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn kind_of(dir: &Path) -> Kind {
    const NFS: i64 = 0x6969;
    const SMB: [i64; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    const BTRFS: i64 = 0x9123_683e;
    const ZFS: i64 = 0x2fc1_2fc1;
    const BCACHEFS: i64 = 0xca45_1a4e;
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    // The field's width differs between targets.
    #[allow(clippy::unnecessary_cast)]
    match rustix::fs::statfs(dir).map(|s| s.f_type as i64) {
        Ok(t) if t == NFS || SMB.contains(&t) => Kind::Network,
        Ok(BTRFS | ZFS | BCACHEFS) => Kind::CopyOnWrite,
        Ok(TMPFS | RAMFS) => Kind::Memory,
        Ok(EXT4 | XFS) => Kind::Direct,
        _ => Kind::Local,
    }
}

#[cfg(target_os = "macos")]
fn kind_of(dir: &Path) -> Kind {
    let name: Vec<u8> = match rustix::fs::statfs(dir) {
        Ok(s) => s.f_fstypename.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect(),
        Err(_) => return Kind::Local,
    };
    match name.as_slice() {
        b"nfs" | b"smbfs" | b"afpfs" | b"webdav" => Kind::Network,
        b"apfs" => Kind::CopyOnWrite,
        _ => Kind::Local,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn kind_of(_dir: &Path) -> Kind {
    Kind::Local
}

#[cfg(target_os = "linux")]
fn allocate(file: &fs::File, len: u64) -> io::Result<()> {
    use rustix::fs::{fallocate, FallocateFlags};
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        // A file system that cannot allocate ahead still holds a log: a full disk is then met at a write.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(len),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &fs::File, len: u64) -> io::Result<()> {
    file.set_len(len)
}

/// Every write to it returns once it is durable, as if each were followed by an fdatasync.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Not rustix's: its DSYNC is O_SYNC, which makes the time of each write durable as well, at twice the price.
    fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> io::Result<fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether `to` now shares the blocks of `from`.
#[cfg(target_os = "linux")]
fn clone_blocks(to: &fs::File, from: &fs::File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn clone_blocks(_to: &fs::File, _from: &fs::File) -> bool {
    false
}

impl Storage for Disk {
    fn list(&self) -> std::result::Result<Vec<String>, Fault> {
        let fault = |e: &io::Error| Fault::new("scandir", self.dir.to_string_lossy(), e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| fault(&e))? {
            names.push(entry.map_err(|e| fault(&e))?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, name: &str, write: bool) -> std::result::Result<FileRef, Fault> {
        let file = existing().write(write).open(self.path(name)).map_err(|e| self.fault("open", name, &e))?;
        Ok(Arc::new(DiskFile { file, path: self.path(name), direct: false }))
    }

    fn open_through(&self, name: &str) -> Option<FileRef> {
        let path = self.path(name);
        let file = (self.kind == Kind::Direct).then(|| open_direct(&path).ok())??;
        Some(Arc::new(DiskFile { file, path, direct: true }))
    }

    fn create(&self, name: &str, len: u64) -> std::result::Result<FileRef, Fault> {
        let path = self.path(name);
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(|e| self.fault("open", name, &e))?;
        if let Err(e) = allocate(&file, len) {
            // Whatever part of it was allocated must not make a full disk fuller.
            let _ = fs::remove_file(&path);
            return Err(self.fault("fallocate", name, &e));
        }
        Ok(Arc::new(DiskFile { file, path, direct: false }))
    }

    fn rename(&self, from: &str, to: &str) -> std::result::Result<(), Fault> {
        rename(&self.path(from), &self.path(to)).map_err(|e| self.fault("rename", from, &e))
    }

    fn remove(&self, name: &str) -> std::result::Result<(), Fault> {
        fs::remove_file(self.path(name)).map_err(|e| self.fault("unlink", name, &e))
    }

    fn sync_dir(&self) -> std::result::Result<(), Fault> {
        let synced = self.handle.as_ref().map_or_else(|| sync_directory(&self.dir), fs::File::sync_all);
        synced.map_err(|e| Fault::new("fsync", self.dir.to_string_lossy(), &e))
    }

    fn dir(&self) -> Option<&Path> {
        Some(&self.dir)
    }

    fn link(&self, from: &dyn Storage, name: &str) -> std::result::Result<bool, Fault> {
        let Some(dir) = from.dir() else { return Ok(false) };
        match fs::hard_link(dir.join(name), self.path(name)) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem) => {
                Err(self.fault("link", name, &e))
            }
            // Another disk, a file system without links, or one that is not ours to link: the bytes can be copied.
            Err(_) => Ok(false),
        }
    }

    fn clone_file(&self, from: &dyn Storage, name: &str) -> std::result::Result<Option<FileRef>, Fault> {
        let Some(dir) = from.dir() else { return Ok(None) };
        let path = self.path(name);
        let source = fs::File::open(dir.join(name)).map_err(|e| self.fault("open", name, &e))?;
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(|e| self.fault("open", name, &e))?;
        if clone_blocks(&file, &source) {
            return Ok(Some(Arc::new(DiskFile { file, path, direct: false })));
        }
        fs::remove_file(&path).map_err(|e| self.fault("unlink", name, &e))?;
        Ok(None)
    }

    fn is_volatile(&self) -> bool {
        self.kind == Kind::Memory
    }

    fn overwrites_in_place(&self) -> bool {
        matches!(self.kind, Kind::Local | Kind::Direct)
    }

    /// Only where it was tried: a file system of another kind may count names wrongly, or have readers on other machines.
    fn recycles(&self) -> bool {
        self.kind == Kind::Direct
    }

    fn random(&self, out: &mut [u8]) -> std::result::Result<(), Fault> {
        getrandom::fill(out).map_err(|e| Fault {
            syscall: "getrandom",
            path: String::new(),
            errno: e.raw_os_error(),
            message: e.to_string(),
        })
    }

    fn wall_clock(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }
}

struct DiskFile {
    file: fs::File,
    path: PathBuf,
    /// Writes go past the page cache.
    direct: bool,
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
        if self.direct {
            contiguous::together(bytes, |bytes| self.write_all_at(bytes, offset))
        } else {
            self.write_all_at(bytes, offset)
        }
    }

    fn sync(&self) -> std::result::Result<(), Fault> {
        // fdatasync on Linux, F_FULLFSYNC on macOS, FlushFileBuffers on Windows.
        self.file.sync_data().map_err(|e| self.fault("fdatasync", &e))
    }

    fn len(&self) -> std::result::Result<u64, Fault> {
        Ok(self.file.metadata().map_err(|e| self.fault("fstat", &e))?.len())
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, offset: u64, len: u64) {
        use rustix::fs::{fadvise, Advice};
        if let Some(len) = std::num::NonZeroU64::new(len) {
            let _ = fadvise(&self.file, offset, Some(len), Advice::DontNeed);
        }
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self, offset: u64, len: u64) {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as `self`, and no memory is passed.
        unsafe { libc::sync_file_range(self.file.as_raw_fd(), offset as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn shrink(&self, len: u64) {
        let _ = self.file.set_len(len);
    }

    fn grow(&self, len: u64) -> std::result::Result<(), Fault> {
        allocate(&self.file, len).map_err(|e| self.fault("fallocate", &e))
    }

    #[cfg(unix)]
    fn names(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().ok().map(|meta| meta.nlink())
    }
}

/// How often and how long a writer waits for one who only looks at the lock.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(2);

/// The lock that makes this process the directory's only writer; released when dropped.
pub struct Lock {
    file: fs::File,
}

/// The same for every way of naming one directory within this process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    #[cfg(unix)]
    Inode(u64, u64),
    #[cfg(not(unix))]
    Path(PathBuf),
}

impl Lock {
    /// Opens LOCK, creating it if need be, without locking it yet.
    pub fn open(dir: &Path) -> Result<Lock> {
        let path = dir.join(LOCK);
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| Fault::new("open", path.to_string_lossy(), &e))?;
        Ok(Lock { file })
    }

    #[cfg(unix)]
    pub fn identity(&self, _dir: &Path) -> Result<Identity> {
        use std::os::unix::fs::MetadataExt;
        let meta = self.file.metadata().map_err(|e| Fault::new("fstat", LOCK, &e))?;
        Ok(Identity::Inode(meta.dev(), meta.ino()))
    }

    #[cfg(not(unix))]
    pub fn identity(&self, dir: &Path) -> Result<Identity> {
        let path = fs::canonicalize(dir).map_err(|e| Fault::new("realpath", dir.to_string_lossy(), &e))?;
        Ok(Identity::Path(path))
    }

    /// Whether a writer holds the lock of the log in `dir` now. Looking takes the lock for a moment.
    pub fn is_held(dir: &Path) -> Result<bool> {
        let path = dir.join(LOCK);
        let file = match existing().open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Fault::new("open", path.to_string_lossy(), &e).into()),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(e)) => Err(Fault::new("flock", path.to_string_lossy(), &e).into()),
        }
    }

    /// Asks for the lock again for a moment: a reader that looks whether there is a writer holds it that long.
    fn try_lock(&self) -> std::result::Result<(), fs::TryLockError> {
        for _ in 0..LOOKS {
            match self.file.try_lock() {
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOOK),
                decided => return decided,
            }
        }
        self.file.try_lock()
    }

    /// Takes the lock or says who holds it. Any other failure to lock is an error: no lock, no writer.
    pub fn acquire(&mut self, dir: &Path) -> Result<()> {
        match self.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Only a courtesy: who holds the lock may not have written its pid yet.
                let _ = self.file.rewind().and_then(|()| self.file.read_to_string(&mut text));
                let pid = text.trim().parse().ok();
                let holder = pid.map_or("another process".to_owned(), |pid: u32| format!("process {pid}"));
                let mut error = Error::new(Code::Locked, format!("the log in {} is open for writing in {holder}", dir.display()));
                error.pid = pid;
                Err(error.during("open"))
            }
            Err(fs::TryLockError::Error(e)) => Err(Fault::new("flock", dir.join(LOCK).to_string_lossy(), &e).into()),
        }
    }

    /// Leaves our pid for whoever finds the directory locked. Nothing rests on it.
    pub fn sign(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.rewind();
        let _ = write!(self.file, "{}", std::process::id());
    }
}
