//! Footers of sealed segments, written in the background: one segment behind at most, and never over anything that may
//! be more than zeroes.

use crate::error::Fault;
use crate::format::footer::{self, Footer, Index, TRAILER};
use crate::format::frame::Seed;
use crate::format::frame_scan::{boundary_at, FrameBoundary};
use crate::format::header::{Header, Predecessor};
use crate::segments::catalog::CatalogSegment;
use crate::storage::window::Window;
use crate::storage::{File, FileRef, Storage};
use crate::util::healing::On;
use crate::util::limits::PAGE;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands at the end of a sealed segment's file.
pub enum FooterState {
    Footer(Footer),
    /// A trailer is there, but it and the bytes before it do not hold.
    Damaged,
    None,
}

/// Looks for the footer of the segment that `seed` is of.
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

/// A segment that a roll has left, and all that its footer says.
pub struct PendingFooter {
    /// The descriptor that wrote the frames.
    pub file: FileRef,
    pub seed: Seed,
    pub entry: Arc<CatalogSegment>,
    /// Where its successor says that it ends.
    pub end: FrameBoundary,
    /// From here on there are only zeroes: no frames, dead ones included, and no debris.
    pub used: u64,
}

impl PendingFooter {
    /// Places the footer, ends the file with it and makes that durable. Where it cannot be written now the segment goes without.
    pub fn write(&self) -> Result<(), Fault> {
        // `prefix` mode may leave a segment that was sealed before: a copy of the log may be the same file.
        if matches!(find_footer(&*self.file, self.seed), Ok(FooterState::Footer(_))) {
            return Ok(());
        }
        let footer = Footer { index: self.entry.index().below(self.end.offset), end: self.end };
        // On a page of its own: no sector that holds frames is written again.
        let start = self.used.next_multiple_of(PAGE);
        let bytes = footer.encode(self.seed, start);
        match self.place(&bytes, start) {
            Err(fault) if fault.heals(On::Named) => Ok(()),
            Err(fault) => Err(fault),
            Ok(()) => self.file.sync(),
        }
    }

    fn place(&self, bytes: &[u8], start: u64) -> Result<(), Fault> {
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

/// The newest sealed segment that opening found: whether it has a footer is not known yet.
pub struct UnindexedSegment {
    pub entry: Arc<CatalogSegment>,
    pub uuid: [u8; 16],
    /// What its successor says of it.
    pub sealed: Predecessor,
    /// Position after its last record.
    pub next: u64,
}

impl UnindexedSegment {
    /// What it takes to give it a footer; `None` if it has one, or does not read as its successor says: that is for
    /// readers to tell.
    fn examine(&self, storage: &dyn Storage, stopped: &AtomicBool) -> Result<Option<PendingFooter>, Fault> {
        let Predecessor { id, salt, end, crc } = self.sealed;
        let seed = Seed::new(&self.uuid, id, salt);
        let file = storage.open(&self.entry.file, true)?;
        if let FooterState::Footer(footer) = find_footer(&*file, seed)? {
            self.entry.adopt(footer.index);
            return Ok(None);
        }
        let mut page = vec![0; PAGE as usize];
        let n = file.read_at(&mut page, 0)?;
        let Some(header) = Header::decode(&page[..n]).ok().filter(|h| h.seed() == seed) else { return Ok(None) };
        let mut window = Window::new(&*file, file.len()?);
        let mut index = Index::default();
        let reached = boundary_at(&mut window, &header, end, |joint| {
            index.note(joint);
            !stopped.load(Ordering::Acquire)
        })?;
        let end = FrameBoundary { offset: end, next: self.next, crc };
        if reached != Some(end) {
            return Ok(None);
        }
        self.entry.adopt(index);
        let used = last_used(&mut window, end.offset)?;
        Ok(Some(PendingFooter { file, seed, entry: self.entry.clone(), end, used }))
    }
}

/// The end of what is not zero from `offset` on.
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

/// The footers of one log that are still to be written.
pub struct FooterWriter {
    storage: Arc<dyn Storage>,
    /// Held while a footer is written, so that the next roll waits for it.
    due: Mutex<VecDeque<PendingFooter>>,
    /// Held while it is read, which no roll waits for.
    bare: Mutex<Option<UnindexedSegment>>,
    waiting: AtomicBool,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FooterWriter {
    pub fn new(storage: Arc<dyn Storage>, bare: Option<UnindexedSegment>) -> FooterWriter {
        let (waiting, bare) = (AtomicBool::new(bare.is_some()), Mutex::new(bare));
        FooterWriter { storage, due: Mutex::default(), bare, waiting, stopped: AtomicBool::new(false) }
    }

    pub fn push(&self, seal: PendingFooter) {
        lock(&self.due).push_back(seal);
        self.waiting.store(true, Ordering::Release);
    }

    /// Claims the right to run `run`, if there is something for it to do.
    pub fn is_due(&self) -> bool {
        self.waiting.swap(false, Ordering::AcqRel)
    }

    /// Writes the footers that are due, blocking. An error is final.
    pub fn run(&self) -> Result<(), Fault> {
        self.flush()?;
        let mut bare = lock(&self.bare);
        // What does not read is left to whoever wants what is in it.
        let seal = bare.take().and_then(|bare| bare.examine(&*self.storage, &self.stopped).ok()).flatten();
        if let Some(seal) = seal {
            lock(&self.due).push_back(seal);
        }
        drop(bare);
        self.flush()
    }

    /// Forgets the segment `id`, whose file is about to be another's; false where a footer of it may be under way.
    pub fn release_segment(&self, id: u64) -> bool {
        // In this order: a segment found without a footer is due before the lock is free.
        let Ok(mut bare) = self.bare.try_lock() else { return false };
        bare.take_if(|bare| bare.entry.id == id);
        let Ok(mut due) = self.due.try_lock() else { return false };
        due.retain(|seal| seal.entry.id != id);
        true
    }

    /// Writes the footers of what rolls have left: before the next roll, and before a sealed file is put to other use.
    pub fn flush(&self) -> Result<(), Fault> {
        let mut due = lock(&self.due);
        while !self.stopped.load(Ordering::Acquire) {
            let Some(seal) = due.pop_front() else { break };
            seal.write()?;
        }
        Ok(())
    }

    /// No footer is begun from now on; does not wait.
    pub fn halt(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// The same, and waits for the one under way.
    pub fn stop(&self) {
        self.halt();
        lock(&self.bare).take();
        lock(&self.due).clear();
    }
}
