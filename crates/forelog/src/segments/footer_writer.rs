//! Writes the footers of sealed segments in the background. The footer of a segment is written before the next roll, and
//! never over frames or debris.

use crate::error::Fault;
use crate::format::footer::{self, Footer, Index, TRAILER};
use crate::format::frame::Seed;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::segments::catalog::CatalogSegment;
use crate::segments::frame_scan::boundary_at;
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::storage::{File, FileRef, Storage};
use crate::util::healing::On;
use crate::util::limits::PAGE;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The contents of the end of a sealed segment's file.
pub enum FooterState {
    Footer(Footer),
    /// There is a trailer, but the checksum of the footer does not match.
    Damaged,
    None,
}

/// Looks for the footer of the segment that `seed` belongs to.
pub fn find_footer(file: &dyn File, seed: Seed) -> Result<FooterState, Fault> {
    let len = file.len()?;
    let mut trailer = [0; TRAILER];
    let Some(at) = len.checked_sub(TRAILER as u64) else { return Ok(FooterState::None) };
    let n = file.read_at(&mut trailer, at)?;
    let Some(start) = footer::begin(&trailer[..n], len) else { return Ok(FooterState::None) };
    let mut bytes = vec![0; (len - start) as usize];
    let n = file.read_at(&mut bytes, start)?;
    Ok(Footer::decode(&bytes[..n], seed, start).map_or(FooterState::Damaged, FooterState::Footer))
}

/// A segment that was sealed and needs a footer, with everything that the footer says.
pub struct PendingFooter {
    /// The descriptor that wrote the frames.
    pub file: FileRef,
    pub seed: Seed,
    pub entry: Arc<CatalogSegment>,
    /// The end of the segment, as its successor records it.
    pub end: FrameBoundary,
    /// From this offset on the file holds no frames, dead ones included, and no debris: only zeroes, or stale bytes of a
    /// recycled file.
    pub used: u64,
}

impl PendingFooter {
    /// Writes the footer, makes the file end with it, and syncs the file. If the footer cannot be written now but the
    /// failure is harmless, the segment stays without one.
    pub fn write(&self) -> Result<(), Fault> {
        // After opening in mode `prefix` the segment may already have been sealed before. A copy of the log may share its
        // file.
        if matches!(find_footer(&*self.file, self.seed), Ok(FooterState::Footer(_))) {
            return Ok(());
        }
        let footer = Footer { index: self.entry.index().below(self.end.offset), end: self.end };
        // The footer begins on a page of its own, so that no sector that holds frames is written again.
        let start = self.used.next_multiple_of(PAGE);
        let bytes = footer.encode(self.seed, start);
        match self.write_at_end(&bytes, start) {
            Err(fault) if fault.heals(On::Named) => Ok(()),
            Err(fault) => Err(fault),
            Ok(()) => self.file.sync(),
        }
    }

    fn write_at_end(&self, bytes: &[u8], start: u64) -> Result<(), Fault> {
        let (len, end) = (self.file.len()?, start + bytes.len() as u64);
        if len > end {
            self.file.shrink(end);
        } else if len < end {
            self.file.grow(len, end)?;
        }
        self.entry.set_len(end);
        self.file.write_at(bytes, start).map_err(|short| short.fault)
    }
}

/// The newest sealed segment that opening found. Whether it has a footer is not known yet.
pub struct UnindexedSegment {
    pub entry: Arc<CatalogSegment>,
    pub uuid: [u8; 16],
    /// The segment's end, as its successor records it.
    pub sealed: Predecessor,
    /// Position after its last record.
    pub next: u64,
}

impl UnindexedSegment {
    /// Reads the segment and returns the footer that it needs.
    ///
    /// Returns `None` if the segment has a footer, or if its frames do not lead to the end that its successor records. Such
    /// damage is reported by the readers that meet it.
    fn examine(&self, storage: &dyn Storage, stopped: &AtomicBool) -> Result<Option<PendingFooter>, Fault> {
        let Predecessor { id, salt, end, crc } = self.sealed;
        let SegmentFile { file, header, .. } = SegmentFile::open(storage, &self.entry.file, true)?;
        let is_ours = |header: &Header| (header.uuid, header.id, header.salt) == (self.uuid, id, salt);
        let Some(header) = header.ok().filter(is_ours) else { return Ok(None) };
        let seed = header.seed();
        if let FooterState::Footer(footer) = find_footer(&*file, seed)? {
            self.entry.set_index(footer.index);
            return Ok(None);
        }
        let mut window = Window::new(&*file, file.len()?);
        let mut index = Index::default();
        let reached = boundary_at(&mut window, &header, end, |frame, boundary| {
            index.note_frame(frame, boundary);
            !stopped.load(Ordering::Acquire)
        })?;
        let end = FrameBoundary { offset: end, next: self.next, crc };
        if reached != Some(end) {
            return Ok(None);
        }
        self.entry.set_index(index);
        let used = last_used(&mut window, end.offset)?;
        Ok(Some(PendingFooter { file, seed, entry: self.entry.clone(), end, used }))
    }
}

/// Returns the end of the last byte from `offset` on that is not zero.
fn last_used(bytes: &mut Window, offset: u64) -> Result<u64, Fault> {
    let (mut at, mut used) = (offset, offset);
    while at < bytes.len() {
        at = bytes.next_data(at);
        let piece = bytes.some(at, u64::MAX)?;
        if piece.is_empty() {
            break;
        }
        used = piece.iter().rposition(|b| *b != 0).map_or(used, |i| at + i as u64 + 1);
        at += piece.len() as u64;
    }
    Ok(used)
}

/// The footers of one log that still have to be written.
pub struct FooterWriter {
    storage: Arc<dyn Storage>,
    /// Locked while a footer is written, so that the next roll waits for it.
    due: Mutex<VecDeque<PendingFooter>>,
    /// Locked while that segment is read. No roll waits for this lock.
    unindexed: Mutex<Option<UnindexedSegment>>,
    waiting: AtomicBool,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FooterWriter {
    pub fn new(storage: Arc<dyn Storage>, unindexed: Option<UnindexedSegment>) -> FooterWriter {
        let (waiting, unindexed) = (AtomicBool::new(unindexed.is_some()), Mutex::new(unindexed));
        FooterWriter { storage, due: Mutex::default(), unindexed, waiting, stopped: AtomicBool::new(false) }
    }

    pub fn push(&self, footer: PendingFooter) {
        lock(&self.due).push_back(footer);
        self.waiting.store(true, Ordering::Release);
    }

    /// Whether there is work for [`FooterWriter::run`]. The caller that gets `true` must call it.
    pub fn is_due(&self) -> bool {
        self.waiting.swap(false, Ordering::AcqRel)
    }

    /// Writes the footers that are due, blocking. An error is final.
    pub fn run(&self) -> Result<(), Fault> {
        self.flush()?;
        let mut unindexed = lock(&self.unindexed);
        // If the segment cannot be read, the error is left to the reader that needs its records.
        let footer = unindexed.take().and_then(|unindexed| unindexed.examine(&*self.storage, &self.stopped).ok()).flatten();
        if let Some(footer) = footer {
            lock(&self.due).push_back(footer);
        }
        drop(unindexed);
        self.flush()
    }

    /// Forgets the segment `id`, whose file is about to be recycled. Returns false if its footer may be being written at
    /// this moment.
    pub fn release_segment(&self, id: u64) -> bool {
        // The order matters: a segment that turns out to have no footer is in `due` before the lock on `unindexed` is released.
        let Ok(mut unindexed) = self.unindexed.try_lock() else { return false };
        unindexed.take_if(|unindexed| unindexed.entry.id == id);
        let Ok(mut due) = self.due.try_lock() else { return false };
        due.retain(|footer| footer.entry.id != id);
        true
    }

    /// Writes the footers of the segments that rolls have sealed. Called before the next roll, and before the file of a
    /// sealed segment is recycled.
    pub fn flush(&self) -> Result<(), Fault> {
        let mut due = lock(&self.due);
        while !self.stopped.load(Ordering::Acquire) {
            let Some(footer) = due.pop_front() else { break };
            footer.write()?;
        }
        Ok(())
    }

    /// Prevents further footers from being started. Does not wait.
    pub fn halt(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Prevents further footers from being started, and waits for the one that is being written.
    pub fn stop(&self) {
        self.halt();
        lock(&self.unindexed).take();
        lock(&self.due).clear();
    }
}
