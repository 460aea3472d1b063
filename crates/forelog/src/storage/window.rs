//! A bounded view of a file, through which scans read it forwards, in steps.

use super::File;
use crate::error::Fault;
use std::ops::Range;

/// Bytes read per step: enough that a scan of a whole file does not suffer from the number of reads.
const BYTES: usize = 256 << 10;

/// A buffered view of the first bytes of a file.
pub struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    /// The last answer about holes: between the offset `data.0` and the range `data.1` there is only a hole.
    data: (u64, Range<u64>),
}

impl<'a> Window<'a> {
    /// Creates a window on the first `len` bytes of `file`. Reads past `len` return nothing.
    pub fn new(file: &'a dyn File, len: u64) -> Window<'a> {
        Window::of(file, len, BYTES)
    }

    /// Like [`Window::new`], with reads of at most `step` bytes.
    pub fn of(file: &'a dyn File, len: u64, step: usize) -> Window<'a> {
        Window { file, len, buffer: vec![0; step], start: 0, filled: 0, data: (0, 0..0) }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the offset of the first byte at or after `offset` that is not in a hole, or the window's length if there is
    /// none. The bytes before it read as zeroes.
    pub fn next_data(&mut self, offset: u64) -> u64 {
        let (asked, data) = &self.data;
        if !(*asked..data.end).contains(&offset) {
            self.data = (offset, self.file.next_data(offset).unwrap_or(u64::MAX..u64::MAX));
        }
        self.data.1.start.max(offset).min(self.len)
    }

    /// Returns up to `len` bytes from `offset`: those already buffered, otherwise one read. Callers that continue at the
    /// end never read a byte twice. The result is empty at the end of the file or window.
    pub fn some(&mut self, offset: u64, len: u64) -> Result<&[u8], Fault> {
        let end = self.start + self.filled as u64;
        let at_hand = if (self.start..end).contains(&offset) { end - offset } else { u64::MAX };
        self.get(offset, len.min(at_hand).min(self.buffer.len() as u64) as usize)
    }

    /// Returns up to `len` bytes from `offset`: fewer at the end of the file or window, and never more than one step.
    pub fn get(&mut self, offset: u64, len: usize) -> Result<&[u8], Fault> {
        let len = len.min(self.buffer.len()).min(self.len.saturating_sub(offset).min(usize::MAX as u64) as usize);
        let inside = offset >= self.start && offset + len as u64 <= self.start + self.filled as u64;
        if !inside {
            // Do not read past the data that is known here. A hole may follow it, which the caller skips.
            let (asked, data) = &self.data;
            let data = if (*asked..data.end).contains(&offset) { data.end - offset } else { u64::MAX };
            let most = self.len.saturating_sub(offset).min(data.max(len as u64));
            let want = most.min(self.buffer.len() as u64) as usize;
            self.filled = 0;
            self.filled = self.file.read_at(&mut self.buffer[..want], offset)?;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.buffer[at..self.filled.min(at + len)])
    }
}
