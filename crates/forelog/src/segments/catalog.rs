//! Which segments make up the log, for readers: written by the commit thread, read by everyone.

use crate::format::file_names::{file_name, Name};
use crate::format::footer::Index;
use crate::format::frame::Seed;
use crate::format::frame_scan::FrameBoundary;
use crate::format::header::Header;
use crate::format::horizon::LogEnd;
use crate::segments::footer_writer::{find_footer, FooterState};
use crate::segments::reader_positions::ReaderPositions;
use crate::storage::{File, FileRef};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

/// One segment of the log, as readers need it.
pub struct CatalogSegment {
    pub id: u64,
    pub first: u64,
    pub file: String,
    /// Length of its file, 0 while nobody has asked: for the statistics alone.
    len: AtomicU64,
    known: Mutex<KnownIndex>,
    /// The file as its writer has it open.
    held: OnceLock<Weak<dyn File>>,
}

/// What is known of a segment's joints.
#[derive(Default)]
struct KnownIndex {
    /// Complete from the start of the segment up to its last joint.
    index: Index,
    /// There is no footer that would say more, or it has been read.
    asked: bool,
}

impl CatalogSegment {
    pub fn of_name(name: &Name) -> CatalogSegment {
        CatalogSegment {
            id: name.id,
            first: name.first,
            file: name.file.clone(),
            len: AtomicU64::new(0),
            known: Mutex::default(),
            held: OnceLock::new(),
        }
    }

    pub fn of_header(header: &Header) -> CatalogSegment {
        let known = Mutex::new(KnownIndex { asked: true, ..KnownIndex::default() });
        CatalogSegment {
            id: header.id,
            first: header.first,
            file: file_name(header.first, header.id),
            len: AtomicU64::new(0),
            known,
            held: OnceLock::new(),
        }
    }

    /// The writer has the file open, for as long as it goes on with the segment.
    pub fn hold(&self, file: &FileRef) {
        let _ = self.held.set(Arc::downgrade(file));
    }

    /// The file as its writer has it open, if it does.
    pub fn held(&self) -> Option<FileRef> {
        self.held.get().and_then(Weak::upgrade)
    }

    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// The length of its file as somebody saw it who did not write it.
    pub fn measured(&self, len: u64) {
        let _ = self.len.compare_exchange(0, len, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, KnownIndex> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up `joints`, which follow each other without a gap from a joint known before.
    pub fn note(&self, joints: &[FrameBoundary]) {
        let mut known = self.known();
        for joint in joints {
            known.index.note(*joint);
        }
    }

    /// Takes over an index of the whole segment.
    pub fn adopt(&self, index: Index) {
        *self.known() = KnownIndex { index, asked: true };
    }

    pub fn index(&self) -> Index {
        self.known().index.clone()
    }

    /// The last known joint at or before `position`. The first time, the footer is asked; without one, or where it
    /// does not read, the caller walks from the last joint on and notes what it passes.
    pub fn near(&self, position: u64, file: &dyn File, seed: Seed) -> Option<FrameBoundary> {
        if !std::mem::replace(&mut self.known().asked, true) {
            if let Ok(FooterState::Footer(footer)) = find_footer(file, seed) {
                self.adopt(footer.index);
            }
        }
        self.known().index.near(position)
    }
}

/// Where a log can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableEnd {
    /// Id of the active segment.
    pub segment: u64,
    /// What of it, and of the log, is durable.
    pub durable: LogEnd,
}

/// The segments of the log in order, oldest first; never empty once the log is open.
#[derive(Default)]
pub struct Catalog {
    segments: RwLock<Vec<Arc<CatalogSegment>>>,
    /// Where a backup may cut the log; `None` while nothing of the active segment is proven durable.
    end: Mutex<Option<DurableEnd>>,
    /// First position that counts.
    first: AtomicU64,
    /// Times that the log was cut.
    cuts: AtomicU64,
    pub places: ReaderPositions,
}

impl Catalog {
    /// Starts over with these segments.
    pub fn replace(&self, segments: Vec<Arc<CatalogSegment>>, first: u64) {
        self.first.store(first, Ordering::Release);
        self.change(|all| *all = segments);
    }

    /// First position that can be read.
    pub fn first(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    /// The log starts at `first` now; segments wholly below it leave the catalog.
    pub fn raise(&self, first: u64) {
        self.first.store(first, Ordering::Release);
        self.change(|segments| {
            let below = segments.partition_point(|s| s.first <= first).saturating_sub(1);
            segments.drain(..below);
        });
    }

    /// Adds the new active segment, durable up to `end`; segments that it supersedes are dead and leave the catalog.
    pub fn add(&self, segment: Arc<CatalogSegment>, end: DurableEnd) {
        self.change(|segments| {
            segments.retain(|s| s.first < segment.first);
            segments.push(segment);
            self.set_end(Some(end));
        });
    }

    /// How far the log is durable now.
    pub fn set_end(&self, end: Option<DurableEnd>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// Never one that a change of segments has left behind.
    pub fn end(&self) -> Option<DurableEnd> {
        let _unchanged = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same where the log is cut after `last`. Readers are told in the same breath: none of them sees the new
    /// order of things without knowing why.
    pub fn cut(&self, segment: Arc<CatalogSegment>, end: DurableEnd, last: u64) {
        self.change(|segments| {
            segments.retain(|s| s.first < segment.first);
            segments.push(segment);
            self.set_end(Some(end));
            self.places.cut(last);
        });
        self.cuts.fetch_add(1, Ordering::AcqRel);
    }

    /// The log starts over in `segment`, whatever was there before.
    pub fn restart(&self, segment: Arc<CatalogSegment>, end: DurableEnd) {
        self.change(|segments| {
            self.first.store(segment.first, Ordering::Release);
            self.set_end(Some(end));
            *segments = vec![segment];
            self.places.cut(0);
        });
        self.cuts.fetch_add(1, Ordering::AcqRel);
    }

    /// Another process has moved the log on; `kept` if positions after it were taken back.
    pub fn replace_from_remote(&self, segments: Vec<Arc<CatalogSegment>>, first: u64, kept: Option<u64>) {
        self.change(|all| {
            self.first.store(first, Ordering::Release);
            *all = segments;
            if let Some(kept) = kept {
                self.places.cut(kept);
            }
        });
        self.cuts.fetch_add(u64::from(kept.is_some()), Ordering::AcqRel);
    }

    /// Id of the newest segment.
    pub fn newest(&self) -> Option<u64> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).last().map(|s| s.id)
    }

    pub fn with_id(&self, id: u64) -> Option<Arc<CatalogSegment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).iter().find(|s| s.id == id).cloned()
    }

    /// How many times the log was cut since it was opened.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<CatalogSegment>>)) {
        change(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// All segments, oldest first.
    pub fn all(&self) -> Vec<Arc<CatalogSegment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The oldest segment.
    pub fn oldest(&self) -> Option<Arc<CatalogSegment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// All of them, the active one last.
    pub fn names(&self) -> Vec<Name> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|s| Name { first: s.first, id: s.id, file: s.file.clone() }).collect()
    }

    /// The segment that holds `position`, or would hold it next.
    pub fn segment_containing(&self, position: u64) -> Option<Arc<CatalogSegment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.first <= position);
        after.checked_sub(1).map(|i| segments[i].clone())
    }

    /// The segment after the one with `id`.
    pub fn following(&self, id: u64) -> Option<Arc<CatalogSegment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.id <= id);
        segments.get(after).cloned()
    }
}
