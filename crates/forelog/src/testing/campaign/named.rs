//! Two cases that other logs fail, and the log on which sweeps and cases are made.

use super::history::Held;
use super::oracle::{read, Expected, Made, Read, Tag};
use super::rot;
use crate::error::{Code, Error};
use crate::format::file_names::CONTROL;
use crate::format::header::Header;
use crate::format::record::RecordRef;
use crate::log::open::{open, Opened};
use crate::options::{Options, Retention};
use crate::segments::placement::Filling;
use crate::testing::sim::{Faults, SimDisk, Strike, Through};
use crate::util::limits::PAGE;
use crate::write::group::{Batch, Group};
use crate::write::retention::{Due, Floors};
use std::sync::Arc;
use std::time::Duration;

/// A log without faults, written step by step.
pub struct Log {
    pub disk: SimDisk,
    pub options: Options,
    pub expected: Expected,
    pub opened: Opened,
}

impl Log {
    pub fn new(sector: u64, segment_bytes: u64) -> Log {
        Log::with(sector, Options { segment_bytes, ..Options::default() })
    }

    pub fn with(sector: u64, options: Options) -> Log {
        Log::on(SimDisk::new(1, sector), options)
    }

    /// Creates a log whose durable commits go past the page cache.
    pub fn through(sector: u64, segment_bytes: u64) -> Log {
        let disk = SimDisk::new(1, sector);
        disk.set_through(Through::Taken);
        let mut log = Log::on(disk, Options { segment_bytes, ..Options::default() });
        log.fill();
        log
    }

    pub fn on(disk: SimDisk, options: Options) -> Log {
        let opened = open(Arc::new(disk.clone()), &options, || 0).unwrap();
        Log { disk, options, expected: Expected::new(), opened }
    }

    /// Prefills the active segment.
    pub fn fill(&mut self) {
        if let Some(active) = self.opened.writer.active.as_mut() {
            active.placement.filling = Filling::After(0);
        }
        self.grow();
        self.opened.writer.due_prefill().unwrap().fill().unwrap();
    }

    /// Grows the file of the active segment as far as it can.
    pub fn grow(&mut self) {
        if let Some(growth) = self.opened.writer.due_growth() {
            growth.run();
        }
    }

    /// Commits batches of records of the given lengths, one frame each.
    pub fn commit(&mut self, batches: &[&[u32]], durable: bool) {
        assert!(self.try_commit(batches, durable).is_none());
        self.expected.written = self.expected.end;
        if durable {
            self.expected.durable = self.expected.end;
        }
    }

    /// Commits like `commit`, and returns the error if that fails.
    pub fn try_commit(&mut self, batches: &[&[u32]], durable: bool) -> Option<Error> {
        let mut group = Group::default();
        for lens in batches {
            let (first, mut batch) = (self.expected.end + 1, Batch::new());
            for (i, len) in lens.iter().enumerate() {
                let tag = Tag { attempt: 0, len: *len };
                let made = Made::new(self.expected.end + 1, tag);
                batch.push(made.record(), 1 << 30).unwrap();
                self.expected.push(tag, i + 1 == lens.len());
            }
            group.push_batch(0, first, &mut batch);
        }
        self.opened.writer.commit(&mut group, durable).failure
    }

    /// Returns the offset at which the next frame goes.
    pub fn end(&self) -> u64 {
        self.opened.writer.active.as_ref().unwrap().end.offset
    }

    pub fn segment(&self) -> String {
        rot::newest(&self.disk).unwrap().file
    }

    pub fn check(&self, disk: &SimDisk, least: u64) -> Held<bool> {
        rot::check(disk, &self.options, &self.expected, least)
    }
}

#[test]
fn a_reset_takes_effect_even_if_control_shows_neither_it_nor_the_next_roll() {
    let mut log = Log::new(512, 8192);
    log.commit(&[&[100; 12]], true);
    log.opened.writer.truncate_before(13).unwrap();
    let stale = log.disk.bytes(CONTROL);
    log.opened.writer.reset(1).unwrap();
    log.expected = Expected::new();
    let rolls = log.opened.writer.meter.counters.rolls;
    while log.opened.writer.meter.counters.rolls == rolls {
        log.commit(&[&[100; 4]], true);
    }
    // A power cut before the roll has written CONTROL, and rot in the slot that the reset has written.
    log.disk.damage(CONTROL, 0, &stale);
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert_eq!((opened.writer.low_mark(), opened.writer.next_position()), (1, log.expected.end + 1));
}

#[test]
fn a_reset_to_a_lower_position_that_control_does_not_name_yet_keeps_its_low_mark_and_its_records() {
    let mut log = Log::new(512, 8192);
    log.commit(&[&[100; 12]], true);
    // A segment wholly below the low mark, whose file is still there.
    log.opened.writer.truncate_before(13).unwrap();
    log.opened.writer.renew().unwrap();
    let strike = Strike { numbers: 0..usize::MAX, calls: &["pwrite"], file: CONTROL, errno: 28, ..Strike::default() };
    log.disk.set_strike(Some(strike));
    log.opened.writer.reset(1).unwrap();
    log.disk.set_strike(None);
    log.expected = Expected::new();
    assert_eq!(log.opened.writer.low_mark(), 1);
    log.commit(&[&[100; 4]], true);
    log.check(&log.disk.fork(), 4).unwrap();
    log.disk.restart();
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert_eq!((opened.writer.low_mark(), opened.writer.next_position()), (1, 5));
}

#[test]
fn a_log_opens_after_an_unacknowledged_commit_lost_any_one_page() {
    for sector in [512, 4096] {
        for (batches, whole) in [(&[&[30_000u32][..]][..], false), (&[&[3000], &[200, 3000], &[9000], &[5000], &[40]], true)] {
            let mut log = Log::new(sector, 64 << 10);
            log.commit(&[&[100], &[2000]], true);
            let (start, durable) = (log.end(), log.expected.end);
            log.commit(batches, false);
            let pages = (log.end() - 1) / PAGE - start / PAGE + 1;
            assert!(pages >= 5);
            for lost in 0..pages {
                let disk = log.disk.fork();
                let lost = start / PAGE + lost..start / PAGE + lost + 1;
                disk.power_cut_keeping(
                    &mut |_, _, offset, versions| if lost.contains(&(offset / PAGE)) { 0 } else { versions },
                    &mut |_| true,
                );
                disk.restart();
                let opened = open(Arc::new(disk.clone()), &log.options, || 0).unwrap();
                let end = opened.writer.next_position() - 1;
                assert_eq!(opened.recovery.verdict, "torn", "page {lost:?} of {pages}, sector {sector}");
                assert!(log.expected.refuses(end, durable).is_none() && end < log.expected.end);
                assert!(lost.start != start / PAGE || end == durable);
                let fenced = opened.recovery.fenced.unwrap();
                assert_eq!(fenced.positions.is_some(), whole && fenced.offset / PAGE + 2 < log.end() / PAGE, "{fenced:?}, page {lost:?}");
                assert!(matches!(read(Arc::new(disk.clone()), &opened.catalog, &log.expected, 1, end, 1 << 12), Read::All));
            }
        }
    }
}

#[test]
fn rot_among_acknowledged_records_is_corruption_and_opening_changes_nothing() {
    let mut log = Log::new(4096, 128 << 10);
    for _ in 0..60 {
        log.commit(&[&[1000]], true);
    }
    let (segment, end) = (log.segment(), log.end());
    for start in (PAGE..end - (16 << 10) - 1100).step_by(1500) {
        let disk = log.disk.fork();
        disk.power_cut();
        disk.restart();
        let before = disk.names();
        disk.damage(&segment, start, &vec![0xa5; 16 << 10]);
        let bytes = disk.bytes(&segment);
        for _ in 0..2 {
            let changes = disk.changes();
            let error = open(Arc::new(disk.clone()), &log.options, || 0).err().expect("a log with rot opens");
            assert_eq!((error.code, error.segment.as_deref()), (Code::Corrupt, Some(segment.as_str())), "{error}");
            // The frame in which the damage begins: none is longer than this.
            assert!(error.offset.is_some_and(|at| at <= start && start < at + 1200), "{error}");
            let (first, last) = error.lost.expect("positions");
            assert!(first <= 60 && (59..=61).contains(&last), "{first} to {last}");
            assert_eq!((disk.changes(), disk.names(), disk.bytes(&segment) == bytes), (changes, before.clone(), true));
        }
    }
}

#[test]
fn rot_in_a_sealed_segment_is_reported_when_it_is_read_and_only_there() {
    let mut log = Log::new(512, 64 << 10);
    let first = log.segment();
    while log.segment() == first {
        log.commit(&[&[1000]], true);
    }
    let second = log.expected.end;
    log.commit(&[&[500]], true);
    log.opened.writer.close().unwrap();
    log.disk.damage(&first, 20_000, &vec![0x5a; 16 << 10]);
    log.disk.restart();
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    let storage = || Arc::new(log.disk.clone());
    let Read::Stopped(error) = read(storage(), &opened.catalog, &log.expected, 1, second + 1, 1 << 14) else { panic!("silence") };
    assert_eq!((error.code, error.segment.as_deref()), (Code::Corrupt, Some(first.as_str())));
    let (from, to) = error.lost.unwrap();
    assert!(from > 1 && to == second - 1, "{from} to {to}");
    assert!(matches!(read(storage(), &opened.catalog, &log.expected, 1, from - 1, 1 << 14), Read::All));
    assert!(matches!(read(storage(), &opened.catalog, &log.expected, second, second + 1, 1 << 14), Read::All));
}

#[test]
fn frames_that_an_interrupted_roll_left_in_the_reserve_do_not_come_back() {
    let mut rolled = 0;
    for (budget, names_kept) in (0..24).flat_map(|budget| [(budget, false), (budget, true)]) {
        let mut log = Log::new(512, 16 << 10);
        log.commit(&[&[100]], true);
        let mut ends = vec![log.end()];
        for _ in 0..3 {
            log.commit(&[&[1500]], false);
            ends.push(log.end());
        }
        let (segment, full) = (log.segment(), Faults { full: true, ..Faults::default() });
        log.disk.set_faults(full);
        log.disk.restart();
        log.disk.set_budget(budget);
        let _ = open(Arc::new(log.disk.clone()), &log.options, || 0);
        // The reserve still contains what the segment lost, because the roll had carried it there from memory.
        for lost in &ends {
            let disk = log.disk.fork();
            let keep = &mut |_: &mut _, name: &str, offset, versions| if name == segment && offset + 512 > *lost { 0 } else { versions };
            disk.power_cut_keeping(keep, &mut |_| names_kept);
            disk.restart();
            let reopen = || open(Arc::new(disk.clone()), &log.options, || 0).unwrap();
            let opened = reopen();
            rolled += u64::from(opened.recovery.carried > 0);
            let end = opened.writer.next_position() - 1;
            assert!(log.expected.refuses(end, 1).is_none(), "budget {budget}: {end}");
            drop(opened);
            disk.restart();
            assert_eq!(reopen().writer.next_position() - 1, end, "budget {budget}, bytes from {lost} on were lost");
        }
    }
    assert!(rolled > 20);
}

#[test]
fn rot_in_one_slot_of_control_does_not_lift_a_fence() {
    for slot in 0..2 {
        let mut log = Log::new(512, 16 << 10);
        log.commit(&[&[100]], true);
        let kept = log.expected.end;
        // The next write stops early. With this seed it stops after some whole frames.
        log.disk.set_trip(0);
        let error = log.try_commit(&[&[40], &[50], &[60], &[3000]], false).unwrap();
        assert_eq!(error.code, Code::NoSpace);
        log.disk.power_cut_keeping(&mut |_, _, _, versions| versions, &mut |_| true);
        log.disk.restart();
        let written = log.disk.bytes(&log.segment());
        assert!(written[log.end() as usize..][..500].iter().any(|b| *b != 0), "the write left nothing");
        log.disk.damage(CONTROL, slot * PAGE + 100, &[0xee; 40]);
        let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
        assert_eq!((opened.recovery.verdict, opened.writer.next_position() - 1), ("fenced", kept), "slot {slot}");
    }
}

#[test]
fn a_damaged_body_below_the_durable_mark_is_corruption_even_if_all_headers_are_valid() {
    let mut log = Log::new(512, 16 << 10);
    log.commit(&[&[100]], true);
    let body = log.end() + crate::format::frame::HEADER as u64 + 20;
    log.commit(&[&[200]], true);
    log.commit(&[&[300]], true);
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let byte = log.disk.bytes(&log.segment())[body as usize];
    log.disk.damage(&log.segment(), body, &[byte ^ 4]);
    let changes = log.disk.changes();
    let error = open(Arc::new(log.disk.clone()), &log.options, || 0).err().expect("damage opens");
    assert_eq!((error.code, log.disk.changes()), (Code::Corrupt, changes), "{error}");
}

#[test]
fn a_segment_is_removed_by_age_once_the_next_one_is_old_enough_and_no_reader_needs_it() {
    let mut log = Log::new(512, 16 << 10);
    for _ in 0..3 {
        log.commit(&[&[11_000]], true);
    }
    let [old, young] = [0, 1].map(|ms| Retention { max_age: Some(Duration::from_millis(ms)), ..Retention::default() });
    let due = |log: &mut Log, retention, floor| log.opened.writer.due(&retention, Floors { readers: floor, cursors: u64::MAX }).unwrap();
    assert_eq!(due(&mut log, young, u64::MAX), Due { again: Some(Duration::from_millis(1)), ..Due::default() });
    assert_eq!(due(&mut log, old, u64::MAX).first, Some(3), "the active segment stays");
    assert_eq!(due(&mut log, old, 2).first, Some(2));
    assert_eq!(due(&mut log, old, 1).first, None);
}

#[test]
fn a_huge_max_age_or_creation_time_never_makes_a_segment_seem_old() {
    let long = [Duration::from_millis(u64::MAX), Duration::from_millis(u64::MAX) + Duration::from_millis(2), Duration::MAX];
    for (age, created) in long.into_iter().map(|age| (age, 5)).chain([(Duration::from_millis(1), u64::MAX)]) {
        let mut log = Log::new(512, 16 << 10);
        log.commit(&[&[11_000]], true);
        log.commit(&[&[11_000]], true);
        let page = &log.disk.bytes(&log.segment())[..PAGE as usize];
        let header = Header { created_ms: created, ..Header::decode(page).unwrap() };
        log.disk.damage(&log.segment(), 0, &header.encode());
        log.opened.writer.active.as_mut().unwrap().header = header;
        let due = log
            .opened
            .writer
            .due(&Retention { max_age: Some(age), ..Retention::default() }, Floors { readers: u64::MAX, cursors: u64::MAX })
            .unwrap();
        assert_eq!(due.first, None, "{age:?}, {created}");
    }
}

#[test]
fn the_header_of_a_segment_proves_its_carried_frames_without_control() {
    let mut log = Log::new(512, 16 << 10);
    log.commit(&[&[100]], true);
    log.commit(&[&[200], &[300]], false);
    log.disk.restart();
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert_eq!(opened.recovery.carried, 2);
    drop(opened);
    log.disk.restart();
    // The slot that names the new segment is lost, and so are the frames in it.
    let slots = log.disk.bytes(CONTROL);
    let (_, newer) = crate::format::control::choose(&slots).unwrap();
    log.disk.damage(CONTROL, newer * PAGE + 60, &[0x77; 30]);
    log.disk.damage(&log.segment(), PAGE + 50, &[0x77; 500]);
    let changes = log.disk.changes();
    let error = open(Arc::new(log.disk.clone()), &log.options, || 0).err().expect("damage opens");
    assert_eq!((error.code, log.disk.changes()), (Code::Corrupt, changes), "{error}");
}

#[test]
fn truncating_a_log_to_nothing_does_not_look_for_a_segment_that_opening_removed() {
    let mut log = Log::new(512, 16 << 10);
    let first = log.segment();
    log.commit(&[&[10], &[10]], true);
    log.opened.writer.truncate_before(3).unwrap();
    log.commit(&[&[10]], false);
    log.disk.restart();
    let mut opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert!(opened.recovery.carried == 1 && !log.disk.names().contains(&first));
    opened.writer.truncate_after(2).unwrap();
    assert_eq!(opened.writer.next_position(), 3);
}

#[test]
fn the_frames_before_a_write_that_fails_are_durable_before_they_are_acknowledged() {
    let disk = SimDisk::new(1, 512);
    let mut log = Log::on(disk, Options { segment_bytes: 1 << 20, ..Options::default() });
    log.commit(&[&[10]], true);
    // The file cannot grow at first, so that the first frame is written alone. Then it can, and the write of the second one fails.
    log.disk.set_strike(Some(Strike { numbers: 0..1, calls: &["fallocate"], errno: 11, ..Strike::default() }));
    log.disk.set_trip(4);
    let mut group = Group::default();
    for (position, len) in [(2, 1500), (3, 9000)] {
        let mut batch = Batch::new();
        let tag = Tag { attempt: 0, len };
        batch.push(RecordRef { value: Some(&vec![7; len as usize]), ..Default::default() }, 1 << 30).unwrap();
        log.expected.push(tag, true);
        group.push_batch(0, position, &mut batch);
    }
    let progress = log.opened.writer.commit(&mut group, true);
    assert_eq!((progress.frames, progress.failure.map(|error| error.code)), (1, Some(Code::NoSpace)));
    assert_eq!(log.opened.writer.durable_position(), 2);
    log.disk.set_strike(None);
    log.disk.power_cut_keeping(&mut |_, _, _, _| 0, &mut |_| false);
    log.disk.restart();
    assert_eq!(open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap().writer.next_position(), 3);
}
