//! Growable bytes that begin on a page of memory, as a write past the page cache needs them.

use crate::util::arena::Arena;
use crate::util::limits::PAGE;
use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Size of a huge page.
const HUGE: usize = 2 << 20;
/// A buffer that needs more than this gets huge pages. If the memory is scattered, the disk is given each page separately, and a write of
/// half a megabyte takes twice as long.
const SCATTERED: usize = 64 << 10;

/// Bytes that begin on a page, and on a huge page if there are many. All of its memory is initialized.
pub struct PageBuffer {
    start: NonNull<u8>,
    len: usize,
    capacity: usize,
    /// Whose memory this is, if it was lent.
    arena: Option<Arc<Arena>>,
}

// SAFETY: the memory belongs to this buffer alone, as that of a `Vec<u8>` does.
unsafe impl Send for PageBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for PageBuffer {}

fn layout(capacity: usize) -> Layout {
    let align = if capacity >= HUGE { HUGE } else { PAGE as usize };
    // SAFETY: `align` is a power of two, and `capacity` is a multiple of it that `Vec` could allocate too: see `reserve`.
    unsafe { Layout::from_size_align_unchecked(capacity, align) }
}

impl Default for PageBuffer {
    fn default() -> Self {
        PageBuffer { start: NonNull::dangling(), len: 0, capacity: 0, arena: None }
    }
}

impl PageBuffer {
    /// Creates the buffer of memory that `arena` lends.
    pub(super) fn lent(arena: Arc<Arena>, len: usize) -> PageBuffer {
        PageBuffer { start: arena.start(), len, capacity: arena.capacity(), arena: Some(arena) }
    }

    /// Whether the memory is an arena's, which gets it back when the buffer is dropped.
    pub fn is_lent(&self) -> bool {
        self.arena.is_some()
    }

    /// Returns how many bytes it can have without other memory.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes room for `more` bytes.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.len.saturating_add(more);
        if needed > self.capacity {
            self.grow(needed);
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let unit = if needed > SCATTERED { HUGE } else { PAGE as usize };
        let capacity = needed.max(self.capacity.saturating_mul(2)).max(unit).checked_next_multiple_of(unit);
        let layout = layout(capacity.filter(|bytes| *bytes <= isize::MAX as usize - HUGE).unwrap_or_else(|| {
            // What `Vec` does for a length that no memory has.
            panic!("capacity overflow")
        }));
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // Before the memory is touched: the kernel gives it pages then.
        prefer_huge_pages(start, layout.size());
        // SAFETY: the memory was just allocated with this size.
        unsafe { start.write_bytes(0, layout.size()) };
        // SAFETY: both are valid for `len` bytes and are different allocations.
        unsafe { std::ptr::copy_nonoverlapping(self.start.as_ptr(), start.as_ptr(), self.len) };
        let len = self.len;
        *self = PageBuffer { start, len, capacity: layout.size(), arena: None };
    }

    /// Adds `more` bytes at the end, and returns them. They have any value.
    pub fn extend(&mut self, more: usize) -> &mut [u8] {
        self.reserve(more);
        let from = self.len;
        self.len += more;
        &mut self[from..]
    }

    /// Adds a copy of `bytes` at the end.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend(bytes.len()).copy_from_slice(bytes);
    }

    /// Shortens the buffer, or fills it up with zeroes, to `len` bytes.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            self.extend(len - self.len).fill(0);
        }
        self.len = len;
    }

    /// Shortens the buffer to `len` bytes, if it is longer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

#[cfg(target_os = "linux")]
fn prefer_huge_pages(start: NonNull<u8>, size: usize) {
    if size >= HUGE {
        // SAFETY: the range is one allocation of whole pages, and the advice changes no byte of it.
        unsafe { libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_start: NonNull<u8>, _size: usize) {}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        if let Some(arena) = self.arena.take() {
            arena.give_back();
        } else if self.capacity > 0 {
            // SAFETY: the memory was allocated with this layout.
            unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
        }
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialized, because all of the memory is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and nothing else refers to the memory.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_on_a_page_and_keeps_its_bytes_as_it_grows() {
        let (mut buffer, mut expected) = (PageBuffer::default(), Vec::new());
        assert!(buffer.is_empty());
        for i in 0..40_000_u64 {
            buffer.extend_from_slice(&i.to_le_bytes()[..5]);
            expected.extend_from_slice(&i.to_le_bytes()[..5]);
            assert!((buffer.as_ptr() as u64).is_multiple_of(PAGE));
        }
        assert_eq!(&buffer[..], &expected[..]);
        assert!((buffer.as_ptr() as usize).is_multiple_of(HUGE) && buffer.capacity() == HUGE);
        buffer.truncate(3);
        buffer.resize(7);
        assert_eq!(buffer[..], [0, 0, 0, 0, 0, 0, 0]);
        buffer.extend(100_000)[99_999] = 9;
        assert_eq!((buffer.len(), buffer[100_006]), (100_007, 9));
    }
}
