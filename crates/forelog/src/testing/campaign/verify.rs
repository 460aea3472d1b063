//! Verification: damage is reported with its place and positions, and nothing else is.

use super::named::Log;
use super::oracle::{read, Read};
use super::places::{header, segment_files};
use crate::error::Fault;
use crate::format::footer::{Footer, Index};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::maintenance::verify::{verify_storage, Verification};
use crate::storage::layer::{layered, Layer, Layered};
use crate::storage::{File, FileRef, Storage};
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use crate::{Code, JobProgress};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

fn verify(disk: &SimDisk) -> Verification {
    let changes = disk.changes();
    let report = verify_storage(Arc::new(disk.clone()), &Arc::default()).unwrap();
    assert_eq!(disk.changes(), changes, "verifying writes");
    report
}

/// Returns a log of three segments with frames of one record each, closed in order.
fn three() -> Log {
    let mut log = Log::new(512, 64 << 10);
    while segment_files(&log.disk).len() < 3 {
        log.commit(&[&[1000]], false);
    }
    for _ in 0..30 {
        log.commit(&[&[1000]], true);
    }
    log.opened.writer.close().unwrap();
    log.disk.restart();
    log
}

fn kinds(report: &Verification) -> Vec<&'static str> {
    report.problems.iter().map(|problem| problem.kind).collect()
}

/// Writes a changed header with a good checksum.
fn change(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Header)) {
    let mut header = header(disk, name);
    change(&mut header);
    disk.damage(name, 0, &header.encode());
}

#[test]
fn a_good_log_has_no_problems_and_everything_in_it_is_counted() {
    let log = three();
    let report = verify(&log.disk);
    assert_eq!((report.segments, report.records, report.frames), (3, log.expected.end, log.expected.end));
    assert_eq!((report.without_footer, kinds(&report)), (0, vec![]));
    // Three headers, and the frames of the last segment end where the log does.
    assert!(report.bytes > 100 << 10 && report.bytes < 192 << 10);
}

#[test]
fn every_position_lost_to_damage_is_reported_and_no_other() {
    let log = three();
    for name in segment_files(&log.disk) {
        for (start, len) in [(9000, 1), (20_000, 16 << 10), (30_000, 3000)] {
            let disk = log.disk.fork();
            disk.damage(&name, start, &vec![0xa5; len]);
            let report = verify(&disk);
            let lost: Vec<_> = report.problems.iter().filter_map(|problem| problem.damage.lost).collect();
            assert!(!lost.is_empty() && report.problems.iter().all(|problem| problem.damage.segment == name), "{report:?}");
            let gone: u64 = lost.iter().map(|(first, last)| last - first + 1).sum();
            assert_eq!(gone, log.expected.end - report.records, "{lost:?}");
            assert!(gone <= len as u64 / 1000 + 2, "{lost:?}");
            // The catalog of the undamaged log, because an opening would refuse if the active segment is damaged.
            for position in lost.iter().flat_map(|(first, last)| *first..=*last) {
                let one = read(Arc::new(disk.clone()), &log.opened.catalog, &log.expected, position, position, 1 << 14);
                assert!(!matches!(one, Read::All), "position {position} with damage at {start} of {name}");
            }
        }
    }
}

/// A page cache that has every file as it was once, until a page is dropped from it.
struct Cache {
    once: SimDisk,
    forgotten: Arc<Mutex<BTreeSet<(String, u64)>>>,
}

struct Cached {
    name: String,
    once: Vec<u8>,
    forgotten: Arc<Mutex<BTreeSet<(String, u64)>>>,
}

impl Layer for Cache {
    fn open(&self, below: &dyn Storage, name: &str, write: bool) -> Result<FileRef, Fault> {
        let (name, once, forgotten) = (name.to_owned(), self.once.bytes(name), self.forgotten.clone());
        Ok(layered(below.open(&name, write)?, Cached { name, once, forgotten }))
    }
}

impl Layer for Cached {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let n = file.read_at(buffer, offset)?;
        let forgotten = self.forgotten.lock().unwrap();
        for (at, byte) in (offset..).zip(&mut buffer[..n]) {
            if !forgotten.contains(&(self.name.clone(), at / PAGE)) {
                *byte = self.once[at as usize];
            }
        }
        Ok(n)
    }

    fn drop_cache(&self, _: &dyn File, offset: u64, len: u64) {
        let pages = offset.div_ceil(PAGE)..(offset + len) / PAGE;
        self.forgotten.lock().unwrap().extend(pages.map(|page| (self.name.clone(), page)));
    }
}

#[test]
fn the_page_cache_does_not_hide_damage_on_disk_of_a_sealed_segment() {
    let log = three();
    let names = segment_files(&log.disk);
    for (name, at) in names.iter().flat_map(|name| [100, 20_000, 40_000, log.disk.bytes(name).len() as u64 - 30].map(|at| (name, at))) {
        let (disk, forgotten) = (log.disk.fork(), Arc::<Mutex<BTreeSet<_>>>::default());
        disk.damage(name, at, &[0xa5; 8]);
        let storage = Layered::over(Arc::new(disk), Cache { once: log.disk.clone(), forgotten: forgotten.clone() });
        let report = verify_storage(Arc::new(storage), &Arc::default()).unwrap();
        // The cache may have bytes of the active segment that never reached the disk, so that segment is read from the cache.
        assert!(forgotten.lock().unwrap().iter().all(|(file, _)| *file != names[2]));
        let told = report.broken_footers == 1 || report.problems.iter().any(|problem| problem.damage.segment == *name);
        assert_eq!(told, *name != names[2], "{at} in {name}: {report:?}");
    }
}

#[test]
fn a_missing_segment_is_reported_with_its_positions() {
    let log = three();
    let names = segment_files(&log.disk);
    let first = |i: usize| header(&log.disk, &names[i]).first;
    for (missing, lost, kind) in
        [(0, (1, first(1) - 1), "late-start"), (1, (first(1), first(2) - 1), "gap"), (2, (first(2), log.expected.end), "lost-active")]
    {
        let disk = log.disk.fork();
        Storage::remove(&disk, &names[missing]).unwrap();
        let report = verify(&disk);
        assert_eq!(report.problems.first().map(|problem| (problem.kind, problem.damage.lost)), Some((kind, Some(lost))), "{report:?}");
        assert_eq!(report.problems.len(), 1, "{report:?}");
    }
}

#[test]
fn segments_whose_headers_contradict_each_other_are_reported() {
    let log = three();
    let names = segment_files(&log.disk);
    let disk = log.disk.fork();
    change(&disk, &names[1], |header| header.predecessor.as_mut().unwrap().crc ^= 1);
    assert!(kinds(&verify(&disk)).contains(&"broken-chain"));
    let disk = log.disk.fork();
    change(&disk, &names[1], |header| header.predecessor.as_mut().unwrap().end -= 1048);
    assert_eq!(verify(&disk).problems.first().map(|problem| problem.damage.segment.clone()), Some(names[0].clone()));
    let disk = log.disk.fork();
    change(&disk, &names[0], |header| header.salt ^= 1);
    let report = verify(&disk);
    assert!(kinds(&report).contains(&"broken-chain") && kinds(&report).contains(&"damaged-sealed"), "{report:?}");
    let disk = log.disk.fork();
    change(&disk, &names[1], |header| header.id = 77);
    assert!(kinds(&verify(&disk)).contains(&"bad-header"));
}

#[test]
fn a_missing_or_damaged_footer_is_counted_and_a_wrong_one_is_reported() {
    let log = three();
    let name = segment_files(&log.disk)[0].clone();
    let len = log.disk.bytes(&name).len() as u64;
    log.disk.damage(&name, len - 30, &[0xff]);
    let report = verify(&log.disk);
    assert_eq!((kinds(&report), report.records), (vec![], log.expected.end));
    assert_eq!((report.without_footer, report.broken_footers), (0, 1));
    let (seed, start) = (header(&log.disk, &name).seed(), len - 64);
    let wrong = Footer { index: Index::default(), end: FrameBoundary { offset: PAGE, next: 1, crc: 0 } };
    log.disk.damage(&name, start, &wrong.encode(seed, start));
    assert_eq!(kinds(&verify(&log.disk)), ["wrong-footer"]);
    log.disk.damage(&name, start, &[0; 64]);
    let report = verify(&log.disk);
    assert_eq!((kinds(&report), report.without_footer, report.broken_footers), (vec![], 1, 0));
}

#[test]
fn a_stopped_verification_gives_no_report() {
    let log = three();
    let job = Arc::new(JobProgress::default());
    job.stop();
    let error = verify_storage(Arc::new(log.disk.clone()), &job).unwrap_err();
    assert_eq!(error.code, Code::Closed);
}
