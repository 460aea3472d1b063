//! A directory that is held open. Files are opened, renamed and removed in this very directory, whatever its path leads to
//! meanwhile.
//!
//! Windows has no such calls and takes a path for each of them. There the handle first compares the directory at the path
//! with the one it holds, and the writer's LOCK is opened so that neither LOCK nor the directory can be removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The access that a file is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing. The name must not exist.
    New,
    /// The file LOCK, which is created if it is missing.
    Lock,
    /// An existing file, for write-through: writes bypass the page cache and are durable once they return.
    #[cfg(target_os = "linux")]
    Through,
}

/// Distinguishes a directory or file from every other one for as long as it is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    /// ReFS numbers its files with 128 bits.
    index: u128,
}

impl Identity {
    /// Returns the identity of a file on a simulated disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn simulated(index: u64) -> Identity {
        Identity { device: 0, index: u128::from(index) }
    }

    /// Returns the identity of an open file or directory.
    pub fn of(file: &fs::File) -> io::Result<Identity> {
        identity_of(file)
    }

    /// Returns the identity of the file or directory at `path`. Symbolic links are followed.
    fn at(path: &Path) -> io::Result<Identity> {
        identity_at(path)
    }
}

/// An open directory, and the path that it was opened by.
pub struct DirHandle {
    /// The absolute path, so that a later change of the working directory does not matter.
    path: PathBuf,
    file: fs::File,
    identity: Identity,
}

impl DirHandle {
    pub fn open(dir: &Path) -> io::Result<DirHandle> {
        // Without a working directory, the path can only be used as it was given.
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let file = open_directory(&path)?;
        let identity = Identity::of(&file)?;
        Ok(DirHandle { path, file, identity })
    }

    /// Returns the path that the directory was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns the open directory, to be locked, synced, or queried for its file system.
    pub fn file(&self) -> &fs::File {
        &self.file
    }

    /// Whether `path` leads to this directory.
    pub fn is_at(&self, path: &Path) -> bool {
        Identity::at(path).is_ok_and(|found| found == self.identity)
    }

    /// Returns the identity of the file that has `name` in this directory now, or `None` if there is none.
    pub fn find(&self, name: &str) -> io::Result<Option<Identity>> {
        match self.identity_of(name) {
            Ok(identity) => Ok(Some(identity)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Says what became of the directory if its path no longer leads to it. Returns `None` if the path does, or if this
    /// cannot be determined.
    pub fn lost(&self) -> Option<String> {
        match Identity::at(&self.path) {
            Ok(found) if found == self.identity => None,
            Ok(_) => Some(format!("{}, and another directory has taken its place", self.fate())),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Some(self.fate()),
            // A path that cannot be examined says nothing about the directory.
            Err(_) => None,
        }
    }

    fn fate(&self) -> String {
        let path = self.path.display();
        if is_removed(&self.file) {
            return format!("the directory {path} was removed");
        }
        match self.now_at() {
            Some(now) => format!("the directory {path} was moved to {}", now.display()),
            None => format!("the directory {path} was moved away"),
        }
    }

    /// Returns the path of the directory now, if the system reports it.
    #[cfg(target_os = "linux")]
    fn now_at(&self) -> Option<PathBuf> {
        use std::os::fd::AsRawFd;
        let path = fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok()?;
        self.is_at(&path).then_some(path)
    }

    #[cfg(not(target_os = "linux"))]
    fn now_at(&self) -> Option<PathBuf> {
        None
    }
}

#[cfg(unix)]
mod system {
    use super::*;
    use rustix::fs::{AtFlags, Dir, Mode, OFlags};
    use rustix::io::retry_on_intr;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::MetadataExt;

    pub fn open_directory(path: &Path) -> io::Result<fs::File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?.into())
    }

    pub fn identity_of(file: &fs::File) -> io::Result<Identity> {
        file.metadata().map(|meta| Identity { device: meta.dev(), index: u128::from(meta.ino()) })
    }

    pub fn identity_at(path: &Path) -> io::Result<Identity> {
        fs::metadata(path).map(|meta| Identity { device: meta.dev(), index: u128::from(meta.ino()) })
    }

    pub fn is_removed(directory: &fs::File) -> bool {
        directory.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    impl DirHandle {
        pub fn open_file(&self, name: &str, access: Access) -> io::Result<fs::File> {
            let flags = match access {
                // `NONBLOCK` has an effect only on a pipe: opening one does not wait for its other end.
                Access::Read => OFlags::RDONLY | OFlags::NONBLOCK,
                Access::Write => OFlags::RDWR | OFlags::NONBLOCK,
                Access::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
                Access::Lock => OFlags::RDWR | OFlags::CREATE,
                // `libc` is used here because rustix's DSYNC is O_SYNC, which also makes the time of each write durable, at
                // twice the price.
                #[cfg(target_os = "linux")]
                Access::Through => OFlags::WRONLY | OFlags::from_bits_retain((libc::O_DIRECT | libc::O_DSYNC) as u32),
            };
            let mode = Mode::from_raw_mode(0o666);
            Ok(retry_on_intr(|| rustix::fs::openat(&self.file, name, flags | OFlags::CLOEXEC, mode))?.into())
        }

        pub fn names(&self) -> io::Result<Vec<OsString>> {
            // Open a separate file description, so that its read offset in the directory is not shared.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let mut names = Vec::new();
            for entry in Dir::new(retry_on_intr(|| rustix::fs::openat(&self.file, ".", flags, Mode::empty()))?)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(OsString::from_vec(name));
                }
            }
            Ok(names)
        }

        pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            Ok(rustix::fs::renameat(&self.file, from, &self.file, to)?)
        }

        pub fn remove(&self, name: &str) -> io::Result<()> {
            Ok(rustix::fs::unlinkat(&self.file, name, AtFlags::empty())?)
        }

        /// Makes a hard link to the file `name` of another directory, under the same name here.
        pub fn link(&self, from: &DirHandle, name: &str) -> io::Result<()> {
            Ok(rustix::fs::linkat(&from.file, name, &self.file, name, AtFlags::empty())?)
        }

        // The fields' types differ between systems.
        #[allow(clippy::unnecessary_cast)]
        pub(super) fn identity_of(&self, name: &str) -> io::Result<Identity> {
            let stat = rustix::fs::statat(&self.file, name, AtFlags::empty())?;
            Ok(Identity { device: stat.st_dev as u64, index: stat.st_ino as u128 })
        }
    }
}

#[cfg(windows)]
mod system {
    use super::*;
    use std::os::windows::ffi::OsStrExt;
    use std::os::windows::fs::OpenOptionsExt;
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Storage::FileSystem::*;

    pub fn open_directory(path: &Path) -> io::Result<fs::File> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        fs::OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)
    }

    fn information(file: &fs::File) -> io::Result<BY_HANDLE_FILE_INFORMATION> {
        let mut found = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: the handle is open as long as `file`, and the structure lives until the call returns.
        if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut found) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(found)
    }

    /// Fills in what the system knows about an open file as `class`, whose structure is `T`.
    ///
    /// # Safety
    /// `T` must be the structure that the class is documented with, and valid for every value of its bytes.
    unsafe fn ask<T: Default>(file: &fs::File, class: FILE_INFO_BY_HANDLE_CLASS) -> Option<T> {
        let mut found = T::default();
        // SAFETY: the handle is open as long as `file`, and the structure, which has the size that is passed, lives until the call returns.
        let known = unsafe { GetFileInformationByHandleEx(file.as_raw_handle(), class, (&raw mut found).cast(), size_of::<T>() as u32) };
        (known != 0).then_some(found)
    }

    /// The 64 bits of `BY_HANDLE_FILE_INFORMATION` are not unique on ReFS (learn.microsoft.com has a page of that name). They are used on
    /// the file systems that do not know the longer number, such as FAT.
    pub fn identity_of(file: &fs::File) -> io::Result<Identity> {
        // SAFETY: the structure belongs to the class and consists of numbers.
        if let Some(found) = unsafe { ask::<FILE_ID_INFO>(file, FileIdInfo) } {
            return Ok(Identity { device: found.VolumeSerialNumber, index: u128::from_le_bytes(found.FileId.Identifier) });
        }
        let found = information(file)?;
        let index = u128::from(found.nFileIndexHigh) << 32 | u128::from(found.nFileIndexLow);
        Ok(Identity { device: u64::from(found.dwVolumeSerialNumber), index })
    }

    pub fn identity_at(path: &Path) -> io::Result<Identity> {
        // Request no access, so that a file that is locked or open elsewhere can still be identified.
        let file = fs::OpenOptions::new().access_mode(0).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)?;
        identity_of(&file)
    }

    pub fn is_removed(directory: &fs::File) -> bool {
        information(directory).is_ok_and(|found| found.nNumberOfLinks == 0)
    }

    impl DirHandle {
        /// Returns the path of `name`, after checking that the directory's own path still leads to it.
        fn at(&self, name: &str) -> io::Result<PathBuf> {
            match Identity::at(&self.path) {
                Ok(found) if found != self.identity => Err(io::ErrorKind::NotFound.into()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(e),
                _ => Ok(self.path.join(name)),
            }
        }

        pub fn open_file(&self, name: &str, access: Access) -> io::Result<fs::File> {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(access != Access::Read);
            if access == Access::New {
                options.create_new(true);
            }
            if access == Access::Lock {
                // The file is not shared for deletion. As long as it is open, neither it nor the directory can be removed.
                options.create(true).share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE);
            }
            // Otherwise std shares for deletion too, so that a file that is open can be renamed and removed (learn.microsoft.com, "CreateFileW").
            options.open(self.at(name)?)
        }

        /// Whether the directory is on another machine. The system knows a protocol only for such files (learn.microsoft.com,
        /// "FILE_REMOTE_PROTOCOL_INFO").
        pub fn is_remote(&self) -> bool {
            // SAFETY: the structure belongs to the class and consists of numbers.
            unsafe { ask::<FILE_REMOTE_PROTOCOL_INFO>(&self.file, FileRemoteProtocolInfo) }.is_some()
        }

        /// Returns the name of the file system, such as `NTFS`, if the system reports it.
        pub fn file_system(&self) -> Option<String> {
            let mut name = [0u16; 64];
            let len = name.len() as u32;
            // SAFETY: the handle is open as long as `self`, `name` has room for `len` units, and no other answer is requested.
            let known = unsafe {
                GetVolumeInformationByHandleW(
                    self.file.as_raw_handle(),
                    std::ptr::null_mut(),
                    0,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    name.as_mut_ptr(),
                    len,
                )
            };
            let end = name.iter().position(|unit| *unit == 0)?;
            (known != 0).then(|| String::from_utf16_lossy(&name[..end]))
        }

        pub fn names(&self) -> io::Result<Vec<OsString>> {
            fs::read_dir(self.at(".")?)?.map(|entry| Ok(entry?.file_name())).collect()
        }

        /// Renames a file with write-through, because Windows cannot flush a directory: the call returns once the name is on the disk
        /// (learn.microsoft.com, "MoveFileExW").
        pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            let wide = |path: PathBuf| path.as_os_str().encode_wide().chain([0]).collect::<Vec<u16>>();
            let (from, to) = (wide(self.at(from)?), wide(self.path.join(to)));
            // SAFETY: both are NUL-terminated UTF-16 strings that live until the call returns.
            let moved = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) };
            if moved == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        }

        /// Removes a file. Where a reader has it open, NTFS frees the name at once from Windows 10 1809 on, and older versions do when the
        /// reader closes it.
        pub fn remove(&self, name: &str) -> io::Result<()> {
            fs::remove_file(self.at(name)?)
        }

        /// Makes a hard link to the file `name` of another directory, under the same name here.
        pub fn link(&self, from: &DirHandle, name: &str) -> io::Result<()> {
            fs::hard_link(from.at(name)?, self.at(name)?)
        }

        pub(super) fn identity_of(&self, name: &str) -> io::Result<Identity> {
            identity_at(&self.at(name)?)
        }
    }
}

use system::{identity_at, identity_of, is_removed, open_directory};
