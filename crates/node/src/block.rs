//! Blocks of records: packed here, and unpacked by `src/records/block.ts`.

use crate::reports::HoleData;
use crate::wire;
use forelog::Block;
use napi::bindgen_prelude::ToNapiValue;
use napi::{check_status, sys};
use napi_derive::napi;
use std::mem::size_of_val;
use std::ptr;

// The engine has packed these entries already.
const _: () = assert!(wire::META_EXTRA_SHIFT == forelog::EXTRAS_SHIFT);

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
