//! Footers: which segments have one, what they save a reader, and what happens without one.

use super::named::Log;
use super::oracle::{read, Read};
use super::places::{header, segment_files};
use crate::error::{Code, Fault};
use crate::format::footer::{Footer, EVERY};
use crate::format::frame::HEADER;
use crate::log::open::{open, Opened};
use crate::read::reader::Reader;
use crate::segments::catalog::Catalog;
use crate::segments::footer_writer::{find_footer, FooterState};
use crate::storage::layer::{Layer, Layered};
use crate::storage::{File, Storage};
use crate::testing::sim::{Faults, SimDisk};
use crate::util::limits::PAGE;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Counts the bytes read.
#[derive(Default)]
struct Counting(AtomicU64);

impl Layer for Counting {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let n = file.read_at(buffer, offset)?;
        self.0.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn counting(disk: &SimDisk) -> Arc<Layered<Counting>> {
    Arc::new(Layered::over(Arc::new(disk.clone()), Counting::default()))
}

/// Returns the bytes read since the last call.
fn take(counting: &Layered<Counting>) -> u64 {
    counting.layer.0.swap(0, Ordering::Relaxed)
}

fn footer(disk: &SimDisk, name: &str) -> Option<Footer> {
    match find_footer(&*disk.open(name, false).unwrap(), header(disk, name).seed()).unwrap() {
        FooterState::Footer(footer) => Some(footer),
        _ => None,
    }
}

/// Appends records of `len` bytes, one frame each, until there are `count` segments and one record in the last.
fn fill(log: &mut Log, count: usize, len: u32) {
    while segment_files(&log.disk).len() < count {
        log.commit(&[&[len]], false);
    }
    log.commit(&[&[len]], true);
}

fn reopen(disk: &SimDisk, log: &Log) -> Opened {
    disk.restart();
    open(Arc::new(disk.clone()), &log.options, || 0).unwrap()
}

fn reads_all(log: &Log, disk: &SimDisk, catalog: &Arc<Catalog>, from: u64) {
    let read = read(Arc::new(disk.clone()), catalog, &log.expected, from, log.expected.end, 1 << 14);
    assert!(matches!(read, Read::All), "reading from {from}");
}

#[test]
fn every_sealed_segment_but_the_newest_has_a_footer_that_says_where_it_ends() {
    let mut log = Log::new(4096, 64 << 10);
    fill(&mut log, 5, 900);
    let names = segment_files(&log.disk);
    let sealed: Vec<bool> = names.iter().map(|name| footer(&log.disk, name).is_some()).collect();
    assert_eq!(sealed, [true, true, true, false, false], "the newest sealed segment has none yet");
    log.opened.writer.sealer.run().unwrap();
    for pair in names.windows(2) {
        let (footer, next) = (footer(&log.disk, &pair[0]).unwrap(), header(&log.disk, &pair[1]));
        let p = next.predecessor.unwrap();
        assert_eq!((footer.end.offset, footer.end.crc, footer.end.next), (p.end, p.crc, next.first), "{}", pair[0]);
    }
}

#[test]
fn opening_gives_the_newest_sealed_segment_its_footer_in_the_background() {
    for closed in [true, false] {
        let mut log = Log::new(512, 256 << 10);
        fill(&mut log, 3, 900);
        let names = segment_files(&log.disk);
        if closed {
            log.opened.writer.sealer.halt();
            log.opened.writer.close().unwrap();
        }
        log.disk.power_cut();
        let opened = reopen(&log.disk, &log);
        assert_eq!((opened.recovery.clean, footer(&log.disk, &names[1])), (closed, None));
        opened.writer.sealer.run().unwrap();
        assert_eq!(footer(&log.disk, &names[1]).map(|footer| footer.index.len()), Some(3));
        // The roll of an opening after a crash also writes a footer.
        assert_eq!(footer(&log.disk, &names[2]).is_some(), !closed);
        assert!(!opened.writer.sealer.is_due() || log.disk.violation().is_none());
    }
}

#[test]
fn closing_leaves_no_sealed_segment_without_a_footer() {
    let mut log = Log::new(512, 64 << 10);
    fill(&mut log, 3, 900);
    log.opened.writer.close().unwrap();
    assert!(segment_files(&log.disk)[..2].iter().all(|name| footer(&log.disk, name).is_some()));
}

#[test]
fn a_reader_reads_at_most_64_kib_of_frames_before_the_position_it_starts_at() {
    let mut log = Log::new(4096, 1 << 20);
    fill(&mut log, 3, 700);
    log.opened.writer.close().unwrap();
    let opened = reopen(&log.disk, &log);
    let counting = counting(&log.disk);
    let footers = 20 * 24 + 2 * 64;
    for from in (1..=log.expected.end).step_by(17) {
        let catalog = opened.catalog.clone();
        let block = 2000;
        let mut reader = Reader::new(counting.clone(), catalog, from..=log.expected.end);
        assert_eq!(reader.next_block(block).unwrap().unwrap().first_position, from);
        let read = take(&counting);
        assert!(read <= PAGE + footers + EVERY + HEADER as u64 + 2 * block as u64, "{read} bytes for position {from}");
    }
}

#[test]
fn a_damaged_or_missing_footer_costs_one_scan_and_no_record() {
    let mut log = Log::new(4096, 1 << 20);
    fill(&mut log, 2, 700);
    log.opened.writer.close().unwrap();
    let name = segment_files(&log.disk)[0].clone();
    let len = log.disk.bytes(&name).len() as u64;
    let good = footer(&log.disk, &name).unwrap();
    let start = good.end.offset.next_multiple_of(PAGE);
    for at in (start..len).step_by(13) {
        let disk = log.disk.fork();
        disk.damage(&name, at, &[!disk.bytes(&name)[at as usize]]);
        let opened = reopen(&disk, &log);
        assert_eq!(footer(&disk, &name), None);
        let counting = counting(&disk);
        let mut bytes = Vec::new();
        for from in [700, 700, 400] {
            let mut reader = Reader::new(counting.clone(), opened.catalog.clone(), from..=log.expected.end);
            assert_eq!(reader.next_block(2000).unwrap().unwrap().first_position, from);
            bytes.push(take(&counting));
        }
        assert!(bytes[0] > 400 << 10 && bytes[0] < len + EVERY, "{bytes:?}");
        assert!(bytes[1..].iter().all(|read| *read <= PAGE + EVERY + HEADER as u64 + 4000), "{bytes:?}");
        reads_all(&log, &disk, &opened.catalog, 1);
        // The footer that the background writes comes after the damaged one.
        opened.writer.sealer.run().unwrap();
        assert_eq!(footer(&disk, &name), Some(good.clone()));
        assert_eq!(disk.violation(), None);
    }
}

#[test]
fn a_footer_is_written_after_debris_and_dead_frames() {
    let mut log = Log::new(512, 64 << 10);
    log.commit(&[&[500]], true);
    log.commit(&[&[600], &[700]], false);
    let (name, end) = (log.segment(), log.end());
    log.disk.power_cut_keeping(&mut |_, _, _, versions| versions, &mut |_| true);
    log.disk.damage(&name, end + 500, &[0xdb; 100]);
    let before = log.disk.bytes(&name)[..end as usize + 600].to_vec();
    let opened = reopen(&log.disk, &log);
    assert_eq!(opened.recovery.verdict, "torn");
    opened.writer.sealer.run().unwrap();
    let footer = footer(&log.disk, &name).unwrap();
    assert!(footer.end.offset < end, "the frames that were carried are dead here");
    assert_eq!(log.disk.bytes(&name)[..end as usize + 600], before);
    assert_eq!(log.disk.violation(), None);
}

#[test]
fn a_failed_fsync_of_a_footer_poisons_the_log() {
    let mut log = Log::new(512, 64 << 10);
    fill(&mut log, 2, 900);
    log.disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
    let fault = log.opened.writer.sealer.run().unwrap_err();
    assert_eq!(fault.syscall, "fdatasync");
    // Likewise at a roll, which would write the footer that is still due.
    let mut log = Log::new(512, 64 << 10);
    fill(&mut log, 2, 900);
    log.opened.writer.spares.prepare(true);
    log.disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
    let error = std::iter::repeat_with(|| log.try_commit(&[&[900]], false)).find_map(|error| error).unwrap();
    assert_eq!((error.code, segment_files(&log.disk).len()), (Code::Poisoned, 2));
    let changes = log.disk.changes();
    log.disk.set_faults(Faults::default());
    log.opened.writer.sealer.run().unwrap();
    assert_eq!(log.disk.changes(), changes, "a poisoned log writes no footer");
}

#[test]
fn on_a_full_disk_a_segment_is_sealed_without_a_footer() {
    let mut log = Log::new(512, 64 << 10);
    log.commit(&[&[900]], true);
    // After a write that stopped early, the rest of the file may hold anything, so the footer has to be placed after its end.
    log.disk.set_trip(0);
    assert_eq!(log.try_commit(&[&[900]], false).map(|error| error.code), Some(Code::NoSpace));
    log.expected.cut(1);
    log.commit(&[&[900]], true);
    let name = segment_files(&log.disk)[0].clone();
    log.disk.set_faults(Faults { full: true, ..Faults::default() });
    log.opened.writer.sealer.run().unwrap();
    assert_eq!(footer(&log.disk, &name), None);
    log.commit(&[&[900]], true);
    reads_all(&log, &log.disk, &log.opened.catalog, 1);
}

#[test]
fn opening_reads_the_same_number_of_bytes_however_many_sealed_segments_there_are() {
    let mut bytes = Vec::new();
    for count in [2, 9, 40] {
        let mut log = Log::new(4096, 64 << 10);
        fill(&mut log, count, 9000);
        log.opened.writer.close().unwrap();
        log.disk.restart();
        let counting = counting(&log.disk);
        let opened = open(counting.clone(), &log.options, || 0).unwrap();
        assert!(opened.recovery.clean);
        let read = take(&counting);
        opened.writer.sealer.run().unwrap();
        bytes.push((read, take(&counting)));
    }
    assert!(bytes.iter().all(|read| *read == bytes[0]), "{bytes:?}");
}
