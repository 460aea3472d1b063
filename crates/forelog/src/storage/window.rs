//! A bounded view of a file, through which scans read it forwards, in steps.

use super::File;
use crate::error::Fault;
use std::ops::Range;

/// Bytes read per step: enough that a scan of a whole file does not suffer from the number of reads.
const BYTES: usize = 256 << 10;

/// More than systems read ahead of a reader.
const READ_AHEAD: u64 = 32 << 20;

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
            let ended = !data.is_empty();
            let mut found = self.file.next_data(offset);
            // The system reads ahead, past the end of the data. It counts blocks without data as data once they are in the page cache, and then
            // a scan would follow its own readahead to the end of the file.
            if ended && found.as_ref().is_some_and(|data| data.start <= offset) {
                self.file.drop_cache(offset, READ_AHEAD);
                found = self.file.next_data(offset);
            }
            self.data = (offset, found.unwrap_or(u64::MAX..u64::MAX));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::storage::layer::{layered, Layer};
    use crate::storage::Storage;
    use crate::testing::sim::SimDisk;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::Arc;

    const AHEAD: u64 = 8 << 20;

    /// A system that reads ahead and counts everything in the page cache as data, as Linux does with blocks that were never written.
    #[derive(Default)]
    struct ReadAhead {
        data: u64,
        cached: AtomicU64,
        read: AtomicU64,
    }

    impl Layer for Arc<ReadAhead> {
        fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
            if !buffer.is_empty() {
                let end = offset + buffer.len() as u64;
                self.cached.fetch_max(end + AHEAD, Ordering::Relaxed);
                self.read.fetch_max(end, Ordering::Relaxed);
            }
            file.read_at(buffer, offset)
        }

        fn next_data(&self, _: &dyn File, offset: u64) -> Option<Range<u64>> {
            let end = self.data.max(self.cached.load(Ordering::Relaxed));
            (offset < end).then_some(offset..end)
        }

        fn drop_cache(&self, _: &dyn File, _: u64, _: u64) {
            self.cached.store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_scan_does_not_follow_its_own_readahead_to_the_end_of_the_file() {
        let (data, len) = (10 << 20, 256 << 20);
        let file = SimDisk::new(1, 512).create("segment", len).unwrap();
        // Nothing was read before, or a reader has been near the end of the data.
        for cached in [0, data + AHEAD] {
            let system = Arc::new(ReadAhead { data, cached: cached.into(), ..Default::default() });
            let file = layered(file.clone(), system.clone());
            let mut window = Window::new(&*file, len);
            let mut at = 0;
            loop {
                at = window.next_data(at);
                match window.some(at, u64::MAX).unwrap().len() {
                    0 => break,
                    n => at += n as u64,
                }
            }
            assert!(system.read.load(Ordering::Relaxed) <= data.max(cached));
        }
    }
}
