//! A log with holes, as a salvage makes it: how every part of the engine treats them, and crashes on the way.

use super::named::Log;
use super::oracle::{Expected, Made, Tag};
use super::places::segments;
use super::salvaged::{self, elsewhere, gather, is_whole, salvage_to, Given};
use crate::error::{Code, Result};
use crate::format::file_names::{Name, CONTROL};
use crate::format::header::Header;
use crate::format::horizon::LogEnd;
use crate::log::open::{open, Opened};
use crate::log::read_only;
use crate::maintenance::backup::{Backup, Origin};
use crate::maintenance::salvage::{Salvage, Salvaged};
use crate::maintenance::verify::verify_storage;
use crate::options::{Compression, Mode, Options};
use crate::read::reader::{Hole, ReadPlan, Reader};
use crate::segments::catalog::Catalog;
use crate::segments::log_ends::DurableEnd;
use crate::segments::reader_positions::ReaderPosition;
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use crate::write::group::{Batch, Group};
use std::sync::Arc;

/// Returns a closed log of three segments with frames of one record each, of about a kilobyte. It is damaged in the middle of the first and
/// of the second, and at the end of the third.
fn damaged() -> (SimDisk, Expected) {
    let mut log = Log::new(4096, 64 << 10);
    while segments(&log.disk).len() < 3 || log.end() < 40 << 10 {
        log.commit(&[&[1000]], true);
    }
    let end = log.end();
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let names = segments(&log.disk);
    log.disk.damage(&names[0].file, 20_000, &[0xa5; 5000]);
    log.disk.damage(&names[1].file, 30_000, &[0xa5; 9000]);
    log.disk.damage(&names[2].file, end - 4000, &[0xa5; 4096]);
    (log.disk, log.expected)
}

/// A salvaged log with a hole in the middle, one that follows, and one at its end.
struct Holed {
    disk: SimDisk,
    report: Salvaged,
    given: Vec<Given>,
}

impl Holed {
    fn new() -> Holed {
        let (disk, _) = damaged();
        let view = read_only::open(&(Arc::new(disk.clone()) as Arc<dyn Storage>), || 0).unwrap();
        let (given, _) = gather(
            Reader::new(Arc::new(disk.clone()), view.catalog, ReadPlan { past_damage: true, ..(1..=view.positions.written).into() }),
            1 << 13,
        )
        .unwrap();
        let to = elsewhere(&disk);
        let report = salvage_to(&disk, &to).unwrap();
        is_whole(&to, &report, &given).unwrap_or_else(|broken| panic!("{}", broken.0));
        let ranges: Vec<(u64, u64)> = report.holes.iter().map(|hole| (hole.first, hole.last)).collect();
        assert_eq!(ranges.len(), 3, "{ranges:?}");
        assert_eq!(ranges[2].1, report.next_position - 1);
        Holed { disk: to, report, given }
    }

    fn open(&self) -> (SimDisk, Opened) {
        let disk = self.disk.fork();
        let opened = open(Arc::new(disk.clone()), &Options { segment_bytes: 16 << 10, ..Options::default() }, || 0).unwrap();
        (disk, opened)
    }

    /// Returns the first and the last position of a hole.
    fn hole(&self, i: usize) -> (u64, u64) {
        (self.report.holes[i].first, self.report.holes[i].last)
    }
}

fn reopen(disk: &SimDisk) -> Opened {
    disk.restart();
    open(Arc::new(disk.clone()), &Options { segment_bytes: 16 << 10, ..Options::default() }, || 0).unwrap()
}

/// Returns the positions that a plain reader returns, and the holes that it passes.
fn read(disk: &SimDisk, catalog: &Arc<Catalog>, from: u64, to: u64) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (given, holes) = gather(Reader::new(Arc::new(disk.clone()), catalog.clone(), from..=to), 1 << 13).unwrap();
    assert!(holes.iter().all(|hole| hole.recorded && (hole.offset, hole.bytes) == (0, 0)), "{holes:?}");
    (given.iter().map(|given| given.position).collect(), holes.iter().map(|hole: &Hole| (hole.first, hole.last)).collect())
}

fn append(opened: &mut Opened, records: u64) {
    for _ in 0..records {
        let mut group = Group::default();
        let mut batch = Batch::new();
        let position = opened.writer.next_position();
        let made = Made::new(position, Tag { attempt: 0, len: 1000 });
        batch.push(made.record(), 1 << 20).unwrap();
        group.push_batch(0, position, &mut batch);
        assert!(opened.writer.commit(&mut group, true).failure.is_none());
    }
}

fn whole(disk: &SimDisk) {
    let found = verify_storage(Arc::new(disk.clone()), &Arc::default()).unwrap();
    assert_eq!(found.problems, []);
    assert_eq!(disk.violation(), None);
}

#[test]
fn a_log_with_holes_continues_after_its_last_used_position() {
    let holed = Holed::new();
    let (disk, mut opened) = holed.open();
    let (next, rolls) = (holed.report.next_position, opened.writer.meter.counters.rolls);
    append(&mut opened, 40);
    assert!(opened.writer.meter.counters.rolls > rolls + 2);
    opened.writer.close().unwrap();
    drop(opened);
    let opened = reopen(&disk);
    assert!(opened.recovery.clean);
    let (given, holes) = read(&disk, &opened.catalog, 1, next + 39);
    let old: Vec<u64> = holed.given.iter().map(|given| given.position).collect();
    assert_eq!(given, [old, (next..next + 40).collect()].concat());
    assert_eq!(holes, [holed.hole(0), holed.hole(1), holed.hole(2)]);
    assert_eq!(opened.recovery.holes, holes);
    whole(&disk);
}

#[test]
fn reading_from_or_up_to_a_position_inside_a_hole_reports_only_the_requested_part_of_it() {
    let holed = Holed::new();
    let (disk, opened) = holed.open();
    let (first, last) = holed.hole(0);
    assert!(last > first + 2);
    assert_eq!(read(&disk, &opened.catalog, first + 1, last + 2), (vec![last + 1, last + 2], vec![(first + 1, last)]));
    assert_eq!(read(&disk, &opened.catalog, first - 1, first + 1), (vec![first - 1], vec![(first, first + 1)]));
    assert_eq!(read(&disk, &opened.catalog, first + 1, first + 1), (vec![], vec![(first + 1, first + 1)]));
    assert_eq!(read(&disk, &opened.catalog, last, last + 1), (vec![last + 1], vec![(last, last)]));
    // The log ends with a hole.
    let (first, last) = holed.hole(2);
    assert_eq!(read(&disk, &opened.catalog, first - 1, last), (vec![first - 1], vec![(first, last)]));
    // A salvaging reader reports the same holes.
    let reader = Reader::new(Arc::new(disk.clone()), opened.catalog.clone(), ReadPlan { past_damage: true, ..(1..=last).into() });
    let (given, holes) = gather(reader, 1 << 13).unwrap();
    assert_eq!(given, holed.given);
    assert!(holes.len() == 3 && holes.iter().all(|hole| hole.recorded));
}

#[test]
fn truncation_can_make_the_log_begin_or_end_inside_a_hole() {
    let holed = Holed::new();
    for i in 0..3 {
        let (first, last) = holed.hole(i);
        for at in [first - 1, first, first + 1, last - 1, last] {
            // The log ends in the hole.
            let (disk, mut opened) = holed.open();
            opened.writer.truncate_after(at).unwrap();
            assert_eq!((opened.writer.next_position(), opened.writer.durable_position()), (at + 1, at));
            let kept: Vec<u64> = holed.given.iter().map(|given| given.position).filter(|position| *position <= at).collect();
            let mut holes: Vec<(u64, u64)> = (0..=i).map(|i| holed.hole(i)).filter(|hole| hole.0 <= at).collect();
            if let Some(hole) = holes.last_mut() {
                hole.1 = hole.1.min(at);
            }
            assert_eq!(read(&disk, &opened.catalog, 1, at), (kept.clone(), holes.clone()), "after {at}");
            append(&mut opened, 20);
            opened.writer.close().unwrap();
            drop(opened);
            let mut opened = reopen(&disk);
            assert_eq!(opened.recovery.holes, holes, "after {at}");
            let all = [kept, (at + 1..at + 21).collect()].concat();
            assert_eq!(read(&disk, &opened.catalog, 1, at + 20), (all, holes), "after {at}");
            whole(&disk);
            // And again, once the records after it are gone.
            opened.writer.truncate_after(at).unwrap();
            assert_eq!(opened.writer.next_position(), at + 1);
            whole(&disk);

            // The log begins in the hole.
            let (disk, mut opened) = holed.open();
            opened.writer.truncate_before(at + 1).unwrap();
            append(&mut opened, 20);
            opened.writer.close().unwrap();
            drop(opened);
            let opened = reopen(&disk);
            assert_eq!(opened.recovery.first_position, at + 1);
            let left = |hole: (u64, u64)| (hole.0.max(at + 1), hole.1);
            let holes: Vec<(u64, u64)> = (0..3).map(|i| left(holed.hole(i))).filter(|(first, last)| first <= last).collect();
            assert_eq!(opened.recovery.holes, holes, "before {}", at + 1);
            let end = opened.writer.next_position() - 1;
            let old = holed.given.iter().map(|given| given.position).filter(|position| *position > at);
            let all: Vec<u64> = old.chain(holed.report.next_position..=end).collect();
            assert_eq!(read(&disk, &opened.catalog, at + 1, end), (all, holes), "before {}", at + 1);
            whole(&disk);
        }
    }
}

#[test]
fn a_truncate_after_inside_a_hole_that_crashes_at_any_step_takes_effect_completely_or_not_at_all() {
    let holed = Holed::new();
    let (first, last) = holed.hole(2);
    let mut cut = 0;
    for budget in 0.. {
        let (disk, mut opened) = holed.open();
        disk.set_budget(budget);
        let done = opened.writer.truncate_after(first + 1).is_ok();
        drop(opened);
        disk.power_cut();
        for budget in [3, 9, u64::MAX] {
            // Recovery may be cut off as well.
            disk.restart();
            disk.set_budget(budget);
            let options = Options { segment_bytes: 16 << 10, ..Options::default() };
            let opened = open(Arc::new(disk.clone()), &options, || 0);
            if budget < u64::MAX {
                drop(opened);
                disk.power_cut();
                continue;
            }
            let opened = opened.unwrap();
            let end = opened.writer.next_position() - 1;
            assert!(end == first + 1 || end == last && !done, "budget {budget}: {end}, done: {done}");
            cut += u64::from(end == first + 1);
            let (given, holes) = read(&disk, &opened.catalog, 1, end);
            assert_eq!(given.len(), holed.given.len());
            assert_eq!(holes.last(), Some(&(first, end)));
            whole(&disk);
        }
        if done {
            break;
        }
    }
    assert!(cut > 1, "no crash came after the commit point of the truncation");
}

#[test]
fn a_segment_missing_before_a_hole_is_reported_as_missing() {
    let holed = Holed::new();
    let names = segments(&holed.disk);
    let hole = |name: &Name| Header::decode(&holed.disk.bytes(&name.file)[..PAGE as usize]).unwrap().hole;
    let mut tried = 0;
    for (i, name) in names.iter().enumerate().skip(1).take(names.len() - 2) {
        let disk = holed.disk.fork();
        disk.remove(&name.file).unwrap();
        let error = open(Arc::new(disk.clone()), &Options::default(), || 0).err().unwrap_or_else(|| panic!("opened without {}", name.file));
        assert_eq!((error.code, error.verdict), (Code::Corrupt, Some("gap")));
        tried += u64::from(hole(&names[i + 1]) > 0);
        // If the log is salvaged once more, missing positions become a hole too, and the old holes stay as they were.
        let to = elsewhere(&disk);
        let report = salvage_to(&disk, &to).unwrap();
        let new: Vec<&Hole> = report.holes.iter().filter(|hole| !hole.recorded).collect();
        assert!(
            matches!(new.as_slice(), [hole] if hole.first == name.first.max(hole.first) && hole.last + 1 == names[i + 1].first),
            "{new:?}"
        );
    }
    assert!(tried > 0, "no hole came after a segment that was missing");
}

#[test]
fn a_salvage_interrupted_at_any_step_leaves_no_log_or_the_whole_one() {
    let (disk, _) = damaged();
    let whole = Holed::new();
    let mut states = Vec::new();
    for budget in 0.. {
        let to = elsewhere(&disk);
        to.set_budget(budget);
        // A dead process removes nothing.
        let done = salvage_to(&disk, &to).is_ok();
        to.power_cut();
        to.restart();
        let found = to.names();
        match open(Arc::new(to.clone()), &Options::default(), || 0) {
            Ok(opened) if opened.recovery.verdict == "absent" => assert!(!done && found.iter().all(|name| name.starts_with("spare-"))),
            Ok(opened) => {
                assert_eq!(opened.recovery.next_position, whole.report.next_position);
                drop(opened);
                is_whole(&to, &whole.report, &whole.given).unwrap_or_else(|broken| panic!("budget {budget}: {}", broken.0));
                states.push("whole");
            }
            Err(error) => {
                assert!(!done && matches!(error.code, Code::Corrupt), "budget {budget}, done: {done}: {error}");
                states.push("none");
            }
        }
        if done {
            break;
        }
    }
    assert!(states.contains(&"none") && states.ends_with(&["whole"]), "{states:?}");
}

#[test]
fn a_salvage_that_fails_or_is_aborted_leaves_no_files() {
    let (disk, _) = damaged();
    for trip in 0.. {
        let to = elsewhere(&disk);
        to.set_trip(trip);
        match salvage_to(&disk, &to) {
            Ok(_) => break,
            Err(error) => assert!(matches!(error.code, Code::Io | Code::NoSpace), "{error:?}"),
        }
        assert_eq!(to.names(), Vec::<String>::new(), "trip {trip}");
    }
    for steps in 0..3 {
        let to = elsewhere(&disk);
        let mut salvage = Salvage::new(Arc::new(disk.clone()), Arc::new(to.clone()), Box::new(|| Ok(false)));
        for _ in 0..steps {
            salvage.step().unwrap();
        }
        let done = salvage.is_done();
        drop(salvage);
        assert_eq!(to.names().is_empty(), !done);
    }
}

#[test]
fn a_log_that_is_written_to_during_a_salvage_is_refused() {
    let mut log = Log::new(512, 64 << 10);
    log.commit(&[&[100; 20]], true);
    let to = elsewhere(&log.disk);
    let begin = |held: bool| Salvage::new(Arc::new(log.disk.clone()), Arc::new(to.clone()), Box::new(move || Ok(held)));
    assert_eq!(begin(true).step().err().map(|error| error.code), Some(Code::Locked));
    let mut salvage = begin(false);
    salvage.step().unwrap();
    log.opened.writer.truncate_before(5).unwrap();
    let failed = loop {
        match salvage.step() {
            Ok(_) if salvage.is_done() => panic!("done"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(failed.code, Code::Locked);
    drop(salvage);
    assert_eq!(to.names(), Vec::<String>::new());
}

#[test]
fn a_frame_that_reaches_into_a_segment_whose_header_is_lost_is_salvaged() {
    for first in 3..=5 {
        for compression in [Compression::None, Compression::Lz4] {
            let mut log = Log::with(512, Options { segment_bytes: 64 << 10, compression, ..Options::default() });
            log.commit(&[&[300]], true);
            log.commit(&[&[400, 500, 600, 700]], true);
            // The power fails before CONTROL names the segment that the reset begins with.
            let before = log.disk.fork();
            log.opened.writer.reset(first).unwrap();
            log.disk.restart();
            let newest = segments(&log.disk).pop().unwrap().file;
            let file = before.create(&newest, 8192).unwrap();
            file.write_at(&[0xaa; 8192], 0).unwrap();
            let to = elsewhere(&before);
            let report = salvage_to(&before, &to).unwrap();
            assert_eq!((report.records, report.holes.len(), report.next_position), (first, 0, first + 1), "reset to {first}: {report:?}");
            salvaged::check(&before).unwrap_or_else(|broken| panic!("reset to {first}: {}", broken.0));
            // The header is intact, and CONTROL is lost: the records before the reset are those of the segment before.
            let lost = log.disk.fork();
            let oldest = segments(&before).remove(0).file;
            let bytes = before.bytes(&oldest);
            let _ = lost.remove(&oldest);
            lost.create(&oldest, bytes.len() as u64).unwrap().write_at(&bytes, 0).unwrap();
            lost.damage(CONTROL, 0, &[0xaa; 8192]);
            let report = salvage_to(&lost, &elsewhere(&lost)).unwrap();
            assert_eq!((report.records, report.holes.len(), report.next_position), (first - 1, 0, first), "reset to {first}: {report:?}");
            salvaged::check(&lost).unwrap_or_else(|broken| panic!("reset to {first} without CONTROL: {}", broken.0));
        }
    }
}

#[test]
fn a_salvage_returns_no_record_of_an_invalid_frame() {
    let mut log = Log::new(512, 64 << 10);
    for _ in 0..6 {
        log.commit(&[&[300, 40, 200]], true);
    }
    let end = log.end();
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let name = segments(&log.disk).remove(0).file;
    for at in (PAGE..end).step_by(11) {
        let disk = log.disk.fork();
        disk.damage(&name, at, &[disk.bytes(&name)[at as usize] ^ 0x10]);
        let to = elsewhere(&disk);
        let report = salvage_to(&disk, &to).unwrap();
        let opened = open(Arc::new(to.clone()), &Options::default(), || 0).unwrap();
        let reader = Reader::new(Arc::new(to.clone()), opened.catalog.clone(), opened.recovery.first_position..=18);
        let mut next = opened.recovery.first_position;
        let mut reader = reader;
        while let Some(block) = reader.next_block(1 << 12).unwrap() {
            next = block.holes.last().map_or(next, |hole| hole.last + 1);
            for record in &block {
                assert!(Made::new(next, log.expected.tags[next as usize]).is(record), "{at}: position {next} is not what it was");
                next += 1;
            }
        }
        // A batch is in the log as a whole, or not at all.
        assert!(report.records == 15 || report.records == 18, "{at}: {report:?}");
        assert_eq!((next, report.next_position), (19, 19));
    }
}

#[test]
fn a_salvage_keeps_compressed_frames_and_batches_as_they_are() {
    let options = Options { segment_bytes: 8 << 10, compression: Compression::Zstd, ..Options::default() };
    let mut log = Log::with(512, options);
    while segments(&log.disk).len() < 3 {
        log.commit(&[&[400, 30, 900]], true);
    }
    let packed = |disk: &SimDisk| -> Vec<(u8, u8, u64)> {
        let mut frames = Vec::new();
        for name in segments(disk) {
            let bytes = disk.bytes(&name.file);
            let header = Header::decode(&bytes[..PAGE as usize]).unwrap();
            let mut at = PAGE;
            while let Some(frame) = bytes.get(at as usize..).and_then(|rest| crate::format::frame::decode(rest, header.seed(), at)) {
                frames.push((frame.kind as u8, frame.codec as u8, u64::from(frame.body_crc)));
                at += frame.span();
            }
        }
        frames
    };
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let to = elsewhere(&log.disk);
    let report = salvage_to(&log.disk, &to).unwrap();
    assert_eq!((report.holes.len(), report.records, report.verdict), (0, log.expected.end, "clean"));
    assert_eq!(packed(&to), packed(&log.disk));
    assert!(packed(&to).iter().any(|(_, codec, _)| *codec == 2));
}

/// A closed log that is to be backed up.
struct Still(Arc<dyn Storage>, Opened);

impl Origin for Still {
    fn storage(&self) -> &Arc<dyn Storage> {
        &self.0
    }

    fn durable_end(&self) -> Result<DurableEnd> {
        let active = self.1.writer.active.as_ref().unwrap();
        Ok(DurableEnd { segment: active.header.id, durable: LogEnd { offset: active.end.offset, position: active.end.next - 1 } })
    }

    fn low_mark(&self) -> Result<u64> {
        Ok(self.1.recovery.first_position)
    }

    fn truncation_count(&self) -> u64 {
        0
    }

    fn hold_retention(&self, first: u64) -> Arc<ReaderPosition> {
        self.1.catalog.reader_positions.enter(first)
    }

    fn segments(&self) -> Vec<Name> {
        self.1.catalog.names()
    }

    fn catch_up(&self) -> bool {
        false
    }

    fn is_past(&self, _: DurableEnd) -> bool {
        false
    }
}

#[test]
fn a_backup_of_a_log_with_holes_is_the_same_log() {
    let holed = Holed::new();
    let (disk, opened) = holed.open();
    let to = elsewhere(&disk);
    let mut backup = Backup::new(Arc::new(Still(Arc::new(disk.clone()), opened)), Arc::new(to.clone()));
    while !backup.is_done() {
        backup.step().unwrap();
    }
    drop(backup);
    is_whole(&to, &holed.report, &holed.given).unwrap_or_else(|broken| panic!("{}", broken.0));
}

#[test]
fn prefix_and_read_only_open_a_log_with_holes_as_strict_does() {
    let holed = Holed::new();
    let disk = holed.disk.fork();
    let view = read_only::open(&(Arc::new(disk.clone()) as Arc<dyn Storage>), || 0).unwrap();
    assert_eq!((view.recovery.verdict, view.positions.next), ("clean", holed.report.next_position));
    assert_eq!(view.recovery.holes.len(), 3);
    let opened = open(Arc::new(disk.clone()), &Options { mode: Mode::Prefix, ..Options::default() }, || 0).unwrap();
    assert_eq!((opened.recovery.verdict, opened.recovery.next_position), ("clean", holed.report.next_position));
    // Damage after a hole cuts the log there, and the hole stays.
    let behind = segments(&disk).into_iter().find(|name| name.first == holed.hole(1).0).unwrap();
    disk.damage(&behind.file, PAGE + 20, &[0xff; 40]);
    drop(opened);
    disk.restart();
    let opened = open(Arc::new(disk.clone()), &Options { mode: Mode::Prefix, ..Options::default() }, || 0).unwrap();
    assert_eq!((opened.recovery.verdict, opened.recovery.next_position), ("damaged-sealed", holed.hole(1).1 + 1));
    assert_eq!(opened.recovery.holes, [holed.hole(0), holed.hole(1)]);
}
