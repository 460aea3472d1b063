//! The record buffer: small records that are passed on together. JavaScript writes them in their final form to memory that both sides share,
//! and the log takes that memory as it is: `src/native/record-buffer.ts` draws it, and `wire` names its numbers, which are native-endian.

use crate::error::invalid;
use crate::wire;
use forelog::{Arena, EncodedRecords, Error, PageBuffer, Parts, RecordRef};
use napi::bindgen_prelude::Uint8Array;
use std::cell::{OnceCell, UnsafeCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// One is being filled, one gathers, two are under way, and one is with a commit thread.
const ARENAS: usize = 5;
const ARENA_BYTES: usize = 640 << 10;
const WORDS_BYTES: usize = wire::BUFFER_WORDS * 4;

/// The memory of one environment's record buffer, which only that environment's thread fills.
pub struct RecordBuffer {
    words: UnsafeCell<Vec<u8>>,
    /// Made when JavaScript asks for the memory.
    arenas: OnceCell<Vec<Arc<Arena>>>,
}

impl RecordBuffer {
    pub fn new() -> Rc<RecordBuffer> {
        let buffer = RecordBuffer { words: UnsafeCell::new(vec![0; WORDS_BYTES]), arenas: OnceCell::new() };
        buffer.clear();
        Rc::new(buffer)
    }

    /// Whether this is the memory that JavaScript writes to. A runtime that does not accept external memory works on a copy.
    pub fn is_shared(&self) -> bool {
        // SAFETY: on the environment's thread, while JavaScript does not run, and before anything is lent.
        let is_probed = |arena: &Arc<Arena>| unsafe { arena.start().read() } != 0;
        self.word(wire::BUFFER_PROBE) != 0 && self.arenas().iter().all(is_probed)
    }

    /// Returns the words and the arenas as arrays for JavaScript, which keeps them alive.
    pub fn to_js(self: &Rc<Self>) -> Vec<Uint8Array> {
        let kept = self.clone();
        // SAFETY: the vector never changes its length, so its memory stays in place until the last reference is gone, and JavaScript drops
        // its own when the array is collected. Rust accesses it only inside a call, while JavaScript waits.
        let words = unsafe { Uint8Array::with_external_data((*self.words.get()).as_mut_ptr(), WORDS_BYTES, move |_, _| drop(kept)) };
        let arena = |arena: &Arc<Arena>| {
            let (start, kept) = (arena.start(), arena.clone());
            // SAFETY: as above. JavaScript writes only to the arena that `BUFFER_ARENA` names, which is not lent.
            unsafe { Uint8Array::with_external_data(start.as_ptr(), kept.capacity(), move |_, _| drop(kept)) }
        };
        let arenas = self.arenas.get_or_init(|| Arena::region(ARENAS, ARENA_BYTES));
        std::iter::once(words).chain(arenas.iter().map(arena)).collect()
    }

    fn arenas(&self) -> &[Arc<Arena>] {
        self.arenas.get().map_or(&[], Vec::as_slice)
    }

    fn word(&self, index: usize) -> u32 {
        // SAFETY: on the environment's thread, while JavaScript does not run.
        let bytes = unsafe { &*self.words.get() };
        bytes.get(index * 4..).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
    }

    fn set_word(&self, index: usize, value: u32) {
        // SAFETY: as in `word`, and no reference to the memory is alive.
        let bytes = unsafe { &mut *self.words.get() };
        if let Some(word) = bytes.get_mut(index * 4..index * 4 + 4) {
            word.copy_from_slice(&value.to_ne_bytes());
        }
    }

    pub fn log(&self) -> u32 {
        self.word(wire::BUFFER_LOG)
    }

    pub fn durable(&self) -> bool {
        self.word(wire::BUFFER_DURABLE) != 0
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.word(wire::BUFFER_END) <= wire::BUFFER_START
    }

    /// Calls `take` with the records and clears the buffer, which goes on in other memory if `take` has kept this. If `take` fails, the
    /// records stay. With `may_keep` it may keep the memory until the records are on the disk.
    pub fn pass<T>(&self, may_keep: bool, max: u64, take: impl FnOnce(&mut EncodedRecords<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let malformed = || invalid("internal error: the record buffer is malformed");
        let arena = self.arenas().get(self.word(wire::BUFFER_ARENA) as usize).ok_or_else(malformed)?;
        // SAFETY: JavaScript, which fills the memory, waits for this call, and goes on in another arena if the buffer outlives the call.
        let mut memory: PageBuffer = unsafe { arena.lend(self.word(wire::BUFFER_END) as usize) }.ok_or_else(malformed)?;
        let next = self.arenas().iter().position(|arena| !arena.is_lent());
        let checked = EncodedRecords::check(&mut memory, self.bodies(), may_keep && next.is_some(), max);
        let taken = checked.and_then(|mut records| take(&mut records));
        drop(memory);
        // Whatever has become of the call: memory that is lent is not JavaScript's.
        if let Some(next) = next.filter(|_| arena.is_lent()) {
            self.clear();
            self.set_word(wire::BUFFER_ARENA, next as u32);
        } else if taken.is_ok() {
            self.clear();
        }
        taken
    }

    /// Calls `take` with the only record and clears the buffer. If `take` fails, the record stays. Copying one record costs half of what lending
    /// its memory does.
    pub fn pass_one<T>(&self, take: impl FnOnce(RecordRef<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let malformed = || invalid("internal error: the record buffer is malformed");
        let end = self.word(wire::BUFFER_END) as usize;
        let arena = self.arenas().get(self.word(wire::BUFFER_ARENA) as usize).filter(|arena| end <= arena.capacity() && !arena.is_lent());
        let start = arena.ok_or_else(malformed)?.start();
        // SAFETY: the bytes lie in the arena, which is not lent, and JavaScript, which fills it, waits for this call.
        let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), end) };
        let parts = Parts::parse(bytes, wire::BUFFER_START as usize).filter(|parts| parts.end == end).ok_or_else(malformed)?;
        let taken = take(parts.record(bytes))?;
        self.clear();
        Ok(taken)
    }

    /// Returns the places of the bodies.
    fn bodies(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let word = |index| self.word(index) as usize;
        let full = (0..word(wire::BUFFER_BODIES)).map(move |body| wire::BUFFER_RANGES + body * 2);
        let full = full.map(move |at| word(at)..word(at + 1));
        full.chain(std::iter::once(word(wire::BUFFER_BODY)..word(wire::BUFFER_END)))
    }

    /// Removes all records. The number of their log stays.
    pub fn clear(&self) {
        for (word, value) in [
            (wire::BUFFER_END, wire::BUFFER_START),
            (wire::BUFFER_BODY, wire::BUFFER_START),
            (wire::BUFFER_BODIES, 0),
            (wire::BUFFER_DURABLE, 0),
        ] {
            self.set_word(word, value);
        }
    }
}
