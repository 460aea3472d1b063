//! Named cursors as their users hold them. Nothing here blocks: what is to become durable is told by a call.

use super::Wal;
use crate::cursors::{Handle, Moved};
use crate::error::{closed, Result};
use crate::log::state::LogState;
use crate::segments::reader_positions::Start;
use crate::util::pool;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A place in the log that outlives the process: how far somebody has worked it off. Clones, and handles of one name, share it.
#[derive(Clone)]
pub struct Cursor {
    shared: Arc<LogState>,
    handle: Arc<Handle>,
}

impl Wal {
    /// The cursor of a name from 1 to 255 bytes long, which is made if there is none: `done` is given it once it is durable.
    /// `start` is where a new one stands. It may be called at once, in this thread, or in one of the log's: it must return
    /// quickly.
    ///
    /// # Errors
    /// `done` is given `InvalidArg`, `Truncated` and `OutOfRange` for a start below the first position or above the next one,
    /// `TooLarge` when there are 4096 cursors, `Corrupt`, `Format` or `Io` when CURSORS does not read, `ReadOnly`, `NoSpace`,
    /// `Poisoned`, `Detached`, `Closed`.
    pub fn cursor(&self, name: &str, start: Start, done: impl FnOnce(Result<Cursor>) + Send + 'static) {
        if self.closed.load(Ordering::Acquire) {
            return done(Err(closed().during("cursor")));
        }
        let shared = self.shared.clone();
        let made = Box::new(move |made: Result<_>| {
            let cursor = made.map(|entry| {
                let place = shared.catalog.places.enter(u64::MAX);
                let handle = shared.cursors.handle(entry, place);
                Cursor { shared, handle }
            });
            done(cursor.map_err(|error| error.during("cursor")));
        });
        if self.shared.cursors.create(&*self.shared, name, start, made) {
            spawn(&self.shared);
        }
    }

    /// Names and positions of all cursors, in the order of the names.
    ///
    /// # Errors
    /// `Corrupt`, `Format` or `Io` when CURSORS does not read, `ReadOnly`, `Closed`.
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

impl Cursor {
    pub fn name(&self) -> &str {
        &self.handle.entry.name
    }

    /// Whether it has been deleted, through whatever handle, or will be before anything that is asked from now on: then
    /// [`Wal::cursor`] gives another one.
    pub fn is_deleted(&self) -> bool {
        self.handle.entry.is_ending()
    }

    /// Last position done, 0 when none. Where truncation has passed it, the one before the first of the log.
    pub fn position(&self) -> u64 {
        self.shared.cursors.position(&self.handle.entry)
    }

    /// Says that all records up to `position` are done; `done` is told once that is durable, and the log as far. A position
    /// that the cursor has passed changes nothing. Commits that wait share an fsync.
    ///
    /// # Errors
    /// `OutOfRange` above what is acknowledged; `Truncated` above where the log was cut since `heed`; `NotFound` when the
    /// cursor was deleted; `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    pub fn commit(&self, position: u64, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Box::new(|outcome: Result<()>| done(outcome.map_err(|error| error.during("commit"))));
        if self.shared.cursors.commit(&*self.shared, &self.handle, position, done) {
            spawn(&self.shared);
        }
    }

    /// Goes back: the records after `position` are to be done again. Durable when `done` is told.
    ///
    /// # Errors
    /// `OutOfRange` above the cursor's position, `Truncated` below the one before the first of the log, `NotFound`, `NoSpace`,
    /// `Poisoned`, `Detached`, `Closed`.
    pub fn rewind(&self, position: u64, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Box::new(|outcome: Result<()>| done(outcome.map_err(|error| error.during("rewind"))));
        if self.shared.cursors.rewind(&self.handle, position, done) {
            spawn(&self.shared);
        }
    }

    /// Ends the cursor, durably when `done` is told; retention does not wait for it any more.
    ///
    /// # Errors
    /// `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    pub fn delete(&self, done: impl FnOnce(Result<()>) + Send + 'static) {
        let done = Box::new(|outcome: Result<()>| done(outcome.map_err(|error| error.during("delete"))));
        if self.shared.cursors.delete(&self.handle, done) {
            spawn(&self.shared);
        }
    }

    /// Reading begins: what is committed from now on was read after the cuts so far.
    pub fn heed(&self) {
        self.handle.heed();
    }

    /// Who reads has come over a cut that kept all up to `kept`, and has got nothing above that before it.
    pub fn heed_if(&self, kept: u64) {
        self.handle.heed_if(kept);
    }

    /// What truncation has done to it since this was last asked, or since it was last committed before this process held it.
    pub fn moved(&self) -> Option<Moved> {
        self.handle.moved()
    }

    /// Calls `wake` once `moved` has something to tell, after `release`, or once the cursor is deleted. A later call takes its place.
    pub fn watch(&self, wake: impl FnOnce() + Send + 'static) {
        self.handle.watch(Box::new(wake));
    }

    /// Ends watching.
    pub fn release(&self) {
        self.handle.release();
    }
}
