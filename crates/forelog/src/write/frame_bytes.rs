//! The memory of frames: its own, or memory that it was lent.

use crate::util::page_buffer::PageBuffer;
use std::ops::{Deref, DerefMut};

/// Bytes of frames. Memory that was lent is given back when they are cleared, and the memory of their own is kept meanwhile.
#[derive(Default)]
pub struct FrameBytes {
    bytes: PageBuffer,
    /// Kept while `bytes` is lent.
    own: PageBuffer,
}

impl FrameBytes {
    /// Replaces the bytes, whose memory is kept if it is their own.
    pub fn take(&mut self, bytes: PageBuffer) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if !before.is_lent() {
            self.own = before;
        }
    }

    /// Makes room for `more` bytes. If memory that was lent is too short, the bytes move to the memory of their own.
    pub fn make_room(&mut self, more: usize) {
        if self.bytes.is_lent() && self.bytes.len() + more > self.bytes.capacity() {
            let lent = std::mem::take(&mut self.bytes);
            self.bytes = std::mem::take(&mut self.own);
            self.bytes.truncate(0);
            self.bytes.reserve(lent.len() + more);
            self.bytes.extend_from_slice(&lent);
        }
    }

    /// Returns the size of the memory of their own.
    pub fn own_capacity(&self) -> usize {
        let current = if self.bytes.is_lent() { 0 } else { self.bytes.capacity() };
        current.max(self.own.capacity())
    }

    /// Removes all bytes, and gives memory back that was lent.
    pub fn clear(&mut self) {
        if self.bytes.is_lent() {
            self.bytes = std::mem::take(&mut self.own);
        }
        self.bytes.truncate(0);
    }
}

impl Deref for FrameBytes {
    type Target = PageBuffer;

    fn deref(&self) -> &PageBuffer {
        &self.bytes
    }
}

impl DerefMut for FrameBytes {
    fn deref_mut(&mut self) -> &mut PageBuffer {
        &mut self.bytes
    }
}
