//! Block reads, each one a job on the engine's pool.

use crate::environment::{Outcome, Shared};
use crate::error::panicked;
use forelog::Block;
use napi::bindgen_prelude::{Buffer, Float64Array, Uint32Array};
use napi_derive::napi;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A block of verified records and where they are in it.
#[napi(object, object_from_js = false)]
pub struct BlockData {
    pub first_position: f64,
    pub bytes: Buffer,
    /// Four numbers per record: start of its key, start of its value (the end of its key), end of its value, meta.
    /// Bits of meta: 1 has a key, 2 has a value, 4 tombstone, 8 expires, 16 has a version; the rest is the index of its first extra.
    pub index: Uint32Array,
    /// `expiresAt` (one number), then term and index (two) of the records that have them.
    pub extras: Option<Float64Array>,
}

impl From<Block> for BlockData {
    fn from(block: Block) -> Self {
        BlockData {
            first_position: block.first_position as f64,
            bytes: block.bytes.into(),
            index: block.index.into(),
            extras: if block.extras.is_empty() { None } else { Some(block.extras.into()) },
        }
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
