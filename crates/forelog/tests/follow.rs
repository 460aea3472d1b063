//! Following: a reader that goes on as the log does, in the process that writes it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forelog::{Code, Error, Fsync, Options, Reader, RecordRef, Settled, Waiter, Wal};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

const BLOCK: usize = 32 << 10;

fn open(dir: &Path, fsync: Fsync) -> (Wal, Arc<Waiter>) {
    let waiter = Arc::new(Waiter::default());
    let options = Options { fsync, segment_bytes: 64 << 10, ..Options::default() };
    (Wal::open(dir, options, waiter.clone()).unwrap(), waiter)
}

fn append(wal: &Wal, value: &[u8]) -> u64 {
    wal.append(RecordRef { value: Some(value), ..Default::default() }, false).unwrap()
}

fn settle((wal, waiter): &(Wal, Arc<Waiter>), ops: u64) {
    wal.kick();
    waiter.wait_for(|| match wal.settled() {
        Settled::Done(done) => (done >= ops).then_some(()),
        Settled::Failed(_, error) => panic!("{error}"),
    });
}

fn value(n: u64) -> Vec<u8> {
    let mut bytes = format!("record {n} ").into_bytes();
    bytes.resize(20 + (n as usize * 37) % 900, b'.');
    bytes
}

/// The next records, waiting for them.
fn next(reader: &mut Reader) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    loop {
        if let Some(block) = reader.next_block(BLOCK)? {
            let value = |entry: &[u32]| block.bytes[entry[1] as usize..entry[2] as usize].to_vec();
            return Ok(block.index.chunks(4).enumerate().map(|(i, e)| (block.first_position + i as u64, value(e))).collect());
        }
        let (woken, wake) = channel();
        let Some(lookout) = reader.lookout() else { return Ok(Vec::new()) };
        let _ticket = lookout.wait(Box::new(move || {
            let _ = woken.send(());
        }));
        wake.recv().unwrap();
    }
}

#[test]
fn a_follower_sees_every_record_in_order_across_rolls_and_none_before_it_is_acknowledged() {
    for fsync in [Fsync::Always, Fsync::Every(Duration::from_millis(2)), Fsync::Os] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), fsync);
        let mut follower = log.0.follower(1, 3000).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut expected = 1;
                while expected <= 3000 {
                    for (position, bytes) in next(&mut follower).unwrap() {
                        assert_eq!((position, bytes), (expected, value(expected)));
                        assert!(log.0.positions().acknowledged >= position);
                        expected += 1;
                    }
                }
                assert!(follower.is_done() && next(&mut follower).unwrap().is_empty());
            });
            for n in 1..=3000 {
                append(&log.0, &value(n));
                if n % 20 == 0 {
                    settle(&log, n);
                }
            }
        });
        assert!(log.0.stats().rolls > 5);
    }
}

#[test]
fn a_follower_that_waits_is_not_woken_by_what_concerns_it_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Fsync::Os);
    append(&log.0, b"one");
    settle(&log, 1);
    let follower = log.0.follower(3, u64::MAX).map_err(|e| e.code);
    assert_eq!(follower.err(), Some(Code::OutOfRange));
    let mut follower = log.0.follower(2, u64::MAX).unwrap();
    assert!(follower.next_block(BLOCK).unwrap().is_none() && follower.has_caught_up());
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = {
        let woken = woken.clone();
        Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        })
    };
    let _ticket = follower.lookout().unwrap().wait(wake);
    log.0.sync().unwrap();
    settle(&log, 2);
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    append(&log.0, b"two");
    settle(&log, 3);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
}

#[test]
fn closing_ends_a_follower_after_the_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Fsync::Os);
    let mut follower = log.0.follower(1, u64::MAX).unwrap();
    std::thread::scope(|scope| {
        let followed = scope.spawn(|| {
            let mut seen = 0;
            loop {
                match next(&mut follower) {
                    Ok(records) => seen += records.len(),
                    Err(error) => return (seen, error.code),
                }
            }
        });
        for n in 1..=100 {
            append(&log.0, &value(n));
        }
        log.0.close().unwrap();
        assert_eq!(followed.join().unwrap(), (100, Code::Closed));
    });
}
