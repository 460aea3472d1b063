//! Files of truncated segments that become segments again: when that happens, what a crash leaves of them, and that a reader which still
//! has such a file open never takes another segment's bytes for damage or for records.

use super::history::History;
use super::named::Log;
use super::oracle::{read, Read};
use crate::error::{Code, Fault};
use crate::format::file_names::{classify, FileKind};
use crate::log::open::open;
use crate::log::read_only;
use crate::maintenance::verify::{scrub, verify_storage};
use crate::options::Options;
use crate::read::reader::{ReadPlan, Reader};
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::storage::layer::{Layer, Layered};
use crate::storage::{FileRef, Storage};
use crate::testing::sim::SimDisk;
use crate::util::locks::locked;
use std::sync::{Arc, Mutex};

const SEGMENT: u64 = 16 << 10;

fn log(sector: u64) -> Log {
    let disk = SimDisk::new(1, sector);
    disk.set_recycles(true);
    Log::on(disk, Options { segment_bytes: SEGMENT, ..Options::default() })
}

/// Commits records until the next segment is begun.
fn roll(log: &mut Log) {
    let before = log.segment();
    while log.segment() == before {
        log.commit(&[&[1500]], true);
    }
}

/// Removes everything before the active segment.
fn truncate(log: &mut Log) {
    let first = log.opened.catalog.all().last().unwrap().first;
    log.opened.writer.truncate_before(first).unwrap();
    log.expected.low = first;
}

fn spares(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| matches!(classify(name), FileKind::Spare(_))).collect()
}

#[test]
fn a_new_segment_recycles_a_truncated_segment_s_file_and_is_flagged_as_recycled() {
    let mut log = log(512);
    roll(&mut log);
    truncate(&mut log);
    assert_eq!(spares(&log.disk).len(), 1);
    roll(&mut log);
    assert!(log.disk.is_recycled() && spares(&log.disk).is_empty());
    for _ in 0..8 {
        roll(&mut log);
        truncate(&mut log);
    }
    assert_eq!((log.disk.recycled(), log.disk.violation()), (8, None));
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
    assert!(opened.recovery.clean, "{}", opened.recovery.verdict);
    let (low, end) = (log.expected.low, log.expected.end);
    assert!(matches!(read(Arc::new(log.disk.clone()), &opened.catalog, &log.expected, low, end, 1 << 12), Read::All));
    assert_eq!(spares(&log.disk), [""; 0], "spares of an earlier process are removed");
}

#[test]
fn only_a_few_files_are_kept_for_recycling_however_many_segments_are_removed() {
    let mut log = log(4096);
    for _ in 0..6 {
        roll(&mut log);
    }
    truncate(&mut log);
    let files = log.disk.names().into_iter().filter(|name| matches!(classify(name), FileKind::Segment(_))).count();
    assert_eq!((files, spares(&log.disk).len(), log.opened.writer.meter.counters.removed), (1, 2, 6));
}

#[test]
fn a_file_that_a_backup_links_is_never_written_to_again() {
    let mut log = log(512);
    let file = log.segment();
    roll(&mut log);
    log.disk.link_elsewhere(&file);
    truncate(&mut log);
    roll(&mut log);
    assert!(!log.disk.is_recycled());
    assert_eq!(log.disk.recycled(), 0);
}

#[test]
fn a_file_whose_footer_is_still_due_is_not_recycled() {
    let mut log = log(512);
    roll(&mut log);
    // The footer is due and not begun, and it never will be.
    truncate(&mut log);
    assert!(log.opened.writer.sealer.is_due());
    log.opened.writer.sealer.run().unwrap();
    roll(&mut log);
    assert!(log.disk.is_recycled());
    assert_eq!(log.disk.violation(), None);
}

/// Returns a log whose second segment is in a recycled file, with a mark at its end and then a commit that was never acknowledged.
fn torn(sector: u64, lens: &[&[u32]], keep: &mut dyn FnMut(u64) -> bool) -> Log {
    let mut log = log(sector);
    roll(&mut log);
    truncate(&mut log);
    roll(&mut log);
    assert!(log.disk.is_recycled());
    if let Some(job) = log.opened.writer.mark() {
        job.run().unwrap();
    }
    log.commit(lens, false);
    log.disk.power_cut_keeping(&mut |_, _, offset, versions| if keep(offset) { versions } else { 0 }, &mut |_| true);
    log.disk.restart();
    log
}

#[test]
fn torn_frames_in_a_recycled_file_never_continue_the_frames_written_there_later() {
    let mut clean = 0;
    for sector in [512, 4096] {
        // Two frames. Of the second one either the head or the tail is lost, and then the same records are written again before it.
        let (lens, again): (&[&[u32]], &[&[u32]]) = (&[&[900], &[2000, 2500]], &[&[900], &[2000, 2500]]);
        for lost in 0..12 {
            let mut end = None;
            let mut log = torn(sector, lens, &mut |offset| {
                let start = *end.get_or_insert(offset);
                (offset - start) / 512 != lost
            });
            let durable = log.expected.durable;
            let first = log.disk.fork();
            let mut opened = open(Arc::new(first.clone()), &log.options, || 0).unwrap();
            if !opened.recovery.clean {
                continue;
            }
            clean += 1;
            assert_eq!(opened.writer.next_position(), durable + 1);
            log.expected.cut(durable);
            log.disk = first;
            std::mem::swap(&mut log.opened, &mut opened);
            // The same records, of which only the first reaches the disk.
            let before = log.end();
            log.commit(again, false);
            assert!(log.end() > before);
            let stop = before + 48 + 1000;
            log.disk.power_cut_keeping(&mut |_, _, offset, versions| if offset < stop { versions } else { 0 }, &mut |_| true);
            log.disk.restart();
            let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
            let last = opened.writer.next_position() - 1;
            assert!(last <= durable + 1, "what was lost is back: {last}, {durable} were durable");
        }
    }
    assert!(clean > 0);
}

/// Returns the catalog of another process that knows the segments as they were, and learns of no truncation.
fn unaware(log: &Log) -> Arc<Catalog> {
    let catalog = Arc::new(Catalog::default());
    let names = log.opened.catalog.names();
    catalog.replace(names.iter().map(|name| Arc::new(CatalogSegment::of_name(name))).collect(), log.expected.low);
    catalog
}

#[test]
fn a_reader_of_a_file_that_became_another_segment_reports_truncation_and_never_damage() {
    for salvages in [false, true] {
        let mut log = log(512);
        roll(&mut log);
        roll(&mut log);
        let (storage, last) = (Arc::new(log.disk.clone()) as Arc<dyn Storage>, log.expected.end);
        let catalog = unaware(&log);
        let mut reader = match salvages {
            true => Reader::new(storage, catalog, ReadPlan { past_damage: true, ..(1..=last).into() }),
            false => Reader::new(storage, catalog, 1..=last),
        };
        assert_eq!(reader.next_block(1600).unwrap().unwrap().first_position, 1);
        truncate(&mut log);
        // The second of them is made in the file that the reader has open, and the third fills that file up.
        (0..3).for_each(|_| roll(&mut log));
        assert_eq!(log.disk.recycled(), 2);
        let error = loop {
            match reader.next_block(1600) {
                Ok(Some(block)) => assert!(block.holes.is_empty(), "{:?}", block.holes),
                Ok(None) => panic!("the reader returned records of a removed segment"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code, Code::Io, "{error}");
        assert!(error.cause.as_ref().is_some_and(|fault| fault.is_not_found()));
    }
}

#[test]
fn histories_with_recycled_files_open_after_every_crash() {
    let (mut recycled, mut opened, mut violations) = (0, 0, 0);
    for seed in 0..400 {
        let mut history = History::new(seed);
        let run = history.run(false);
        assert!(run.is_ok(), "seed {seed}: {run:?}");
        recycled += history.disk.recycled();
        opened += history.recycled;
        violations += u64::from(history.disk.violation().is_some());
    }
    assert!(recycled > 30 && opened > 20 && violations == 0, "{recycled} {opened} {violations}");
}

#[test]
fn verifying_and_opening_a_log_that_recycles_files_reports_no_damage() {
    let mut log = log(4096);
    for _ in 0..12 {
        roll(&mut log);
        truncate(&mut log);
        let storage: Arc<dyn Storage> = Arc::new(log.disk.clone());
        let report = verify_storage(storage.clone(), &Arc::default()).unwrap();
        assert_eq!(report.problems, []);
        assert!(read_only::open(&storage, || 0).unwrap().recovery.damage.is_none());
    }
    assert!(log.disk.recycled() > 8);
}

type Change = Box<dyn FnOnce() + Send>;

/// Changes the log just before this file is opened.
struct Meanwhile(String, Mutex<Option<Change>>);

impl Layer for Meanwhile {
    fn open(&self, below: &dyn Storage, name: &str, write: bool) -> Result<FileRef, Fault> {
        let change = locked(&self.1).take_if(|_| name == self.0);
        change.into_iter().for_each(|change| change());
        below.open(name, write)
    }
}

#[test]
fn segments_removed_during_a_verification_are_not_reported_as_a_gap() {
    for (recycles, cuts, scrubs) in [0, 1, 2, 3, 4, 5, 6, 7].map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0)) {
        let mut log = log(512);
        log.disk.set_recycles(recycles);
        let oldest = log.segment();
        (0..3).for_each(|_| roll(&mut log));
        let (disk, catalog) = (Arc::new(log.disk.clone()), log.opened.catalog.clone());
        let second = catalog.names()[1].first;
        let change = move || {
            if cuts {
                // The second segment is dead then, and is removed with everything below a position in the middle of it.
                log.opened.writer.truncate_after(2).unwrap();
                log.expected.cut(2);
                while log.expected.end < second + 2 {
                    log.commit(&[&[1500]], true);
                }
                log.opened.writer.truncate_before(second + 1).unwrap();
            } else {
                truncate(&mut log);
            }
        };
        let storage: Arc<dyn Storage> = Arc::new(Layered::over(disk, Meanwhile(oldest, Mutex::new(Some(Box::new(change))))));
        let verified = if scrubs { scrub(&storage, &catalog, &|_| {}, &Arc::default()) } else { verify_storage(storage, &Arc::default()) };
        assert_eq!(verified.unwrap().problems, [], "recycles: {recycles}, cuts: {cuts}, scrubs: {scrubs}");
    }
}
