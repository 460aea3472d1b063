//! Which segments make up the log, for readers: written by the commit thread, read by everyone.

use crate::scan::Joint;
use crate::segment::{file_name, Header, Name};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A place is noted about this often in a segment written by this process, so that a reader can start near it.
const NOTE_EVERY: u64 = 64 << 10;

/// One segment of the log, as readers need it.
pub struct Segment {
    pub id: u64,
    pub first: u64,
    pub file: String,
    /// Joints between frames in ascending order, about every 64 KiB; empty for segments of an earlier process.
    notes: Mutex<Vec<Joint>>,
}

impl Segment {
    pub fn of_name(name: &Name) -> Segment {
        Segment { id: name.id, first: name.first, file: name.file.clone(), notes: Mutex::default() }
    }

    pub fn of_header(header: &Header) -> Segment {
        Segment { id: header.id, first: header.first, file: file_name(header.first, header.id), notes: Mutex::default() }
    }

    /// Notes those of `joints` that are far enough from the last note.
    pub fn note(&self, joints: &[Joint]) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        for joint in joints {
            if notes.last().map_or(0, |n| n.offset) + NOTE_EVERY <= joint.offset {
                notes.push(*joint);
            }
        }
    }

    /// The last noted joint at or before `position`.
    pub fn near(&self, position: u64) -> Option<Joint> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let after = notes.partition_point(|n| n.next <= position);
        after.checked_sub(1).map(|i| notes[i])
    }
}

/// The segments of the log in order, oldest first; never empty once the log is open.
#[derive(Default)]
pub struct Catalog {
    segments: RwLock<Vec<Arc<Segment>>>,
}

impl Catalog {
    pub fn replace(&self, segments: Vec<Arc<Segment>>) {
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = segments;
    }

    /// Adds the new active segment; segments that it supersedes are dead and leave the catalog.
    pub fn add(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.retain(|s| s.first < segment.first);
        segments.push(segment);
    }

    /// The segment that holds `position`, or would hold it next.
    pub fn holding(&self, position: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.first <= position);
        after.checked_sub(1).map(|i| segments[i].clone())
    }

    /// The segment after the one with `id`.
    pub fn following(&self, id: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.id <= id);
        segments.get(after).cloned()
    }
}
