//! Queued changes of cursors, and the table that results from them. In memory only.

use super::codec::{Table, MAX_CURSORS};
use super::handle::CursorEntry;
use crate::error::{truncated, Code, Error, Result};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Called with the result of a change.
pub type Done<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// A change that waits for its fsync.
pub enum Change {
    Create(Arc<str>, Option<u64>, Done<Arc<CursorEntry>>),
    /// Moves a cursor forward, up to a position.
    Commit(Arc<CursorEntry>, u64, Done<()>),
    /// Moves a cursor back.
    Rewind(Arc<CursorEntry>, u64, Done<()>),
    Delete(Arc<CursorEntry>, Done<()>),
}

impl Change {
    /// Returns the position up to which the log has to be durable first.
    pub fn required_durable(&self) -> u64 {
        match self {
            Change::Create(_, Some(position), _) | Change::Commit(_, position, _) => *position,
            _ => 0,
        }
    }

    pub fn reject(self, error: Error) {
        match self {
            Change::Create(_, _, done) => done(Err(error)),
            Change::Commit(_, _, done) | Change::Rewind(_, _, done) => done(Err(error)),
            Change::Delete(entry, done) => {
                entry.deletions.fetch_sub(1, Ordering::AcqRel);
                done(Err(error));
            }
        }
    }
}

/// The table that results from applying the queued changes.
pub struct NextTable {
    pub table: Table,
    pub low_mark: u64,
    /// A cursor is created, moved back or deleted, so both slots have to be written.
    pub write_both_slots: bool,
    /// Cursors that were deleted. A later change may create another one of the same name.
    pub deleted: Vec<Arc<CursorEntry>>,
}

impl NextTable {
    pub fn apply(&mut self, change: &Change) -> Result<()> {
        let first = self.low_mark;
        match change {
            Change::Create(name, _, _) if self.table.contains_key(name) => {}
            Change::Create(..) if self.table.len() >= MAX_CURSORS => {
                return Err(Error::new(Code::TooLarge, format!("a log can have at most {MAX_CURSORS} cursors")));
            }
            Change::Create(name, position, _) => {
                self.table.insert(name.clone(), position.unwrap_or(first - 1));
                // If the new cursor were lost to rot, it would be made again, perhaps at a later position.
                self.write_both_slots = true;
            }
            Change::Commit(entry, position, _) => {
                let stored = self.of(entry)?;
                // A cursor stands at least before the first position.
                if *position > (*stored).max(first - 1) {
                    *stored = *position;
                }
            }
            Change::Rewind(entry, position, _) => {
                let stored = self.of(entry)?;
                let present = (*stored).max(first - 1);
                if *position > present {
                    let text = format!("position {position} is above the position of the cursor, {present}");
                    return Err(Error::new(Code::OutOfRange, text).at_position(*position));
                }
                if position + 1 < first {
                    return Err(truncated(position + 1, first));
                }
                *stored = *position;
                self.write_both_slots = true;
            }
            Change::Delete(entry, _) => {
                if self.of(entry).is_ok() {
                    self.table.remove(&entry.name);
                    self.deleted.push(entry.clone());
                    self.write_both_slots = true;
                }
            }
        }
        Ok(())
    }

    pub fn of(&mut self, entry: &Arc<CursorEntry>) -> Result<&mut u64> {
        let gone = entry.deleted.load(Ordering::Acquire) || self.deleted.iter().any(|deleted| Arc::ptr_eq(deleted, entry));
        self.table.get_mut(&entry.name).filter(|_| !gone).ok_or_else(|| entry.gone())
    }
}
