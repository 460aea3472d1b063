//! The frame codec: a header of 48 bytes, and a body of records. Pure functions of bytes that allocate nothing.
//!
//! Segments of versions that did not record times have headers of 40 bytes, without the time.
//!
//! The constants below are what the writer, the reader and recovery must agree on. The checksum of a header is verified
//! before any of its fields is used, the body length above all.

use crate::options::Compression;
use crate::util::bytes::*;
use crate::util::limits::MAX_POSITION;

/// A frame starts on a multiple of this, and is zero-padded to one.
pub const ALIGN: u64 = 8;
/// Length of the headers that are written.
pub const HEADER: usize = 48;
/// Length of the headers in a segment whose frames do not carry the time of their commit.
pub const UNSTAMPED_HEADER: usize = 40;
/// Group commit merges single appends into frames of at most this many bytes, so that one flipped bit costs little.
pub const MERGED_BYTES: usize = 64 << 10;

// Offsets of the header's fields.
const CRC: usize = 0; // u32, masked: over the seed (log uuid, segment id, salt), the frame's offset, and the other bytes
const BODY_LEN: usize = 4; // u32
const FIRST: usize = 8; // u64: position of the first record; of the next record in a padding frame
const COUNT: usize = 16; // u32: records in the body
const KIND: usize = 20; // u8; zero is never valid, so that unwritten bytes are no frame
const CODEC: usize = 21; // u8: how the body is compressed
const FLAGS: usize = 22; // u16, zero in version 1
const SYNCED: usize = 24; // u64: how much of this segment was durable when the frame was built
const BODY_CRC: usize = 32; // u32, masked
const PREV: usize = 36; // u32: CRC field of the previous frame; of the header's predecessor in the first one
const COMMITTED: usize = 40; // u64: ms since the epoch, 0 if not known; only in a stamped segment, and no decision rests on it
const _: () = assert!(PREV + 4 == UNSTAMPED_HEADER && COMMITTED + 8 == HEADER && (HEADER as u64).is_multiple_of(ALIGN));

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Single appends merged by group commit.
    Singles = 1,
    /// One atomic batch.
    Batch = 2,
    /// Fills up to a page boundary; holds no record.
    Padding = 3,
}

/// The decoded header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub body_len: u32,
    pub first: u64,
    pub count: u32,
    pub kind: Kind,
    /// How the body is compressed. If it is, the body begins with its raw length.
    pub codec: Compression,
    pub synced: u64,
    /// The checksum of the body as it is stored.
    pub body_crc: u32,
    pub prev: u32,
    /// The header's own CRC, which the next frame names as its previous one.
    pub crc: u32,
    /// When its records were committed, in ms since 1970; 0 if that is not known. `None` in a segment that is not stamped.
    pub committed_ms: Option<u64>,
}

impl Frame {
    /// Returns the length of the header.
    pub fn head(&self) -> usize {
        if self.committed_ms.is_some() {
            HEADER
        } else {
            UNSTAMPED_HEADER
        }
    }

    /// Returns how many bytes the frame takes in its segment, including the zeroes that align it.
    pub fn span(&self) -> u64 {
        (self.head() as u64 + u64::from(self.body_len)).next_multiple_of(ALIGN)
    }

    /// Returns the frame as it is in a stamped segment. If it is from one that is not, the time of its commit is not known.
    pub fn stamped(self) -> Frame {
        Frame { committed_ms: Some(self.committed_ms.unwrap_or(0)), ..self }
    }

    /// Returns the position after the frame's last record.
    pub fn next_position(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Returns how many bytes a frame takes in a stamped segment if its body has `body_len` bytes.
pub fn span(body_len: usize) -> u64 {
    (HEADER as u64 + body_len as u64).next_multiple_of(ALIGN)
}

/// Binds the checksum of a frame to its place: a frame is valid only at its own offset of the segment that it was written
/// for. It also says how long the headers in that segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    crc: u32,
    is_stamped: bool,
}

impl Seed {
    /// Returns the seed of a segment. `is_stamped`: its frames carry the time of their commit.
    pub fn new(uuid: &[u8; 16], segment: u64, salt: u64, is_stamped: bool) -> Seed {
        let crc = crc32c::crc32c(uuid);
        let crc = crc32c::crc32c_append(crc, &segment.to_le_bytes());
        Seed { crc: crc32c::crc32c_append(crc, &salt.to_le_bytes()), is_stamped }
    }

    /// Returns the length of the headers of frames.
    pub fn head(self) -> usize {
        if self.is_stamped {
            HEADER
        } else {
            UNSTAMPED_HEADER
        }
    }

    /// Returns the checksum of a frame header at `offset`, as it is stored.
    pub fn crc(self, offset: u64, header: &[u8]) -> u32 {
        self.over(offset, &header[CRC + 4..self.head()])
    }

    /// Returns the masked checksum of bytes at `offset`. It matches only at that offset of this segment.
    pub fn over(self, offset: u64, bytes: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.crc, &offset.to_le_bytes());
        mask(crc32c::crc32c_append(crc, bytes))
    }
}

/// Extends the running checksum of a body, which starts at 0, by `bytes`.
pub fn body_crc(running: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(running, bytes)
}

/// Returns what `body_crc` returns for `len` zeroes, without reading them: appending a zero is a linear map of the inverted
/// value.
pub fn body_crc_of_zeroes(running: u32, len: usize) -> u32 {
    !crc32c::crc32c_combine(!running, 0, len)
}

/// Turns the running value of `body_crc` into the one that the header stores.
pub fn stored(running: u32) -> u32 {
    mask(running)
}

/// Writes the header of `frame` into `out` for the offset `offset`, and returns its CRC. `frame.crc` is not used. Frame and seed agree on
/// whether there is a time.
pub fn encode(out: &mut [u8], frame: &Frame, seed: Seed, offset: u64) -> u32 {
    put_u32(out, BODY_LEN, frame.body_len);
    put_u64(out, FIRST, frame.first);
    put_u32(out, COUNT, frame.count);
    out[KIND] = frame.kind as u8;
    out[CODEC] = frame.codec as u8;
    put_u16(out, FLAGS, 0);
    put_u64(out, SYNCED, frame.synced);
    put_u32(out, BODY_CRC, frame.body_crc);
    put_u32(out, PREV, frame.prev);
    debug_assert_eq!(frame.head(), seed.head(), "a segment has headers of one length");
    if let Some(ms) = frame.committed_ms {
        put_u64(out, COMMITTED, ms);
    }
    let crc = seed.crc(offset, out);
    put_u32(out, CRC, crc);
    crc
}

/// Returns the frame whose header `bytes` begin with, if the header is valid at `offset` of the seed's segment.
///
/// Besides the checksum, the fields must be plausible: a known kind and codec, records if and only if the frame is not
/// padding, a synced offset that is not past the frame itself, and positions within range. The caller checks that the body
/// fits into the file and matches its CRC.
pub fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Frame> {
    if bytes.len() < seed.head() {
        return None;
    }
    let kind = match bytes[KIND] {
        1 => Kind::Singles,
        2 => Kind::Batch,
        3 => Kind::Padding,
        _ => return None,
    };
    let codec = match bytes[CODEC] {
        0 => Compression::None,
        1 => Compression::Lz4,
        2 => Compression::Zstd,
        _ => return None,
    };
    let crc = get_u32(bytes, CRC);
    if crc != seed.crc(offset, bytes) || get_u16(bytes, FLAGS) != 0 {
        return None;
    }
    let frame = Frame {
        body_len: get_u32(bytes, BODY_LEN),
        first: get_u64(bytes, FIRST),
        count: get_u32(bytes, COUNT),
        kind,
        codec,
        synced: get_u64(bytes, SYNCED),
        body_crc: get_u32(bytes, BODY_CRC),
        prev: get_u32(bytes, PREV),
        crc,
        committed_ms: seed.is_stamped.then(|| get_u64(bytes, COMMITTED)),
    };
    let plausible = frame.synced <= offset
        && (frame.count == 0) == (kind == Kind::Padding)
        && (codec == Compression::None || kind != Kind::Padding)
        && frame.first >= 1
        && frame.first <= MAX_POSITION + 1
        && u64::from(frame.count) <= MAX_POSITION + 1 - frame.first;
    plausible.then_some(frame)
}

/// Returns the first of `starts` places in `bytes`, which begin at `offset`, at which a header may stand: some of the
/// fields that [`decode`] checks besides the checksum are plausible, and the position is not below `least`.
///
/// A scan over stale bytes makes this test at every eighth byte.
pub fn find(bytes: &[u8], starts: usize, least: u64, offset: u64) -> Option<usize> {
    let firsts = bytes.get(FIRST..)?.chunks_exact(ALIGN as usize).take(starts);
    let mut places = firsts.enumerate().filter(|(_, word)| (least..=MAX_POSITION + 1).contains(&get_u64(word, 0)));
    let found = places.find(|(i, _)| {
        let at = i * ALIGN as usize;
        let head = &bytes[at..];
        let known = matches!(head[KIND], 1..=3) && head[CODEC] <= 2 && get_u16(head, FLAGS) == 0;
        known && get_u64(head, SYNCED) <= offset + at as u64
    });
    found.map(|(i, _)| i * ALIGN as usize)
}

/// Corrects both checksums of the frame in `bytes`, so that a test gets past them. The body ends where `bytes` end.
#[cfg(any(test, feature = "sim"))]
pub fn reseal(bytes: &mut [u8], seed: Seed, offset: u64) {
    let end = (seed.head() + get_u32(bytes, BODY_LEN) as usize).min(bytes.len());
    let body = mask(crc32c::crc32c(&bytes[seed.head()..end]));
    put_u32(bytes, BODY_CRC, body);
    let crc = seed.crc(offset, bytes);
    put_u32(bytes, CRC, crc);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_finds_every_offset_that_decodes_and_skips_the_others() {
        for is_stamped in [true, false] {
            let seed = Seed::new(&UUID, 3, 77, is_stamped);
            let frame = |first, kind: Kind, synced| {
                let count = u32::from(kind != Kind::Padding);
                Frame {
                    body_len: 0,
                    first,
                    count,
                    kind,
                    codec: Compression::None,
                    synced,
                    body_crc: 5,
                    prev: 6,
                    crc: 0,
                    committed_ms: is_stamped.then_some(8),
                }
            };
            for stale in [0, 0x7f, 0xff] {
                for (first, kind, synced) in [(42, Kind::Singles, 0), (MAX_POSITION + 1, Kind::Padding, 8192), (43, Kind::Batch, 4096)] {
                    for at in [0, 8, 64, 160] {
                        let mut bytes = [stale; 208];
                        encode(&mut bytes[at..], &frame(first, kind, synced), seed, 8192 + at as u64);
                        assert!(decode(&bytes[at..], seed, 8192 + at as u64).is_some());
                        assert_eq!(find(&bytes, 21, 42, 8192), Some(at));
                        assert_eq!(find(&bytes, 21, first + 1, 8192), None);
                        assert_eq!(find(&bytes, at / 8, 42, 8192), None);
                    }
                }
            }
        }
    }

    const UUID: [u8; 16] = [9; 16];

    fn sample() -> (Seed, [u8; HEADER], Frame) {
        sample_in(Seed::new(&UUID, 3, 77, true), Some(1_700_000_000_000))
    }

    fn sample_in(seed: Seed, committed_ms: Option<u64>) -> (Seed, [u8; HEADER], Frame) {
        let (kind, codec) = (Kind::Batch, Compression::Zstd);
        let mut frame = Frame { body_len: 11, first: 42, count: 2, kind, codec, synced: 4096, body_crc: 5, prev: 6, crc: 0, committed_ms };
        let mut bytes = [0; HEADER];
        frame.crc = encode(&mut bytes, &frame, seed, 8192);
        (seed, bytes, frame)
    }

    #[test]
    fn a_header_decodes_to_what_was_encoded() {
        let (seed, bytes, frame) = sample();
        assert_eq!(decode(&bytes, seed, 8192), Some(frame));
        assert_eq!(frame.span(), 64);
        assert_eq!(frame.next_position(), 44);
    }

    #[test]
    fn a_header_without_a_time_is_shorter_and_decodes_only_in_a_segment_that_is_not_stamped() {
        let (seed, bytes, frame) = sample_in(Seed::new(&UUID, 3, 77, false), None);
        assert_eq!(decode(&bytes[..UNSTAMPED_HEADER], seed, 8192), Some(frame));
        assert_eq!((frame.span(), frame.stamped().span(), frame.stamped().committed_ms), (56, 64, Some(0)));
        assert_eq!(decode(&bytes, Seed::new(&UUID, 3, 77, true), 8192), None);
        let (stamped, bytes, _) = sample();
        assert_eq!(decode(&bytes[..UNSTAMPED_HEADER], stamped, 8192), None);
        assert_eq!(decode(&bytes, seed, 8192), None);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_detected() {
        let (seed, bytes, _) = sample();
        for (bit, damaged) in flips(&bytes[..HEADER]) {
            assert_eq!(decode(&damaged, seed, 8192), None, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_is_valid_only_at_its_offset_of_its_segment_of_its_log() {
        let (seed, bytes, _) = sample();
        assert_eq!(decode(&bytes, seed, 8200), None);
        assert_eq!(decode(&bytes, Seed::new(&UUID, 4, 77, true), 8192), None);
        assert_eq!(decode(&bytes, Seed::new(&UUID, 3, 78, true), 8192), None);
        assert_eq!(decode(&bytes, Seed::new(&[8; 16], 3, 77, true), 8192), None);
    }

    #[test]
    fn zeroes_and_implausible_headers_are_not_frames() {
        let (seed, mut bytes, frame) = sample();
        assert_eq!(decode(&[0; HEADER], seed, 0), None);
        for wrong in [
            Frame { synced: 8200, ..frame },
            Frame { count: 0, ..frame },
            Frame { kind: Kind::Padding, ..frame },
            Frame { kind: Kind::Padding, count: 0, ..frame },
            Frame { first: 0, ..frame },
            Frame { first: MAX_POSITION, ..frame },
        ] {
            encode(&mut bytes, &wrong, seed, 8192);
            assert_eq!(decode(&bytes, seed, 8192), None, "{wrong:?}");
        }
    }
}
