//! Commits that go past the page cache: when they do, and what a crash and a failure leave of them. A log whose commits end with padding
//! must be read, truncated and verified like any other.

use super::history::History;
use super::named::Log;
use super::oracle::{read, Read};
use crate::error::Code;
use crate::format::frame::HEADER;
use crate::log::open::open;
use crate::maintenance::verify::verify_storage;
use crate::options::Options;
use crate::testing::sim::{SimDisk, Through};
use crate::util::limits::PAGE;
use std::sync::Arc;

/// Commits one record. Returns whether it went past the page cache, and how many bytes of the segment it took.
fn commit(log: &mut Log, len: u32, durable: bool) -> (bool, u64) {
    let (passed, segment, end) = (log.disk.passed(), log.segment(), log.end());
    log.commit(&[&[len]], durable);
    assert_eq!(log.disk.violation(), None);
    let from = if log.segment() == segment { end } else { PAGE };
    (log.disk.passed() > passed, log.end() - from)
}

#[test]
fn only_a_large_durable_commit_after_durable_bytes_goes_past_the_page_cache() {
    let disk = SimDisk::new(1, 512);
    disk.set_through(Through::Taken);
    let mut log = Log::on(disk, Options { segment_bytes: 4 << 20, ..Options::default() });
    log.disk.set_large_commit(3000);
    // What a record takes depends on its position; one of 5000 bytes is always large, and one of 100 never.
    let passes = |log: &mut Log, len, durable| {
        let passed = commit(log, len, durable).0;
        assert_eq!(passed, log.end().is_multiple_of(PAGE), "a commit past the page cache ends on a page, and no other does");
        passed
    };
    let large = |log: &mut Log| loop {
        let (passed, written) = commit(log, 5000, true);
        if written > 5000 {
            return passed;
        }
    };
    assert!(!passes(&mut log, 100, true), "its blocks were never written");
    assert!(large(&mut log), "padding precedes it, so that it begins on a page");
    log.grow();
    assert!(!passes(&mut log, 100, true), "the length of the file is durable from here on");
    assert!(large(&mut log) && large(&mut log));
    log.disk.set_large_commit(0);
    assert!(passes(&mut log, 9000, true) && passes(&mut log, 100, true));
    assert!(!passes(&mut log, 100, false), "it need not be durable");
    assert!(!passes(&mut log, 100, true), "the bytes before it are not durable");
    assert!(passes(&mut log, 100, true));
    // Also if it ends on a page.
    let whole = (3900..4096).find(|len| {
        commit(&mut log, 100, true);
        commit(&mut log, *len, false) == (false, PAGE)
    });
    assert!(whole.is_some());
    assert!(!passes(&mut log, 100, true), "a whole page before it is not durable");
    commit(&mut log, 100, false);
    log.opened.writer.sync().unwrap();
    assert!(passes(&mut log, 100, true), "the start of its page is known");
    log.opened.writer.placement.readers_wait = true;
    assert!(!passes(&mut log, 100, true), "a reader waits for it");
    log.opened.writer.placement.readers_wait = false;
    assert!(passes(&mut log, 100, true));
    // If less of a page is left than a frame's header needs, padding takes the next page as well.
    let rest = (log.end() + 4040..).zip(4000 - HEADER as u32..).find(|(_, len)| {
        let body = 3 + u64::from(*len);
        let span = crate::format::frame::span(body as usize);
        span < PAGE && PAGE - span < HEADER as u64
    });
    if let Some((_, len)) = rest {
        assert_eq!(commit(&mut log, len, true).1 % PAGE, 0);
    }
    let fsyncs = log.opened.writer.meter.counters.fsyncs;
    assert!(commit(&mut log, 100, true).0);
    assert_eq!(log.opened.writer.meter.counters.fsyncs, fsyncs + 1, "it counts as an fsync");
    assert!(matches!(read(Arc::new(log.disk.clone()), &log.opened.catalog, &log.expected, 1, log.expected.end, 1 << 12), Read::All));
}

#[test]
fn a_small_durable_commit_writes_its_page_again_past_the_page_cache_once_the_blocks_were_written() {
    let disk = SimDisk::new(1, 512);
    disk.set_through(Through::Taken);
    disk.set_large_commit(5000);
    let mut log = Log::on(disk, Options { segment_bytes: 1 << 20, ..Options::default() });
    for n in 0..64 {
        assert!(!commit(&mut log, 100, true).0, "{n}");
    }
    log.grow();
    log.opened.writer.due_prefill().unwrap().fill().unwrap();
    for len in [100, 0, 900, 4000, 17, 3000, 4500, 1] {
        let (passed, written) = commit(&mut log, len, true);
        assert!(passed && written < u64::from(len) + 100, "a small one is not padded: {len}, {passed}, {written}");
    }
    assert!(!commit(&mut log, 100, false).0);
    assert!(!commit(&mut log, 100, true).0, "the bytes before it are not durable");
    assert!(commit(&mut log, 100, true).0);
    log.disk.power_cut();
    log.disk.restart();
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert_eq!(opened.writer.next_position(), log.expected.end + 1);
    assert!(matches!(read(Arc::new(log.disk.clone()), &opened.catalog, &log.expected, 1, log.expected.end, 1 << 12), Read::All));
}

#[test]
fn blocks_are_prefilled_only_during_a_series_of_small_commits() {
    let disk = SimDisk::new(1, 512);
    disk.set_large_commit(1000);
    let mut log = Log::on(disk, Options { segment_bytes: 1 << 20, ..Options::default() });
    for _ in 0..3 {
        for _ in 0..63 {
            commit(&mut log, 10, true);
        }
        commit(&mut log, 2000, true);
        assert!(log.opened.writer.due_prefill().is_none());
    }
    for _ in 0..64 {
        commit(&mut log, 10, true);
    }
    log.grow();
    assert!(log.opened.writer.due_prefill().is_some());
    // The next segment is prefilled if the last commits were small or not durable.
    assert!(log.opened.writer.placement.wants_prefill());
    for _ in 0..8 {
        commit(&mut log, 2000, true);
    }
    assert!(!log.opened.writer.placement.wants_prefill());
    for _ in 0..8 {
        commit(&mut log, 2000, false);
    }
    assert!(!log.opened.writer.placement.wants_prefill());
    for _ in 0..8 {
        commit(&mut log, 10, true);
    }
    assert!(log.opened.writer.placement.wants_prefill());
}

#[test]
fn a_file_system_that_refuses_the_first_direct_write_is_not_tried_again() {
    let disk = SimDisk::new(1, 4096);
    disk.set_through(Through::Refused);
    let mut log = Log::on(disk, Options { segment_bytes: 128 << 10, ..Options::default() });
    log.fill();
    assert_eq!(commit(&mut log, 100, true), (false, PAGE), "it is padded, and written to the page cache");
    assert_eq!(log.opened.writer.durable_position(), 1);
    log.disk.set_through(Through::Taken);
    assert!(!commit(&mut log, 100, true).0);
    log.disk.power_cut();
    log.disk.restart();
    assert_eq!(open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap().writer.next_position(), 3);
}

#[test]
fn a_log_opens_after_an_unacknowledged_direct_write_lost_any_one_page() {
    let (mut torn, mut first_lost) = (0, 0);
    for (sector, seed) in [512, 4096].into_iter().flat_map(|sector| (0..24).map(move |seed| (sector, seed))) {
        let mut log = Log::through(sector, 128 << 10);
        commit(&mut log, 100, true);
        assert!(commit(&mut log, 2000, true).0);
        let (start, durable) = (log.end(), log.expected.end);
        log.disk.reseed(seed);
        log.disk.set_budget(0);
        assert!(log.try_commit(&[&[3000], &[200, 3000], &[9000], &[40]], true).is_some());
        for lost in start / PAGE..start / PAGE + 5 {
            let disk = log.disk.fork();
            disk.power_cut_keeping(&mut |_, _, offset, versions| if offset / PAGE == lost { 0 } else { versions }, &mut |_| true);
            disk.restart();
            let kept = disk.bytes(&log.segment())[start as usize..].iter().any(|b| *b != 0);
            let opened = open(Arc::new(disk.clone()), &log.options, || 0).unwrap();
            let end = opened.writer.next_position() - 1;
            assert!(log.expected.refuses(end, durable).is_none(), "{end}");
            first_lost += u64::from(kept && lost == start / PAGE);
            assert!(lost != start / PAGE || end == durable);
            torn += u64::from(opened.recovery.verdict == "torn");
            assert!(matches!(read(Arc::new(disk.clone()), &opened.catalog, &log.expected, 1, end, 1 << 12), Read::All));
        }
    }
    assert!(torn > 20 && first_lost > 10, "{torn} {first_lost}");
}

#[test]
fn a_commit_past_the_page_cache_that_fails_is_fenced_off_or_poisons_and_loses_nothing() {
    let (mut there, mut gone, mut fenced) = (0, 0, 0);
    for seed in 0..90 {
        let mut log = Log::through(512, 128 << 10);
        for _ in 0..3 {
            assert!(commit(&mut log, 500, true).0);
        }
        log.disk.reseed(seed);
        log.disk.set_trip(0);
        let error = log.try_commit(&[&[700], &[6000]], true).unwrap();
        assert_eq!(log.opened.writer.durable_position(), 3);
        if error.code == Code::NoSpace {
            // None of it comes back, and the log goes on in the next segment.
            log.expected.cut(3);
            log.commit(&[&[80]], true);
            log.disk.power_cut();
            log.disk.restart();
            let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
            assert_eq!(opened.writer.next_position(), 5);
            assert!(matches!(read(Arc::new(log.disk.clone()), &opened.catalog, &log.expected, 1, 4, 1 << 12), Read::All));
            fenced += 1;
            continue;
        }
        assert_eq!(error.code, Code::Poisoned, "{error}");
        let changes = log.disk.changes();
        assert!(log.opened.writer.sync().is_err() && log.opened.writer.close().is_err());
        assert_eq!(log.disk.changes(), changes, "a poisoned log writes");
        if seed % 2 == 0 {
            log.disk.power_cut();
        }
        log.disk.restart();
        let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
        let end = opened.writer.next_position() - 1;
        assert!(log.expected.refuses(end, 3).is_none(), "{end}");
        (there, gone) = (there + u64::from(end == 5), gone + u64::from(end == 3));
        // What it had left is durable now, or was not taken over.
        log.disk.power_cut();
        log.disk.restart();
        assert_eq!(open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap().writer.next_position(), end + 1);
    }
    assert!(there > 3 && gone > 3 && fenced > 3, "{there} {gone} {fenced}");
}

#[test]
fn a_log_of_padded_commits_is_read_truncated_and_verified_at_every_position() {
    let mut log = Log::through(4096, 64 << 10);
    for len in 0..60 {
        commit(&mut log, (len * 397) % 5000, len % 7 != 3);
    }
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let last = log.expected.end;
    let all = |disk: &SimDisk, opened: &crate::log::open::Opened, to| {
        (1..=to).all(|from| matches!(read(Arc::new(disk.clone()), &opened.catalog, &log.expected, from, to, 1 << 12), Read::All))
    };
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert!(opened.recovery.clean && opened.catalog.all().len() >= 4);
    assert!(all(&log.disk, &opened, last));
    let report = verify_storage(Arc::new(log.disk.clone()), &Arc::default()).unwrap();
    assert_eq!((report.problems.as_slice(), report.records), (&[][..], last));
    for kept in 0..last {
        let disk = log.disk.fork();
        let mut opened = open(Arc::new(disk.clone()), &log.options, || 0).unwrap();
        opened.writer.truncate_after(kept).unwrap();
        assert!(all(&disk, &opened, kept), "up to {kept}");
        opened.writer.close().unwrap();
        let report = verify_storage(Arc::new(disk.clone()), &Arc::default()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }
}

#[test]
fn a_damaged_padding_frame_at_the_end_of_a_sealed_segment_costs_no_record() {
    let mut log = Log::through(512, 16 << 10);
    let first = log.segment();
    let mut end = 0;
    while log.segment() == first {
        end = log.end();
        commit(&mut log, 900, true);
    }
    log.opened.writer.close().unwrap();
    for at in [end - 3100, end - 2000, end - 1] {
        let disk = log.disk.fork();
        disk.restart();
        let byte = disk.bytes(&first)[at as usize];
        disk.damage(&first, at, &[byte ^ 1]);
        let opened = open(Arc::new(disk.clone()), &log.options, || 0).unwrap();
        assert!(matches!(read(Arc::new(disk.clone()), &opened.catalog, &log.expected, 1, log.expected.end, 1 << 12), Read::All));
        let report = verify_storage(Arc::new(disk.clone()), &Arc::default()).unwrap();
        assert!(matches!(report.problems.as_slice(), [one] if one.damage.lost.is_none()), "{:?}", report.problems);
    }
}

#[test]
fn histories_write_both_directly_and_through_the_page_cache() {
    let (mut passed, mut buffered) = (0, 0);
    for seed in 0..150 {
        let mut history = History::new(seed);
        assert!(history.run(false).is_ok());
        passed += history.disk.passed();
        buffered += u64::from(history.disk.passed() == 0);
    }
    assert!(passed > 50 && buffered > 20, "{passed} {buffered}");
}
