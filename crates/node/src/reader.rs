//! Reading of blocks; each read is a job on the engine's pool.

use crate::convert::FlippedData;
use crate::environment::{Outcome, Shared};
use crate::error::panicked;
use crate::wire;
use forelog::{Block, Hole, Place, Ticket};
use napi::bindgen_prelude::ToNapiValue;
use napi::{check_status, sys};
use napi_derive::napi;
use std::mem::size_of_val;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A block of verified records, with an index of their fields.
#[napi(object, object_from_js = false)]
pub struct BlockData {
    pub first_position: f64,
    /// Number of records.
    pub records: u32,
    /// Number of extras.
    pub extras: u32,
    /// Three parts in sequence: the extras, the index, and the bytes that the index refers to.
    ///
    /// The extras are doubles: `expiresAt` (one), then term and index (two) of the records that have them. The index has `INDEX_ENTRIES`
    /// unsigned 32-bit numbers per record: see `wire`.
    ///
    /// In a block of a detailed reader the extras are unsigned 64-bit integers instead of doubles.
    #[napi(ts_type = "Buffer")]
    pub memory: Packed,
    /// Positions missing before the first record: those that a salvaging reader skipped, and those that were lost before this log was made.
    pub holes: Option<Vec<HoleData>>,
    /// Atomic batches, only of a detailed reader: for each the index of its first record in this block, and the number of its records.
    pub batches: Option<Vec<u32>>,
}

/// Positions that no readable frame holds.
#[napi(object, object_from_js = false)]
pub struct HoleData {
    pub first: f64,
    pub last: f64,
    pub segment: String,
    pub offset: f64,
    pub bytes: f64,
    pub flipped: Option<FlippedData>,
    /// Present if the log itself records the loss; nothing is damaged then.
    pub recorded: Option<bool>,
}

impl From<Hole> for HoleData {
    fn from(hole: Hole) -> Self {
        HoleData {
            first: hole.first as f64,
            last: hole.last as f64,
            segment: hole.segment,
            offset: hole.offset as f64,
            bytes: hole.bytes as f64,
            flipped: hole.flipped.map(Into::into),
            recorded: hole.recorded.then_some(true),
        }
    }
}

impl From<Block> for BlockData {
    fn from(mut block: Block) -> Self {
        let holes = std::mem::take(&mut block.holes);
        let batches = std::mem::take(&mut block.batches);
        BlockData {
            batches: (!batches.is_empty()).then(|| batches.into_iter().flat_map(batch_entries).collect()),
            holes: (!holes.is_empty()).then(|| holes.into_iter().map(Into::into).collect()),
            first_position: block.first_position as f64,
            records: (block.index.len() / wire::INDEX_ENTRIES) as u32,
            extras: block.extras.len() as u32,
            memory: Packed(block),
        }
    }
}

/// Returns the numbers of one batch.
fn batch_entries((first, records): (u32, u32)) -> [u32; wire::BATCH_ENTRIES] {
    let mut entries = [0; wire::BATCH_ENTRIES];
    entries[wire::BATCH_FIRST] = first;
    entries[wire::BATCH_RECORDS] = records;
    entries
}

/// Copies a block into one buffer allocated by JavaScript. Memory of Rust, passed as an external buffer, would be freed only by a full
/// garbage collection: V8 keeps objects with a finalizer alive through all scavenges, and blocks would pile up.
pub struct Packed(Block);

impl ToNapiValue for Packed {
    unsafe fn to_napi_value(env: sys::napi_env, Packed(block): Self) -> napi::Result<sys::napi_value> {
        let parts: [(*const u8, usize); 3] = [
            (block.extras.as_ptr().cast(), size_of_val(block.extras.as_slice())),
            (block.index.as_ptr().cast(), size_of_val(block.index.as_slice())),
            (block.bytes.as_ptr(), block.bytes.len()),
        ];
        let len = parts.iter().map(|(_, len)| len).sum();
        let (mut data, mut buffer) = (ptr::null_mut(), ptr::null_mut());
        check_status!(sys::napi_create_buffer(env, len, &mut data, &mut buffer))?;
        let mut at = data.cast::<u8>();
        for (part, len) in parts {
            ptr::copy_nonoverlapping(part, at, len);
            at = at.add(len);
        }
        Ok(buffer)
    }
}

struct Source {
    shared: Arc<Shared>,
    reader: Mutex<Option<forelog::Reader>>,
    place: Arc<Place>,
    released: AtomicBool,
    /// Wait of a follower, to be ended by `wake`.
    ticket: Mutex<Option<Ticket>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Completes a request with the next block, or without one at the end or after a release. If a follower has caught up, the request is
    /// completed later, after the next wake.
    fn serve(self: Arc<Self>, request: f64, max_bytes: usize) {
        let read = catch_unwind(AssertUnwindSafe(|| self.next(request, max_bytes)));
        match read.unwrap_or_else(|panic| Err(panicked(panic).during("read"))) {
            Ok(Next::Later) => {}
            Ok(Next::Block(block, caught_up)) => self.shared.complete(request, Outcome::Read(Ok(Some(block)), caught_up)),
            Ok(Next::End) => {
                self.place.advance(u64::MAX);
                self.shared.complete(request, Outcome::Read(Ok(None), false));
            }
            Err(error) => {
                self.place.advance(u64::MAX);
                self.shared.complete(request, Outcome::Read(Err(error), false));
            }
        }
    }

    fn next(self: &Arc<Self>, request: f64, max_bytes: usize) -> forelog::Result<Next> {
        // The reader is taken out of the lock, because a wake may come at once, and on this thread.
        let Some(mut reader) = lock(&self.reader).take().filter(|_| !self.released.load(Ordering::SeqCst)) else { return Ok(Next::End) };
        // If reading fails or ends, `reader` is dropped here and not only when JavaScript collects the handle.
        match reader.next_block(max_bytes)? {
            Some(block) => {
                let caught_up = reader.follows() && reader.has_caught_up();
                self.put_back(reader);
                Ok(Next::Block(block, caught_up))
            }
            None => {
                let this = self.clone();
                let again = move || forelog::pool::spawn(move || this.serve(request, max_bytes));
                let Some(lookout) = reader.lookout() else { return Ok(Next::End) };
                self.put_back(reader);
                let ticket = lookout.wait(Box::new(again));
                {
                    // The reader may already have been woken and be waiting again.
                    let mut latest = lock(&self.ticket);
                    if latest.as_ref().is_none_or(|other| other.is_older_than(&ticket)) {
                        *latest = Some(ticket);
                    }
                }
                // A release before the ticket was stored has not woken the wait.
                if self.released.load(Ordering::SeqCst) {
                    self.wake();
                }
                Ok(Next::Later)
            }
        }
    }

    fn put_back(&self, reader: forelog::Reader) {
        let mut place = lock(&self.reader);
        if self.released.load(Ordering::SeqCst) {
            self.place.advance(u64::MAX);
        } else {
            *place = Some(reader);
        }
    }

    fn wake(&self) {
        let ticket = lock(&self.ticket).take();
        if let Some(ticket) = ticket {
            ticket.wake();
        }
    }
}

enum Next {
    /// The block, and whether it takes a follower to the end of what is acknowledged.
    Block(Block, bool),
    Later,
    End,
}

/// Reads records in blocks. Takes one request at a time.
#[napi]
pub struct Reader {
    source: Arc<Source>,
}

impl Reader {
    pub fn new(shared: Arc<Shared>, reader: forelog::Reader) -> Self {
        let place = reader.place().clone();
        let source = Source { shared, reader: Mutex::new(Some(reader)), place, released: AtomicBool::new(false), ticket: Mutex::default() };
        Reader { source: Arc::new(source) }
    }

    pub fn place(&self) -> &Place {
        &self.source.place
    }
}

#[napi]
impl Reader {
    /// Requests the next block of about `max_bytes`, and returns the number of the request. At the end the request completes without a
    /// block; for a follower it completes when there is one.
    #[napi(catch_unwind)]
    pub fn next(&self, max_bytes: u32) -> f64 {
        let source = self.source.clone();
        let request = source.shared.number();
        forelog::pool::spawn(move || source.serve(request, max_bytes as usize));
        request
    }

    /// Last position that every truncation of the log since the reader began has kept; nothing if there was none.
    #[napi(catch_unwind)]
    pub fn kept(&self) -> Option<f64> {
        self.source.place.kept().map(|last| last as f64)
    }

    /// Releases the resources of the reader. A read in progress completes first.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.source.released.store(true, Ordering::SeqCst);
        drop(lock(&self.source.reader).take());
        self.source.place.advance(u64::MAX);
        self.source.wake();
    }
}
