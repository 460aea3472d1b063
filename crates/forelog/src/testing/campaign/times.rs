//! Times of records: logs of versions that did not record them, and how much a search by time reads.

use super::named::Log;
use super::oracle::{misplaced, read, Expected, Read};
use super::places::{header, segment_files};
use super::salvage::salvage;
use crate::error::Fault;
use crate::format::control::choose;
use crate::format::file_names::CONTROL;
use crate::format::frame::{self, Frame};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::log::open::{open, Opened};
use crate::log::read_only;
use crate::maintenance::verify::verify_storage;
use crate::options::Options;
use crate::read::reader::{ReadPlan, Reader};
use crate::storage::layer::{Layer, Layered};
use crate::storage::{File, Storage};
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;

/// Rewrites the only segment of a closed log as a version without times has written it, and CONTROL's mark up to `marked` of its frames.
fn unstamp(disk: &SimDisk, marked: usize) {
    let name = segment_files(disk).remove(0);
    let old = disk.bytes(&name);
    let before = header(disk, &name);
    let header = Header { stamped: false, ..before.clone() };
    let (mut bytes, mut end, mut at, mut ends) =
        (header.encode(), FrameBoundary::start(&header), PAGE, vec![FrameBoundary::start(&header)]);
    while let Some(frame) = old.get(at as usize..).and_then(|rest| frame::decode(rest, before.seed(), at)) {
        let body = at as usize + frame.head();
        let moved = Frame { synced: PAGE, prev: end.crc, committed_ms: None, ..frame };
        let mut head = vec![0; moved.head()];
        let crc = frame::encode(&mut head, &moved, header.seed(), end.offset);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&old[body..body + frame.body_len as usize]);
        end = end.after(&Frame { crc, ..moved });
        bytes.resize(end.offset as usize, 0);
        at += frame.span();
        ends.push(end);
    }
    bytes.resize(old.len(), 0);
    disk.damage(&name, 0, &bytes);
    let mut slots = disk.bytes(CONTROL)[..2 * PAGE as usize].to_vec();
    let (mut state, _) = choose(&slots).unwrap();
    let mark = state.mark.as_mut().unwrap();
    (mark.offset, mark.position) = (ends[marked].offset, ends[marked].next - 1);
    slots = [state.encode(), state.encode()].concat();
    disk.damage(CONTROL, 0, &slots);
}

/// A closed log of 20 records in ten commits, as a version without times has left it. The first `marked` commits are proven durable.
fn old_log(marked: usize) -> Log {
    let mut log = Log::new(512, 64 << 10);
    (0..10).for_each(|n| log.commit(&[&[100 + n, 300]], true));
    log.opened.writer.close().unwrap();
    log.disk.restart();
    unstamp(&log.disk, marked);
    log
}

fn reopen(log: &Log) -> Opened {
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert!(matches!(read(Arc::new(log.disk.clone()), &opened.catalog, &log.expected, 1, log.expected.end, 1 << 14), Read::All));
    opened
}

fn times(disk: &SimDisk, opened: &Opened, to: u64) -> Vec<Option<u64>> {
    let mut reader = Reader::new(Arc::new(disk.clone()), opened.catalog.clone(), 1..=to);
    let mut times = Vec::new();
    while let Some(block) = reader.next_block(1 << 14).unwrap() {
        times.extend((0..block.len()).map(|i| block.committed_at(i)));
    }
    times
}

#[test]
fn a_log_without_times_opens_in_place_and_its_first_append_begins_a_stamped_segment() {
    for durable in [true, false] {
        let mut log = old_log(10);
        log.opened = reopen(&log);
        let names = segment_files(&log.disk);
        assert!(log.opened.recovery.clean && names.len() == 1);
        let before = log.disk.bytes(&names[0]);
        log.disk.set_wall_clock(NOW);
        log.expected.clock = NOW;
        log.commit(&[&[50], &[60]], durable);
        let after = segment_files(&log.disk);
        assert!(after.len() == 2 && header(&log.disk, &after[1]).stamped);
        assert_eq!(header(&log.disk, &after[1]).greatest_before, 0);
        assert_eq!(log.disk.bytes(&names[0]).get(..before.len()), Some(&before[..]));
        assert_eq!(times(&log.disk, &log.opened, 22), [vec![None; 20], vec![Some(NOW); 2]].concat());
        log.opened.writer.sealer.run().unwrap();
        log.opened.writer.close().unwrap();
        log.disk.restart();
        log.opened = reopen(&log);
        assert!(log.opened.recovery.clean);
        assert!(verify_storage(Arc::new(log.disk.clone()), &Arc::default()).unwrap().problems.is_empty());
        for (time, found) in [(0, 21), (NOW, 21), (NOW + 1, 23)] {
            let plan = ReadPlan { since: Some(time), ..(1..=22).into() };
            assert_eq!(Reader::new(Arc::new(log.disk.clone()), log.opened.catalog.clone(), plan).locate().unwrap(), found);
        }
    }
}

#[test]
fn frames_without_times_are_carried_to_a_stamped_segment_and_their_end_is_recorded() {
    for marked in [0, 3, 9] {
        let mut log = old_log(marked);
        log.opened = reopen(&log);
        assert_eq!(log.opened.recovery.carried, 20 - 2 * marked as u64);
        let newest = header(&log.disk, segment_files(&log.disk).last().unwrap());
        assert!(newest.stamped && newest.carried_end == log.end());
        assert_eq!(times(&log.disk, &log.opened, 20), vec![None; 20]);
        log.commit(&[&[50]], true);
        // Nothing but the header proves the carried frames.
        log.disk.power_cut();
        log.disk.restart();
        assert!(reopen(&log).writer.durable_position() >= 20);
    }
}

#[test]
fn frames_of_either_kind_are_found_when_the_header_of_their_segment_is_lost() {
    let mut log = old_log(10);
    log.opened = reopen(&log);
    for _ in 0..3 {
        log.commit(&[&[30_000]], true);
        log.opened.writer.plan_roll();
    }
    log.commit(&[&[70]], true);
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let names = segment_files(&log.disk);
    for name in &names[..names.len() - 1] {
        let disk = log.disk.fork();
        disk.damage(name, 0, &[0xab; PAGE as usize]);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let view = read_only::open(&storage, || 0).unwrap();
        let (read, holes) = salvage(&disk, &view.catalog, &log.expected, 1, log.expected.end, 1 << 16).unwrap();
        assert!(holes.is_empty() && read.len() as u64 == log.expected.end, "{name}: {holes:?}");
    }
}

/// Counts the reads.
#[derive(Default)]
struct Counting(AtomicU64);

impl Layer for Counting {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        self.0.fetch_add(1, Ordering::Relaxed);
        file.read_at(buffer, offset)
    }
}

/// Returns a closed log of many segments, whose records are committed a second after each other, but for some.
fn long_log(clock: impl Fn(u64) -> u64) -> Log {
    let mut log = Log::with(512, Options { segment_bytes: 8 << 10, ..Options::default() });
    for n in 0..600 {
        log.expected.clock = clock(n);
        log.disk.set_wall_clock(clock(n));
        log.commit(&[&[1500]], n % 20 == 0);
    }
    log.opened.writer.sealer.run().unwrap();
    log.opened.writer.close().unwrap();
    log.disk.restart();
    log
}

fn second(n: u64) -> u64 {
    NOW + 1000 * n
}

#[test]
fn a_search_by_time_reads_as_many_headers_as_it_takes_to_halve_the_segments() {
    let log = long_log(second);
    let count = segment_files(&log.disk).len();
    assert!(count > 120, "{count}");
    let counting = Arc::new(Layered::over(Arc::new(log.disk.clone()), Counting::default()));
    for n in (0..600).step_by(7) {
        // Nothing is known of any segment.
        let opened = reopen(&log);
        let plan = ReadPlan { since: Some(second(n) - 500), ..(1..=600).into() };
        counting.layer.0.store(0, Ordering::Relaxed);
        assert_eq!(Reader::new(counting.clone(), opened.catalog.clone(), plan).locate().unwrap(), n + 1);
        let reads = counting.layer.0.load(Ordering::Relaxed);
        // A header each, then the header, the footer and the frames of one segment.
        assert!(reads <= 8 + 6, "{reads} reads of {count} segments");
    }
}

fn searches(log: &Log, expected: &Expected, around: &[u64]) {
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(log.disk.clone());
    let times: Vec<u64> = around.iter().flat_map(|ms| [ms - 500, *ms, ms + 500]).collect();
    assert_eq!(misplaced(&storage, &opened.catalog, expected, &times), None);
}

#[test]
fn a_search_by_time_is_exact_where_the_clock_was_set_back_or_was_far_ahead() {
    let around: Vec<u64> = (0..600).step_by(13).map(second).collect();
    // Set back by minutes; ahead by a year for a while; back at 1970.
    searches_of(&around, |n| second(if n > 300 { n - 200 } else { n }));
    searches_of(&around, |n| second(n) + if (200..230).contains(&n) { 1 << 35 } else { 0 });
    searches_of(&around, |n| if n % 50 == 7 { 5 + n } else { second(n) });
}

fn searches_of(around: &[u64], clock: impl Fn(u64) -> u64) {
    let mut log = long_log(clock);
    searches(&log, &log.expected, around);
    // The records with which the clock was ahead are gone.
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    log.opened = opened;
    log.opened.writer.truncate_before(260).unwrap();
    log.expected.low = 260;
    log.opened.writer.truncate_after(580).unwrap();
    log.expected.cut(580);
    log.opened.writer.close().unwrap();
    log.disk.restart();
    searches(&log, &log.expected, around);
}

#[test]
fn a_search_by_time_without_footers_is_exact_as_well() {
    let log = long_log(|n| second(if n > 300 { n - 200 } else { n }));
    for name in segment_files(&log.disk) {
        let len = log.disk.bytes(&name).len() as u64;
        log.disk.damage(&name, len - 1, &[0x55]);
    }
    searches(&log, &log.expected, &(0..600).step_by(29).map(second).collect::<Vec<_>>());
}
