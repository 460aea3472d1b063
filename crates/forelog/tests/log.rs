//! The log through its public face: what is appended is read back, in order, across segments and reopenings.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forelog::{Batch, Code, Fsync, Options, RecordRef, Settled, Waiter, Wal};
use std::path::Path;
use std::sync::Arc;

struct Log {
    wal: Wal,
    waiter: Arc<Waiter>,
}

fn small() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

impl Log {
    fn open(dir: &Path, options: Options) -> forelog::Result<Log> {
        let waiter = Arc::new(Waiter::default());
        Ok(Log { wal: Wal::open(dir, options, waiter.clone())?, waiter })
    }

    fn append(&self, value: &[u8]) -> u64 {
        self.wal.append(RecordRef { value: Some(value), ..Default::default() }, false).unwrap()
    }

    /// Blocks until `ops` operations have settled; gives the first failure.
    fn wait(&self, ops: u64) -> forelog::Result<()> {
        self.wal.kick();
        self.waiter.wait_for(|| match self.wal.settled() {
            Settled::Done(done) if done >= ops => Some(Ok(())),
            Settled::Done(_) => None,
            Settled::Failed(_, error) => Some(Err(error)),
        })
    }

    fn read(&self, from: u64) -> forelog::Result<Vec<(u64, Vec<u8>)>> {
        read(&self.wal, from)
    }
}

fn read(wal: &Wal, from: u64) -> forelog::Result<Vec<(u64, Vec<u8>)>> {
    let mut reader = wal.reader(from, u64::MAX)?;
    let mut out = Vec::new();
    while let Some(block) = reader.next_block(32 << 10)? {
        out.extend(block.iter().map(|record| (record.position, record.value.unwrap().to_vec())));
    }
    Ok(out)
}

fn value(n: u64) -> Vec<u8> {
    let mut bytes = format!("record {n} ").into_bytes();
    bytes.resize(20 + (n as usize * 37) % 900, b'.');
    bytes
}

fn wal_files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".wal")).count()
}

#[test]
fn a_settled_commit_is_already_in_the_counters() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), Options { fsync: Fsync::Os, ..small() }).unwrap();
    let before = log.wal.stats().commits;
    for n in 1..=3000 {
        log.append(b"one");
        log.wait(n).unwrap();
        assert_eq!(log.wal.stats().commits, before + n);
    }
}

#[test]
fn records_are_read_in_order_across_segments_and_reopenings() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    assert_eq!(log.wal.recovery().verdict, "absent");
    for n in 1..=2000 {
        assert_eq!(log.append(&value(n)), n);
        if n % 50 == 0 {
            log.wait(n).unwrap();
        }
    }
    log.wait(2000).unwrap();
    let expected: Vec<_> = (1..=2000).map(|n| (n, value(n))).collect();
    assert_eq!(log.read(1).unwrap(), expected);
    assert!(wal_files(dir.path()) >= 5);
    log.wal.close().unwrap();
    drop(log);
    let log = Log::open(dir.path(), small()).unwrap();
    assert_eq!((log.wal.recovery().verdict, log.wal.recovery().clean), ("clean", true));
    assert_eq!(log.read(1).unwrap(), expected);
    for start in [1, 2, 777, 1500, 2000] {
        assert_eq!(log.read(start).unwrap(), expected[start as usize - 1..], "from {start}");
    }
    assert_eq!(log.read(2001).unwrap(), []);
    assert_eq!(log.read(2002).map_err(|e| e.code), Err(Code::OutOfRange));
    assert_eq!(log.append(b"next"), 2001);
    log.wait(1).unwrap();
    assert_eq!(log.read(2001).unwrap(), [(2001, b"next".to_vec())]);
}

#[test]
fn a_record_larger_than_a_segment_gets_a_segment_of_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    let big: Vec<u8> = (0..10 << 20).map(|i| (i / 7) as u8).collect();
    log.append(b"before");
    log.append(&big);
    log.append(b"after");
    log.wait(3).unwrap();
    let expected = vec![(1, b"before".to_vec()), (2, big), (3, b"after".to_vec())];
    assert!(log.read(1).unwrap() == expected);
    log.wal.close().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    assert!(log.read(1).unwrap() == expected);
}

#[test]
fn every_fsync_policy_acknowledges_and_preserves_what_it_promises() {
    for fsync in [Fsync::Always, Fsync::Every(std::time::Duration::from_millis(1)), Fsync::Os] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), Options { fsync, ..small() }).unwrap();
        for n in 1..=100 {
            log.append(&value(n));
        }
        log.wait(100).unwrap();
        let positions = log.wal.positions();
        assert_eq!((positions.acknowledged, positions.written, positions.next), (100, 100, 101));
        match fsync {
            Fsync::Always => assert_eq!(positions.durable, 100),
            Fsync::Os => assert_eq!(positions.durable, 0),
            // The idle tail is synced by the timer alone; this loop would not end if it were not.
            Fsync::Every(_) => {
                while log.wal.positions().durable < 100 {
                    std::thread::yield_now();
                }
            }
        }
        log.wal.sync().unwrap();
        log.wait(101).unwrap();
        assert_eq!(log.wal.positions().durable, 100);
    }
}

#[test]
fn a_durable_append_is_durable_under_every_policy() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), Options { fsync: Fsync::Os, ..small() }).unwrap();
    log.wal.append(RecordRef { value: Some(b"v"), ..Default::default() }, true).unwrap();
    log.wait(1).unwrap();
    assert_eq!(log.wal.positions().durable, 1);
}

#[test]
fn a_batch_takes_consecutive_positions() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    let mut batch = Batch::new();
    for n in 1..=1000u64 {
        batch.push(RecordRef { value: Some(&value(n)), ..Default::default() }, 1 << 20).unwrap();
    }
    assert_eq!(log.wal.append_batch(&mut batch, false).unwrap(), (1, 1000));
    assert!(batch.is_empty());
    log.wait(1).unwrap();
    assert_eq!(log.read(1).unwrap().len(), 1000);
    assert_eq!(log.wal.append_batch(&mut batch, false).map_err(|e| e.code), Err(Code::InvalidArg));
}

#[test]
fn two_handles_share_one_writer_and_the_last_one_closes_it() {
    let dir = tempfile::tempdir().unwrap();
    let a = Log::open(dir.path(), small()).unwrap();
    let b = Log::open(dir.path(), small()).unwrap();
    assert_eq!(a.wal.identity(), b.wal.identity());
    assert_eq!(Log::open(dir.path(), Options { fsync: Fsync::Os, ..small() }).err().map(|e| e.code), Some(Code::InvalidArg));
    assert_eq!((a.append(b"a"), b.append(b"b"), a.append(b"c")), (1, 2, 3));
    a.wait(2).unwrap();
    b.wait(1).unwrap();
    a.wal.close().unwrap();
    assert_eq!(a.wal.append(RecordRef { value: Some(b"x"), ..Default::default() }, false).map_err(|e| e.code), Err(Code::Closed));
    assert_eq!(b.append(b"d"), 4);
    b.wal.close().unwrap();
    let c = Log::open(dir.path(), small()).unwrap();
    assert_eq!(c.read(1).unwrap().len(), 4);
    assert_ne!(c.wal.identity(), a.wal.identity());
}

#[test]
fn an_append_that_does_not_fit_is_refused_and_takes_no_position() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), Options { max_record_bytes: 1000, max_pending_bytes: 4000, ..small() }).unwrap();
    let refused = |value: &[u8]| log.wal.append(RecordRef { value: Some(value), ..Default::default() }, false).map_err(|e| e.code);
    assert_eq!(refused(&[0; 1000]), Err(Code::TooLarge));
    assert_eq!(refused(&[0; 900]), Ok(1));
    for n in 2..=4 {
        assert_eq!(refused(&[0; 900]), Ok(n));
    }
    assert_eq!(refused(&[0; 900]), Err(Code::Backpressure));
    log.wait(4).unwrap();
    assert_eq!(refused(&[0; 900]), Ok(5));
}

#[test]
fn a_directory_that_is_not_a_log_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert_eq!(Log::open(dir.path(), small()).err().map(|e| e.code), Some(Code::Format));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let file = dir.path().join("notes.txt");
    assert_eq!(Log::open(&file, small()).err().map(|e| e.code), Some(Code::Io));
    let absent = dir.path().join("a/b");
    assert_eq!(Log::open(&absent, Options { create: false, ..small() }).err().map(|e| e.code), Some(Code::NotFound));
    assert!(!absent.exists());
    assert!(Log::open(&absent, small()).is_ok());
}

#[test]
fn a_reader_follows_the_writer_through_its_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    let wal = &log.wal;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 1;
            loop {
                let last = done.load(std::sync::atomic::Ordering::Acquire);
                for (position, bytes) in read(wal, next).unwrap() {
                    assert_eq!((position, bytes), (next, value(next)));
                    next += 1;
                }
                if last {
                    break;
                }
            }
            assert_eq!(next, 3001);
        });
        for n in 1..=3000 {
            log.append(&value(n));
            if n % 20 == 0 {
                log.wait(n).unwrap();
            }
        }
        log.wait(3000).unwrap();
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(wal_files(dir.path()) >= 5);
}
