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
    /// Where the index begins in the block's memory: a multiple of eight.
    pub index: u32,
    /// Number of bytes of that memory that are in use.
    pub bytes: u32,
    /// The block's memory. Nothing if the block is in the memory that was lent with the request.
    ///
    /// It has three parts in sequence: the bytes that the index refers to, the index, and the extras. The index has `INDEX_ENTRIES` unsigned
    /// 32-bit numbers per record: see `wire`. The extras are doubles: `expiresAt` (one), then term and index (two) of the records that have
    /// them.
    ///
    /// In a block of a detailed reader the extras are unsigned 64-bit integers instead of doubles.
    #[napi(ts_type = "Buffer")]
    pub memory: Option<Packed>,
    /// Positions missing before the first record: those that a salvaging reader skipped, and those that were lost before this log was made.
    pub holes: Option<Vec<HoleData>>,
    /// When the records were committed: see `wire`. Records before the first time have none.
    pub times: Option<Vec<f64>>,
    /// Atomic batches, only of a detailed reader: for each the index of its first record in this block, and the number of its records.
    pub batches: Option<Vec<u32>>,
}

/// A block on its way to JavaScript.
pub struct PackedBlock {
    block: Block,
    layout: Layout,
    /// The block is in the memory that was lent for it, and `block` has no records.
    is_lent: bool,
}

impl PackedBlock {
    /// Packs a block that has no lent memory, later and on the thread of JavaScript.
    pub fn apart(block: Block) -> PackedBlock {
        PackedBlock { layout: Layout::of(&block), block, is_lent: false }
    }

    /// Packs a block into the memory that was lent for it. If the block is too large for the memory, it is packed apart. So is a block that would
    /// leave more than half of the memory unused, because all of it is kept for as long as a record is in use.
    pub fn into_lent(mut block: Block, memory: &mut [u8]) -> PackedBlock {
        let layout = Layout::of(&block);
        let is_lent = (memory.len() / 2..=memory.len()).contains(&layout.len);
        if is_lent {
            memory[..block.bytes().len()].copy_from_slice(block.bytes());
            // SAFETY: the memory has room for the whole layout.
            unsafe { pack_index(&block, &layout, memory.as_mut_ptr()) };
            block.forget_records();
        } else {
            block.copy_from(memory);
        }
        PackedBlock { block, layout, is_lent }
    }
}

impl From<PackedBlock> for BlockData {
    fn from(PackedBlock { mut block, layout, is_lent }: PackedBlock) -> Self {
        let holes = std::mem::take(&mut block.holes);
        let batches = std::mem::take(&mut block.batches);
        let times = block.times();
        BlockData {
            times: (!times.is_empty()).then(|| times.iter().flat_map(time_entries).collect()),
            batches: (!batches.is_empty()).then(|| batches.into_iter().flat_map(batch_entries).collect()),
            holes: (!holes.is_empty()).then(|| holes.into_iter().map(Into::into).collect()),
            first_position: block.first_position as f64,
            records: layout.records as u32,
            extras: layout.extras as u32,
            index: layout.index as u32,
            bytes: layout.len as u32,
            memory: (!is_lent).then_some(Packed(block, layout)),
        }
    }
}

/// Where the parts of a packed block are.
#[derive(Clone, Copy)]
struct Layout {
    index: usize,
    records: usize,
    extras: usize,
    len: usize,
}

impl Layout {
    fn of(block: &Block) -> Layout {
        let (records, extras) = (block.len(), block.numbers().len());
        let index = (block.bytes().len() + block.lent()).next_multiple_of(EXTRA);
        Layout { index, records, extras, len: index + records * wire::INDEX_ENTRIES * ENTRY + extras * EXTRA }
    }
}

/// Returns the numbers of one batch.
fn batch_entries((first, records): (u32, u32)) -> [u32; wire::BATCH_ENTRIES] {
    let mut entries = [0; wire::BATCH_ENTRIES];
    entries[wire::BATCH_FIRST] = first;
    entries[wire::BATCH_RECORDS] = records;
    entries
}

/// Returns the numbers of one time.
fn time_entries((first, ms): &(u32, u64)) -> [f64; wire::TIME_ENTRIES] {
    let mut entries = [0.0; wire::TIME_ENTRIES];
    entries[wire::TIME_FIRST] = f64::from(*first);
    entries[wire::TIME_MS] = *ms as f64;
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

/// A block that is copied into a buffer of its own size, allocated by JavaScript. Memory of Rust, passed as an external buffer, would be freed
/// only by a full garbage collection: V8 keeps objects with a finalizer alive through all scavenges, and blocks would pile up.
pub struct Packed(Block, Layout);

impl ToNapiValue for Packed {
    unsafe fn to_napi_value(env: sys::napi_env, Packed(block, layout): Self) -> napi::Result<sys::napi_value> {
        let (mut data, mut buffer) = (ptr::null_mut(), ptr::null_mut());
        check_status!(sys::napi_create_buffer(env, layout.len, &mut data, &mut buffer))?;
        // SAFETY: the buffer has just been created with as many bytes as the layout has.
        unsafe {
            ptr::copy_nonoverlapping(block.bytes().as_ptr(), data.cast(), block.bytes().len());
            pack_index(&block, &layout, data.cast());
        }
        Ok(buffer)
    }
}

/// Writes the index and the extras of a block after its bytes.
///
/// # Safety
/// `to` is valid for writes of as many bytes as the layout, which is the block's, has. It may be unaligned.
unsafe fn pack_index(block: &Block, layout: &Layout, to: *mut u8) {
    let mut index = to.add(layout.index).cast::<[[u8; ENTRY]; wire::INDEX_ENTRIES]>();
    for fields in block.fields() {
        index.write(index_entries(fields).map(u32::to_ne_bytes));
        index = index.add(1);
    }
    let number = if block.is_detailed() { f64::from_bits } else { |n: u64| n as f64 };
    let mut extras = index.cast::<[u8; EXTRA]>();
    for n in block.numbers() {
        extras.write(number(*n).to_ne_bytes());
        extras = extras.add(1);
    }
}
