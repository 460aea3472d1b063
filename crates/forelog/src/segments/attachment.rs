//! Ties an open log to the path that it was opened by: its directory, and the files that it keeps open in it.
//!
//! Every call works on the open directory itself, wherever it is. If the directory is moved, removed or replaced, the log
//! therefore writes into no other directory. But a process that opens the path would not find the records that are
//! acknowledged from then on, so the log ends with `Detached` instead.

use crate::error::{Code, Error};
use crate::format::file_names::CONTROL;
use crate::storage::dir_handle::Identity;
use crate::storage::lock::Lock;
use crate::storage::{File, Storage};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Minimum time between two checks of a log that another process writes, in nanoseconds.
const LOOK_EVERY: u64 = 100_000_000;

/// Returns the `Detached` error. `what` says what became of the log.
pub fn detached(what: &str) -> Error {
    let text = format!("{what}: nothing more is written through this handle; close it, and open the log at its current path");
    Error::new(Code::Detached, text)
}

/// Returns the error for opening a log that this process already has open, from a path that no longer leads to it. `why` is
/// the error that the open log ended with.
pub fn detached_here(why: &Error) -> Error {
    let text =
        format!("this process already has the log open, from a path that no longer leads to it ({}): close that handle first", why.message);
    Error::new(Code::Detached, text)
}

/// Returns `error`, or a `Detached` error that explains it.
///
/// If `error` can come from a missing file and CONTROL is missing too, the files of the log were removed rather than
/// damaged.
pub fn explained(storage: &dyn Storage, error: Error) -> Error {
    let may_be_missing = error.code == Code::Corrupt || error.cause.as_ref().is_some_and(|fault| fault.is_not_found());
    if !may_be_missing || !is_emptied(storage) {
        return error;
    }
    let mut why = detached(&storage.lost().unwrap_or_else(|| file_lost(storage, CONTROL, false)));
    (why.operation, why.position, why.cause) = (error.operation, error.position, error.cause.clone());
    why
}

/// Whether CONTROL is missing from the directory. The files of a directory are removed before the directory itself is.
pub fn is_emptied(storage: &dyn Storage) -> bool {
    matches!(storage.find(CONTROL), Ok(None))
}

fn file_lost(storage: &dyn Storage, name: &str, replaced: bool) -> String {
    let dir = storage.home().map_or(String::new(), |home| format!(" in {}", home.path().display()));
    format!("{name}{dir} was {}", if replaced { "replaced by another file" } else { "removed" })
}

/// Says what became of the file `name`, which had this `identity`. Returns `None` if the name still leads to that file, or
/// if this cannot be determined.
fn name_lost(storage: &dyn Storage, name: &str, identity: Option<Identity>) -> Option<String> {
    let identity = identity?;
    match storage.find(name) {
        Ok(Some(found)) if found == identity => None,
        Ok(found) => Some(file_lost(storage, name, found.is_some())),
        Err(_) => None,
    }
}

/// Says what became of the directory, or of CONTROL in it. Returns `None` if both are still at the path. Costs two system
/// calls.
pub fn lost(storage: &dyn Storage, control: Option<Identity>) -> Option<String> {
    storage.lost().or_else(|| name_lost(storage, CONTROL, control))
}

/// The directory and files that must stay at the path for the writer of a log to go on.
pub struct Attachment {
    storage: Arc<dyn Storage>,
    control: Option<Identity>,
    /// `None` if the storage has no locks, as in a simulation.
    pub lock: Option<Arc<Lock>>,
}

impl Attachment {
    pub fn new(storage: Arc<dyn Storage>, control: &dyn File) -> Attachment {
        Attachment { storage, control: control.identity(), lock: None }
    }

    /// Returns the `Detached` error if the path no longer leads to the directory. Costs one system call, which is cheap
    /// beside an fsync.
    pub fn directory(&self) -> Option<Error> {
        self.storage.lost().map(|what| detached(&what))
    }

    /// Returns the `Detached` error if the directory, CONTROL, the active segment or LOCK is no longer at the path. If only
    /// LOCK is missing, it is put back.
    pub fn whole(&self, active: Option<(&str, &dyn File)>) -> Option<Error> {
        let storage = &*self.storage;
        let lost = lost(storage, self.control).or_else(|| active.and_then(|(name, file)| name_lost(storage, name, file.identity())));
        // LOCK comes last, so that it is never created in a directory that no longer belongs to the log.
        let lost = lost.or_else(|| self.lock.as_ref().and_then(|lock| lock.keep()));
        lost.map(|what| detached(&what))
    }
}

/// Detects that the path no longer leads to a log that another process writes.
pub struct Bond {
    control: Option<Identity>,
    /// Time of the last check, in nanoseconds of the caller's clock.
    looked: AtomicU64,
    lost: OnceLock<Error>,
}

impl Bond {
    pub fn new(control: &dyn File) -> Bond {
        Bond { control: control.identity(), looked: AtomicU64::new(0), lost: OnceLock::new() }
    }

    /// Whether the path still leads to the same log. Checks at most once per `LOOK_EVERY`. Once the answer is false it
    /// stays false.
    pub fn holds(&self, storage: &dyn Storage, now: u64) -> bool {
        if self.lost.get().is_some() {
            return false;
        }
        let due = now >= self.looked.load(Ordering::Relaxed).saturating_add(LOOK_EVERY);
        if !due {
            return true;
        }
        self.looked.store(now, Ordering::Relaxed);
        if let Some(what) = lost(storage, self.control) {
            let _ = self.lost.set(detached(&what));
        }
        self.lost.get().is_none()
    }

    /// Returns the error that the log ended with, if the path no longer leads to it.
    pub fn broken(&self) -> Option<&Error> {
        self.lost.get()
    }
}
