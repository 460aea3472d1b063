//! Memory that a client fills with records in their final form, and that is lent to a group as it is.

use crate::util::page_buffer::PageBuffer;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A piece of memory that begins on a page. Its client fills it, [`Arena::lend`] makes a buffer of it, and the client gets it back when the
/// buffer is dropped.
pub struct Arena {
    /// All of these pieces share one allocation, which therefore has huge pages: see [`PageBuffer`].
    _region: Arc<PageBuffer>,
    start: NonNull<u8>,
    capacity: usize,
    is_lent: AtomicBool,
}

// SAFETY: the memory is accessed by the client while it is not lent, and by the buffer while it is.
unsafe impl Send for Arena {}
// SAFETY: as above; the flag is atomic.
unsafe impl Sync for Arena {}

impl Arena {
    /// Returns `count` arenas of `capacity` bytes, a multiple of the page size. All of their memory is zeroed, and therefore in use, at once.
    pub fn region(count: usize, capacity: usize) -> Vec<Arc<Arena>> {
        let mut region = PageBuffer::default();
        let start = region.extend(count * capacity).as_mut_ptr();
        let region = Arc::new(region);
        let arena = |index: usize| Arena {
            _region: region.clone(),
            // SAFETY: the piece lies in the region, which is not empty.
            start: unsafe { NonNull::new_unchecked(start.add(index * capacity)) },
            capacity,
            is_lent: AtomicBool::new(false),
        };
        (0..count).map(|index| Arc::new(arena(index))).collect()
    }

    /// Returns the start of the memory, for its client.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Returns the length of the memory in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether a buffer of this memory is alive.
    pub fn is_lent(&self) -> bool {
        self.is_lent.load(Ordering::Acquire)
    }

    /// Returns a buffer of the first `len` bytes. `None` if the memory is lent already, or shorter.
    ///
    /// # Safety
    /// Nothing but the buffer accesses the memory until the buffer is dropped.
    pub unsafe fn lend(self: &Arc<Self>, len: usize) -> Option<PageBuffer> {
        if len > self.capacity || self.is_lent.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(PageBuffer::lent(self.clone(), len))
    }

    /// Ends the loan, when its buffer is dropped.
    pub(super) fn give_back(&self) {
        self.is_lent.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::limits::PAGE;

    #[test]
    fn memory_that_was_lent_comes_back_when_its_buffer_is_dropped_or_outgrows_it() {
        let arenas = Arena::region(2, PAGE as usize);
        // SAFETY: nothing else accesses the memory.
        let lend = |len| unsafe { arenas[0].lend(len) };
        assert!(lend(PAGE as usize + 1).is_none() && !arenas[0].is_lent());
        let mut buffer = lend(10).unwrap_or_default();
        assert!(buffer.is_lent() && arenas[0].is_lent() && !arenas[1].is_lent());
        assert_eq!((buffer.as_ptr(), buffer.len()), (arenas[0].start().as_ptr().cast_const(), 10));
        assert!(lend(10).is_none(), "it is lent once");
        buffer[9] = 7;
        buffer.resize(PAGE as usize);
        assert!(buffer.is_lent(), "there was room");
        buffer.extend_from_slice(&[1]);
        assert!(!buffer.is_lent() && !arenas[0].is_lent(), "a buffer that grows has memory of its own");
        assert_eq!((buffer[9], buffer[PAGE as usize]), (7, 1));
        drop(lend(PAGE as usize));
        assert!(lend(1).is_some());
    }
}
