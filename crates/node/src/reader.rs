//! Block reads, each one a job on the engine's pool.

use crate::convert::FlippedData;
use crate::environment::{Outcome, Shared};
use crate::error::panicked;
use forelog::{Block, Hole};
use napi::bindgen_prelude::ToNapiValue;
use napi::{check_status, sys};
use napi_derive::napi;
use std::mem::size_of_val;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    #[napi(ts_type = "Buffer")]
    pub memory: Packed,
    /// What a salvaging reader left out before the first record.
    pub holes: Option<Vec<HoleData>>,
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
        }
    }
}

impl From<Block> for BlockData {
    fn from(mut block: Block) -> Self {
        let holes = std::mem::take(&mut block.holes);
        BlockData {
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
    reader: Mutex<Option<forelog::Reader>>,
    released: AtomicBool,
}

impl Source {
    /// `None` at the end, or once released.
    fn next(&self, max_bytes: usize) -> forelog::Result<Option<Block>> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let block = match reader.as_mut() {
            Some(reader) if !self.released.load(Ordering::SeqCst) => reader.next_block(max_bytes),
            _ => Ok(None),
        };
        // What it holds open is let go at once, not when the garbage collector comes by.
        if !matches!(block, Ok(Some(_))) || self.released.load(Ordering::SeqCst) {
            *reader = None;
        }
        block
    }
}

/// Reads records in blocks. One request at a time.
#[napi]
pub struct Reader {
    shared: Arc<Shared>,
    source: Arc<Source>,
}

impl Reader {
    pub fn new(shared: Arc<Shared>, reader: forelog::Reader) -> Self {
        let source = Source { reader: Mutex::new(Some(reader)), released: AtomicBool::new(false) };
        Reader { shared, source: Arc::new(source) }
    }
}

#[napi]
impl Reader {
    /// Asks for the next block of about `max_bytes`; gives the number of the request. Its completion has no block at the end.
    #[napi(catch_unwind)]
    pub fn next(&self, max_bytes: u32) -> f64 {
        let source = self.source.clone();
        self.shared.request(move || {
            let read = catch_unwind(AssertUnwindSafe(|| source.next(max_bytes as usize)));
            Outcome::Read(read.unwrap_or_else(|panic| Err(panicked(panic).during("read"))))
        })
    }

    /// Lets go of what the reader holds open; a request under way completes first.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.source.released.store(true, Ordering::SeqCst);
        if let Ok(mut reader) = self.source.reader.try_lock() {
            *reader = None;
        }
    }
}
