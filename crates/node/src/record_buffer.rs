//! The record buffer: small records that are passed on together. JavaScript writes them to memory that both sides share:
//! `src/native/record-buffer.ts` draws it, and `wire` names its numbers, which are native-endian.
//!
//! `end u32 · log u32 · durable u32 · probe u32`, then at multiples of four, up to `end`:
//! `tag u8, key length u24 · value length u32 · key · value`

use crate::error::invalid;
use crate::wire;
use forelog::{Error, RecordRef};
use napi::bindgen_prelude::Uint8Array;
use std::cell::UnsafeCell;
use std::rc::Rc;

const CAPACITY: usize = 128 << 10;

/// The memory of one environment's record buffer, which only that environment's thread touches.
pub struct RecordBuffer(UnsafeCell<Vec<u8>>);

impl RecordBuffer {
    pub fn new() -> Rc<RecordBuffer> {
        let buffer = RecordBuffer(UnsafeCell::new(vec![0; CAPACITY]));
        buffer.clear();
        Rc::new(buffer)
    }

    /// Whether this is the memory that JavaScript writes to. A runtime that does not accept external memory works on a copy.
    pub fn is_shared(&self) -> bool {
        self.word(wire::BUFFER_PROBE) != 0
    }

    /// Returns the memory as an array for JavaScript, which keeps it alive.
    pub fn to_js(self: &Rc<Self>) -> Uint8Array {
        let kept = self.clone();
        // SAFETY: the vector never changes its length, so its memory stays in place until the last reference is gone, and JavaScript drops
        // its own when the array is collected. Rust accesses it only inside a call, while JavaScript waits.
        unsafe { Uint8Array::with_external_data((*self.0.get()).as_mut_ptr(), CAPACITY, move |_, _| drop(kept)) }
    }

    /// Returns the current content, which must not be kept beyond the current call.
    fn bytes(&self) -> &[u8] {
        // SAFETY: on the environment's thread, while JavaScript does not run.
        unsafe { &*self.0.get() }
    }

    fn word(&self, index: usize) -> u32 {
        self.bytes()[index * 4..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word))
    }

    pub fn log(&self) -> u32 {
        self.word(wire::BUFFER_LOG)
    }

    pub fn durable(&self) -> bool {
        self.word(wire::BUFFER_DURABLE) != 0
    }

    /// Iterates over the records. If the memory is malformed, the last item is an error.
    pub fn records(&self) -> Buffered<'_> {
        Buffered { bytes: self.bytes().get(wire::BUFFER_START..self.word(wire::BUFFER_END) as usize).unwrap_or(MALFORMED) }
    }

    /// Removes all records. The number of their log stays.
    pub fn clear(&self) {
        // SAFETY: as in `bytes`, and no slice of the memory is alive: only the caller of this function gets anything that borrows it.
        let bytes = unsafe { &mut *self.0.get() };
        for (word, value) in [(wire::BUFFER_END, wire::BUFFER_START as u32), (wire::BUFFER_DURABLE, 0)] {
            bytes[word * 4..][..4].copy_from_slice(&value.to_ne_bytes());
        }
    }
}

/// A malformed buffer: too short for a record header, so the iterator yields an error.
const MALFORMED: &[u8] = &[0];

#[derive(Clone, Copy)]
pub struct Buffered<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Buffered<'a> {
    type Item = Result<RecordRef<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_none() {
            self.bytes = &[];
        }
        Some(record.ok_or_else(|| invalid("internal error: the record buffer is malformed")))
    }
}

impl<'a> Buffered<'a> {
    #[inline]
    fn record(&mut self) -> Option<RecordRef<'a>> {
        let word = |at: usize| Some(u32::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?));
        let (tagged, value_len) = (word(0)?, word(4)? as usize);
        let key_end = wire::TAG_HEADER_BYTES + (tagged >> wire::TAG_KEY_LENGTH_SHIFT) as usize;
        let end = key_end.checked_add(value_len)?;
        let record = RecordRef {
            key: if tagged & wire::TAG_KEY != 0 { Some(self.bytes.get(wire::TAG_HEADER_BYTES..key_end)?) } else { None },
            value: if tagged & wire::TAG_VALUE != 0 { Some(self.bytes.get(key_end..end)?) } else { None },
            tombstone: tagged & wire::TAG_TOMBSTONE != 0,
            ..RecordRef::default()
        };
        self.bytes = self.bytes.get(end.next_multiple_of(4)..)?;
        Some(record)
    }
}
