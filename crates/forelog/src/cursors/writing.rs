//! Writes the waiting changes of cursors to CURSORS, with one fsync for all of them.

use super::change::{Change, NextTable};
use super::handle::CursorEntry;
use super::store::{Failure, Store};
use super::{none_there, CursorLog, Cursors, Inner};
use crate::error::{Code, Error, Fault, Result};
use crate::util::locks::locked;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A truncation may come between a flush and the look at the durable horizon, but not this often.
const FLUSHES: usize = 3;

impl Cursors {
    /// Handles the changes that wait now. Returns false if there are none.
    pub(super) fn pass(&self, log: &dyn CursorLog) -> bool {
        let needed = {
            let mut inner = locked(&self.inner);
            match inner.waiting.iter().map(Change::required_durable).max() {
                Some(needed) => needed,
                None => {
                    inner.running = false;
                    self.idle.notify_all();
                    return false;
                }
            }
        };
        if let Err(error) = log.alive() {
            self.reject(|_| true, &error);
            return true;
        }
        // Records that a cursor says are done must be in the log after a power loss.
        for _ in 0..FLUSHES {
            if needed <= log.durable() {
                break;
            }
            if let Err(error) = log.flush() {
                let durable = log.durable();
                self.reject(|change| change.required_durable() > durable, &error);
                return true;
            }
        }
        let durable = log.durable();
        if needed > durable {
            // A truncation has passed these positions, or something is wrong. Flushing again would not help.
            self.reject(|change| (durable + 1..=needed).contains(&change.required_durable()), &none_there(needed, durable));
        }
        let callbacks = self.write(log);
        callbacks.into_iter().for_each(|callback| callback());
        true
    }

    pub(super) fn reject(&self, which: impl Fn(&Change) -> bool, error: &Error) {
        let rejected: Vec<Change> = {
            let mut inner = locked(&self.inner);
            let (rejected, kept) = std::mem::take(&mut inner.waiting).into_iter().partition(which);
            inner.waiting = kept;
            rejected
        };
        rejected.into_iter().for_each(|change| change.reject(error.clone()));
    }

    /// Writes the waiting changes in order, as far as the log is durable. Returns the callbacks to call.
    fn write(&self, log: &dyn CursorLog) -> Vec<Box<dyn FnOnce()>> {
        let mut guard = locked(&self.store);
        let Some(store) = guard.as_mut() else { return Vec::new() };
        let mut inner = locked(&self.inner);
        if let Some(error) = inner.broken.clone() {
            drop(inner);
            self.reject(|_| true, &error);
            return Vec::new();
        }
        let durable = log.durable();
        let ready = inner.waiting.iter().take_while(|change| change.required_durable() <= durable).count();
        let mut changes: Vec<Change> = inner.waiting.drain(..ready).collect();
        drop(inner);

        let mut callbacks: Vec<Box<dyn FnOnce()>> = Vec::new();
        let (mut outcomes, mut written) = self.put(store, &changes);
        if let Err(Failure::Refused(fault)) = &written {
            // Only a new cursor needs space or a new file, so the other changes are written without it.
            let error = Error::from(fault.clone());
            let (new, old): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| matches!(change, Change::Create(..)));
            callbacks.push(Box::new(move || new.into_iter().for_each(|change| change.reject(error.clone()))));
            changes = old;
            (outcomes, written) = self.put(store, &changes);
        }
        let error = match written {
            Ok(()) => None,
            Err(Failure::Refused(fault)) => Some(Error::from(fault)),
            Err(Failure::Broken(fault)) => Some(self.broke(log, fault)),
        };
        let mut inner = locked(&self.inner);
        for (change, outcome) in changes.into_iter().zip(outcomes) {
            let outcome = error.clone().map_or(outcome, Err);
            match (change, outcome) {
                (change, Err(error)) => callbacks.push(Box::new(move || change.reject(error))),
                (Change::Create(name, _, done), Ok(())) => {
                    let stored = store.table().get(&name).copied().unwrap_or(0);
                    let entry = match &mut inner.entries {
                        Ok(entries) => entries.entry(name.clone()).or_insert_with(|| CursorEntry::new(name, stored)).clone(),
                        Err(_) => CursorEntry::new(name, stored),
                    };
                    callbacks.push(Box::new(move || done(Ok(entry))));
                }
                (Change::Delete(entry, done), Ok(())) => {
                    entry.deleted.store(true, Ordering::Release);
                    entry.deletions.fetch_sub(1, Ordering::AcqRel);
                    if let Ok(entries) = &mut inner.entries {
                        entries.retain(|_, other| !Arc::ptr_eq(other, &entry));
                    }
                    callbacks.push(Box::new(move || {
                        // Its handles have nothing to watch any more.
                        entry.release();
                        done(Ok(()));
                    }));
                }
                (Change::Commit(_, _, done) | Change::Rewind(_, _, done), Ok(())) => callbacks.push(Box::new(move || done(Ok(())))),
            }
        }
        self.update_stored(&inner, store);
        callbacks
    }

    /// Applies the changes one after the other and makes the result durable. Returns the outcome that each change has if that succeeds.
    fn put(&self, store: &mut Store, changes: &[Change]) -> (Vec<Result<()>>, std::result::Result<(), Failure>) {
        let mut next = NextTable {
            table: store.table().clone(),
            low_mark: self.low_mark.load(Ordering::Acquire),
            write_both_slots: false,
            deleted: Vec::new(),
        };
        let outcomes = changes.iter().map(|change| next.apply(change)).collect();
        let written = if next.table == *store.table() { Ok(()) } else { store.put(next.table, next.write_both_slots) };
        (outcomes, written)
    }

    /// Sets the cursors to what is durable now.
    pub(super) fn update_stored(&self, inner: &Inner, store: &Store) {
        for entry in inner.entries.iter().flat_map(BTreeMap::values) {
            if let Some(stored) = store.table().get(&entry.name) {
                entry.stored.store(*stored, Ordering::Release);
            }
        }
    }

    fn broke(&self, log: &dyn CursorLog, fault: Fault) -> Error {
        let mut error = Error::new(Code::Poisoned, format!("the log is poisoned until it is reopened: {fault}"));
        error.cause = Some(fault.clone());
        locked(&self.inner).broken = Some(error.clone());
        log.report(fault);
        error
    }
}

/// Resets `running` if a pass panics.
pub struct Running<'a>(pub &'a Cursors);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            locked(&self.0.inner).running = false;
            self.0.idle.notify_all();
        }
    }
}
