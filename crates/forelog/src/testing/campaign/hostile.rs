//! Bytes that forelog never wrote, with good checksums. Whatever they say, nothing panics, overflows or loops.

use crate::format::bit_flip;
use crate::format::control::{choose, ControlState, Fence, Mark, FILE_BYTES};
use crate::format::file_names::{file_name, CONTROL};
use crate::format::footer::Footer;
use crate::format::frame::{self, Frame, Kind, Seed};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::log::open::open;
use crate::log::read_only;
use crate::options::{Compression, Mode, Options};
use crate::read::reader::{ReadPlan, Reader};
use crate::segments::frame_scan;
use crate::storage::layer::{layered, Layer};
use crate::storage::window::Window;
use crate::storage::{data_len, File, Storage};
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;
use std::sync::Arc;

const UUID: [u8; 16] = [7; 16];

/// Small numbers that fit together now and then, and large ones at which sums overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..6, 2 => 4096u64..20_000, 1 => Just(1 << 53), 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn header() -> impl Strategy<Value = Header> {
    let hole = prop_oneof![3 => Just(0), 1 => number()];
    (1u64..5, number(), proptest::option::of((number(), number(), number())), number(), any::<(bool, bool, bool)>(), hole).prop_map(
        |(id, first, predecessor, carried_end, (recycled, compressed, stamped), hole)| Header {
            uuid: UUID,
            id,
            first,
            salt: id,
            predecessor: predecessor.map(|(id, salt, end)| Predecessor { id, salt, end, crc: 0 }),
            carried_end,
            recycled,
            compressed,
            stamped,
            created_ms: 0,
            hole,
            greatest_before: carried_end,
        },
    )
}

fn state() -> impl Strategy<Value = ControlState> {
    let numbers = || (number(), number(), number());
    (numbers(), proptest::option::of(numbers()), proptest::option::of((number(), number()))).prop_map(
        |((sequence, active, low), mark, fence)| ControlState {
            uuid: UUID,
            sequence,
            active,
            low_mark: low,
            mark: mark.map(|(segment, offset, position)| Mark { segment, offset, position }),
            fence: fence.map(|(segment, offset)| Fence { segment, offset }),
        },
    )
}

/// A frame with a body. The other fields follow from its place.
fn piece() -> impl Strategy<Value = (Frame, Vec<u8>, bool)> {
    let kind = prop_oneof![Just(Kind::Singles), Just(Kind::Batch), Just(Kind::Padding)];
    let codec = prop_oneof![3 => Just(Compression::None), 1 => Just(Compression::Lz4), 1 => Just(Compression::Zstd)];
    let fields = (proptest::option::of(number()), proptest::option::of(number()), 0u32..4, kind, codec, number(), any::<bool>());
    (fields, vec(prop_oneof![Just(0u8), 0u8..8, any::<u8>()], 0..90)).prop_map(
        |((len, first, count, kind, codec, synced, chained), body)| {
            let body_len = len.map_or(body.len() as u32, |len| len as u32);
            let body_crc = frame::stored(frame::body_crc(0, &body));
            let frame = Frame {
                body_len,
                first: first.unwrap_or(u64::MAX),
                count,
                kind,
                codec,
                synced,
                body_crc,
                prev: 0,
                crc: 0,
                committed_ms: Some(synced),
            };
            (frame, body, chained)
        },
    )
}

/// Returns the file of a segment: its header, then frames in a row, most of which continue each other.
fn segment_bytes(header: &Header, pieces: &[(Frame, Vec<u8>, bool)], stray: &[u8]) -> Vec<u8> {
    let mut bytes = header.encode();
    let (mut next, mut prev) = (header.first.saturating_add(header.hole), header.first_prev());
    for (frame, body, chained) in pieces {
        let offset = bytes.len() as u64;
        let first = if frame.first == u64::MAX { next } else { frame.first };
        let committed_ms = frame.committed_ms.filter(|_| header.stamped);
        let frame = Frame { first, prev: if *chained { prev } else { 1 }, synced: frame.synced.min(offset), committed_ms, ..*frame };
        let mut head = vec![0; frame.head()];
        prev = frame::encode(&mut head, &frame, header.seed(), offset);
        next = first.saturating_add(u64::from(frame.count));
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes.extend_from_slice(stray);
    bytes.resize(bytes.len() + 300, 0);
    bytes
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.create(name, bytes.len() as u64).unwrap();
    disk.damage(name, 0, bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..300), offset in number(), position in number()) {
        let seed = Seed::new(&UUID, 1, 1, position % 2 == 0);
        let mut page = bytes.clone();
        page.resize(PAGE as usize, 0);
        let _ = (frame::decode(&bytes, seed, offset), Header::decode(&bytes), Header::decode(&page), bit_flip::in_page(&page));
        let _ = (choose(&bytes), choose(&[page.clone(), page].concat()), Footer::decode(&bytes, seed, offset.min(1 << 60)));
        let disk = SimDisk::new(1, 512);
        put(&disk, "spare-x", &bytes);
        let file = disk.open("spare-x", false).unwrap();
        let header = Header { uuid: UUID, id: 1, first: 1, salt: 1, predecessor: None, carried_end: PAGE, recycled: false, compressed: false, stamped: true, created_ms: 0, hole: 0, greatest_before: 0 };
        let mut window = Window::new(&*file, bytes.len() as u64);
        let _ = frame_scan::flipped_bit(&mut window, &header, offset.min(1 << 60));
        let _ = frame_scan::resync(&mut window, &header, offset.min(1 << 60), 1..position);
        let _ = frame_scan::scan(&mut window, &header);
        let _ = frame_scan::check_frames(&mut window, &header, FrameBoundary { offset: 0, next: 1, crc: 0 }, position, |_, _| ());
    }

    #[test]
    fn no_corrupt_log_with_valid_checksums_makes_opening_or_reading_panic(
        segments in vec((header(), vec(piece(), 0..6), vec(any::<u8>(), 0..20), any::<bool>()), 0..4),
        slots in proptest::option::of((state(), state())),
    ) {
        let disk = SimDisk::new(1, 512);
        if let Some((a, b)) = &slots {
            let mut bytes = [a.encode(), b.encode()].concat();
            bytes.resize(FILE_BYTES as usize, 0);
            put(&disk, CONTROL, &bytes);
        }
        for (header, pieces, stray, misnamed) in &segments {
            let name = file_name(if *misnamed { 3 } else { header.first }, header.id);
            if !disk.names().contains(&name) {
                put(&disk, &name, &segment_bytes(header, pieces, stray));
            }
        }
        disk.power_cut_keeping(&mut |_, _, _, versions| versions, &mut |_| true);
        disk.restart();
        for mode in [Mode::Strict, Mode::Prefix] {
            let disk = disk.fork();
            let options = Options { mode, segment_bytes: 64 << 10, ..Options::default() };
            if let Ok(opened) = open(Arc::new(disk.clone()), &options, || 0) {
                let positions = opened.recovery.first_position..=opened.writer.next_position() - 1;
                let mut reader = Reader::new(Arc::new(disk.clone()), opened.catalog.clone(), positions);
                while let Ok(Some(_)) = reader.next_block(100) {}
            }
            prop_assert_eq!(disk.violation(), None);
        }
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let changes = disk.changes();
        if let Ok(view) = read_only::open(&storage, || 0) {
            let to = view.positions.acknowledged;
            let plan = ReadPlan { past_damage: true, ..(view.positions.first..=to).into() };
            let mut reader = Reader::new(storage, view.catalog.clone(), plan);
            let mut next = view.positions.first;
            while let Some(block) = reader.next_block(100).unwrap() {
                for hole in &block.holes {
                    prop_assert_eq!(hole.first, next);
                    next = hole.last + 1;
                }
                next += block.len() as u64;
            }
            prop_assert_eq!(next, (to + 1).max(view.positions.first));
        }
        prop_assert_eq!(disk.changes(), changes);
        let salvaged = super::salvaged::holds_up(&disk);
        prop_assert!(salvaged.is_ok(), "{}", salvaged.err().map_or(String::new(), |broken| broken.0));
    }
}

/// A file system that reports no holes.
struct Dense;

impl Layer for Dense {
    fn next_data(&self, _: &dyn File, offset: u64) -> Option<Range<u64>> {
        Some(offset..u64::MAX)
    }
}

type Island = (u64, Vec<(Frame, Vec<u8>, bool)>, Vec<u8>);

/// Pieces of a segment at places of a file whose other sectors were never written.
fn islands() -> impl Strategy<Value = Vec<Island>> {
    vec((0u64..60_000, vec(piece(), 0..4), vec(any::<u8>(), 0..60)), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_hole_is_judged_like_the_zeroes_that_it_reads_as(
        header in header(), pieces in vec(piece(), 0..6), islands in islands(), from in 0u64..70_000, long in 0u32..100_000,
    ) {
        let header = Header { first: header.first.clamp(1, 1 << 53), hole: header.hole.min(1 << 53), ..header };
        let disk = SimDisk::new(1, 512);
        disk.create("spare-x", 80_000).unwrap();
        // A frame of zeroes, most of which were never written.
        let zeroes = frame::stored(frame::body_crc(0, &vec![0; long as usize]));
        let frame = Frame { body_len: long, first: header.first, count: 1, kind: Kind::Singles, codec: Compression::None, synced: 0, body_crc: zeroes, prev: header.first_prev(), crc: 0, committed_ms: Some(0) };
        let mut pieces = pieces;
        pieces.insert(0, (frame, vec![0; 8 * (long as usize % 20)], true));
        let mut bytes = segment_bytes(&header, &pieces, &[]);
        bytes.truncate(79_000);
        disk.damage("spare-x", 0, &bytes);
        for (at, pieces, stray) in &islands {
            // Frames of an island are valid at their place.
            let mut offset = PAGE + at / 8 * 8;
            for (frame, body, _) in pieces {
                let committed_ms = frame.committed_ms.filter(|_| header.stamped);
                let frame = Frame { synced: frame.synced.min(offset), committed_ms, ..*frame };
                let mut head = vec![0; frame.head()];
                frame::encode(&mut head, &frame, header.seed(), offset);
                disk.damage("spare-x", offset, &head);
                disk.damage("spare-x", offset + head.len() as u64, body);
                offset = (offset + (head.len() + body.len()) as u64).next_multiple_of(8);
            }
            disk.damage("spare-x", offset, stray);
        }
        let holes = disk.open("spare-x", false).unwrap();
        let dense = layered(holes.clone(), Dense);
        prop_assert!(data_len(&*dense, 80_000) == 80_000 && data_len(&*holes, 80_000) <= 80_000);
        for len in [80_000, from + PAGE] {
            let look = |file: &dyn File, step: usize| {
                let window = || Window::of(file, len.min(80_000), step);
                let walked = frame_scan::check_frames(&mut window(), &header, FrameBoundary::start(&header), u64::MAX, |_, _| ());
                let resynced = frame_scan::resync(&mut window(), &header, from, 1..u64::MAX);
                (frame_scan::scan(&mut window(), &header).unwrap(), walked.unwrap(), resynced.unwrap())
            };
            let expected = look(&*dense, 256 << 10);
            prop_assert_eq!(&look(&*holes, 256 << 10), &expected);
            prop_assert_eq!(&look(&*holes, 600), &expected);
        }
    }
}

#[test]
fn a_checksum_includes_the_zeroes_of_holes_that_are_not_read() {
    for (running, len) in [(0, 0), (0, 1), (7, 4096), (u32::MAX, 100_001)] {
        assert_eq!(frame::body_crc_of_zeroes(running, len), frame::body_crc(running, &vec![0; len]));
    }
}

#[test]
fn a_log_that_is_out_of_segment_ids_accepts_nothing_more_and_loses_nothing() {
    let mut log = super::named::Log::new(512, 16 << 10);
    log.commit(&[&[10]], true);
    log.opened.writer.names.last_mut().unwrap().id = crate::format::file_names::MAX_ID;
    let names = log.disk.names();
    assert!(log.opened.writer.reset(7).is_err());
    assert_eq!(log.disk.names(), names);
}
