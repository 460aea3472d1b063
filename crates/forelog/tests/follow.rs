//! Following: a reader that goes on as the log does, in the process that writes it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, next, next_of, open, options, settle, varied, BLOCK};
use forelog::{Code, Fsync, ReadOptions, Reader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_follower_returns_every_record_in_order_across_rolls_and_none_before_it_is_acknowledged() {
    for fsync in [Fsync::Always, Fsync::Every(Duration::from_millis(2)), Fsync::Os] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), options(fsync)).unwrap();
        let mut follower = log.0.read(ReadOptions::range(1, 3000).follow()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut expected = 1;
                while expected <= 3000 {
                    for (position, bytes) in next(&mut follower).unwrap() {
                        assert_eq!((position, bytes), (expected, varied(expected)));
                        assert!(log.0.positions().acknowledged >= position);
                        expected += 1;
                    }
                }
                assert!(follower.is_done() && next(&mut follower).unwrap().is_empty());
            });
            for n in 1..=3000 {
                append(&log.0, &varied(n));
                if n % 20 == 0 {
                    settle(&log.0, &log.1, n);
                }
            }
        });
        assert!(log.0.stats().rolls > 5);
    }
}

#[test]
fn a_waiting_follower_is_not_woken_before_the_position_that_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), options(Fsync::Os)).unwrap();
    append(&log.0, b"one");
    settle(&log.0, &log.1, 1);
    let follower = log.0.read(ReadOptions::range(3, u64::MAX).follow()).map_err(|e| e.code);
    assert_eq!(follower.err(), Some(Code::OutOfRange));
    let mut follower = log.0.read(ReadOptions::range(2, u64::MAX).follow()).unwrap();
    assert!(follower.next_block(BLOCK).unwrap().is_none() && follower.has_caught_up());
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = {
        let woken = woken.clone();
        Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        })
    };
    let _ticket = follower.follow_wait().unwrap().wait(wake);
    log.0.sync().unwrap();
    settle(&log.0, &log.1, 2);
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    append(&log.0, b"two");
    settle(&log.0, &log.1, 3);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
}

#[test]
fn closing_ends_a_follower_after_the_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), options(Fsync::Os)).unwrap();
    let mut follower = log.0.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
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
            append(&log.0, &varied(n));
        }
        log.0.close().unwrap();
        assert_eq!(followed.join().unwrap(), (100, Code::Closed));
    });
}

/// Reads on until it has been given position `last`; the last position given.
fn read_up_to(reader: &mut Reader, last: u64) -> u64 {
    let mut at = 0;
    while at < last {
        // One frame at a time.
        for (position, value) in next_of(reader, 1).unwrap() {
            assert_eq!(value, varied(position));
            at = position;
        }
    }
    at
}

#[test]
fn truncate_after_ends_followers_past_it_and_the_others_continue_with_the_new_records() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), options(Fsync::Os)).unwrap();
    // Ten records a frame, several segments.
    for n in 1..=400 {
        append(&log.0, &varied(n));
        if n % 10 == 0 {
            settle(&log.0, &log.1, n);
        }
    }
    assert!(log.0.stats().rolls > 2);
    let mut waiting = log.0.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    assert_eq!(read_up_to(&mut waiting, 400), 400);
    let (woken, wake) = channel();
    assert!(waiting.next_block(BLOCK).unwrap().is_none());
    let _ticket = waiting.follow_wait().unwrap().wait(Box::new(move || woken.send(()).unwrap()));
    let mut past = log.0.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    let given = read_up_to(&mut past, 250);
    let mut before = log.0.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    let mut expected = read_up_to(&mut before, 30) + 1;
    let mut at_cut = log.0.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    // The cut goes through the middle of a frame; what it has read ahead of the cut is to be dropped.
    read_up_to(&mut at_cut, 200);
    assert!(expected <= 204 && given >= 250);

    log.0.truncate_after(204).unwrap();
    settle(&log.0, &log.1, 401);
    wake.recv().unwrap();
    for gone in [&mut waiting, &mut past] {
        assert_eq!(gone.position().kept(), Some(204));
        let error = next(gone).unwrap_err();
        assert_eq!(error.code, Code::Truncated, "{error}");
        assert_eq!(next(gone).unwrap_err().code, Code::Truncated, "the error stays");
    }
    for n in 205..=400 {
        assert_eq!(append(&log.0, &varied(n + 1000)), n);
    }
    settle(&log.0, &log.1, 401 + 196);
    for (reader, expected) in [(&mut before, &mut expected), (&mut at_cut, &mut 201)] {
        assert_eq!(reader.position().kept(), Some(204));
        while *expected <= 400 {
            for (position, value) in next(reader).unwrap() {
                let from = if position <= 204 { position } else { position + 1000 };
                assert_eq!((position, &value), (*expected, &varied(from)));
                *expected += 1;
            }
        }
    }
    assert_eq!(log.0.read(ReadOptions::range(401, u64::MAX).follow()).unwrap().position().kept(), None);
}
