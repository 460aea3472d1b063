//! Retention through the public face: whole sealed segments go by themselves, but nothing that a reader needs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forelog::{Code, Fsync, Options, RecordRef, Retention, Settled, Waiter, Wal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MOST: u64 = 256 << 10;
/// It is looked at when a segment begins; the footer of the one before comes later.
const FOOTER: u64 = 4096;

struct Log {
    wal: Wal,
    waiter: Arc<Waiter>,
    ops: std::cell::Cell<u64>,
}

impl Log {
    fn open(dir: &Path) -> Log {
        let waiter = Arc::new(Waiter::default());
        let retention = Retention { max_bytes: Some(MOST), ..Retention::default() };
        let options = Options { segment_bytes: 64 << 10, retention, ..Options::default() };
        Log { wal: Wal::open(dir, options, waiter.clone()).unwrap(), waiter, ops: 0.into() }
    }

    fn wait(&self) {
        self.ops.set(self.ops.get() + 1);
        self.wal.kick();
        self.waiter.wait_for(|| matches!(self.wal.settled(), Settled::Done(done) if done >= self.ops.get()).then_some(()));
    }

    fn fill(&self, records: u64) {
        for _ in 0..records {
            self.wal.append(RecordRef { value: Some(&[7; 10_000]), ..Default::default() }, false).unwrap();
            self.wait();
        }
        // What a commit sets off comes before the next one is told.
        self.wal.sync().unwrap();
        self.wait();
    }
}

fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    files.filter(|e| e.file_name().to_string_lossy().ends_with(".wal")).map(|e| e.metadata().unwrap().len()).sum()
}

#[test]
fn the_oldest_segments_are_removed_once_all_together_exceed_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    log.fill(15);
    assert_eq!(log.wal.positions().first, 1, "below the limit nothing is removed");
    log.fill(100);
    let first = log.wal.positions().first;
    assert!(size(dir.path()) <= MOST + FOOTER, "{} bytes", size(dir.path()));
    assert!((80..=100).contains(&first), "the log starts at {first}");
    assert!(log.wal.stats().removed_segments > 10);
    let mut reader = log.wal.reader(first, u64::MAX).unwrap();
    let mut next = first;
    while let Some(block) = reader.next_block(1 << 16).unwrap() {
        assert_eq!(block.first_position, next);
        next += block.len() as u64;
    }
    assert_eq!(next, 116);
}

#[test]
fn retention_keeps_a_segment_until_every_open_reader_has_passed_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    log.fill(20);
    let mut reader = log.wal.reader(log.wal.positions().first, u64::MAX).unwrap();
    let start = reader.next_block(1).unwrap().unwrap().first_position;
    log.fill(60);
    assert!(size(dir.path()) > MOST && log.wal.positions().first <= start);
    let mut next = start + 1;
    while let Some(block) = reader.next_block(1).unwrap() {
        assert_eq!(block.first_position, next, "no hole");
        next += block.len() as u64;
    }
    assert_eq!(next, 21);
    log.fill(10);
    assert!(size(dir.path()) <= MOST + FOOTER && log.wal.positions().first > 20);
}

#[test]
fn every_duration_above_the_range_is_refused_without_overflow() {
    // Its milliseconds are 5, were only 64 bits of them looked at.
    let long = Duration::from_millis(u64::MAX) + Duration::from_millis(6);
    let retention = Retention { max_age: Some(long), ..Retention::default() };
    for options in [Options { retention, ..Options::default() }, Options { fsync: Fsync::Every(long), ..Options::default() }] {
        assert_eq!(options.validate().err().map(|error| error.code), Some(Code::InvalidArg));
    }
}
