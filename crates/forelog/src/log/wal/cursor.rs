//! Named cursors as their users hold them. No call blocks: when a change is durable, a callback reports its result.

use super::Wal;
use crate::cursors::{Claimant, CursorHandle, CursorMove};
use crate::error::{closed, Result};
use crate::log::state::LogState;
use crate::segments::reader_positions::StartPosition;
use crate::util::pool;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// A position in the log that outlives the process: how far a consumer has processed it. Clones, and handles of one name, share it.
#[derive(Clone)]
pub struct NamedCursor {
    shared: Arc<LogState>,
    handle: Arc<CursorHandle>,
    claimant: Weak<Claimant>,
}

impl Wal {
    /// Opens the cursor of this name, or creates it at `start`. `done` gets the cursor once it is durable. A name has 1 to 255 bytes.
    /// `done` may be called at once in this thread, or in one of the log's threads, and must return quickly.
    ///
    /// # Errors
    /// `done` gets `Truncated` or `OutOfRange` if `start` is below the first position or above the next one, `InvalidArg` if the name is
    /// invalid, `TooLarge` if there are 4096 cursors, `Corrupt`, `Format` or `Io` if CURSORS cannot be read, `ReadOnly`, `NoSpace`,
    /// `Poisoned`, `Detached` or `Closed`.
    pub fn cursor(&self, name: &str, start: StartPosition, done: impl FnOnce(Result<NamedCursor>) + Send + 'static) {
        if self.closed.load(Ordering::Acquire) {
            return done(Err(closed().during("cursor")));
        }
        let shared = self.shared.clone();
        let claimant = Arc::downgrade(&self.claimant);
        let made = Box::new(move |made: Result<_>| {
            let cursor = made.map(|entry| {
                let position = shared.catalog.reader_positions.enter(u64::MAX);
                let handle = shared.cursors.handle(entry, position);
                NamedCursor { shared, handle, claimant }
            });
            done(cursor.map_err(|error| error.during("cursor")));
        });
        if self.shared.cursors.create(&*self.shared, name, start, made) {
            spawn(&self.shared);
        }
    }

    /// Returns the names and positions of all cursors, ordered by name.
    ///
    /// # Errors
    /// `Corrupt`, `Format` or `Io` if CURSORS cannot be read, `ReadOnly`, `Closed`.
    pub fn cursors(&self) -> Result<Vec<(Arc<str>, u64)>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed().during("cursors"));
        }
        self.shared.cursors.list().map_err(|error| error.during("cursors"))
    }
}

fn spawn(shared: &Arc<LogState>) {
    let shared = shared.clone();
    pool::spawn(move || shared.cursors.run(&*shared));
}

impl NamedCursor {
    /// Returns the name of the cursor.
    pub fn name(&self) -> &str {
        &self.handle.entry.name
    }

    /// Whether the cursor has been deleted through any handle, or will be before any later call. [`Wal::cursor`] then opens another one.
    pub fn is_deleted(&self) -> bool {
        self.handle.entry.is_ending()
    }

    /// Claims the cursor for the consumers of the client that opened this handle. Returns false if those of another client of the process have
    /// it. The claim ends with [`NamedCursor::unclaim`], and with the client.
    pub fn claim(&self) -> bool {
        self.handle.entry.claim(&self.claimant)
    }

    /// Ends the claim.
    pub fn unclaim(&self) {
        self.handle.entry.unclaim(&self.claimant);
    }

    /// Whether the consumers of another client of the process have the cursor.
    pub fn is_claimed_beside(&self) -> bool {
        self.handle.entry.is_claimed_beside(&self.claimant)
    }

    /// Returns the last position done, 0 if there is none. If truncation has passed it, that is the position before the first of the log.
    pub fn position(&self) -> u64 {
        self.shared.cursors.position(&self.handle.entry)
    }

    /// Commits that all records up to `position` are done. `done` is called once that is durable, and the log up to there as well. A
    /// position that the cursor has passed changes nothing. Commits that wait at the same time share an fsync.
    ///
    /// # Errors
    /// `OutOfRange` if `position` is above what is acknowledged, `Truncated` if it is above what a truncation since
    /// [`NamedCursor::acknowledge_truncations`] has kept, `NotFound` if the cursor was deleted; `NoSpace`, `Poisoned`, `Detached`,
    /// `Closed`.
    pub fn commit(&self, position: u64, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Box::new(|outcome: Result<()>| done(outcome.map_err(|error| error.during("commit"))));
        if self.shared.cursors.commit(&*self.shared, &self.handle, position, done) {
            spawn(&self.shared);
        }
    }

    /// Moves the cursor back, so that the records after `position` are to be done again. The change is durable when `done` is called.
    ///
    /// # Errors
    /// `OutOfRange` if `position` is above the cursor's, `Truncated` if it is below the position before the first of the log, `NotFound` if
    /// the cursor was deleted; `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    pub fn rewind(&self, position: u64, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Box::new(|outcome: Result<()>| done(outcome.map_err(|error| error.during("rewind"))));
        if self.shared.cursors.rewind(&self.handle, position, done) {
            spawn(&self.shared);
        }
    }

    /// Deletes the cursor, durably when `done` is called. Retention no longer waits for it.
    ///
    /// # Errors
    /// `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    pub fn delete(&self, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Box::new(|outcome: Result<()>| done(outcome.map_err(|error| error.during("delete"))));
        if self.shared.cursors.delete(&self.handle, done) {
            spawn(&self.shared);
        }
    }

    /// Acknowledges all truncations so far: reading starts over.
    pub fn acknowledge_truncations(&self) {
        self.handle.acknowledge_truncations();
    }

    /// Acknowledges a truncation that kept all up to `kept`, above which this reader has returned nothing before it.
    pub fn acknowledge_truncation(&self, kept: u64) {
        self.handle.acknowledge_truncation(kept);
    }

    /// Returns what truncation has done to the cursor since the last call, or since its last commit before this process opened it.
    pub fn moved(&self) -> Option<CursorMove> {
        self.handle.moved()
    }

    /// Calls `wake` once `moved` has something to return, once the cursor is deleted, or at `release`. A later call replaces this one.
    pub fn watch(&self, wake: impl FnOnce() + Send + 'static) {
        self.handle.watch(Box::new(wake));
    }

    /// Ends watching.
    pub fn release(&self) {
        self.handle.release();
    }
}
