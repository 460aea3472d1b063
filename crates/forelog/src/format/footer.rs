//! The footer of a sealed segment: a sparse index from positions to offsets, the times of the records, and the end of the frames. Pure
//! functions of bytes.
//!
//! The footer only saves work. Without one, or with a damaged one, the same facts follow from the frame headers.

use crate::format::commit_times::CommitTimes;
use crate::format::frame::{Frame, Seed, ALIGN};
use crate::format::frame_boundary::FrameBoundary;
use crate::util::bytes::*;
use crate::util::limits::PAGE;

/// Distance between the entries of an index. From the nearest entry, a position is found by reading the frame headers of
/// about this many bytes.
pub const EVERY: u64 = 64 << 10;

pub const MAGIC: [u8; 8] = *b"\x89FFTR\r\n\x1a";
pub const VERSION: u32 = 1;

// The fields of an index entry.
const ENTRY: usize = 24;
const OFFSET: usize = 0; // u64
const NEXT: usize = 8; // u64: position of the first record from there on
const CRC: usize = 16; // u32: CRC field of the frame before it; four bytes of zero follow

// The trailer follows the entries, at the very end of the file.
pub const TRAILER: usize = 64;
const VERSION_AT: usize = 8; // u32
const ENTRIES: usize = 12; // u32
const START: usize = 16; // u64: offset of the first entry, a multiple of 4096
const END: usize = 24; // u64: end of the frames
const END_NEXT: usize = 32; // u64: position after the last record
const END_CRC: usize = 40; // u32: CRC field of the last frame
const LEAST: usize = 44; // u64, ms since the epoch: least time of a record, 0 if none has one
const GREATEST: usize = 52; // u64: greatest time
const FOOTER_CRC: usize = 60; // u32, masked: over the seed, the offset of the first entry, and all that stands before
const _: () = assert!(GREATEST + 8 == FOOTER_CRC && FOOTER_CRC + 4 == TRAILER && CRC + 8 == ENTRY);

/// No segment needs more entries than this. A trailer that claims more is rejected before anything is allocated.
const MAX_ENTRIES: u32 = 1 << 17;

/// Frame boundaries in ascending order, about one per 64 KiB from the start of a segment, and the times of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    entries: Vec<FrameBoundary>,
    /// When the records were committed. Records that a truncation from the end has cut off may count as well.
    pub times: CommitTimes,
}

impl Index {
    /// Adds the boundary after a frame if it is far enough from the last entry.
    pub fn note(&mut self, boundary: FrameBoundary) {
        if self.entries.last().map_or(0, |last| last.offset) + EVERY <= boundary.offset {
            self.entries.push(boundary);
        }
    }

    /// Adds `frame`, which ends at `end`.
    pub fn note_frame(&mut self, frame: &Frame, end: FrameBoundary) {
        self.note(end);
        self.times.note(frame.committed_ms.unwrap_or(0));
    }

    /// Returns the last boundary at or before `position`.
    pub fn near(&self, position: u64) -> Option<FrameBoundary> {
        let after = self.entries.partition_point(|boundary| boundary.next <= position);
        after.checked_sub(1).map(|i| self.entries[i])
    }

    /// Returns the last boundary at or before `offset`.
    pub fn before(&self, offset: u64) -> Option<FrameBoundary> {
        let after = self.entries.partition_point(|boundary| boundary.offset <= offset);
        after.checked_sub(1).map(|i| self.entries[i])
    }

    /// Returns the entries at which frames below the offset `end` begin.
    pub fn below(&self, end: u64) -> Index {
        Index { entries: self.entries.iter().filter(|boundary| boundary.offset < end).copied().collect(), times: self.times }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether this is the index of a segment whose frames up to the offset `end` have the index `found`.
    pub fn agrees_with(&self, found: &Index, end: u64) -> bool {
        self.below(end).entries == found.below(end).entries && self.times.covers(found.times)
    }
}

/// The decoded footer of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    pub index: Index,
    /// The end of the frames when the segment was sealed.
    pub end: FrameBoundary,
}

impl Footer {
    /// Encodes the footer for the offset `start` of the file.
    pub fn encode(&self, seed: Seed, start: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.index.len() * ENTRY + TRAILER];
        for (entry, boundary) in bytes.chunks_exact_mut(ENTRY).zip(&self.index.entries) {
            put_u64(entry, OFFSET, boundary.offset);
            put_u64(entry, NEXT, boundary.next);
            put_u32(entry, CRC, boundary.crc);
        }
        let at = bytes.len() - TRAILER;
        let trailer = &mut bytes[at..];
        trailer[..8].copy_from_slice(&MAGIC);
        put_u32(trailer, VERSION_AT, VERSION);
        put_u32(trailer, ENTRIES, self.index.len() as u32);
        put_u64(trailer, START, start);
        put_u64(trailer, END, self.end.offset);
        put_u64(trailer, END_NEXT, self.end.next);
        put_u32(trailer, END_CRC, self.end.crc);
        put_u64(trailer, LEAST, self.index.times.least);
        put_u64(trailer, GREATEST, self.index.times.greatest);
        let crc = seed.over(start, &bytes[..at + FOOTER_CRC]);
        put_u32(&mut bytes, at + FOOTER_CRC, crc);
        bytes
    }

    /// Decodes a footer from `bytes`, which reach from `start` to the end of the file. Returns `None` if they are not a
    /// footer of the seed's segment.
    pub fn decode(bytes: &[u8], seed: Seed, start: u64) -> Option<Footer> {
        let at = bytes.len().checked_sub(TRAILER)?;
        let trailer = &bytes[at..];
        if begin(trailer, start + bytes.len() as u64) != Some(start)
            || get_u32(trailer, FOOTER_CRC) != seed.over(start, &bytes[..at + FOOTER_CRC])
        {
            return None;
        }
        let boundary =
            |entry: &[u8]| FrameBoundary { offset: get_u64(entry, OFFSET), next: get_u64(entry, NEXT), crc: get_u32(entry, CRC) };
        let times = CommitTimes { least: get_u64(trailer, LEAST), greatest: get_u64(trailer, GREATEST) };
        let index = Index { entries: bytes[..at].chunks_exact(ENTRY).map(boundary).collect(), times };
        let end = FrameBoundary { offset: get_u64(trailer, END), next: get_u64(trailer, END_NEXT), crc: get_u32(trailer, END_CRC) };
        let ascending = index.entries.windows(2).all(|pair| pair[0].offset < pair[1].offset && pair[0].next <= pair[1].next);
        let aligned = index.entries.iter().all(|boundary| boundary.offset.is_multiple_of(ALIGN));
        let inside = index.entries.first().is_none_or(|boundary| boundary.offset >= PAGE)
            && index.entries.last().is_none_or(|boundary| boundary.offset < end.offset && boundary.next <= end.next);
        (ascending && aligned && inside && times.is_sound() && end.offset <= start).then_some(Footer { index, end })
    }
}

/// Returns the offset at which the footer begins, according to the trailer of a file of `len` bytes, or `None` if these
/// bytes are not a trailer.
///
/// The result proves nothing yet: the checksum covers the whole footer.
pub fn begin(trailer: &[u8], len: u64) -> Option<u64> {
    if trailer.len() != TRAILER || trailer[..8] != MAGIC || get_u32(trailer, VERSION_AT) != VERSION {
        return None;
    }
    let (entries, start) = (get_u32(trailer, ENTRIES), get_u64(trailer, START));
    let footer = u64::from(entries) * ENTRY as u64 + TRAILER as u64;
    let fits = entries <= MAX_ENTRIES && start >= PAGE && start.is_multiple_of(PAGE) && start.checked_add(footer) == Some(len);
    fits.then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_AT: u64 = 6 * EVERY;

    fn seed(salt: u64) -> Seed {
        Seed::new(&[4; 16], 9, salt, true)
    }

    fn sample() -> Footer {
        let times = CommitTimes { least: 1_700_000_000_000, greatest: 1_700_000_000_500 };
        let mut index = Index { times, ..Index::default() };
        for n in 1..50 {
            index.note(FrameBoundary { offset: PAGE + n * 6000, next: n * 10, crc: n as u32 });
        }
        Footer { index, end: FrameBoundary { offset: PAGE + 50 * 6000, next: 500, crc: 7 } }
    }

    fn decode(bytes: &[u8], seed: Seed) -> Option<Footer> {
        let trailer = bytes.get(bytes.len().checked_sub(TRAILER)?..)?;
        let start = begin(trailer, START_AT + bytes.len() as u64)?;
        (start == START_AT).then(|| Footer::decode(bytes, seed, start))?
    }

    #[test]
    fn a_footer_decodes_to_what_was_encoded() {
        for footer in [sample(), Footer { index: Index::default(), end: FrameBoundary { offset: PAGE, next: 1, crc: 0 } }] {
            assert_eq!(decode(&footer.encode(seed(1), START_AT), seed(1)), Some(footer));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_of_a_footer_is_detected() {
        let bytes = sample().encode(seed(1), START_AT);
        for (bit, damaged) in flips(&bytes) {
            assert_eq!(decode(&damaged, seed(1)), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], seed(1)), None, "{len} bytes");
            assert_eq!(decode(&bytes[bytes.len() - len..], seed(1)), None, "the last {len} bytes");
        }
    }

    #[test]
    fn a_footer_of_another_segment_or_at_another_offset_is_ignored() {
        let bytes = sample().encode(seed(1), START_AT);
        assert_eq!(decode(&bytes, seed(2)), None);
        assert_eq!(Footer::decode(&bytes, seed(1), START_AT + PAGE), None);
    }

    #[test]
    fn the_index_has_an_entry_within_64_kib_before_every_position() {
        let Footer { index, end } = sample();
        assert_eq!(index.len(), 4);
        for position in 1..end.next {
            let near = index.near(position).unwrap_or(FrameBoundary { offset: PAGE, next: 1, crc: 0 });
            let frame = PAGE + position / 10 * 6000;
            assert!(near.next <= position && near.offset <= frame && frame - near.offset < EVERY, "{position}");
        }
        assert_eq!(index.below(3 * EVERY).near(u64::MAX).map(|boundary| boundary.offset < 3 * EVERY), Some(true));
    }
}
