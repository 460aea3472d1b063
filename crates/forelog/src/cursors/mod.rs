//! Named cursors: durable consumer positions. One job at a time writes the waiting changes, off the commit thread, and they share an fsync.
//!
//! The durable part of a cursor is a position that its owner has committed. If the log starts after that position, the cursor stands before
//! the first one; that follows from the low mark and is stored nowhere. If the log ends before that position, a truncation has taken back
//! records that were done. The cursor is durably moved back then, before anything more is acknowledged.

mod change;
pub mod codec;
mod handle;
mod store;
#[cfg(test)]
mod tests;
mod writing;

use crate::error::{closed, truncated, Code, Error, Fault, Result};
use crate::segments::reader_positions::{ReaderPosition, StartPosition};
use crate::storage::Storage;
use crate::util::locks::locked;
use change::{Change, Done};
use codec::{Table, MAX_NAME};
use handle::{merge, CursorEntry};
pub use handle::{Claimant, CursorHandle, CursorMove};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
pub use store::{adopted, clamped, copy, list, verify};
use store::{Failure, Store};
use writing::Running;

/// The operations of a log that its cursors need.
pub trait CursorLog {
    fn acknowledged(&self) -> u64;
    fn durable(&self) -> u64;
    /// Makes everything accepted so far durable, blocking.
    fn flush(&self) -> Result<()>;
    /// Fails if nothing may be written any more.
    fn alive(&self) -> Result<()>;
    /// Reports a failed fsync of CURSORS.
    fn report(&self, fault: Fault);
}

struct Inner {
    /// Every cursor with its durable position, or why the cursors are unknown.
    entries: Result<BTreeMap<Arc<str>, Arc<CursorEntry>>>,
    waiting: Vec<Change>,
    scheduled: bool,
    running: bool,
    closed: bool,
    /// Set once an fsync of CURSORS has failed.
    broken: Option<Error>,
}

impl Inner {
    fn entries(&self) -> Result<&BTreeMap<Arc<str>, Arc<CursorEntry>>> {
        self.entries.as_ref().map_err(Clone::clone)
    }
}

/// The cursors of one open log.
///
/// The lock of `store` is held while CURSORS is written. It is taken before the lock of `inner`, which is never held during I/O.
pub struct Cursors {
    inner: Mutex<Inner>,
    store: Mutex<Option<Store>>,
    idle: Condvar,
    /// Low mark of the log as far as cursors have been moved along with it. It changes together with the stored positions, so that no
    /// cursor shows a position in between while the log is reset.
    low_mark: AtomicU64,
}

fn none_there(position: u64, acknowledged: u64) -> Error {
    let text = format!("position {position} is above the last acknowledged position, {acknowledged}");
    Error::new(Code::OutOfRange, text).at_position(position)
}

impl Cursors {
    /// Opens the cursors of a log that has just been opened, goes from `low_mark` to `last`. Damage is reported when a cursor is
    /// asked for.
    ///
    /// # Errors
    /// A write or a sync failed, so nothing may be written. Or there is no file descriptor for CURSORS.
    pub fn open(storage: Arc<dyn Storage>, uuid: [u8; 16], low_mark: u64, last: u64) -> Result<Cursors> {
        let mut store = match Store::read(storage, uuid) {
            Ok(store) => store,
            // This passes: the next opening can read the file.
            Err(error) if error.cause.as_ref().is_some_and(Fault::is_out_of_descriptors) => return Err(error),
            Err(error) => return Ok(Cursors::unknown(error)),
        };
        let read = store.table().clone();
        let clamped: Table = read.iter().map(|(name, position)| (name.clone(), (*position).min(last))).collect();
        let written = store.confirm().and_then(|()| if clamped == read { Ok(()) } else { store.put(clamped.clone(), true) });
        match written {
            Ok(()) => {}
            Err(Failure::Refused(fault)) if !fault.is_out_of_descriptors() => return Ok(Cursors::unknown(fault.into())),
            Err(Failure::Refused(fault)) => return Err(fault.into()),
            Err(Failure::Broken(fault)) => return Err(fault.into()),
        }
        let mut entries = BTreeMap::new();
        for (name, stored) in clamped {
            let entry = CursorEntry::new(name.clone(), stored);
            let (from, to) = (read.get(&name).copied().unwrap_or(stored), stored.max(low_mark - 1));
            merge(&mut locked(&entry.unreported), CursorMove { from, to });
            entries.insert(name, entry);
        }
        Ok(Cursors::new(Ok(entries), Some(store), low_mark))
    }

    /// Creates cursors that are unknown, because of `why`.
    pub fn unknown(why: Error) -> Cursors {
        Cursors::new(Err(why), None, 1)
    }

    fn new(entries: Result<BTreeMap<Arc<str>, Arc<CursorEntry>>>, store: Option<Store>, low_mark: u64) -> Cursors {
        let inner = Inner { entries, waiting: Vec::new(), scheduled: false, running: false, closed: false, broken: None };
        Cursors { inner: Mutex::new(inner), store: Mutex::new(store), idle: Condvar::new(), low_mark: AtomicU64::new(low_mark) }
    }

    /// Returns the last position done, 0 if there is none.
    pub fn position(&self, entry: &CursorEntry) -> u64 {
        entry.stored().max(self.low_mark.load(Ordering::Acquire) - 1)
    }

    /// Returns names and positions, ordered by name.
    pub fn list(&self) -> Result<Vec<(Arc<str>, u64)>> {
        let inner = locked(&self.inner);
        if inner.closed {
            return Err(closed());
        }
        Ok(inner.entries()?.iter().map(|(name, entry)| (name.clone(), self.position(entry))).collect())
    }

    /// Returns the lowest position that is not done by every cursor; 1 if the cursors are unknown.
    pub fn floor(&self) -> u64 {
        match &locked(&self.inner).entries {
            Ok(entries) => entries.values().map(|entry| self.position(entry) + 1).min().unwrap_or(u64::MAX),
            Err(_) => 1,
        }
    }

    /// Adds a handle on a cursor.
    pub fn handle(&self, entry: Arc<CursorEntry>, reader_position: Arc<ReaderPosition>) -> Arc<CursorHandle> {
        let mut handles = locked(&entry.handles);
        let unreported = locked(&entry.unreported).take();
        let handle = Arc::new(CursorHandle { entry: entry.clone(), reader_position, report: Mutex::new((unreported, None)) });
        handles.push(Arc::downgrade(&handle));
        drop(handles);
        handle
    }

    /// Queues the creation of a cursor; resolves to the existing one if the name is taken. Returns whether the caller must schedule `run`.
    pub fn create(&self, log: &dyn CursorLog, name: &str, start: StartPosition, done: Done<Arc<CursorEntry>>) -> bool {
        self.enter(Change::Create(name.into(), None, done), |inner, change| {
            if let Change::Create(_, position, _) = change {
                *position = self.starting(inner, log, name, start)?;
            }
            Ok(())
        })
    }

    /// Returns the position of a new cursor; `None` stands for the one before the first, or for a cursor that exists.
    fn starting(&self, inner: &Inner, log: &dyn CursorLog, name: &str, start: StartPosition) -> Result<Option<u64>> {
        if !(1..=MAX_NAME).contains(&name.len()) {
            let text = format!("name must be from 1 to {MAX_NAME} bytes long, got {}", name.len());
            return Err(Error::new(Code::InvalidArg, text));
        }
        // A cursor that is being deleted is gone when the turn of this change comes.
        if inner.entries()?.get(name).is_some_and(|entry| !entry.is_ending()) {
            return Ok(None);
        }
        let (first, acknowledged) = (self.low_mark.load(Ordering::Acquire), log.acknowledged());
        match start {
            StartPosition::First => Ok(None),
            StartPosition::End => Ok(Some(acknowledged)),
            StartPosition::At(position) if position < first => Err(truncated(position, first)),
            StartPosition::At(position) if position > acknowledged.max(first - 1) + 1 => Err(none_there(position, acknowledged)),
            StartPosition::At(position) => Ok(Some(position - 1)),
        }
    }

    /// Queues a commit of everything up to `position`. Returns whether the caller must schedule `run`.
    pub fn commit(&self, log: &dyn CursorLog, handle: &CursorHandle, position: u64, done: Done<()>) -> bool {
        let entry = &handle.entry;
        self.enter(Change::Commit(entry.clone(), position, done), |_, _| {
            entry.alive()?;
            // A truncation updates reader positions before it looks at the waiting changes, so a commit of removed records is found by one
            // of the two.
            let kept = handle.reader_position.pending_truncation();
            if position > self.position(entry) && position > kept {
                let text = format!("the log was truncated after position {kept} since the cursor's reader began: read again from there");
                let mut error = Error::new(Code::Truncated, text).at_position(position);
                error.first_position = Some(self.low_mark.load(Ordering::Acquire));
                return Err(error);
            }
            let acknowledged = log.acknowledged();
            if position > acknowledged.max(self.position(entry)) {
                return Err(none_there(position, acknowledged));
            }
            Ok(())
        })
    }

    /// Queues a move back, after which the records after `position` are to be done again. Returns whether the caller must schedule `run`.
    pub fn rewind(&self, handle: &CursorHandle, position: u64, done: Done<()>) -> bool {
        self.enter(Change::Rewind(handle.entry.clone(), position, done), |_, _| handle.entry.alive())
    }

    /// Queues the deletion of a cursor. Deleting it again changes nothing. Returns whether the caller must schedule `run`.
    pub fn delete(&self, handle: &CursorHandle, done: Done<()>) -> bool {
        // Counted before any later change is queued, and until the deletion is done or rejected.
        handle.entry.deletions.fetch_add(1, Ordering::AcqRel);
        self.enter(Change::Delete(handle.entry.clone(), done), |_, _| Ok(()))
    }

    /// Queues a change if `check` passes, and rejects it otherwise. Returns whether the caller must schedule `run`.
    fn enter(&self, mut change: Change, check: impl FnOnce(&Inner, &mut Change) -> Result<()>) -> bool {
        let mut inner = locked(&self.inner);
        let passed = match &inner.broken {
            _ if inner.closed => Err(closed()),
            Some(error) => Err(error.clone()),
            None => inner.entries().map(|_| ()).and_then(|()| check(&inner, &mut change)),
        };
        if let Err(error) = passed {
            drop(inner);
            change.reject(error);
            return false;
        }
        inner.waiting.push(change);
        let due = !inner.scheduled && !inner.running;
        inner.scheduled |= due;
        due
    }

    /// Makes the waiting changes durable, and those queued meanwhile; blocking.
    pub fn run(&self, log: &dyn CursorLog) {
        {
            let mut inner = locked(&self.inner);
            inner.scheduled = false;
            if inner.running {
                return;
            }
            inner.running = true;
        }
        // Covers a panic as well, because closing the log waits for this.
        let _running = Running(self);
        while self.pass(log) {}
    }

    /// Accepts no more changes, and waits until the accepted ones are durable or rejected.
    pub fn finish(&self, log: &dyn CursorLog) {
        locked(&self.inner).closed = true;
        // A thread of the pool may not get to it before this thread has ended.
        self.run(log);
        let mut inner = locked(&self.inner);
        while inner.running {
            inner = self.idle.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let entries: Vec<_> = inner.entries.iter().flat_map(BTreeMap::values).cloned().collect();
        drop(inner);
        // No move is reported after this.
        entries.iter().for_each(|entry| entry.release());
    }

    /// Applies a truncation or a reset that is done and not settled yet, after which the log goes from `low_mark` to `last`. Cursors past
    /// `last` are durably moved back, and waiting changes past it are rejected.
    ///
    /// # Errors
    /// A write or a sync failed, so the log must not go on.
    pub fn truncate(&self, low_mark: u64, last: u64) -> std::result::Result<(), Fault> {
        let mut guard = locked(&self.store);
        let Some(store) = guard.as_mut() else { return Ok(()) };
        if let Some(fault) = locked(&self.inner).broken.as_ref().and_then(|error| error.cause.clone()) {
            return Err(fault);
        }
        self.reject(|change| change.required_durable() > last, &truncated(last + 1, low_mark));
        let clamped: Table = store.table().iter().map(|(name, position)| (name.clone(), (*position).min(last))).collect();
        let before = self.all_positions();
        if clamped != *store.table() {
            match store.put(clamped, true) {
                Ok(()) => {}
                Err(Failure::Refused(fault) | Failure::Broken(fault)) => return Err(fault),
            }
            self.update_stored(&locked(&self.inner), store);
        }
        self.low_mark.store(low_mark, Ordering::Release);
        self.report_moves(before);
        Ok(())
    }

    /// Applies a new low mark of the log.
    pub fn raise_low_mark(&self, low_mark: u64) {
        if self.low_mark.load(Ordering::Acquire) >= low_mark {
            return;
        }
        let before = self.all_positions();
        self.low_mark.store(low_mark, Ordering::Release);
        self.report_moves(before);
    }

    fn all_positions(&self) -> Vec<(Arc<CursorEntry>, u64)> {
        let inner = locked(&self.inner);
        inner.entries.iter().flat_map(BTreeMap::values).map(|entry| (entry.clone(), self.position(entry))).collect()
    }

    fn report_moves(&self, before: Vec<(Arc<CursorEntry>, u64)>) {
        for (entry, from) in before {
            let to = self.position(&entry);
            // A commit that became durable meanwhile may have moved it as well.
            if to != from && to != entry.stored().max(from) {
                entry.report(CursorMove { from, to });
            }
        }
    }
}
