//! What ties an open log to the path that it was opened by: its directory, and the files that it keeps open there.
//!
//! Every call works on the directory itself, wherever it is, so a log whose directory was moved, removed or replaced writes
//! into no other one. But nobody finds at the path what it acknowledges from then on: it ends with `Detached` instead.

use crate::error::{Code, Error};
use crate::format::file_names::CONTROL;
use crate::storage::dir_handle::Identity;
use crate::storage::lock::Lock;
use crate::storage::{File, Storage};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A follower's log is looked at this often, in nanoseconds.
const LOOK_EVERY: u64 = 100_000_000;

/// The error for a log of which `what` has become.
pub fn detached(what: &str) -> Error {
    let text = format!("{what}: nothing more is written through this handle; close it, and open the log where it is now");
    Error::new(Code::Detached, text)
}

/// The error for opening a log that this process has open as `why` says, at a path that is not its own any more.
pub fn detached_here(why: &Error) -> Error {
    let text = format!(
        "this process has the log open already, from a path that does not lead to it any more ({}): close it there first",
        why.message
    );
    Error::new(Code::Detached, text)
}

/// `error`, or what explains it: where CONTROL is missing as well, the files of the log were removed, and not damaged.
pub fn explained(storage: &dyn Storage, error: Error) -> Error {
    let may_be_missing = error.code == Code::Corrupt || error.cause.as_ref().is_some_and(|fault| fault.is_not_found());
    if !may_be_missing || !is_emptied(storage) {
        return error;
    }
    let mut why = detached(&storage.lost().unwrap_or_else(|| file_lost(storage, CONTROL, false)));
    (why.operation, why.position, why.cause) = (error.operation, error.position, error.cause.clone());
    why
}

/// Whether the files of the log were removed from its directory, as they are before the directory itself is.
pub fn is_emptied(storage: &dyn Storage) -> bool {
    matches!(storage.find(CONTROL), Ok(None))
}

fn file_lost(storage: &dyn Storage, name: &str, replaced: bool) -> String {
    let dir = storage.home().map_or(String::new(), |home| format!(" in {}", home.path().display()));
    format!("{name}{dir} was {}", if replaced { "replaced by another file" } else { "removed" })
}

/// What has become of the name of a file that is known by `identity`; `None` while it is the file's, and where that cannot be
/// told.
fn name_lost(storage: &dyn Storage, name: &str, identity: Option<Identity>) -> Option<String> {
    let identity = identity?;
    match storage.find(name) {
        Ok(Some(found)) if found == identity => None,
        Ok(found) => Some(file_lost(storage, name, found.is_some())),
        Err(_) => None,
    }
}

/// What has become of the directory, or of CONTROL in it; `None` while both are at the path. Two calls.
pub fn lost(storage: &dyn Storage, control: Option<Identity>) -> Option<String> {
    storage.lost().or_else(|| name_lost(storage, CONTROL, control))
}

/// What a writer holds on to.
pub struct Attachment {
    storage: Arc<dyn Storage>,
    control: Option<Identity>,
    /// `None` where nothing is locked, as in a simulation.
    pub lock: Option<Arc<Lock>>,
}

impl Attachment {
    pub fn new(storage: Arc<dyn Storage>, control: &dyn File) -> Attachment {
        Attachment { storage, control: control.identity(), lock: None }
    }

    /// Whether the path leads to the directory still: one call, cheap beside an fsync.
    pub fn directory(&self) -> Option<Error> {
        self.storage.lost().map(|what| detached(&what))
    }

    /// Whether directory, CONTROL, the active segment and LOCK are all at the path; LOCK is put back where it was removed.
    pub fn whole(&self, active: Option<(&str, &dyn File)>) -> Option<Error> {
        let storage = &*self.storage;
        let lost = lost(storage, self.control).or_else(|| active.and_then(|(name, file)| name_lost(storage, name, file.identity())));
        // LOCK last: nothing is put into a directory that is not the log's any more.
        let lost = lost.or_else(|| self.lock.as_ref().and_then(|lock| lock.keep()));
        lost.map(|what| detached(&what))
    }
}

/// How a log that another process writes is known again.
pub struct Bond {
    control: Option<Identity>,
    /// When it was looked at last.
    looked: AtomicU64,
    lost: OnceLock<Error>,
}

impl Bond {
    pub fn new(control: &dyn File) -> Bond {
        Bond { control: control.identity(), looked: AtomicU64::new(0), lost: OnceLock::new() }
    }

    /// Looks whether the path leads to the same log still, unless that was done a moment ago; false from the first time that
    /// it does not.
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

    /// Why the log cannot go on.
    pub fn broken(&self) -> Option<&Error> {
        self.lost.get()
    }
}
