//! Named cursors whose calls block until the change is durable.

use crate::blocking::log::LogInner;
use crate::blocking::records::{Follower, Records};
use crate::cursors::CursorMove;
use crate::error::{closed, Result};
use crate::log::wal::NamedCursor;
use crate::segments::reader_positions::StartPosition;
use std::sync::mpsc::channel;
use std::sync::Arc;

/// A named position in a log: how far a consumer has processed it. The position is durable, and retention waits for it.
///
/// Made by [`Log::cursor`](crate::Log::cursor). All `LogCursor`s of one name share their position.
pub struct LogCursor {
    log: Arc<LogInner>,
    cursor: NamedCursor,
}

/// Calls `ask` with a callback, and waits for the result that the callback gets.
fn answer<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(Result<T>) + Send>)) -> Result<T> {
    let (send, receive) = channel();
    ask(Box::new(move |result| drop(send.send(result))));
    receive.recv().unwrap_or_else(|_| Err(closed()))
}

impl LogCursor {
    pub(super) fn open(log: Arc<LogInner>, name: &str, start: StartPosition) -> Result<LogCursor> {
        let cursor = answer(|done| log.wal.cursor(name, start, done))?;
        Ok(LogCursor { log, cursor })
    }

    /// Returns the name of the cursor.
    pub fn name(&self) -> &str {
        self.cursor.name()
    }

    /// Returns the last position that is done, 0 if there is none. If truncation has passed it, that is the position before the first of
    /// the log.
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Whether the cursor has been deleted.
    pub fn is_deleted(&self) -> bool {
        self.cursor.is_deleted()
    }

    /// Iterates over the acknowledged records that are not done yet. The iterator returns the errors of [`Records`].
    pub fn records(&self) -> Records {
        // Commits of positions that a truncation since now has removed are refused.
        self.cursor.acknowledge_truncations();
        Records::new(self.log.clone(), StartPosition::At(self.position() + 1), u64::MAX)
    }

    /// Iterates over the records that are not done yet, and waits at the end of the log for more. The iterator returns the errors of
    /// [`Follower`].
    pub fn follow(&self) -> Follower {
        self.cursor.acknowledge_truncations();
        Follower::new(self.log.clone(), StartPosition::At(self.position() + 1))
    }

    /// Stores that all records up to `position` are done. When the call returns, that is durable, and the log up to there as well. A
    /// position that the cursor has passed changes nothing. Commits of several threads share an fsync.
    ///
    /// # Errors
    /// [`OutOfRange`] if `position` is above what is acknowledged, [`Truncated`] if a truncation since the last [`LogCursor::records`] or
    /// [`LogCursor::follow`] has removed it, `NotFound` if the cursor was deleted, `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    ///
    /// [`OutOfRange`]: crate::Code::OutOfRange
    /// [`Truncated`]: crate::Code::Truncated
    pub fn commit(&self, position: u64) -> Result<()> {
        answer(|done| self.cursor.commit(position, done))
    }

    /// Moves the cursor back, durably, so that the records after `position` are to be done again.
    ///
    /// # Errors
    /// [`OutOfRange`] if `position` is above the cursor's, [`Truncated`] if it is below the position before the first of the log,
    /// `NotFound` if the cursor was deleted, `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    ///
    /// [`OutOfRange`]: crate::Code::OutOfRange
    /// [`Truncated`]: crate::Code::Truncated
    pub fn rewind(&self, position: u64) -> Result<()> {
        answer(|done| self.cursor.rewind(position, done))
    }

    /// Deletes the cursor, durably. Retention no longer waits for it.
    ///
    /// # Errors
    /// `NoSpace`, `Poisoned`, `Detached`, `Closed`.
    pub fn delete(&self) -> Result<()> {
        answer(|done| self.cursor.delete(done))
    }

    /// Returns how truncation has moved the cursor since the last call. The first call also reports a move since the last commit before
    /// this process opened the cursor.
    pub fn moved(&self) -> Option<CursorMove> {
        self.cursor.moved()
    }
}
