//! The lock that makes one process the only writer of a directory.
//!
//! The lock is held on the directory itself, which cannot be replaced under its writer, and on the file LOCK. Versions
//! before this one check only LOCK, which also holds the writer's process id. On a file system that cannot lock
//! directories, only LOCK is locked.

use super::dir_handle::{Access, DirHandle, Identity};
use crate::error::{Code, Error, Fault, Result};
use crate::format::file_names::LOCK;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many times a writer tries again while only readers hold the lock, which they do for a moment, and how long it waits
/// between two tries. Together this is two seconds.
const TRIES: usize = 1000;
const PAUSE: Duration = Duration::from_millis(2);

/// The lock on one directory. It is released when dropped.
pub struct Lock {
    home: Arc<DirHandle>,
    /// Whether the directory itself is locked. False if the file system cannot lock directories.
    on_directory: bool,
    /// The locked file LOCK.
    file: Mutex<File>,
}

/// The result of an attempt to lock a file for a writer.
enum Tried {
    Locked,
    /// Another writer holds the lock.
    Held,
    /// The file system does not support the lock.
    Unsupported,
}

/// Tries to lock `file` for a writer. Only another writer prevents that: a reader that checks for a writer holds a shared
/// lock, and only for a moment.
fn try_lock(file: &File) -> io::Result<Tried> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Tried::Locked),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return if is_unsupported(&e) { Ok(Tried::Unsupported) } else { Err(e) },
        }
        match file.try_lock_shared() {
            // The holder is a reader, since its lock can be shared.
            Ok(()) => file.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(Tried::Held),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Tried::Held)
}

/// Whether `error` means that the file system does not lock directories. NFS, for example, locks only files that are open
/// for writing.
fn is_unsupported(error: &io::Error) -> bool {
    #[cfg(unix)]
    if let Some(errno) = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        use rustix::io::Errno;
        return [Errno::BADF, Errno::INVAL, Errno::ISDIR, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK].contains(&errno);
    }
    error.kind() == io::ErrorKind::Unsupported
}

/// Whether a writer holds the lock on `file`.
fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

impl Lock {
    /// Takes the lock. If another writer has locked the directory, nothing is created.
    ///
    /// # Errors
    /// `Locked` if another writer holds it, with that writer's process id if LOCK names one. Any other failure to lock is
    /// an error too (`Io`, `NoSpace` or `ReadOnly`), because without a lock there must be no writer.
    pub fn acquire(home: &Arc<DirHandle>) -> Result<Lock> {
        let fault = |syscall, e: io::Error| Fault::new(syscall, home.path().join(LOCK).to_string_lossy(), &e);
        let on_directory = match lock_directory(home).map_err(|e| fault("flock", e))? {
            Tried::Locked => true,
            Tried::Held => return Err(locked_elsewhere(home)),
            Tried::Unsupported => false,
        };
        let file = home.open_file(LOCK, Access::Lock).map_err(|e| fault("open", e));
        let lock = match file {
            Ok(file) => Lock { home: home.clone(), on_directory, file: Mutex::new(file) },
            Err(fault) => {
                release_directory(home, on_directory);
                return Err(fault.into());
            }
        };
        let tried = try_lock(&lock.file());
        match tried.map_err(|e| fault("flock", e))? {
            Tried::Locked => Ok(lock),
            Tried::Held => Err(locked_elsewhere(home)),
            Tried::Unsupported => Err(fault("flock", io::ErrorKind::Unsupported.into()).into()),
        }
    }

    fn file(&self) -> std::sync::MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a writer holds the lock of the log in `home`. The check holds a shared lock for a moment.
    pub fn is_held(home: &DirHandle) -> Result<bool> {
        let fault = |syscall, e: io::Error| Fault::new(syscall, home.path().join(LOCK).to_string_lossy(), &e);
        if is_directory_locked(home).map_err(|e| fault("flock", e))? {
            return Ok(true);
        }
        match home.open_file(LOCK, Access::Read) {
            Ok(file) => Ok(is_locked(&file).map_err(|e| fault("flock", e))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(fault("open", e).into()),
        }
    }

    /// Writes the process id to LOCK, for the error message of a process that finds the directory locked. Nothing else
    /// depends on it.
    pub fn sign(&self) {
        let mut file = self.file();
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = write!(file, "{}", std::process::id());
    }

    /// Puts LOCK back if it was removed or replaced. The lock on the directory keeps other writers out, except versions
    /// that know only LOCK.
    ///
    /// Returns the reason why this writer must stop, if there is one: another process has locked the LOCK that is there
    /// now, or LOCK is gone and the directory itself is not locked.
    pub fn keep(&self) -> Option<String> {
        let mut file = self.file();
        let (held, named) = (Identity::of(&file), self.home.find(LOCK));
        if let (Ok(held), Ok(Some(named))) = (&held, &named) {
            if held == named {
                return None;
            }
        }
        let again = self.home.open_file(LOCK, Access::Lock).and_then(|again| try_lock(&again).map(|tried| (again, tried)));
        match again {
            Ok((again, Tried::Locked)) => {
                *file = again;
                drop(file);
                self.sign();
                None
            }
            Ok((_, Tried::Held)) => Some(format!("{LOCK} was replaced, and another process has locked the new file")),
            // The lock on the directory still keeps other writers out. The next check tries again.
            _ if self.on_directory => None,
            _ => Some(format!("{LOCK} was removed")),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Unlock explicitly instead of relying on the close. The file description may still be open elsewhere, for example
        // in a child process that is about to execute another program.
        let _ = self.file().unlock();
        release_directory(&self.home, self.on_directory);
    }
}

/// The maximum length of a process id in LOCK.
const PID_BYTES: u64 = 20;

fn locked_elsewhere(home: &DirHandle) -> Error {
    let mut text = String::new();
    // The process id is optional: the holder may not have written it yet, and the file may have any length.
    let _ = home.open_file(LOCK, Access::Read).and_then(|file| file.take(PID_BYTES).read_to_string(&mut text));
    let pid = text.trim().parse().ok();
    let holder = pid.map_or("another process".to_owned(), |pid: u32| format!("process {pid}"));
    let mut error = Error::new(Code::Locked, format!("the log in {} is open for writing in {holder}", home.path().display()));
    error.pid = pid;
    error.during("open")
}

#[cfg(unix)]
fn lock_directory(home: &DirHandle) -> io::Result<Tried> {
    try_lock(home.file())
}

#[cfg(unix)]
fn is_directory_locked(home: &DirHandle) -> io::Result<bool> {
    is_locked(home.file()).or_else(|e| if is_unsupported(&e) { Ok(false) } else { Err(e) })
}

#[cfg(unix)]
fn release_directory(home: &DirHandle, held: bool) {
    if held {
        let _ = home.file().unlock();
    }
}

/// Windows does not lock directories, and need not: LOCK is open in a way that prevents its removal.
#[cfg(not(unix))]
fn lock_directory(_home: &DirHandle) -> io::Result<Tried> {
    Ok(Tried::Unsupported)
}

#[cfg(not(unix))]
fn is_directory_locked(_home: &DirHandle) -> io::Result<bool> {
    Ok(false)
}

#[cfg(not(unix))]
fn release_directory(_home: &DirHandle, _held: bool) {}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Opens the directory as another process would.
    fn home(dir: &Path) -> Arc<DirHandle> {
        Arc::new(DirHandle::open(dir).unwrap())
    }

    fn acquire(dir: &Path) -> Result<Lock> {
        Lock::acquire(&home(dir))
    }

    #[test]
    fn no_second_writer_gets_in_whatever_happens_to_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join(LOCK);
        let first = acquire(dir.path()).unwrap();
        first.sign();
        let refused = acquire(dir.path()).err().unwrap();
        assert_eq!((refused.code, refused.pid), (Code::Locked, Some(std::process::id())));
        let tamper: [(&str, &dyn Fn()); 4] = [
            ("removed", &|| fs::remove_file(&lock).unwrap()),
            ("another file", &|| fs::write(&lock, "").unwrap()),
            ("a directory", &|| {
                fs::remove_file(&lock).unwrap();
                fs::create_dir(&lock).unwrap();
            }),
            ("moved away", &|| {
                fs::remove_dir(&lock).unwrap();
                fs::write(&lock, "").unwrap();
                fs::rename(&lock, dir.path().join("LOCK.old")).unwrap();
            }),
        ];
        for (what, tamper) in tamper {
            tamper();
            assert_eq!(acquire(dir.path()).err().map(|e| e.code), Some(Code::Locked), "{what}");
            assert!(Lock::is_held(&home(dir.path())).unwrap(), "{what}");
        }
        assert!(!lock.exists(), "a process that is refused creates nothing");
        drop(first);
        assert!(!Lock::is_held(&home(dir.path())).unwrap());
        acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_writer_of_a_version_that_locks_only_the_file_lock_keeps_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let older = File::create(dir.path().join(LOCK)).unwrap();
        older.lock().unwrap();
        assert_eq!(acquire(dir.path()).err().map(|e| e.code), Some(Code::Locked));
        assert!(Lock::is_held(&home(dir.path())).unwrap());
        // The writer that was refused must have released its lock on the directory.
        drop(older);
        acquire(dir.path()).unwrap();
    }

    #[test]
    fn readers_that_keep_checking_for_a_writer_do_not_block_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(acquire(dir.path()).unwrap());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let home = home(dir.path());
                    while !stop.load(Ordering::Acquire) {
                        Lock::is_held(&home).unwrap();
                    }
                });
            }
            for _ in 0..50 {
                let refused = acquire(dir.path()).err();
                stop.store(refused.is_some(), Ordering::Release);
                assert!(refused.is_none(), "{refused:?}");
            }
            stop.store(true, Ordering::Release);
        });
    }

    #[test]
    fn the_lock_is_released_even_if_a_child_process_still_has_its_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let lock = acquire(dir.path()).unwrap();
        // A fork leaves this in the child: another descriptor of the same file description.
        let (home, file) = (lock.home.file().try_clone().unwrap(), lock.file().try_clone().unwrap());
        drop(lock);
        acquire(dir.path()).unwrap();
        drop((home, file));
    }

    #[test]
    fn lock_is_recreated_only_if_it_can_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        let lock = acquire(dir.path()).unwrap();
        assert_eq!(lock.keep(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(lock.keep(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        fs::remove_file(&path).unwrap();
        let other = File::create(&path).unwrap();
        other.lock().unwrap();
        assert!(lock.keep().is_some_and(|why| why.contains("another process")));
        drop(other);
        assert_eq!(lock.keep(), None);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(lock.keep(), None, "the lock on the directory keeps other writers out");
    }
}
