//! The catalog: the list of segments that make up the log. The thread that has the log writes it, and all readers use it.

use crate::format::commit_times::CommitTimes;
use crate::format::file_names::{file_name, Name};
use crate::format::footer::Index;
use crate::format::frame::Seed;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::segments::footer_writer::{find_footer, FooterState};
use crate::segments::log_ends::{DurableEnd, Ends, LogEnds};
use crate::segments::reader_positions::ReaderPositions;
use crate::storage::{File, FileRef};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

/// One segment of the log, with the state that readers need.
pub struct CatalogSegment {
    pub id: u64,
    pub first: u64,
    pub file: String,
    /// Length of the file, or 0 if it is not known yet. Only the statistics use it.
    len: AtomicU64,
    known: Mutex<KnownIndex>,
    /// The writer's handle on the file, set by [`CatalogSegment::lend_file`].
    lent: OnceLock<Weak<dyn File>>,
}

/// The frame boundaries of a segment that are known so far.
#[derive(Default)]
struct KnownIndex {
    /// A sparse index without gaps, from the start of the segment to the last known frame boundary.
    index: Index,
    /// The footer has been read, or there is none to read.
    asked: bool,
    /// The times of the index are those of all records.
    has_times: bool,
}

impl CatalogSegment {
    pub fn of_name(name: &Name) -> CatalogSegment {
        CatalogSegment {
            id: name.id,
            first: name.first,
            file: name.file.clone(),
            len: AtomicU64::new(0),
            known: Mutex::default(),
            lent: OnceLock::new(),
        }
    }

    pub fn of_header(header: &Header) -> CatalogSegment {
        let known = Mutex::new(KnownIndex { asked: true, has_times: true, ..KnownIndex::default() });
        CatalogSegment {
            id: header.id,
            first: header.first,
            file: file_name(header.first, header.id),
            len: AtomicU64::new(0),
            known,
            lent: OnceLock::new(),
        }
    }

    /// Lends the writer's handle to readers for as long as the writer keeps it open.
    pub fn lend_file(&self, file: &FileRef) {
        let _ = self.lent.set(Arc::downgrade(file));
    }

    /// Returns the writer's handle on the file, if the writer still has it open.
    pub fn lent_file(&self) -> Option<FileRef> {
        self.lent.get().and_then(Weak::upgrade)
    }

    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// Sets a length that was measured from outside. A length that is already known, such as the writer's, is kept.
    pub fn measured(&self, len: u64) {
        let _ = self.len.compare_exchange(0, len, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, KnownIndex> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `boundaries` to the index. They must follow a known frame boundary without a gap.
    pub fn add_index_entries(&self, boundaries: &[FrameBoundary]) {
        let mut known = self.known();
        for boundary in boundaries {
            known.index.note(*boundary);
        }
    }

    /// Adds the frames of one write, which end at `boundaries`. They were committed at `committed_ms`, 0 if they are padding.
    pub fn add_frames(&self, boundaries: &[FrameBoundary], committed_ms: u64) {
        let mut known = self.known();
        boundaries.iter().for_each(|boundary| known.index.note(*boundary));
        known.index.times.note(committed_ms);
    }

    /// Replaces the index by one of the whole segment.
    pub fn set_index(&self, index: Index) {
        *self.known() = KnownIndex { index, asked: true, has_times: true };
    }

    pub fn index(&self) -> Index {
        self.known().index.clone()
    }

    /// Returns the last known frame boundary at or before `position`.
    ///
    /// The first call reads the footer. If there is none, or it does not decode, the caller reads frame headers from the
    /// last known boundary on and adds the boundaries that it passes.
    pub fn index_entry_before(&self, position: u64, file: &dyn File, seed: Seed) -> Option<FrameBoundary> {
        self.ask(file, seed);
        self.known().index.near(position)
    }

    /// Returns when the records were committed, `None` if neither the writer nor a footer says so. The first call reads the footer.
    pub fn times(&self, file: &dyn File, seed: Seed) -> Option<CommitTimes> {
        self.ask(file, seed);
        let known = self.known();
        known.has_times.then_some(known.index.times)
    }

    /// Returns the greatest time of the records, as far as it is known without reading anything.
    pub fn greatest_known(&self) -> u64 {
        self.known().index.times.greatest
    }

    /// Reads the footer, unless that was done before.
    fn ask(&self, file: &dyn File, seed: Seed) {
        if !std::mem::replace(&mut self.known().asked, true) {
            if let Ok(FooterState::Footer(footer)) = find_footer(file, seed) {
                self.set_index(footer.index);
            }
        }
    }
}

fn drop_below(segments: &mut Vec<Arc<CatalogSegment>>, position: u64) {
    let below = segments.partition_point(|s| s.first <= position).saturating_sub(1);
    segments.drain(..below);
}

/// The segments of the log in order, oldest first; never empty once the log is open.
#[derive(Default)]
pub struct Catalog {
    segments: RwLock<Vec<Arc<CatalogSegment>>>,
    pub ends: Arc<LogEnds>,
    pub reader_positions: ReaderPositions,
}

impl Catalog {
    /// Replaces all segments and the low mark.
    pub fn replace(&self, segments: Vec<Arc<CatalogSegment>>, low_mark: u64) {
        self.change(|all, ends| {
            ends.low_mark = low_mark;
            *all = segments;
        });
    }

    /// Raises the low mark to `low_mark`. Segments that lie wholly below it leave the catalog.
    pub fn raise_low_mark(&self, low_mark: u64) {
        self.change(|segments, ends| {
            ends.low_mark = low_mark;
            drop_below(segments, low_mark);
        });
    }

    /// Makes segments that lie wholly below `position` leave the catalog, because their files are about to be removed. The low mark stays:
    /// it may be lower, if a reset has lowered it and CONTROL does not show that yet.
    pub fn drop_below(&self, position: u64) {
        self.change(|segments, _| drop_below(segments, position));
    }

    /// Adds the new active segment, which is durable up to `end`. Segments that it supersedes are dead and leave the
    /// catalog.
    pub fn add(&self, segment: Arc<CatalogSegment>, end: DurableEnd) {
        self.change(|segments, ends| {
            segments.retain(|s| s.first < segment.first);
            segments.push(segment);
            ends.durable_end = Some(end);
        });
    }

    /// Returns the durable end. It is consistent with the segment list: both are read under the same lock.
    pub fn durable_end(&self) -> Option<DurableEnd> {
        let _unchanged = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        self.ends.get().durable_end
    }

    /// Like [`Catalog::add`], for a truncation after `last`. Reader positions are updated under the same lock, so no reader
    /// sees the new segments without also seeing the truncation.
    pub fn truncate_after(&self, segment: Arc<CatalogSegment>, end: DurableEnd, last: u64) {
        self.change(|segments, ends| {
            segments.retain(|s| s.first < segment.first);
            segments.push(segment);
            ends.cut_to(end);
            self.reader_positions.truncate(last);
        });
    }

    /// Makes `segment` the only one, and the log empty. Every reader learns that no position after `kept` is valid any more.
    pub fn restart(&self, segment: Arc<CatalogSegment>, end: DurableEnd, kept: u64) {
        self.change(|segments, ends| {
            ends.low_mark = segment.first;
            ends.cut_to(end);
            *segments = vec![segment];
            self.reader_positions.truncate(kept);
        });
    }

    /// Takes over the segments and low mark that another process has published. If positions were taken back, `kept` is the
    /// last position that remained valid.
    pub fn replace_from_remote(&self, segments: Vec<Arc<CatalogSegment>>, low_mark: u64, kept: Option<u64>) {
        self.change(|all, ends| {
            ends.low_mark = low_mark;
            ends.truncations += u64::from(kept.is_some());
            *all = segments;
            if let Some(kept) = kept {
                self.reader_positions.truncate(kept);
            }
        });
    }

    /// First position that can be read.
    pub fn low_mark(&self) -> u64 {
        self.ends.low_mark()
    }

    /// Returns how many truncations from the end there were since the log was opened, resets included.
    pub fn truncation_count(&self) -> u64 {
        self.ends.get().truncations
    }

    /// Changes the segments and the ends together. A reader that takes the lock of the segments sees all of the change or nothing of it.
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<CatalogSegment>>, &mut Ends)) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        self.ends.change(|ends| change(&mut segments, ends));
    }

    /// Id of the newest segment.
    pub fn newest_id(&self) -> Option<u64> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).last().map(|s| s.id)
    }

    pub fn with_id(&self, id: u64) -> Option<Arc<CatalogSegment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).iter().find(|s| s.id == id).cloned()
    }

    /// All segments, oldest first.
    pub fn all(&self) -> Vec<Arc<CatalogSegment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The oldest segment.
    pub fn oldest(&self) -> Option<Arc<CatalogSegment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Returns the names of all segments, the active one last.
    pub fn names(&self) -> Vec<Name> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|s| Name { first: s.first, id: s.id, file: s.file.clone() }).collect()
    }

    /// Returns the segment that holds `position`, or that will hold it once it is written.
    pub fn segment_containing(&self, position: u64) -> Option<Arc<CatalogSegment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.first <= position);
        after.checked_sub(1).map(|i| segments[i].clone())
    }

    /// Returns the segment that follows the one with `id`.
    pub fn segment_after(&self, id: u64) -> Option<Arc<CatalogSegment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.id <= id);
        segments.get(after).cloned()
    }
}
