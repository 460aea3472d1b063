//! Block reads, each one a job on the engine's pool.

use crate::convert::FlippedData;
use crate::environment::{Outcome, Shared};
use crate::error::panicked;
use forelog::{Block, Hole, Place, Ticket};
use napi::bindgen_prelude::ToNapiValue;
use napi::{check_status, sys};
use napi_derive::napi;
use std::mem::size_of_val;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A block of verified records and where they are in it.
#[napi(object, object_from_js = false)]
pub struct BlockData {
    pub first_position: f64,
    /// How many records.
    pub records: u32,
    /// How many numbers the extras are.
    pub extras: u32,
    /// One after the other: the extras, the index, the bytes that the index points into.
    ///
    /// The extras are doubles: `expiresAt` (one), then term and index (two) of the records that have them. The index is four unsigned
    /// 32-bit numbers per record: start of its key, start of its value (the end of its key), end of its value, meta. Bits of meta: 1 has a
    /// key, 2 has a value, 4 tombstone, 8 expires, 16 has a version; the rest is the index of its first extra.
    ///
    /// Of a detailed reader the extras are unsigned 64-bit integers instead of doubles.
    #[napi(ts_type = "Buffer")]
    pub memory: Packed,
    /// What was left out before the first record: by a salvaging reader, and positions that were lost before this log was made.
    pub holes: Option<Vec<HoleData>>,
    /// Of a detailed reader, the records that are atomic batches: of each the index of its first record in this block, and how many.
    pub batches: Option<Vec<u32>>,
}

/// Positions that nothing readable holds any more.
#[napi(object, object_from_js = false)]
pub struct HoleData {
    pub first: f64,
    pub last: f64,
    pub segment: String,
    pub offset: f64,
    pub bytes: f64,
    pub flipped: Option<FlippedData>,
    /// There only where the log itself records the loss: nothing is damaged.
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
            batches: (!batches.is_empty()).then(|| batches.into_iter().flat_map(|(first, count)| [first, count]).collect()),
            holes: (!holes.is_empty()).then(|| holes.into_iter().map(Into::into).collect()),
            first_position: block.first_position as f64,
            records: (block.index.len() / 4) as u32,
            extras: block.extras.len() as u32,
            memory: Packed(block),
        }
    }
}

/// Copied into one buffer that JavaScript allocates. Memory of ours, handed over, would be let go only by a full collection of garbage:
/// V8 keeps what has a finalizer alive through all the small ones, and blocks would pile up.
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
    /// Of a follower that waits.
    ticket: Mutex<Option<Ticket>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Answers a request with the next block, without one at the end or once released. For a follower that has caught up, the
    /// answer is left to whoever wakes it.
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
        // Not held meanwhile: a wake may come at once, and on this thread.
        let Some(mut reader) = lock(&self.reader).take().filter(|_| !self.released.load(Ordering::SeqCst)) else { return Ok(Next::End) };
        // Where it fails or ends, what it holds open is let go at once, not when the garbage collector comes by.
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
                    // It may have been woken and be waiting again by now.
                    let mut latest = lock(&self.ticket);
                    if latest.as_ref().is_none_or(|other| other.is_older_than(&ticket)) {
                        *latest = Some(ticket);
                    }
                }
                // A release that came before the ticket was there has woken nobody.
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
    /// And whether it took a follower to the end of what is acknowledged.
    Block(Block, bool),
    Later,
    End,
}

/// Reads records in blocks. One request at a time.
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
    /// Asks for the next block of about `max_bytes`; gives the number of the request. Its completion has no block at the end; a
    /// follower's comes when there is one.
    #[napi(catch_unwind)]
    pub fn next(&self, max_bytes: u32) -> f64 {
        let source = self.source.clone();
        let request = source.shared.number();
        forelog::pool::spawn(move || source.serve(request, max_bytes as usize));
        request
    }

    /// Last position that every cut of the log since the reader began has kept; nothing when there was none.
    #[napi(catch_unwind)]
    pub fn kept(&self) -> Option<f64> {
        self.source.place.kept().map(|last| last as f64)
    }

    /// Lets go of what the reader holds open; a request under way completes first.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.source.released.store(true, Ordering::SeqCst);
        drop(lock(&self.source.reader).take());
        self.source.place.advance(u64::MAX);
        self.source.wake();
    }
}
