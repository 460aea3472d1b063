//! Targets for fuzzing: each takes any bytes and panics if a promise is broken. `fuzz/` feeds them by coverage, and a property test below
//! feeds them random bytes, so that they are run without a nightly compiler too.
//!
//! Checksums are corrected after the bytes were put in place, because no fuzzer guesses one and the code after the checksum is to be
//! reached. So these are the bytes of an attacker who knows the format, not those of a bad disk.

use super::appends::push;
use super::history::Broken;
use super::oracle::{read, Expected, Made, Read, Tag};
use super::salvaged::{elsewhere, holds_up, salvage_to};
use crate::cursors::codec::{self, Slot};
use crate::error::Code;
use crate::format::compression::{Packer, Unpacker, MAX_RAW};
use crate::format::control::{choose, ControlState};
use crate::format::file_names::CONTROL;
use crate::format::footer::Footer;
use crate::format::frame::{self, Kind, ALIGN};
use crate::format::header::Header;
use crate::format::record::Parts;
use crate::log::open::open as open_log;
use crate::log::read_only;
use crate::options::{Compression, Mode, Options};
use crate::read::reader::Reader;
use crate::segments::frame_scan::scan;
use crate::storage::window::Window;
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use crate::util::bytes::*;
use crate::util::limits::{MAX_POSITION, PAGE};
use crate::write::group::{Batch, Group};
use std::sync::{Arc, OnceLock};

/// Decodes a frame header as it comes and with its checksum corrected, with the rest as its body.
pub fn frame(data: &[u8]) {
    for (resealed, is_stamped) in [(false, false), (false, true), (true, false), (true, true)] {
        let seed = frame::Seed::new(&[7; 16], 1, 2, is_stamped);
        let mut bytes = data.to_vec();
        if resealed && bytes.len() >= seed.head() {
            frame::reseal(&mut bytes, seed, 8192);
        }
        let Some(found) = frame::decode(&bytes, seed, 8192) else { continue };
        assert!(found.synced <= 8192 && found.first >= 1 && found.next_position() <= MAX_POSITION + 1, "{found:?}");
        assert!(found.count > 0 || found.kind == Kind::Padding, "{found:?}");
        let mut again = vec![0; seed.head()];
        let crc = frame::encode(&mut again, &found, seed, 8192);
        assert!(crc == found.crc && again == bytes[..seed.head()], "an encoded header differs from the decoded one");
        body(found.codec, &bytes[seed.head()..]);
    }
}

fn body(codec: Compression, stored: &[u8]) {
    let mut raw = Vec::new();
    if Unpacker::default().unpack(codec, stored, &mut raw).is_none() {
        assert!(raw.is_empty());
        return;
    }
    assert!(raw.len() <= MAX_RAW.max(stored.len()));
    let mut at = 0;
    while let Some(parts) = Parts::parse(&raw, at) {
        assert!(at < parts.key && parts.key <= parts.value && parts.value <= parts.end && parts.end <= raw.len(), "{parts:?}");
        let record = parts.record(&raw);
        assert!(record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) == parts.end - parts.key, "{parts:?}");
        at = parts.end;
    }
}

/// Returns the bytes as a page with a good checksum.
fn sealed(data: &[u8], magic: &[u8; 8]) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    let len = data.len().min(PAGE as usize);
    page[..len].copy_from_slice(&data[..len]);
    page[..8].copy_from_slice(magic);
    seal_page(&mut page);
    page
}

/// Decodes a segment: a header page, then anything. Scans it to its end, and looks for a footer in it.
pub fn segment(data: &[u8]) {
    let _ = Header::decode(data);
    let page = sealed(data, &crate::format::header::MAGIC);
    let Ok(header) = Header::decode(&page) else { return };
    assert_eq!(Header::decode(&header.encode()), Ok(header.clone()), "an encoded header differs from the decoded one");
    let rest = data.get(PAGE as usize..).unwrap_or(&[]);
    let _ = Footer::decode(rest, header.seed(), PAGE);
    let disk = SimDisk::new(1, 512);
    let Ok(file) = disk.create("spare-fuzz", PAGE + rest.len() as u64) else { return };
    let mut bytes = [&page, rest].concat();
    if bytes.len() >= PAGE as usize + header.seed().head() {
        frame::reseal(&mut bytes[PAGE as usize..], header.seed(), PAGE);
    }
    assert!(file.write_at(&bytes, 0).is_ok());
    let Ok(found) = scan(&mut Window::new(&*file, bytes.len() as u64), &header) else { panic!("a scan only fails to read") };
    assert!(found.end.offset >= PAGE && found.end.offset <= bytes.len() as u64 && found.end.next == header.start() + found.records);
}

/// Decodes both slots of CONTROL.
pub fn control(data: &[u8]) {
    let _ = choose(data);
    let (a, b) = data.split_at(data.len() / 2);
    let slots = [sealed(a, &crate::format::control::MAGIC), sealed(b, &crate::format::control::MAGIC)];
    let states = [ControlState::decode(&slots[0]), ControlState::decode(&slots[1])];
    if let Ok((state, slot)) = choose(&slots.concat()) {
        assert_eq!(Ok(&state), states[slot as usize].as_ref());
        assert!(states.iter().flatten().all(|other| other.sequence <= state.sequence));
        assert_eq!(ControlState::decode(&state.encode()), Ok(state));
    }
}

/// Decodes both slots of CURSORS: half of the bytes each, over a good slot.
pub fn cursors(data: &[u8]) {
    let _ = codec::choose(data);
    let table = [("a", 1), ("b", 2)].map(|(name, position)| (name.into(), position)).into();
    let mut file = Slot { uuid: [7; 16], sequence: 1, slot_bytes: PAGE, table }.twice();
    let (a, b) = data.split_at(data.len() / 2);
    for (slot, bytes) in file.chunks_mut(PAGE as usize).zip([a, b]) {
        // The magic and the checksum are not tested.
        let n = bytes.len().min(slot.len() - 8);
        slot[8..8 + n].copy_from_slice(&bytes[..n]);
        codec::reseal(slot);
    }
    let slots: Vec<_> = file.chunks(PAGE as usize).map(Slot::decode).collect();
    if let Ok((chosen, at)) = codec::choose(&file) {
        assert_eq!(Ok(&chosen), slots[at as usize].as_ref());
        assert!(slots.iter().flatten().all(|other| other.sequence <= chosen.sequence));
        assert!(codec::fits(&chosen.table, PAGE) && chosen.table.len() <= codec::MAX_CURSORS);
        assert_eq!(Slot::decode(&chosen.twice()[..PAGE as usize]), Ok(chosen));
    }
}

struct Base {
    disk: SimDisk,
    expected: Expected,
    options: Options,
    files: Vec<String>,
}

/// Returns a log of several segments with frames of every kind, not closed.
fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let options = Options { segment_bytes: 6 << 10, compression: Compression::Lz4, ..Options::default() };
        let (disk, mut expected) = (SimDisk::new(1, 512), Expected::new());
        let mut opened = open_log(Arc::new(disk.clone()), &options, || 0).unwrap();
        for (round, lens) in [&[20, 300][..], &[2900], &[40, 3], &[1500], &[60, 200], &[9], &[2800], &[35], &[8]].into_iter().enumerate() {
            let (mut group, mut batch, first) = (Group::default(), Batch::new(), expected.end + 1);
            for (i, len) in lens.iter().enumerate() {
                let (position, tag) = (first + i as u64, Tag { attempt: 0, len: *len });
                expected.push(tag, round % 2 == 1 || i + 1 == lens.len());
                match round % 2 {
                    0 => batch.push(Made::new(position, tag).record(), 1 << 30).unwrap(),
                    _ => push(&mut group, position, tag),
                }
            }
            if !batch.is_empty() {
                group.push_batch(0, first, &mut batch);
            }
            let codec = if round % 4 == 0 { Compression::Lz4 } else { Compression::None };
            opened.writer.packer = Packer::new(codec).unwrap();
            assert!(opened.writer.commit(&mut group, round < 8).failure.is_none());
        }
        drop(opened);
        disk.restart();
        let mut files = disk.names();
        files.retain(|name| name == CONTROL || name.ends_with(".wal"));
        Base { disk, expected, options, files }
    })
}

/// Returns the same log after damage and a salvage, with holes.
fn holed() -> &'static Base {
    static HOLED: OnceLock<Base> = OnceLock::new();
    HOLED.get_or_init(|| {
        let base = base();
        let damaged = base.disk.fork();
        for name in base.files.iter().filter(|name| name.ends_with(".wal")) {
            damaged.damage(name, PAGE + 100, &[0xa5; 100]);
        }
        let disk = elsewhere(&damaged);
        assert!(salvage_to(&damaged, &disk).is_ok_and(|report| report.holes.len() > 1));
        disk.restart();
        let mut files = disk.names();
        files.retain(|name| name == CONTROL || name.ends_with(".wal"));
        Base { disk, expected: base.expected.clone(), options: base.options.clone(), files }
    })
}

/// Changes a file of the log, at the place and in the way that `how` says. Returns true if a checksum was corrected afterwards.
fn patch(base: &Base, disk: &SimDisk, how: &[u8], bytes: &[u8]) -> bool {
    let name = &base.files[how[0] as usize % base.files.len()];
    let whole = disk.bytes(name);
    if whole.is_empty() {
        return false;
    }
    let at = usize::from(get_u16(how, 1)) % whole.len();
    let mut new = whole.clone();
    let end = (at + bytes.len()).min(whole.len());
    new[at..end].copy_from_slice(&bytes[..end - at]);
    let page = at - at % PAGE as usize;
    let resealed = match how[3] % 4 {
        1 => {
            disk.truncate(name, at as u64);
            return false;
        }
        2 if page + PAGE as usize <= new.len() && (name == CONTROL || page == 0) => {
            seal_page(&mut new[page..page + PAGE as usize]);
            true
        }
        3 if name != CONTROL => reseal_near(&mut new, at),
        _ => false,
    };
    disk.damage(name, 0, &new);
    resealed
}

/// Corrects the checksums of the frame that contains `at`.
fn reseal_near(bytes: &mut [u8], at: usize) -> bool {
    let Ok(header) = Header::decode(bytes) else { return false };
    let mut start = PAGE as usize;
    let head = header.seed().head();
    while start + head <= bytes.len() {
        let span = (head + get_u32(bytes, start + 4) as usize).next_multiple_of(ALIGN as usize);
        if at < start + span {
            frame::reseal(&mut bytes[start..], header.seed(), start as u64);
            return true;
        }
        start += span;
    }
    false
}

/// Opens a small log, changed in places, in every mode and reads it to its end.
///
/// # Panics
/// If a record was never appended although its checksum was not corrected, if a refusal changes the disk or `readOnly` writes, and if the
/// engine panics.
pub fn open(data: &[u8]) {
    // The records of a log with holes are compared elsewhere.
    let (base, mut forged) = if data.len() % 2 == 1 { (holed(), true) } else { (base(), false) };
    let damaged = base.disk.fork();
    let mut rest = data;
    while rest.len() >= 5 {
        let (how, bytes) = rest.split_at(5);
        let len = usize::from(how[4] % 64).min(bytes.len());
        forged |= patch(base, &damaged, how, &bytes[..len]);
        rest = &bytes[len..];
    }
    for mode in [Mode::Strict, Mode::Prefix] {
        let disk = damaged.fork();
        let changes = disk.changes();
        match open_log(Arc::new(disk.clone()), &Options { mode, ..base.options.clone() }, || 0) {
            Ok(opened) => {
                let end = opened.writer.next_position() - 1;
                let storage: Arc<dyn Storage> = Arc::new(disk.clone());
                match forged {
                    true => drain(Reader::new(storage, opened.catalog.clone(), opened.recovery.first_position..=end)),
                    false => {
                        assert!(end <= base.expected.end);
                        let outcome = read(storage, &opened.catalog, &base.expected, 1, end, 1 << 12);
                        assert!(!matches!(outcome, Read::Wrong(_)), "{mode:?}: a record that was never appended");
                    }
                }
            }
            Err(error) => {
                assert!(matches!(error.code, Code::Corrupt | Code::Format), "{mode:?}: {error:?}");
                assert_eq!(disk.changes(), changes, "{mode:?}: a refusal changes the disk: {error}");
            }
        }
    }
    let changes = damaged.changes();
    let storage: Arc<dyn Storage> = Arc::new(damaged.clone());
    if let Ok(view) = read_only::open(&storage, || 0) {
        drain(Reader::new(storage, view.catalog, view.positions.first..=view.positions.written));
    }
    assert_eq!(damaged.changes(), changes, "readOnly writes");
    if let Err(Broken(text)) = holds_up(&damaged) {
        panic!("{text}");
    }
}

/// Reads on to the end or the first error. Each record must be within its block.
fn drain(mut reader: Reader) {
    let mut read = 0;
    while let Ok(Some(block)) = reader.next_block(1 << 12) {
        for fields in block.fields() {
            assert!(fields.key <= fields.value && fields.value <= fields.end && fields.end as usize <= block.bytes().len());
        }
        read += block.len();
        assert!(read < 1 << 20, "more records than the files have bytes");
    }
}

/// Returns where a scan of a whole segment of the base ends, which shows that the targets reach what they are to reach.
#[cfg(test)]
fn sound_end(base: &Base) -> crate::format::frame_boundary::FrameBoundary {
    let name = base.files.iter().rfind(|name| name.ends_with(".wal")).unwrap();
    let file = base.disk.open(name, false).unwrap();
    let header = Header::decode(&base.disk.bytes(name)).unwrap();
    scan(&mut Window::new(&*file, file.len().unwrap()), &header).unwrap().end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{Frame, HEADER};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hostile_frame_is_refused_or_read_within_its_bounds(
            head in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), any::<u8>()], HEADER), rest in bytes(200),
        ) {
            frame(&[head, rest].concat());
        }

        #[test]
        fn a_hostile_record_is_refused_or_read_within_its_frame(flags in 0u8..40, key in 0u8..90, value in 0u8..90, rest in bytes(80)) {
            let body = [&[flags, key, value], rest.as_slice()].concat();
            let sound = Frame {
                body_len: body.len() as u32, first: 1, count: 1, kind: Kind::Singles, codec: Compression::None, synced: 4096,
                body_crc: 0, prev: 0, crc: 0, committed_ms: Some(1),
            };
            let mut head = [0; HEADER];
            frame::encode(&mut head, &sound, frame::Seed::new(&[7; 16], 1, 2, true), 8192);
            frame(&[&head, body.as_slice()].concat());
        }

        #[test]
        fn a_hostile_segment_is_scanned_to_its_end(head in bytes(128), rest in bytes(600)) {
            let mut data = head;
            data.resize(PAGE as usize, 0);
            data[8..32].fill(0);
            data[8] = 1;
            data.extend(rest);
            segment(&data);
        }

        #[test]
        fn a_hostile_control_file_yields_its_newest_slot_or_none(a in bytes(120), b in bytes(120)) {
            control(&[a, b].concat());
        }

        #[test]
        fn a_hostile_cursors_file_yields_its_newest_slot_or_none(
            sequence in 0u8..3, count in 0u8..4, length in 0u8..60, entries in bytes(80), rest in bytes(60),
        ) {
            let mut slot = vec![0; 72];
            slot[24..40].fill(7);
            (slot[0], slot[40], slot[49], slot[56], slot[60]) = (1, sequence, 0x10, count, length);
            let whole = [slot.clone(), entries].concat();
            // Half of the bytes each.
            let mut other = [slot, rest].concat();
            other.resize(whole.len(), 0);
            cursors(&[whole, other].concat());
        }

        #[test]
        fn a_hostile_log_opens_or_is_refused_in_every_mode(data in bytes(120)) {
            open(&data);
        }
    }

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => 0u8..4], 0..most)
    }

    #[test]
    fn the_log_that_is_fuzzed_opens_if_it_is_not_changed() {
        let base = base();
        assert!(base.files.len() >= 3, "{:?}", base.files);
        assert!(sound_end(base).next == base.expected.end + 1);
        open(&[]);
    }
}
