//! A cursor as its handles share it, and the moves by truncation that they report.

use crate::error::{Code, Error};
use crate::read::follow::Wake;
use crate::segments::reader_positions::ReaderPosition;
use crate::util::locks::locked;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A move of a cursor by truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorMove {
    /// Position of the cursor before the move.
    pub from: u64,
    /// Position of the cursor after the move.
    pub to: u64,
}

/// The consumers of one client of the log. What they have claimed is free once the client is gone.
#[derive(Default)]
pub struct Claimant;

/// A cursor, shared by all its handles.
pub struct CursorEntry {
    pub name: Arc<str>,
    /// Last position done, as far as durable.
    pub stored: AtomicU64,
    pub deleted: AtomicBool,
    /// Number of deletions that are queued and not done.
    pub deletions: AtomicU64,
    /// The move that happened before there was a handle to report it.
    pub unreported: Mutex<Option<CursorMove>>,
    pub handles: Mutex<Vec<Weak<CursorHandle>>>,
    /// Whose consumers have the cursor.
    claimed_by: Mutex<Weak<Claimant>>,
}

impl CursorEntry {
    pub fn new(name: Arc<str>, stored: u64) -> Arc<CursorEntry> {
        let [stored, deletions] = [stored, 0].map(AtomicU64::new);
        Arc::new(CursorEntry {
            name,
            stored,
            deleted: AtomicBool::new(false),
            deletions,
            unreported: Mutex::default(),
            handles: Mutex::default(),
            claimed_by: Mutex::default(),
        })
    }

    /// Whether the cursor is deleted, or will be before any change that is queued from now on.
    pub fn is_ending(&self) -> bool {
        self.deletions.load(Ordering::Acquire) > 0 || self.deleted.load(Ordering::Acquire)
    }

    /// Fails if the cursor is deleted.
    pub fn alive(&self) -> Result<(), Error> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(self.gone());
        }
        Ok(())
    }

    /// Claims the cursor for the consumers of `claimant`. Returns false if those of another client have it.
    pub fn claim(&self, claimant: &Weak<Claimant>) -> bool {
        let mut claimed_by = locked(&self.claimed_by);
        let is_free = claimed_by.strong_count() == 0 || claimed_by.ptr_eq(claimant);
        if is_free {
            *claimed_by = claimant.clone();
        }
        is_free
    }

    /// Ends the claim of `claimant`.
    pub fn unclaim(&self, claimant: &Weak<Claimant>) {
        let mut claimed_by = locked(&self.claimed_by);
        if claimed_by.ptr_eq(claimant) {
            *claimed_by = Weak::new();
        }
    }

    /// Whether the consumers of another client than `claimant` have the cursor.
    pub fn is_claimed_beside(&self, claimant: &Weak<Claimant>) -> bool {
        let claimed_by = locked(&self.claimed_by);
        claimed_by.strong_count() > 0 && !claimed_by.ptr_eq(claimant)
    }

    /// Ends all watching.
    pub fn release(&self) {
        let handles: Vec<_> = locked(&self.handles).iter().filter_map(Weak::upgrade).collect();
        handles.iter().for_each(|handle| handle.release());
    }

    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    pub fn gone(&self) -> Error {
        Error::new(Code::NotFound, format!("cursor {:?} has been deleted", self.name))
    }

    /// Reports a move to all handles, or to the next one if there is none now.
    pub fn report(&self, moved: CursorMove) {
        let mut handles = locked(&self.handles);
        handles.retain(|handle| handle.strong_count() > 0);
        if handles.is_empty() {
            return merge(&mut locked(&self.unreported), moved);
        }
        let wakes: Vec<Wake> = handles.iter().filter_map(Weak::upgrade).filter_map(|handle| handle.report(moved)).collect();
        drop(handles);
        wakes.into_iter().for_each(|wake| wake());
    }
}

/// A handle on a cursor, which learns of moves by truncation.
pub struct CursorHandle {
    pub entry: Arc<CursorEntry>,
    /// Records what truncations have kept since the handle last began to read.
    pub reader_position: Arc<ReaderPosition>,
    /// The move to report, and the watcher to wake for it.
    pub report: Mutex<(Option<CursorMove>, Option<Wake>)>,
}

impl CursorHandle {
    pub fn report(&self, moved: CursorMove) -> Option<Wake> {
        let mut report = locked(&self.report);
        merge(&mut report.0, moved);
        report.1.take()
    }

    /// Returns what truncation has done to the cursor since the last call.
    pub fn moved(&self) -> Option<CursorMove> {
        locked(&self.report).0.take()
    }

    /// Calls `wake` once `moved` has something to return. Calls it at once if that is so, or never will be.
    pub fn watch(&self, wake: Wake) {
        let mut report = locked(&self.report);
        if report.0.is_none() && self.entry.alive().is_ok() {
            report.1 = Some(wake);
            return;
        }
        drop(report);
        wake();
    }

    /// Ends watching. A watching caller is woken without a move.
    pub fn release(&self) {
        let wake = locked(&self.report).1.take();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Acknowledges all truncations so far: reading starts over.
    pub fn acknowledge_truncations(&self) {
        self.reader_position.acknowledge_truncations();
    }

    /// Acknowledges a truncation that kept all up to `kept`, above which this reader has returned nothing before it.
    pub fn acknowledge_truncation(&self, kept: u64) {
        self.reader_position.acknowledge_truncation(kept);
    }
}

/// Merges two moves in a row into one.
pub fn merge(report: &mut Option<CursorMove>, moved: CursorMove) {
    let from = report.map_or(moved.from, |earlier| earlier.from);
    *report = Some(CursorMove { from, to: moved.to }).filter(|moved| moved.from != moved.to);
}
