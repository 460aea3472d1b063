//! A block: verified bytes of a log, and the records in them.

use crate::format::compression::MAX_RAW;
use crate::format::frame::Frame;
use crate::format::record::{self, Parts, RecordRef};
use crate::read::reader::Hole;
use std::iter::FusedIterator;
use std::ops::Range;

/// The lower bits of [`Entry::meta`] are the flags of the record. The bits from this one on are the index of its first number.
const NUMBERS_SHIFT: u32 = 5;
const FLAGS: u32 = (1 << NUMBERS_SHIFT) - 1;
// A block is one frame, or a few MiB. No frame has room for more than three numbers in every 27 bytes.
const _: () = assert!(MAX_RAW as u64 / 9 + (8 << 20) < 1 << (32 - NUMBERS_SHIFT));

/// Where one record is, in 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    /// Start of the value, which is the end of the key.
    value: u32,
    end: u32,
    meta: u32,
}

/// A run of verified records with consecutive positions.
///
/// A record is looked up in constant time, and no record has memory of its own: a [`Record`] borrows from the block.
#[derive(Debug, Default)]
pub struct Block {
    /// Position of the first record. The record with index `i` has the position `first_position + i`.
    pub first_position: u64,
    pub(super) bytes: Vec<u8>,
    /// Number of bytes that are in memory of the caller instead.
    pub(super) lent: usize,
    entries: Vec<Entry>,
    /// `expires_at`, then term and index, of the records that have them.
    numbers: Vec<u64>,
    detailed: bool,
    /// The times of commit in runs: the index of the first record that was committed then, and the time in ms since 1970, 0 if it is not
    /// known. No run begins before the first time that is known.
    times: Vec<(u32, u64)>,
    /// The atomic batches among the records: the index of the first record in this block, and their number. Empty unless a detailed reader
    /// made the block.
    pub batches: Vec<(u32, u32)>,
    /// The positions left out before the first record: by a salvaging reader, or because they were lost before this log was made.
    pub holes: Vec<Hole>,
}

/// A record of a [`Block`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Position in the log.
    pub position: u64,
    /// Key of the record.
    pub key: Option<&'a [u8]>,
    /// Value of the record.
    pub value: Option<&'a [u8]>,
    /// Whether the record is a tombstone: its key has been deleted.
    pub tombstone: bool,
    /// When the record expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// The Raft term and index of the record.
    pub version: Option<(u64, u64)>,
}

/// Where the fields of a record are in the bytes of its block, for callers that copy a block as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The flags of the encoded record, as bits: see the constants.
    pub flags: u8,
    /// Start of the key in [`Block::bytes`].
    pub key: u32,
    /// Start of the value, which is the end of the key.
    pub value: u32,
    /// End of the value.
    pub end: u32,
    /// Index in [`Block::numbers`] of `expires_at`, if the record has it. Term and index follow, if the record has them.
    pub numbers: u32,
}

/// The bits of `flags`.
impl Fields {
    /// The record has a key.
    pub const HAS_KEY: u8 = record::HAS_KEY;
    /// The record has a value.
    pub const HAS_VALUE: u8 = record::HAS_VALUE;
    /// The key of the record has been deleted.
    pub const TOMBSTONE: u8 = record::TOMBSTONE;
    /// The record expires.
    pub const HAS_EXPIRY: u8 = record::HAS_EXPIRY;
    /// The record has a term and an index.
    pub const HAS_VERSION: u8 = record::HAS_VERSION;
}

impl Entry {
    #[inline]
    fn fields(self) -> Fields {
        let Entry { key, value, end, meta } = self;
        Fields { flags: (meta & FLAGS) as u8, key, value, end, numbers: meta >> NUMBERS_SHIFT }
    }
}

impl Block {
    /// Creates an empty block whose first record will have the position `first_position`.
    pub(super) fn at(first_position: u64, detailed: bool) -> Block {
        Block { first_position, detailed, ..Block::default() }
    }

    /// Adds the records of a frame from position `next` on, up to `limit`, and moves `next` past them. They are in `bytes[body]`. Returns false
    /// if not all of the frame is records.
    pub(super) fn add(&mut self, frame: &Frame, bytes: &[u8], body: Range<usize>, next: &mut u64, limit: u64) -> bool {
        let (base, raw, before) = (body.start, &bytes[body], self.entries.len());
        // A number that the bytes have no room for is not believed.
        self.entries.reserve((frame.count as usize).min(raw.len() / record::SMALLEST));
        let mut offset = 0;
        let whole = (frame.first..frame.next_position()).all(|position| {
            let Some(parts) = Parts::parse(raw, offset) else { return false };
            if position == *next && position <= limit {
                self.push(base, &parts);
                *next += 1;
            }
            offset = parts.end;
            true
        });
        let committed_ms = frame.committed_ms.unwrap_or(0);
        if self.entries.len() > before && committed_ms != self.times.last().map_or(0, |(_, ms)| *ms) {
            self.times.push((before as u32, committed_ms));
        }
        whole
    }

    /// Returns when the record with index `i` was committed, by the writer's wall clock, in milliseconds since 1970. `None` if that is not
    /// known: its segment was written by a version that did not record it.
    ///
    /// It is looked up here and not a field of [`Record`], so that it costs nothing when it is not asked for.
    pub fn committed_at(&self, i: usize) -> Option<u64> {
        let after = self.times.partition_point(|(first, _)| *first as usize <= i);
        let (_, ms) = self.times.get(after.checked_sub(1)?)?;
        (*ms > 0).then_some(*ms)
    }

    /// Returns the times of commit in runs: the index of the first record that was committed then, and the time in milliseconds since 1970,
    /// 0 if it is not known. A record before the first run has no time.
    pub fn times(&self) -> &[(u32, u64)] {
        &self.times
    }

    /// Returns how many bytes of the memory that was lent for the block are its bytes. 0 if it has bytes of its own. Otherwise only its fields
    /// can be looked up, and not its records.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Copies the bytes from the memory that was lent for the block, if they are there.
    pub fn copy_from(&mut self, memory: &[u8]) {
        let lent = std::mem::take(&mut self.lent);
        if lent > 0 {
            self.bytes = memory[..lent].to_vec();
        }
    }

    /// Returns the number of records in the block.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the block has no record. It may still report holes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the record with index `i`, or `None` if the block has no more than `i` records.
    pub fn get(&self, i: usize) -> Option<Record<'_>> {
        self.entries.get(i).map(|entry| self.record(self.first_position + i as u64, *entry))
    }

    /// Iterates over the records in the order of their positions.
    pub fn iter(&self) -> BlockRecords<'_> {
        BlockRecords { block: self, rest: 0..self.entries.len() }
    }

    /// Whether a detailed reader made the block, so that it reports batches.
    pub fn is_detailed(&self) -> bool {
        self.detailed
    }

    /// Returns the bytes that the fields refer to.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where the fields of each record are.
    #[inline]
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Fields> + '_ {
        self.entries.iter().map(|entry| entry.fields())
    }

    /// Returns the expiries, terms and indexes of all records, see [`Fields::numbers`].
    #[inline]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Frees the memory of the records. What remains are the first position, the times, the batches and the holes.
    pub fn forget_records(&mut self) {
        (self.bytes, self.lent, self.entries, self.numbers) = Default::default();
    }

    fn record(&self, position: u64, entry: Entry) -> Record<'_> {
        let Fields { flags, key, value, end, numbers } = entry.fields();
        let mut numbers = self.numbers.get(numbers as usize..).unwrap_or_default().iter().copied();
        let parts = Parts {
            flags,
            key: key as usize,
            value: value as usize,
            end: end as usize,
            expires_at: if Parts::has_expiry(flags) { numbers.next() } else { None },
            version: if Parts::has_version(flags) { numbers.next().zip(numbers.next()) } else { None },
        };
        let RecordRef { key, value, tombstone, expires_at, version } = parts.record(&self.bytes);
        Record { position, key, value, tombstone, expires_at, version }
    }

    /// Adds a record that was parsed from `bytes[base..]`.
    #[inline]
    fn push(&mut self, base: usize, parts: &Parts) {
        let numbers = (self.numbers.len() as u32) << NUMBERS_SHIFT;
        self.entries.push(Entry {
            key: (base + parts.key) as u32,
            value: (base + parts.value) as u32,
            end: (base + parts.end) as u32,
            meta: u32::from(parts.flags) | numbers,
        });
        if let Some(expiry) = parts.expires_at {
            self.numbers.push(expiry);
        }
        if let Some((term, index)) = parts.version {
            self.numbers.extend([term, index]);
        }
    }
}

impl<'a> From<Record<'a>> for RecordRef<'a> {
    /// Returns the record without its position, as it was appended.
    fn from(Record { key, value, tombstone, expires_at, version, .. }: Record<'a>) -> RecordRef<'a> {
        RecordRef { key, value, tombstone, expires_at, version }
    }
}

/// An iterator over the records of a [`Block`].
#[derive(Clone, Debug)]
pub struct BlockRecords<'a> {
    block: &'a Block,
    rest: Range<usize>,
}

impl<'a> Iterator for BlockRecords<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.rest.next().and_then(|i| self.block.get(i))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl DoubleEndedIterator for BlockRecords<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rest.next_back().and_then(|i| self.block.get(i))
    }
}

impl ExactSizeIterator for BlockRecords<'_> {}
impl FusedIterator for BlockRecords<'_> {}

impl<'a> IntoIterator for &'a Block {
    type Item = Record<'a>;
    type IntoIter = BlockRecords<'a>;

    fn into_iter(self) -> BlockRecords<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_finds_its_numbers_after_those_of_the_largest_batch() {
        let before = 1 << 24;
        let mut block = Block { numbers: vec![0; before], ..Block::default() };
        block.push(0, &Parts { flags: 31, key: 0, value: 0, end: 0, expires_at: Some(7), version: Some((8, 9)) });
        assert_eq!(block.fields().next().map(|fields| (fields.flags, fields.numbers)), Some((31, before as u32)));
        assert_eq!(block.get(0).map(|record| (record.expires_at, record.version)), Some((Some(7), Some((8, 9)))));
    }

    #[test]
    fn every_record_of_a_block_has_the_time_of_its_frame() {
        let mut block = Block::at(1, false);
        let (mut next, mut expected) = (1, Vec::new());
        for (count, committed_ms) in [(2, None), (1, Some(0)), (3, Some(50)), (1, Some(50)), (2, Some(40)), (1, Some(0)), (2, Some(70))] {
            let body: Vec<u8> = (0..count).flat_map(|_| [2, 0, 1, b'x']).collect();
            let frame = crate::format::frame::Frame {
                body_len: body.len() as u32,
                first: next,
                count,
                kind: crate::format::frame::Kind::Singles,
                codec: crate::Compression::None,
                synced: 0,
                body_crc: 0,
                prev: 0,
                crc: 0,
                committed_ms,
            };
            assert!(block.add(&frame, &body, 0..body.len(), &mut next, u64::MAX));
            expected.resize(expected.len() + count as usize, committed_ms.filter(|ms| *ms > 0));
        }
        let times: Vec<_> = (0..block.len()).map(|i| block.committed_at(i)).collect();
        assert_eq!(times, expected);
        assert_eq!(block.times(), [(3, 50), (7, 40), (9, 0), (10, 70)]);
    }

    #[test]
    fn a_block_returns_the_records_that_were_pushed_from_either_end() {
        let record = |n: u64| RecordRef {
            key: (!n.is_multiple_of(2)).then_some(&b"key"[..]),
            value: (!n.is_multiple_of(3)).then_some(&b"value"[..]),
            tombstone: n.is_multiple_of(3),
            expires_at: n.is_multiple_of(4).then_some(u64::MAX - n),
            version: n.is_multiple_of(5).then_some((n, u64::MAX)),
        };
        let mut block = Block { first_position: 10, ..Block::default() };
        for n in 0..60 {
            let start = block.bytes.len();
            record(n).encode(&mut block.bytes);
            let parts = Parts::parse(&block.bytes[start..], 0);
            assert!(parts.is_some_and(|parts| {
                block.push(start, &parts);
                true
            }));
        }
        let expected: Vec<_> = (0..60).map(|n| (10 + n, record(n))).collect();
        let mut found: Vec<_> = block.iter().map(|found| (found.position, RecordRef::from(found))).collect();
        assert_eq!(found, expected);
        found.reverse();
        let backwards: Vec<_> = block.iter().rev().map(|found| (found.position, RecordRef::from(found))).collect();
        assert_eq!(backwards, found);
        assert_eq!((block.len(), block.iter().len(), block.get(60)), (60, 60, None));
    }
}
