//! A bounded look into a file: whoever scans bytes reads them through this, in steps, forwards.

use super::File;
use crate::error::Fault;
use std::ops::Range;

/// Large enough that a scan of everything loses nothing to the number of its reads.
const BYTES: usize = 256 << 10;

pub struct Window<'a> {
    file: &'a dyn File,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    /// What is known of holes: from the first number on there is only the hole before the range, and the range.
    data: (u64, Range<u64>),
}

impl<'a> Window<'a> {
    /// Looks at the first `len` bytes of `file`; what lies past them does not exist for the one who looks.
    pub fn new(file: &'a dyn File, len: u64) -> Window<'a> {
        Window::of(file, len, BYTES)
    }

    /// One that reads at most `step` bytes at a time.
    pub fn of(file: &'a dyn File, len: u64, step: usize) -> Window<'a> {
        Window { file, len, buffer: vec![0; step], start: 0, filled: 0, data: (0, 0..0) }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where, from `offset` on, the next byte stands that is in no hole; the window's length where there is none. What is
    /// passed over reads as zeroes.
    pub fn next_data(&mut self, offset: u64) -> u64 {
        let (asked, data) = &self.data;
        if !(*asked..data.end).contains(&offset) {
            self.data = (offset, self.file.next_data(offset).unwrap_or(u64::MAX..u64::MAX));
        }
        self.data.1.start.max(offset).min(self.len)
    }

    /// The byte at `offset` and up to `len` in all of those after it that are at hand, or that one step reads: whoever goes
    /// on behind them reads nothing twice. Empty where the window's file ends.
    pub fn some(&mut self, offset: u64, len: u64) -> Result<&[u8], Fault> {
        let end = self.start + self.filled as u64;
        let at_hand = if (self.start..end).contains(&offset) { end - offset } else { u64::MAX };
        self.get(offset, len.min(at_hand).min(self.buffer.len() as u64) as usize)
    }

    /// Up to `len` bytes from `offset` on: fewer where the window's file ends, or above the largest step.
    pub fn get(&mut self, offset: u64, len: usize) -> Result<&[u8], Fault> {
        let len = len.min(self.buffer.len()).min(self.len.saturating_sub(offset).min(usize::MAX as u64) as usize);
        let inside = offset >= self.start && offset + len as u64 <= self.start + self.filled as u64;
        if !inside {
            // No further than the data that is known here: behind it may be a hole, which the caller leaves out.
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
