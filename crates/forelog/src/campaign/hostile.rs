//! Bytes that nobody of ours has written, checksums and all: whatever they say, nothing panics, overflows or loops.

use crate::control::{choose, Fence, Mark, State, FILE_BYTES};
use crate::flipped;
use crate::footer::Footer;
use crate::frame::{self, Frame, Kind, Seed, HEADER};
use crate::open::open;
use crate::options::{Compression, Mode, Options, PAGE};
use crate::read_only;
use crate::reader::Reader;
use crate::scan::{self, Joint};
use crate::segment::{file_name, Header, Predecessor, CONTROL};
use crate::storage::sim::SimDisk;
use crate::storage::window::Window;
use crate::storage::Storage;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

const UUID: [u8; 16] = [7; 16];

/// Small numbers, that fit together now and then, and those at which sums overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..6, 2 => 4096u64..20_000, 1 => Just(1 << 53), 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn header() -> impl Strategy<Value = Header> {
    let hole = prop_oneof![3 => Just(0), 1 => number()];
    (1u64..5, number(), proptest::option::of((number(), number(), number())), number(), any::<(bool, bool)>(), hole).prop_map(
        |(id, first, predecessor, carried_end, (recycled, compressed), hole)| Header {
            uuid: UUID,
            id,
            first,
            salt: id,
            predecessor: predecessor.map(|(id, salt, end)| Predecessor { id, salt, end, crc: 0 }),
            carried_end,
            recycled,
            compressed,
            created_ms: 0,
            hole,
        },
    )
}

fn state() -> impl Strategy<Value = State> {
    let numbers = || (number(), number(), number());
    (numbers(), proptest::option::of(numbers()), proptest::option::of((number(), number()))).prop_map(
        |((sequence, active, low), mark, fence)| State {
            uuid: UUID,
            sequence,
            active,
            low,
            mark: mark.map(|(segment, offset, position)| Mark { segment, offset, position }),
            fence: fence.map(|(segment, offset)| Fence { segment, offset }),
        },
    )
}

/// A frame with a body; where it goes decides the rest.
fn piece() -> impl Strategy<Value = (Frame, Vec<u8>, bool)> {
    let kind = prop_oneof![Just(Kind::Singles), Just(Kind::Batch), Just(Kind::Padding)];
    let codec = prop_oneof![3 => Just(Compression::None), 1 => Just(Compression::Lz4), 1 => Just(Compression::Zstd)];
    let fields = (proptest::option::of(number()), proptest::option::of(number()), 0u32..4, kind, codec, number(), any::<bool>());
    (fields, vec(prop_oneof![Just(0u8), 0u8..8, any::<u8>()], 0..90)).prop_map(
        |((len, first, count, kind, codec, synced, chained), body)| {
            let body_len = len.map_or(body.len() as u32, |len| len as u32);
            let body_crc = frame::stored(frame::body_crc(0, &body));
            let frame = Frame { body_len, first: first.unwrap_or(u64::MAX), count, kind, codec, synced, body_crc, prev: 0, crc: 0 };
            (frame, body, chained)
        },
    )
}

/// The file of a segment: its header, then frames one after another, most of which continue each other.
fn segment_bytes(header: &Header, pieces: &[(Frame, Vec<u8>, bool)], stray: &[u8]) -> Vec<u8> {
    let mut bytes = header.encode();
    let (mut next, mut prev) = (header.first.saturating_add(header.hole), header.first_prev());
    for (frame, body, chained) in pieces {
        let offset = bytes.len() as u64;
        let first = if frame.first == u64::MAX { next } else { frame.first };
        let frame = Frame { first, prev: if *chained { prev } else { 1 }, synced: frame.synced.min(offset), ..*frame };
        let mut head = [0; HEADER];
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
        let seed = Seed::new(&UUID, 1, 1);
        let mut page = bytes.clone();
        page.resize(PAGE as usize, 0);
        let _ = (frame::decode(&bytes, seed, offset), Header::decode(&bytes), Header::decode(&page), flipped::in_page(&page));
        let _ = (choose(&bytes), choose(&[page.clone(), page].concat()), Footer::decode(&bytes, seed, offset.min(1 << 60)));
        let disk = SimDisk::new(1, 512);
        put(&disk, "spare-x", &bytes);
        let file = disk.open("spare-x", false).unwrap();
        let header = Header { uuid: UUID, id: 1, first: 1, salt: 1, predecessor: None, carried_end: PAGE, recycled: false, compressed: false, created_ms: 0, hole: 0 };
        let mut window = Window::new(&*file, bytes.len() as u64);
        let _ = flipped::in_frame(&mut window, &header, offset.min(1 << 60));
        let _ = scan::resync(&mut window, &header, offset.min(1 << 60), 1..position);
        let _ = scan::scan(&mut window, &header);
        let _ = scan::walk(&mut window, &header, Joint { offset: 0, next: 1, crc: 0 }, position, |_| ());
    }

    #[test]
    fn no_log_however_sealed_makes_opening_or_reading_panic(
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
                let mut reader = Reader::new(Arc::new(disk.clone()), opened.catalog.clone(), opened.recovery.first_position, opened.writer.next_position() - 1);
                while let Ok(Some(_)) = reader.next_block(100) {}
            }
            prop_assert_eq!(disk.violation(), None);
        }
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let changes = disk.changes();
        if let Ok(view) = read_only::open(&storage, || 0) {
            let to = view.positions.acknowledged;
            let mut reader = Reader::salvaging(storage, view.catalog.clone(), view.positions.first, to);
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

#[test]
fn a_log_that_is_out_of_segment_ids_takes_nothing_more_and_loses_nothing() {
    let mut log = super::named::Log::new(512, 16 << 10);
    log.commit(&[&[10]], true);
    log.opened.writer.highest_id = crate::segment::MAX_ID;
    let names = log.disk.names();
    assert!(log.opened.writer.reset(7).is_err());
    assert_eq!(log.disk.names(), names);
}
