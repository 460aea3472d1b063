//! The real disk. Every call that makes bytes or names durable is in this file or in `disk/file.rs` and nowhere else, except on Windows,
//! where the rename in `dir_handle.rs` is such a call.

use super::dir_handle::{Access, DirHandle, Identity};
use super::write_queue::WriteQueue;
use super::{FileRef, Storage};
use crate::error::{Code, Error, Fault, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(target_os = "linux")]
mod aio;
#[cfg(target_os = "linux")]
mod completions;
mod file;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(all(test, target_os = "linux"))]
mod write_queue_tests;

use file::{allocate, DiskFile};

/// The directory of one log, held open. Its files are reached through this handle, not by the path (on Windows see
/// `dir_handle`).
pub struct Disk {
    home: Arc<DirHandle>,
    kind: FileSystem,
}

/// The kind of file system that a directory is on, as far as durability is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileSystem {
    /// A local file system.
    Local,
    /// A local file system that is known to support write-through, in place and durably.
    Direct,
    /// A copy-on-write file system. Overwriting never reuses a block, so filling ahead gains nothing.
    CopyOnWrite,
    /// A file system in memory, where an fsync succeeds without effect.
    Memory,
    /// A network file system, whose locks and fsyncs depend on another machine.
    Network,
}

impl Disk {
    /// Opens an existing directory. Nothing is created or changed.
    ///
    /// # Errors
    /// `InvalidArg` if the directory is on a network file system and `allow_unsafe` is false.
    pub fn new(dir: &Path, allow_unsafe: bool) -> Result<Disk> {
        let home = DirHandle::open(dir).map_err(|e| Fault::new("open", dir.to_string_lossy(), &e))?;
        let kind = kind_of(&home);
        if kind == FileSystem::Network && !allow_unsafe {
            let text = "the directory is on a network file system, whose locks and fsyncs cannot be trusted; set allowUnsafeFilesystem to open it all the same";
            return Err(Error::new(Code::InvalidArg, text).during("open"));
        }
        Ok(Disk { home: Arc::new(home), kind })
    }

    pub fn handle(&self) -> Arc<DirHandle> {
        self.home.clone()
    }

    /// Returns the path of `name`, for messages only.
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn file(&self, name: &str, file: fs::File, direct: bool) -> FileRef {
        Arc::new(DiskFile { file, path: self.path(name), direct })
    }

    fn fault(&self, syscall: &'static str, name: &str, error: &io::Error) -> Fault {
        Fault::new(syscall, self.path(name).to_string_lossy(), error)
    }
}

/// Returns a new queue for writes that complete later, `None` if the system has none. The variable `FORELOG_ASYNC_WRITES` chooses one:
/// `aio`, `uring` or `off`.
#[cfg(target_os = "linux")]
pub fn write_queue() -> Option<Arc<dyn WriteQueue>> {
    write_queue_by(&std::env::var("FORELOG_ASYNC_WRITES").unwrap_or_default())
}

#[cfg(target_os = "linux")]
fn write_queue_by(choice: &str) -> Option<Arc<dyn WriteQueue>> {
    let aio = || aio::Aio::new().ok().map(|aio| Arc::new(aio) as Arc<dyn WriteQueue>);
    let uring = || uring::Uring::new().ok().map(|uring| Arc::new(uring) as Arc<dyn WriteQueue>);
    match choice {
        "off" => None,
        "aio" => aio(),
        "uring" => uring(),
        // With io_uring, Node.js counts the time that it waits for the disk as busy.
        _ => aio().or_else(uring),
    }
}

/// Returns `None`: writes that complete later are not supported on this system.
#[cfg(not(target_os = "linux"))]
pub fn write_queue() -> Option<Arc<dyn WriteQueue>> {
    None
}

/// Makes the name of a directory that this process did not create durable, by an fsync of its parent. If permission for
/// that is missing, it is skipped: the owner of the parent is responsible.
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

#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

#[cfg(unix)]
fn sync_open_directory(directory: &fs::File) -> io::Result<()> {
    directory.sync_all()
}

/// Windows cannot flush a directory: FlushFileBuffers needs write access (learn.microsoft.com, "FlushFileBuffers"), which the handle of a
/// directory does not have. Renames are written through instead.
#[cfg(not(unix))]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn sync_open_directory(_directory: &fs::File) -> io::Result<()> {
    Ok(())
}

/// The file system types that `statfs` reports.
#[cfg(target_os = "linux")]
const BTRFS: i64 = 0x9123_683e;
#[cfg(target_os = "linux")]
const TMPFS: i64 = 0x0102_1994;
#[cfg(target_os = "linux")]
const EXT4: i64 = 0xef53;
#[cfg(target_os = "linux")]
const XFS: i64 = 0x5846_5342;

#[cfg(target_os = "linux")]
fn kind_of(home: &DirHandle) -> FileSystem {
    const NFS: i64 = 0x6969;
    const SMB: [i64; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    const ZFS: i64 = 0x2fc1_2fc1;
    const BCACHEFS: i64 = 0xca45_1a4e;
    const RAMFS: i64 = 0x8584_58f6;
    // The field's width differs between targets.
    #[allow(clippy::unnecessary_cast)]
    match rustix::fs::fstatfs(home.file()).map(|s| s.f_type as i64) {
        Ok(t) if t == NFS || SMB.contains(&t) => FileSystem::Network,
        Ok(BTRFS | ZFS | BCACHEFS) => FileSystem::CopyOnWrite,
        Ok(TMPFS | RAMFS) => FileSystem::Memory,
        Ok(EXT4 | XFS) => FileSystem::Direct,
        _ => FileSystem::Local,
    }
}

#[cfg(target_os = "macos")]
fn kind_of(home: &DirHandle) -> FileSystem {
    let name: Vec<u8> = match rustix::fs::fstatfs(home.file()) {
        Ok(s) => s.f_fstypename.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect(),
        Err(_) => return FileSystem::Local,
    };
    match name.as_slice() {
        b"nfs" | b"smbfs" | b"afpfs" | b"webdav" => FileSystem::Network,
        b"apfs" => FileSystem::CopyOnWrite,
        _ => FileSystem::Local,
    }
}

#[cfg(windows)]
fn kind_of(home: &DirHandle) -> FileSystem {
    match home.file_system().as_deref() {
        _ if home.is_remote() => FileSystem::Network,
        Some("ReFS") => FileSystem::CopyOnWrite,
        _ => FileSystem::Local,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn kind_of(_home: &DirHandle) -> FileSystem {
    FileSystem::Local
}

#[cfg(target_os = "linux")]
fn open_past_cache(home: &DirHandle, name: &str) -> io::Result<fs::File> {
    home.open_file(name, Access::Through)
}

#[cfg(not(target_os = "linux"))]
fn open_past_cache(_home: &DirHandle, _name: &str) -> io::Result<fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes `to` share the blocks of `from`. Returns whether that succeeded.
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
        let names = self.home.names().map_err(|e| Fault::new("scandir", self.home.path().to_string_lossy(), &e))?;
        Ok(names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn open(&self, name: &str, write: bool) -> std::result::Result<FileRef, Fault> {
        let access = if write { Access::Write } else { Access::Read };
        let file = self.home.open_file(name, access).map_err(|e| self.fault("open", name, &e))?;
        Ok(self.file(name, file, false))
    }

    fn open_direct(&self, name: &str) -> Option<FileRef> {
        let file = (self.kind == FileSystem::Direct).then(|| open_past_cache(&self.home, name).ok())??;
        Some(self.file(name, file, true))
    }

    fn create(&self, name: &str, len: u64) -> std::result::Result<FileRef, Fault> {
        let file = self.home.open_file(name, Access::New).map_err(|e| self.fault("open", name, &e))?;
        // Only the copy of a file with holes is created empty.
        let allocated = if len == 0 { Ok(()) } else { allocate(&file, 0, len) };
        if let Err(e) = allocated {
            // Remove what was allocated, so that a full disk does not become fuller.
            let _ = self.home.remove(name);
            return Err(self.fault("fallocate", name, &e));
        }
        Ok(self.file(name, file, false))
    }

    fn rename(&self, from: &str, to: &str) -> std::result::Result<(), Fault> {
        self.home.rename(from, to).map_err(|e| self.fault("rename", from, &e))
    }

    fn remove(&self, name: &str) -> std::result::Result<(), Fault> {
        self.home.remove(name).map_err(|e| self.fault("unlink", name, &e))
    }

    fn sync_dir(&self) -> std::result::Result<(), Fault> {
        sync_open_directory(self.home.file()).map_err(|e| Fault::new("fsync", self.home.path().to_string_lossy(), &e))
    }

    fn home(&self) -> Option<&Arc<DirHandle>> {
        Some(&self.home)
    }

    fn lost(&self) -> Option<String> {
        self.home.lost()
    }

    fn find(&self, name: &str) -> std::result::Result<Option<Identity>, Fault> {
        self.home.find(name).map_err(|e| self.fault("stat", name, &e))
    }

    fn link(&self, from: &dyn Storage, name: &str) -> std::result::Result<bool, Fault> {
        let Some(from) = from.home() else { return Ok(false) };
        match self.home.link(from, name) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem) => {
                Err(self.fault("link", name, &e))
            }
            // The file is on another disk, the file system has no links, or the process may not link the file. The bytes
            // can still be copied.
            Err(_) => Ok(false),
        }
    }

    fn clone_file(&self, from: &dyn Storage, name: &str) -> std::result::Result<Option<FileRef>, Fault> {
        let Some(from) = from.home() else { return Ok(None) };
        let source = from.open_file(name, Access::Read).map_err(|e| self.fault("open", name, &e))?;
        let file = self.home.open_file(name, Access::New).map_err(|e| self.fault("open", name, &e))?;
        if clone_blocks(&file, &source) {
            return Ok(Some(self.file(name, file, false)));
        }
        self.home.remove(name).map_err(|e| self.fault("unlink", name, &e))?;
        Ok(None)
    }

    fn is_volatile(&self) -> bool {
        self.kind == FileSystem::Memory
    }

    fn overwrites_in_place(&self) -> bool {
        matches!(self.kind, FileSystem::Local | FileSystem::Direct)
    }

    /// Recycling is limited to file systems on which it was tested. Others may count names wrongly, or have readers on
    /// other machines.
    fn recycles(&self) -> bool {
        self.kind == FileSystem::Direct
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
