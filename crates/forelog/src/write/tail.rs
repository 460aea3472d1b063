//! The last block of the active segment, kept in memory, so that a small commit can write it again together with what follows.

use crate::util::limits::PAGE;

/// The part of the last block that frames take.
pub struct Tail {
    bytes: Box<[u8]>,
    /// The end of the frames. The bytes from the start of its block up to it are known if `is_known`.
    end: u64,
    is_known: bool,
}

impl Tail {
    /// Begins at `end`. What precedes it in its block is not known, unless it is the start of a block.
    pub fn at(end: u64) -> Tail {
        Tail { bytes: vec![0; PAGE as usize].into(), end, is_known: end.is_multiple_of(PAGE) }
    }

    /// Returns the bytes between the start of the block and `end`, if they are known and `end` is where the frames end.
    pub fn before(&self, end: u64) -> Option<&[u8]> {
        (self.is_known && self.end == end).then(|| &self.bytes[..(end % PAGE) as usize])
    }

    /// Records that `bytes` are written at `offset`, and that the frames end at `end` in them.
    pub fn note(&mut self, bytes: &[u8], offset: u64, end: u64) {
        let block = end - end % PAGE;
        let known = (end - block) as usize;
        if offset <= block {
            let from = (block - offset) as usize;
            self.bytes[..known].copy_from_slice(&bytes[from..from + known]);
            self.is_known = true;
        } else {
            self.is_known &= self.end == offset;
            let (from, to) = ((offset - block) as usize, known);
            self.bytes[from..to].copy_from_slice(&bytes[..to - from]);
        }
        self.end = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn the_start_of_the_last_block_is_known_from_the_writes_that_made_it() {
        let mut tail = Tail::at(PAGE);
        assert_eq!(tail.before(PAGE), Some(&[][..]));
        let mut at = PAGE;
        for len in [8, 100, 4000, 4096, 16, 9000, 8192, 1] {
            tail.note(&bytes(at, at + len), at, at + len);
            at += len;
            assert_eq!(tail.before(at), Some(&bytes(at - at % PAGE, at)[..]), "{len}");
            assert_eq!(tail.before(at + 8), None);
        }
    }

    #[test]
    fn a_block_that_began_before_is_not_known_until_the_next_one_begins() {
        let mut tail = Tail::at(5000);
        assert_eq!(tail.before(5000), None);
        tail.note(&bytes(5000, 6000), 5000, 6000);
        assert_eq!(tail.before(6000), None);
        tail.note(&bytes(6000, 9000), 6000, 9000);
        assert_eq!(tail.before(9000), Some(&bytes(8192, 9000)[..]));
        // A write that does not follow on.
        tail.note(&bytes(9100, 9200), 9100, 9200);
        assert_eq!(tail.before(9200), None);
    }
}
