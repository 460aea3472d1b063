//! The reaction of each mode to damage, to missing files, and to a disk that fails to read.

use super::named::Log;
use super::oracle::{read, Read};
use super::places::segments;
use super::salvage::{self, Salvaged};
use crate::error::{Code, Error};
use crate::format::bit_flip;
use crate::format::file_names::{Name, CONTROL};
use crate::log::open::{open, Opened};
use crate::log::read_only::{self, ReadOnlyLog};
use crate::options::{Mode, Options};
use crate::read::reader::Reader;
use crate::recovery::missing;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use std::sync::Arc;

const ROT: u64 = 16 << 10;

fn storage(disk: &SimDisk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

fn open_as(disk: &SimDisk, log: &Log, mode: Mode) -> Result<Opened, Error> {
    open(storage(disk), &Options { mode, ..log.options.clone() }, || 0)
}

fn view(disk: &SimDisk) -> Result<ReadOnlyLog, Error> {
    read_only::open(&storage(disk), || 0)
}

/// Returns everything that a salvaging reader returns, and the holes.
fn salvage(disk: &SimDisk, catalog: &Arc<Catalog>, log: &Log, from: u64, to: u64) -> Salvaged {
    salvage::salvage(disk, catalog, &log.expected, from, to, 8 << 10).unwrap()
}

/// Returns a log of some segments, with records of about a kilobyte and one frame each, and the place of each frame.
fn long_log(sealed: usize) -> (Log, Vec<(String, u64, u64)>) {
    let mut log = Log::new(4096, 64 << 10);
    let mut frames = Vec::new();
    while segments(&log.disk).len() <= sealed || log.end() < 50 << 10 {
        let before = (log.segment(), log.end());
        log.commit(&[&[1000]], true);
        let start = if log.segment() == before.0 { before.1 } else { PAGE };
        frames.push((log.segment(), start, log.end()));
    }
    (log, frames)
}

#[test]
fn every_good_record_before_and_after_rot_is_salvaged_from_active_and_sealed_segments() {
    let (log, frames) = long_log(2);
    for (closed, name) in [false, true].into_iter().flat_map(|closed| segments(&log.disk).into_iter().map(move |name| (closed, name))) {
        let end = frames.iter().filter(|(file, ..)| *file == name.file).map(|(.., end)| *end).max().unwrap();
        for start in (PAGE..end - ROT).step_by(3700) {
            let disk = log.disk.fork();
            if closed {
                open(storage(&disk), &log.options, || 0).unwrap().writer.close().unwrap();
            }
            disk.restart();
            disk.damage(&name.file, start, &vec![0xa5; ROT as usize]);
            let before = disk.changes();
            let seen = view(&disk).unwrap();
            let (given, holes) = salvage(&disk, &seen.catalog, &log, 1, seen.positions.acknowledged);
            let hit = |(file, from, to): &&(String, u64, u64)| *file == name.file && start < *to && *from < start + ROT;
            let good = |(_, frame): &(usize, &(String, u64, u64))| !hit(frame);
            let expected: Vec<u64> = frames.iter().enumerate().filter(good).map(|(i, _)| i as u64 + 1).collect();
            assert_eq!(given, expected, "{} from {start}, closed: {closed}", name.file);
            assert!(matches!(holes.as_slice(), [hole] if hole.segment == name.file && hole.offset <= start && hole.bytes >= ROT));
            assert_eq!(disk.changes(), before);
        }
    }
}

#[test]
fn a_flipped_bit_is_located_and_costs_only_the_records_of_its_frame() {
    let (log, frames) = long_log(1);
    let names = segments(&log.disk);
    for (i, (file, start, end)) in frames.iter().enumerate().filter(|(i, _)| i % 9 == 4) {
        for bit in [3, 8 * 9 + 1, 8 * 30, 8 * 40 + 5, 8 * 900 + 7] {
            let at = start + bit / 8;
            // Not every record is that long.
            if at + 8 >= *end {
                continue;
            }
            let disk = log.disk.fork();
            disk.restart();
            let byte = disk.bytes(file)[at as usize];
            disk.damage(file, at, &[byte ^ 1 << (bit % 8)]);
            let seen = view(&disk).unwrap();
            let (given, holes) = salvage(&disk, &seen.catalog, &log, 1, seen.positions.acknowledged);
            assert_eq!((given.len(), holes.len()), (frames.len() - 1, 1), "frame {i}, bit {bit}: {:?}", seen.recovery);
            let hole = &holes[0];
            assert_eq!((hole.first, hole.last), (i as u64 + 1, i as u64 + 1));
            assert_eq!(hole.flipped.map(|f| (f.offset, u64::from(f.bit))), Some((at, bit % 8)));
            // The error of a reader that does not salvage names the same bit.
            let error = match *file == names[1].file {
                true => open_as(&disk, &log, Mode::Strict).err().unwrap(),
                false => match read(storage(&disk), &seen.catalog, &log.expected, 1, frames.len() as u64, 4096) {
                    Read::Stopped(error) => error,
                    _ => panic!("silence"),
                },
            };
            assert_eq!(error.flipped, hole.flipped);
            assert!(matches!(error.verdict, Some("damaged-active" | "damaged-sealed")));
        }
    }
}

#[test]
fn prefix_continues_before_the_damage_and_changes_no_byte_after_it() {
    let (log, frames) = long_log(2);
    let names = segments(&log.disk);
    // Nothing proves the last frame.
    for (file, start, _) in frames[..frames.len() - 2].iter().step_by(7) {
        let disk = log.disk.fork();
        disk.restart();
        disk.damage(file, start + 10, &[0xff; 40]);
        let hurt: Vec<_> = names.iter().map(|name| disk.bytes(&name.file)).collect();
        let good = frames.iter().position(|frame| (&frame.0, frame.1) == (file, *start)).unwrap() as u64;
        let refused = open_as(&disk, &log, Mode::Strict);
        assert_eq!(refused.is_err(), *file == names[2].file, "the active segment's damage alone is seen at opening");
        let disk = if refused.is_ok() { disk.fork() } else { disk };
        let mut opened = open_as(&disk, &log, Mode::Prefix).unwrap();
        let report = opened.recovery.clone();
        let sealed = *file != names[2].file;
        assert_eq!(report.verdict, if sealed { "damaged-sealed" } else { "damaged-active" });
        assert_eq!((report.clean, report.next_position, opened.writer.durable_position()), (false, good + 1, good));
        let (damage, fenced) = (report.damage.unwrap(), report.fenced.unwrap());
        assert_eq!((&damage.segment, damage.offset, damage.lost.unwrap().0), (file, *start, good + 1));
        assert_eq!((&fenced.segment, fenced.offset, fenced.positions.unwrap().0), (file, *start, good + 1));
        let behind: Vec<_> = segments(&log.disk).into_iter().map(|name| name.file).skip_while(|name| name != file).skip(1).collect();
        assert!(report.left_out.starts_with(&behind), "{:?}", report.left_out);
        for (name, bytes) in names.iter().zip(&hurt) {
            assert!(disk.bytes(&name.file).starts_with(bytes), "{} has changed", name.file);
        }
        assert!(matches!(read(storage(&disk), &opened.catalog, &log.expected, 1, good, 4096), Read::All));
        opened.writer.close().unwrap();
        drop(opened);
        assert_eq!(disk.violation(), None);
        // From here on the log is an ordinary one.
        let again = open_as(&disk, &log, Mode::Strict).unwrap();
        assert_eq!((again.recovery.verdict, again.recovery.next_position), ("clean", good + 1));
        assert!(matches!(read(storage(&disk), &again.catalog, &log.expected, 1, good, 4096), Read::All));
    }
}

#[test]
fn prefix_removes_nothing_if_no_record_before_the_damage_is_at_or_above_the_low_mark() {
    // The header; the frames on both sides of the mark; the first frame above it.
    for (sealed, harmed) in [(2, 0), (2, 4), (2, 5), (0, 0), (0, 4), (0, 5)] {
        let (mut log, frames) = long_log(sealed);
        log.opened.writer.truncate_before(6).unwrap();
        log.disk.restart();
        let (file, start, _) = &frames[harmed];
        let at = if harmed == 0 { 60 } else { start + 10 };
        log.disk.damage(file, at, &[0xff; 1100]);
        let hurt = log.disk.bytes(file);
        let opened = open_as(&log.disk, &log, Mode::Prefix);
        assert_eq!(log.disk.names().contains(file).then(|| log.disk.bytes(file)[..hurt.len()] == hurt), Some(true), "{harmed} of {sealed}");
        assert_eq!(opened.err().map(|error| error.code), Some(Code::Corrupt));
    }
}

#[test]
fn an_opening_in_mode_prefix_interrupted_at_any_step_reports_the_same_when_repeated() {
    let (log, frames) = long_log(2);
    for i in [10, 70, frames.len() - 10] {
        let (file, start, _) = &frames[i];
        for budget in 0..30 {
            let disk = log.disk.fork();
            disk.restart();
            disk.damage(file, start + 10, &[0xff; 40]);
            disk.set_budget(budget);
            let done = open_as(&disk, &log, Mode::Prefix).is_ok();
            disk.power_cut();
            disk.restart();
            let opened = open_as(&disk, &log, Mode::Prefix).unwrap();
            assert_eq!(opened.recovery.next_position, i as u64 + 1, "frame {i}, budget {budget}, done: {done}, {:?}", opened.recovery);
            assert!(matches!(read(storage(&disk), &opened.catalog, &log.expected, 1, i as u64, 4096), Read::All));
            assert_eq!(disk.violation(), None);
        }
    }
}

/// A change to a log, the verdict on it, and whether `prefix` opens it, with how many records.
type Case = (&'static str, Box<dyn Fn(&SimDisk, &[Name])>, &'static str, Option<u64>);

#[test]
fn every_case_of_damage_is_reported_with_its_label_and_changes_nothing() {
    let (log, frames) = long_log(3);
    let firsts: Vec<u64> = segments(&log.disk).iter().map(|name| name.first).collect();
    let flip = |disk: &SimDisk, name: &str, at: u64| {
        let byte = disk.bytes(name)[at as usize];
        disk.damage(name, at, &[byte ^ 0x40]);
    };
    let cases: Vec<Case> = vec![
        ("the last segment is gone", Box::new(|disk, names| disk.remove(&names[3].file).unwrap()), "lost-active", None),
        ("CONTROL is gone", Box::new(|disk, _| disk.remove(CONTROL).unwrap()), "no-control", None),
        ("both slots are bad", Box::new(move |disk, _| [70, PAGE + 70].iter().for_each(|at| flip(disk, CONTROL, *at))), "no-control", None),
        ("a segment in between is gone", Box::new(|disk, names| disk.remove(&names[1].file).unwrap()), "gap", None),
        ("the first segment is gone", Box::new(|disk, names| disk.remove(&names[0].file).unwrap()), "late-start", None),
        ("the last header is bad", Box::new(move |disk, names| flip(disk, &names[3].file, 60)), "bad-header", Some(firsts[3] - 1)),
        (
            "frames of the last segment are bad",
            Box::new(move |disk, names| flip(disk, &names[3].file, PAGE + 20)),
            "damaged-active",
            Some(firsts[3] - 1),
        ),
    ];
    for (what, harm, verdict, prefix) in cases {
        let disk = log.disk.fork();
        disk.restart();
        harm(&disk, &segments(&disk));
        let (changes, names) = (disk.changes(), disk.names());
        let error = open_as(&disk, &log, Mode::Strict).err().unwrap_or_else(|| panic!("{what}: opened"));
        assert_eq!((error.code, error.verdict), (Code::Corrupt, Some(verdict)), "{what}: {error}");
        assert!(error.segment.is_some() && error.offset.is_some(), "{what}: {error:?}");
        assert!(error.lost.is_some() || verdict == "no-control", "{what}: {error:?}");
        assert_eq!((disk.changes(), disk.names()), (changes, names.clone()), "{what}");

        let seen = view(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(seen.recovery.verdict, verdict, "{what}");
        assert_eq!(seen.recovery.damage.as_ref().and_then(|damage| damage.lost), error.lost, "{what}");
        let (given, holes) = salvage(&disk, &seen.catalog, &log, seen.positions.first, seen.positions.acknowledged);
        let there = |i: &usize| {
            disk.names().contains(&frames[*i].0)
                && !(verdict == "damaged-active" && frames[*i].1 == PAGE && frames[*i].0 == segments(&disk)[3].file)
        };
        let expected: Vec<u64> = (0..frames.len()).filter(there).map(|i| i as u64 + 1).collect();
        assert_eq!(given, expected, "{what}: {holes:?}");
        assert_eq!((disk.changes(), disk.names()), (changes, names.clone()), "{what}");

        match (open_as(&disk, &log, Mode::Prefix), prefix) {
            (Ok(opened), Some(end)) => {
                assert_eq!((opened.recovery.verdict, opened.recovery.next_position), (verdict, end + 1), "{what}");
                assert!(matches!(read(storage(&disk), &opened.catalog, &log.expected, 1, end, 4096), Read::All), "{what}");
            }
            (Err(error), None) => {
                assert_eq!((error.code, error.verdict), (Code::Corrupt, Some(verdict)), "{what}");
                assert_eq!((disk.changes(), disk.names()), (changes, names), "{what}");
            }
            (opened, _) => panic!("{what}: {:?}", opened.map(|opened| opened.recovery)),
        }
    }
}

#[test]
fn every_report_of_a_missing_segment_names_that_segment_and_not_its_predecessor() {
    let (log, _) = long_log(2);
    let mut named = 0;
    // The second time, an opening has written the last record again, into a segment of its own. Only that segment said where the one before
    // it ends.
    for carried in [false, true] {
        let whole = log.disk.fork();
        if carried {
            open(storage(&whole), &log.options, || 0).unwrap().writer.close().unwrap();
        }
        whole.restart();
        let names = segments(&whole);
        for (gone, name) in names.iter().enumerate() {
            let disk = whole.fork();
            disk.restart();
            disk.remove(&name.file).unwrap();
            let refused = open_as(&disk, &log, Mode::Strict).err().unwrap();
            let seen = view(&disk).unwrap();
            let to = seen.positions.acknowledged;
            let last = names.get(gone + 1).map_or(to, |next| next.first - 1);
            let mut reader = Reader::new(storage(&disk), seen.catalog.clone(), name.first.saturating_sub(1).max(1)..=to);
            let met = loop {
                match reader.next_block(4096) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("silence"),
                    Err(error) => break error,
                }
            };
            let told = [Some(refused), (gone > 0).then_some(met)];
            let is_named = gone == 0 || missing::sealed_end(&disk, &names[gone - 1].file) == Some(name.first);
            let first = name.first + u64::from(gone == 3);
            let file = if is_named { &*name.file } else { names.get(gone + 1).map_or(CONTROL, |next| &next.file) };
            named += usize::from(is_named);
            let certain = if is_named { format!("the segment {} ", name.file) } else { format!("-{:016x}.wal", name.id) };
            for error in told.into_iter().flatten() {
                assert_eq!((error.code, error.segment.as_deref(), error.offset), (Code::Corrupt, Some(file), Some(0)), "{error:?}");
                assert!(error.message.contains(&certain), "{error}");
                assert!(error.message.contains(&format!(" {first} ")), "{error}");
                assert_eq!(error.lost, Some((first, last.max(first))), "{error:?}");
            }
            let (_, holes) = salvage(&disk, &seen.catalog, &log, 1, to);
            let told: Vec<_> = holes.iter().map(|hole| (hole.first, hole.last, &*hole.segment)).collect();
            assert_eq!(told, [(first, last.max(first), file)]);
        }
    }
    assert!(named >= 4, "{named}");
}

#[test]
fn damage_before_a_missing_segment_is_reported_separately_if_a_footer_shows_where_the_records_end() {
    let (log, frames) = long_log(2);
    let names = segments(&log.disk);
    let disk = log.disk.fork();
    open(storage(&disk), &log.options, || 0).unwrap().writer.close().unwrap();
    disk.restart();
    disk.remove(&names[1].file).unwrap();
    // The last two frames before the gap.
    let hurt = frames.iter().filter(|frame| frame.0 == names[0].file).count();
    for (_, start, end) in &frames[hurt - 2..hurt] {
        disk.damage(&names[0].file, *start, &vec![0xa5; (end - start) as usize]);
    }
    let seen = view(&disk).unwrap();
    let (_, holes) = salvage(&disk, &seen.catalog, &log, 1, seen.positions.acknowledged);
    let told: Vec<_> = holes.iter().map(|hole| (hole.first, hole.last, &*hole.segment)).collect();
    let first = names[1].first;
    assert_eq!(told, [(first - 2, first - 1, &*names[0].file), (first, names[2].first - 1, &*names[1].file)]);
}

#[test]
fn a_read_failure_anywhere_is_reported_as_a_read_failure_and_changes_nothing() {
    let (log, frames) = long_log(2);
    for mode in [Mode::Strict, Mode::Prefix] {
        for trip in 0.. {
            let disk = log.disk.fork();
            disk.restart();
            disk.set_read_trip(trip);
            let changes = disk.changes();
            match open_as(&disk, &log, mode) {
                // After the survey, carried frames are read again, and CONTROL has been confirmed by then.
                Err(error) if error.verdict.is_some() => {
                    assert_eq!((error.code, error.verdict), (Code::Io, Some("unreadable")), "{mode:?}, read {trip}: {error}");
                    assert_eq!(disk.changes(), changes, "{mode:?}, read {trip}");
                }
                Err(error) => assert_eq!(error.code, Code::Io, "{mode:?}, read {trip}: {error}"),
                Ok(opened) => {
                    assert!(disk.read_trip() > 1 << 60 || disk.read_trip() <= trip, "{trip}");
                    if disk.read_trip() <= trip && trip > 0 {
                        assert_eq!(opened.recovery.next_position, frames.len() as u64 + 1);
                        break;
                    }
                }
            }
            assert!(trip < 10_000);
        }
    }
    let opened = open_as(&log.disk, &log, Mode::Strict).unwrap();
    for trip in 0.. {
        let disk = log.disk.fork();
        disk.restart();
        disk.set_read_trip(trip);
        match read(storage(&disk), &opened.catalog, &log.expected, 1, frames.len() as u64, 8 << 10) {
            Read::All => break,
            Read::Stopped(error) => assert_eq!(error.code, Code::Io, "read {trip}: {error}"),
            Read::Wrong(text) => panic!("read {trip}: {text}"),
        }
    }
}

#[test]
fn read_only_mode_counts_unreadable_bytes_as_damaged() {
    let (log, frames) = long_log(2);
    for name in segments(&log.disk) {
        let disk = log.disk.fork();
        disk.restart();
        let bad = 20_000..20_500;
        disk.spoil(&name.file, bad.clone());
        let seen = view(&disk).unwrap();
        let active = name.id == 3;
        assert_eq!(seen.recovery.verdict, if active { "unreadable" } else { "unproven" });
        let to = seen.positions.acknowledged;
        assert_eq!(to, frames.len() as u64);
        let (given, holes) = salvage(&disk, &seen.catalog, &log, 1, to);
        // The disk is read again page by page, so only a frame that shares a page with the bad bytes may be lost.
        let page = bad.start / PAGE * PAGE..bad.end.next_multiple_of(PAGE);
        for (i, frame) in frames.iter().enumerate() {
            let hit = |range: &std::ops::Range<u64>| frame.0 == name.file && frame.1 < range.end && range.start < frame.2;
            let there = given.contains(&(i as u64 + 1));
            assert!(!(there && hit(&bad)) && (there || hit(&page)), "frame {i}: {holes:?}");
        }
        assert_eq!(holes.len(), 1, "{holes:?}");
        // A reader that does not salvage gets an error of the disk.
        match read(storage(&disk), &seen.catalog, &log.expected, 1, to, 4096) {
            Read::Stopped(error) => assert_eq!(error.code, Code::Io, "{error}"),
            _ => panic!("silence"),
        }
        assert_eq!(open_as(&disk, &log, Mode::Strict).err().map(|e| e.code), active.then_some(Code::Io));
        assert_eq!(open_as(&disk, &log, Mode::Prefix).err().map(|e| e.code), Some(Code::Io));
    }
}

#[test]
fn a_completely_lost_header_costs_no_record_of_a_sealed_segment() {
    let (log, frames) = long_log(2);
    let name = segments(&log.disk)[1].clone();
    let disk = log.disk.fork();
    disk.restart();
    disk.damage(&name.file, 0, &[0; PAGE as usize]);
    assert!(bit_flip::mended(&disk.bytes(&name.file)[..PAGE as usize]).is_none());
    let seen = view(&disk).unwrap();
    let (given, holes) = salvage(&disk, &seen.catalog, &log, 1, seen.positions.acknowledged);
    assert_eq!((given.len(), holes.len()), (frames.len(), 0));
    match read(storage(&disk), &seen.catalog, &log.expected, 1, frames.len() as u64, 4096) {
        Read::Stopped(error) => assert_eq!((error.code, error.verdict), (Code::Corrupt, Some("bad-header"))),
        _ => panic!("silence"),
    }
}

#[test]
fn records_above_the_low_mark_are_read_despite_damage_below_it() {
    let (mut log, frames) = long_log(2);
    log.opened.writer.truncate_before(20).unwrap();
    let last = log.expected.end;
    for harmed in [0, 10, 17] {
        let (file, start, _) = &frames[harmed];
        let disk = log.disk.fork();
        disk.restart();
        disk.damage(file, start + 10, &[0xff; 40]);
        let opened = open_as(&disk, &log, Mode::Strict).unwrap();
        for from in [20, 21, 30, last] {
            let catalog = Arc::new(Catalog::default());
            catalog.replace(opened.catalog.names().iter().map(|name| Arc::new(CatalogSegment::of_name(name))).collect(), 20);
            match read(storage(&disk), &catalog, &log.expected, from, last, 4096) {
                Read::All => {}
                Read::Stopped(error) => panic!("frame {harmed}, from {from}: {error:?}"),
                Read::Wrong(text) => panic!("frame {harmed}, from {from}: {text}"),
            }
        }
    }
}
