//! The header page of a segment.

use crate::format::frame::Seed;
use crate::format::page::{begin_page, identify, page_uuid, BadPage, COMPATIBLE, INCOMPATIBLE};
use crate::util::bytes::*;
use crate::util::limits::{MAX_POSITION, PAGE};

pub const MAGIC: [u8; 8] = *b"\x89FLOG\r\n\x1a";

// Offsets of the header's fields, after those that every page shares.
const SEGMENT_FLAGS: usize = 12; // u32
const ID: usize = 48; // u64
const FIRST: usize = 56; // u64
const SALT: usize = 64; // u64, random
const PREDECESSOR_ID: usize = 72; // u64, 0: none
const PREDECESSOR_SALT: usize = 80; // u64
const PREDECESSOR_END: usize = 88; // u64: bytes of the predecessor past it are dead
const CARRIED_END: usize = 96; // u64: end of the frames written before the segment got its name
const PREDECESSOR_CRC: usize = 104; // u32: CRC field of its last frame
const CREATED: usize = 112; // u64, ms since the epoch; no decision rests on it
const HOLE: usize = 120; // u64: positions from the first one on that hold nothing, 0 unless the feature says so
const GREATEST_BEFORE: usize = 128; // u64, ms since the epoch; only a search by time uses it

/// Segment flag: the file is recycled. Bytes after its frames may be stale and prove nothing.
const RECYCLED: u32 = 1;

/// Incompatible feature: frames may be compressed.
const COMPRESSED: u64 = 1;
/// Incompatible feature: the segment begins with a hole, which are positions that were lost before this log was made.
const BEGINS_WITH_HOLE: u64 = 2;
/// Incompatible feature: frames carry the time of their commit, so their headers are longer.
const STAMPED: u64 = 4;
/// The incompatible features that this version knows.
const KNOWN: u64 = COMPRESSED | BEGINS_WITH_HOLE | STAMPED;

/// The predecessor of a segment, and where it ends according to that segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    pub id: u64,
    pub salt: u64,
    pub end: u64,
    /// CRC field of the predecessor's last frame. If it holds no frame, the same field of its own predecessor.
    pub crc: u32,
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub uuid: [u8; 16],
    pub id: u64,
    pub first: u64,
    pub salt: u64,
    pub predecessor: Option<Predecessor>,
    pub carried_end: u64,
    pub recycled: bool,
    /// Frames may be compressed. A version that cannot decompress them must refuse the segment.
    pub compressed: bool,
    /// Frames carry the time of their commit. Every segment that this version begins is stamped.
    pub stamped: bool,
    pub created_ms: u64,
    /// Number of positions from `first` on that were lost before this log was made. No frame holds them, and the first
    /// frame comes after them.
    pub hole: u64,
    /// No frame before this segment was committed later, in ms since 1970; 0 if none has a time. It never falls from a segment to the next.
    pub greatest_before: u64,
}

impl Header {
    pub fn seed(&self) -> Seed {
        Seed::new(&self.uuid, self.id, self.salt, self.stamped)
    }

    /// Returns the checksum that the first frame of the segment names as its previous one.
    pub fn first_prev(&self) -> u32 {
        self.predecessor.map_or(0, |p| p.crc)
    }

    /// Returns the position of the first record that a frame of the segment can hold.
    pub fn start(&self) -> u64 {
        self.first + self.hole
    }

    /// Whether this is the header of the segment with this id and first position.
    pub fn is_of(&self, id: u64, first: u64) -> bool {
        self.id == id && self.first == first
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut page = begin_page(&MAGIC, &self.uuid);
        put_u32(&mut page, SEGMENT_FLAGS, if self.recycled { RECYCLED } else { 0 });
        let feature = |has: bool, bit: u64| if has { bit } else { 0 };
        let features = feature(self.compressed, COMPRESSED) | feature(self.hole > 0, BEGINS_WITH_HOLE) | feature(self.stamped, STAMPED);
        put_u64(&mut page, INCOMPATIBLE, features);
        put_u64(&mut page, COMPATIBLE, 0);
        put_u64(&mut page, ID, self.id);
        put_u64(&mut page, FIRST, self.first);
        put_u64(&mut page, SALT, self.salt);
        if let Some(p) = self.predecessor {
            put_u64(&mut page, PREDECESSOR_ID, p.id);
            put_u64(&mut page, PREDECESSOR_SALT, p.salt);
            put_u64(&mut page, PREDECESSOR_END, p.end);
            put_u32(&mut page, PREDECESSOR_CRC, p.crc);
        }
        put_u64(&mut page, CARRIED_END, self.carried_end);
        put_u64(&mut page, CREATED, self.created_ms);
        put_u64(&mut page, HOLE, self.hole);
        put_u64(&mut page, GREATEST_BEFORE, self.greatest_before);
        seal_page(&mut page);
        page
    }

    /// Whether the hole is consistent with the rest of the header.
    ///
    /// A hole is announced by the features, has a predecessor, and ends within the range of positions. The id of its
    /// segment is at least two above its predecessor's, because opening examines headers only where ids are missing.
    fn hole_is_sound(&self, announced: bool) -> bool {
        if !announced || self.hole == 0 {
            return !announced && self.hole == 0;
        }
        self.predecessor.is_some_and(|p| self.id - p.id >= 2) && self.hole <= MAX_POSITION + 1 - self.first
    }

    pub fn decode(page: &[u8]) -> Result<Header, BadPage> {
        if page.len() < PAGE as usize {
            return Err(BadPage::Damaged);
        }
        identify(page, &MAGIC, KNOWN)?;
        let features = get_u64(page, INCOMPATIBLE);
        let predecessor_id = get_u64(page, PREDECESSOR_ID);
        let header = Header {
            uuid: page_uuid(page),
            id: get_u64(page, ID),
            first: get_u64(page, FIRST),
            salt: get_u64(page, SALT),
            predecessor: (predecessor_id != 0).then(|| Predecessor {
                id: predecessor_id,
                salt: get_u64(page, PREDECESSOR_SALT),
                end: get_u64(page, PREDECESSOR_END),
                crc: get_u32(page, PREDECESSOR_CRC),
            }),
            carried_end: get_u64(page, CARRIED_END),
            recycled: get_u32(page, SEGMENT_FLAGS) & RECYCLED != 0,
            compressed: features & COMPRESSED != 0,
            stamped: features & STAMPED != 0,
            created_ms: get_u64(page, CREATED),
            hole: get_u64(page, HOLE),
            greatest_before: get_u64(page, GREATEST_BEFORE),
        };
        let sound = header.id >= 1
            && predecessor_id < header.id
            && (1..=MAX_POSITION + 1).contains(&header.first)
            && header.carried_end >= PAGE
            && header.hole_is_sound(features & BEGINS_WITH_HOLE != 0);
        if sound {
            Ok(header)
        } else {
            Err(BadPage::Damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::file_names::{classify, file_name, FileKind, Name};
    use crate::format::page::{VERSION, VERSION_AT};

    fn sample() -> Header {
        Header {
            uuid: [3; 16],
            id: 7,
            first: 1000,
            salt: 0xdead_beef_0bad_cafe,
            predecessor: Some(Predecessor { id: 6, salt: 5, end: 65536, crc: 99 }),
            carried_end: 4096,
            recycled: true,
            compressed: true,
            stamped: false,
            created_ms: 1_700_000_000_000,
            hole: 0,
            greatest_before: 0,
        }
    }

    fn with_hole() -> Header {
        Header { id: 8, hole: 300, ..sample() }
    }

    #[test]
    fn a_header_decodes_to_what_was_encoded() {
        assert_eq!(Header::decode(&sample().encode()), Ok(sample()));
        let first = Header { predecessor: None, recycled: false, compressed: false, ..sample() };
        assert_eq!(Header::decode(&first.encode()), Ok(first));
        assert_eq!(Header::decode(&with_hole().encode()), Ok(with_hole()));
        let stamped = Header { stamped: true, greatest_before: 1_700_000_000_001, ..sample() };
        assert_eq!(Header::decode(&stamped.encode()), Ok(stamped));
    }

    #[test]
    fn a_version_without_support_for_times_refuses_a_stamped_segment() {
        let page = Header { stamped: true, ..sample() }.encode();
        assert_eq!(identify(&page, &MAGIC, COMPRESSED | BEGINS_WITH_HOLE), Err(BadPage::Newer(VERSION)));
    }

    #[test]
    fn a_version_without_support_for_holes_refuses_a_segment_that_begins_with_one() {
        let page = with_hole().encode();
        assert_eq!(identify(&page, &MAGIC, COMPRESSED), Err(BadPage::Newer(VERSION)));
        assert_eq!(identify(&sample().encode(), &MAGIC, COMPRESSED), Ok(()));
    }

    #[test]
    fn a_hole_that_its_header_contradicts_is_damage() {
        let mut unannounced = with_hole().encode();
        put_u64(&mut unannounced, INCOMPATIBLE, COMPRESSED);
        let mut announced = sample().encode();
        put_u64(&mut announced, INCOMPATIBLE, BEGINS_WITH_HOLE);
        for mut page in [unannounced, announced] {
            seal_page(&mut page);
            assert_eq!(Header::decode(&page), Err(BadPage::Damaged));
        }
        let last = MAX_POSITION + 1 - with_hole().first;
        for (sound, header) in [
            (true, Header { hole: last, ..with_hole() }),
            (false, Header { hole: last + 1, ..with_hole() }),
            (false, Header { hole: u64::MAX, ..with_hole() }),
            // A log does not begin with a hole. Opening would overlook one in the segment with the next id.
            (false, Header { predecessor: None, ..with_hole() }),
            (false, Header { id: 7, ..with_hole() }),
        ] {
            assert_eq!(Header::decode(&header.encode()).is_ok(), sound, "{header:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_page_is_detected() {
        for header in [sample(), with_hole(), Header { stamped: true, greatest_before: 9, ..sample() }] {
            for (bit, damaged) in flips(&header.encode()) {
                assert!(Header::decode(&damaged).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_distinguished_from_damage() {
        let mut page = sample().encode();
        put_u32(&mut page, VERSION_AT, 2);
        assert_eq!(Header::decode(&page), Err(BadPage::Damaged));
        seal_page(&mut page);
        assert_eq!(Header::decode(&page), Err(BadPage::Newer(2)));
        let mut page = sample().encode();
        put_u64(&mut page, INCOMPATIBLE, KNOWN + 1);
        seal_page(&mut page);
        assert_eq!(Header::decode(&page), Err(BadPage::Newer(1)));
        page[0] = b'X';
        assert_eq!(Header::decode(&page), Err(BadPage::Foreign));
    }

    #[test]
    fn only_the_exact_spelling_is_a_segment_name() {
        let name = file_name(42, 0x1f);
        assert_eq!(name, "00000000000000000042-000000000000001f.wal");
        assert_eq!(classify(&name), FileKind::Segment(Name { first: 42, id: 0x1f, file: name.clone() }));
        for foreign in [
            "42-1f.wal",
            "x.wal",
            "00000000000000000042-000000000000001F.wal",
            "00000000000000000000-0000000000000001.wal",
            ".wal",
            "notes.txt",
        ] {
            assert_eq!(classify(foreign), FileKind::Foreign, "{foreign}");
        }
        assert_eq!(classify("spare-1"), FileKind::Spare("spare-1".into()));
    }
}
