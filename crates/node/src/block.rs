//! Blocks of records: packed here, and unpacked by `src/records/block.ts`.

use crate::reports::HoleData;
use crate::wire;
use forelog::{Block, Fields};
use napi::bindgen_prelude::ToNapiValue;
use napi::{check_status, sys};
use napi_derive::napi;
use std::ptr;

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
            records: block.len() as u32,
            extras: block.numbers().len() as u32,
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

/// Size of an extra in bytes.
const EXTRA: usize = 8;
/// Size of an entry of the index in bytes.
const ENTRY: usize = 4;

/// Returns the index entries of one record.
fn index_entries(Fields { flags, key, value, end, numbers }: Fields) -> [u32; wire::INDEX_ENTRIES] {
    let mut entries = [0; wire::INDEX_ENTRIES];
    entries[wire::INDEX_KEY] = key;
    entries[wire::INDEX_VALUE] = value;
    entries[wire::INDEX_END] = end;
    entries[wire::INDEX_META] = u32::from(flags) | numbers << wire::META_EXTRA_SHIFT;
    entries
}

/// Copies a block into one buffer allocated by JavaScript. Memory of Rust, passed as an external buffer, would be freed only by a full
/// garbage collection: V8 keeps objects with a finalizer alive through all scavenges, and blocks would pile up.
pub struct Packed(Block);

impl ToNapiValue for Packed {
    unsafe fn to_napi_value(env: sys::napi_env, Packed(block): Self) -> napi::Result<sys::napi_value> {
        let (extras, index) = (block.numbers().len() * EXTRA, block.len() * wire::INDEX_ENTRIES * ENTRY);
        let len = extras + index + block.bytes().len();
        let (mut data, mut buffer) = (ptr::null_mut(), ptr::null_mut());
        check_status!(sys::napi_create_buffer(env, len, &mut data, &mut buffer))?;
        // SAFETY: the buffer has just been created with `len` bytes, which is what `pack` writes.
        pack(&block, data.cast());
        Ok(buffer)
    }
}

/// Writes the extras, the index and the bytes of a block.
///
/// # Safety
/// `to` is valid for writes of as many bytes as the three have. It may be unaligned.
unsafe fn pack(block: &Block, to: *mut u8) {
    let number = if block.is_detailed() { f64::from_bits } else { |n: u64| n as f64 };
    let mut extras = to.cast::<[u8; EXTRA]>();
    for n in block.numbers() {
        extras.write(number(*n).to_ne_bytes());
        extras = extras.add(1);
    }
    let mut index = extras.cast::<[[u8; ENTRY]; wire::INDEX_ENTRIES]>();
    for fields in block.fields() {
        index.write(index_entries(fields).map(u32::to_ne_bytes));
        index = index.add(1);
    }
    ptr::copy_nonoverlapping(block.bytes().as_ptr(), index.cast(), block.bytes().len());
}
