//! A log that somebody else writes, followed through a handle that only reads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{killed_copy, open, options, settle, varied};
use forelog::{Backup, Code, Error, Fsync, Mode, Options, ReadOptions, Reader, Waiter, Wal};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

fn view(dir: &Path) -> Wal {
    open(dir, Options { mode: Mode::ReadOnly, ..Options::default() }).unwrap().0
}

/// Appends records of some size and waits until they are acknowledged.
fn append((wal, waiter): &(Wal, Arc<Waiter>), count: u64, entered: &mut u64) {
    for _ in 0..count {
        common::append(wal, &varied(wal.positions().next));
    }
    *entered += count;
    settle(wal, waiter, *entered);
}

/// The positions of the next records, waiting for them; empty at the end.
fn next(reader: &mut Reader) -> Result<Vec<u64>, Error> {
    let records = common::next(reader)?;
    assert!(records.iter().all(|(position, value)| *value == varied(*position)));
    Ok(records.into_iter().map(|(position, _)| position).collect())
}

#[test]
fn a_follower_in_another_process_returns_every_record_in_order_and_none_before_it_is_acknowledged() {
    for fsync in [Fsync::Always, Fsync::Every(Duration::from_millis(2)), Fsync::Os] {
        let dir = tempfile::tempdir().unwrap();
        let writer = open(dir.path(), options(fsync)).unwrap();
        let mut entered = 0;
        append(&writer, 10, &mut entered);
        let view = view(dir.path());
        let mut follower = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut expected = 1;
                while expected <= 3000 {
                    for position in next(&mut follower).unwrap() {
                        assert_eq!(position, expected);
                        assert!(writer.0.positions().acknowledged >= position);
                        expected += 1;
                    }
                }
            });
            while entered < 3000 {
                append(&writer, 10, &mut entered);
            }
        });
        assert!(writer.0.stats().rolls > 5);
        assert_eq!(view.positions().acknowledged, 3000);
    }
}

#[test]
fn a_follower_in_another_process_continues_with_the_next_writer() {
    let dir = tempfile::tempdir().unwrap();
    let seen = AtomicU64::new(0);
    let view_of = |end: u64| {
        let view = view(dir.path());
        assert_eq!(view.positions().acknowledged, end);
        view
    };
    let mut entered = 0;
    let writer = open(dir.path(), options(Fsync::Os)).unwrap();
    append(&writer, 5, &mut entered);
    writer.0.close().unwrap();
    drop(writer);
    let view = view_of(5);
    let mut follower = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while seen.load(Ordering::Acquire) < 305 {
                for position in next(&mut follower).unwrap() {
                    assert_eq!(position, seen.load(Ordering::Acquire) + 1);
                    seen.store(position, Ordering::Release);
                }
            }
        });
        for round in 1..=3 {
            let (writer, mut entered) = (open(dir.path(), options(Fsync::Os)).unwrap(), 0);
            append(&writer, 100, &mut entered);
            while seen.load(Ordering::Acquire) < 5 + 100 * round {
                std::thread::yield_now();
            }
            writer.0.close().unwrap();
        }
    });
}

#[test]
fn a_reader_in_another_process_ends_at_the_position_acknowledged_at_its_first_block() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path(), options(Fsync::Always)).unwrap();
    let mut entered = 0;
    let view = view(dir.path());
    let mut early = view.reader(1, u64::MAX).unwrap();
    append(&writer, 50, &mut entered);
    let mut told = view.read(ReadOptions::range(1, 50).follow()).unwrap();
    let mut count = 0;
    while count < 50 {
        count += next(&mut told).unwrap().len();
    }
    assert!(next(&mut told).unwrap().is_empty());
    assert_eq!(next(&mut early).unwrap().len(), 50);
    append(&writer, 50, &mut entered);
    assert!(next(&mut early).unwrap().is_empty());
    assert_eq!(next(&mut view.reader(500, u64::MAX).unwrap()).map_err(|e| e.code), Err(Code::OutOfRange));
}

#[test]
fn a_follower_in_another_process_fails_once_truncation_has_passed_it() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path(), options(Fsync::Os)).unwrap();
    let mut entered = 0;
    append(&writer, 3000, &mut entered);
    let view = view(dir.path());
    let mut follower = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    let read = next(&mut follower).unwrap().len() as u64;
    writer.0.truncate_before(2500).unwrap();
    entered += 1;
    settle(&writer.0, &writer.1, entered);
    let error = loop {
        if let Err(error) = next(&mut follower) {
            break error;
        }
    };
    assert_eq!((error.code, error.first_position), (Code::Truncated, Some(2500)), "after {read}");
    let mut again = view.reader(2500, u64::MAX).unwrap();
    assert_eq!(next(&mut again).unwrap()[0], 2500);
}

#[test]
fn truncate_after_ends_followers_past_it_in_another_process_and_the_others_continue() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path(), options(Fsync::Os)).unwrap();
    let mut entered = 0;
    append(&writer, 100, &mut entered);
    let view = view(dir.path());
    let mut above = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    let mut seen = 0;
    while seen < 100 {
        seen += next(&mut above).unwrap().len();
    }
    let mut below = view.read(ReadOptions::range(30, u64::MAX).follow()).unwrap();
    writer.0.truncate_after(50).unwrap();
    entered += 1;
    settle(&writer.0, &writer.1, entered);
    let instead = |n: u64| varied(if n <= 50 { n } else { n + 1000 });
    for n in 51..=150 {
        assert_eq!(common::append(&writer.0, &instead(n)), n);
    }
    settle(&writer.0, &writer.1, entered + 100);
    let told = loop {
        match common::next(&mut above) {
            Ok(records) => assert!(records.iter().all(|(position, _)| *position > 100), "{records:?}"),
            Err(error) => break error.code,
        }
    };
    assert_eq!(told, Code::Truncated);
    let mut expected = 30;
    while expected <= 150 {
        for (position, value) in common::next(&mut below).unwrap() {
            assert_eq!((position, value), (expected, instead(expected)));
            expected += 1;
        }
    }
}

#[test]
fn a_follower_in_another_process_continues_where_the_next_writer_has_carried_the_last_frames() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), options(Fsync::Os)).unwrap();
    append(&first, 100, &mut 0);
    let dead = killed_copy(dir.path());
    let view = view(dead.path());
    let mut follower = view.read(ReadOptions::range(1, 150).follow()).unwrap();
    let mut seen = 0;
    while seen < 100 {
        seen += next(&mut follower).unwrap().len();
    }
    let writer = open(dead.path(), options(Fsync::Os)).unwrap();
    assert!(writer.0.recovery().carried > 0);
    append(&writer, 50, &mut 0);
    let mut expected = 101;
    while expected <= 150 {
        for position in next(&mut follower).unwrap() {
            assert_eq!(position, expected);
            expected += 1;
        }
    }
}

#[test]
fn closing_a_read_only_handle_ends_its_followers() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path(), options(Fsync::Os)).unwrap();
    let view = view(dir.path());
    let mut follower = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| next(&mut follower).map_err(|e| e.code));
        view.close().unwrap();
        assert_eq!(ended.join().unwrap(), Err(Code::Closed));
    });
    writer.0.close().unwrap();
}

fn finish(mut backup: Backup) -> u64 {
    loop {
        let progress = backup.step().unwrap();
        if backup.is_done() {
            return progress.last_position;
        }
    }
}

#[test]
fn a_backup_can_be_made_while_another_process_writes_and_after_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, beside, after) = (dir.path().join("log"), dir.path().join("beside"), dir.path().join("after"));
    let writer = open(&from, options(Fsync::Always)).unwrap();
    let mut entered = 0;
    append(&writer, 2000, &mut entered);
    let last = finish(view(&from).backup(&beside).unwrap());
    assert!((1..=2000).contains(&last));
    writer.0.close().unwrap();
    assert_eq!(finish(view(&from).backup(&after).unwrap()), 2000);
    for (copy, end) in [(beside, last), (after, 2000)] {
        let (wal, _) = open(&copy, options(Fsync::Always)).unwrap();
        assert!(wal.recovery().clean);
        assert_eq!(wal.positions().durable, end);
        let mut reader = wal.reader(1, u64::MAX).unwrap();
        let mut read = 0;
        while read < end {
            read += next(&mut reader).unwrap().len() as u64;
        }
    }
}

#[test]
fn a_backup_of_a_log_whose_reset_was_interrupted_starts_at_the_log_s_first_position() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut entered) = (open(dir.path(), options(Fsync::Always)).unwrap(), 0);
    append(&writer, 20, &mut entered);
    writer.0.truncate_before(15).unwrap();
    settle(&writer.0, &writer.1, entered + 1);
    let dead = killed_copy(dir.path());
    writer.0.reset(5).unwrap();
    settle(&writer.0, &writer.1, entered + 2);
    // It was cut off after the new segment got its name and before CONTROL named it.
    let reset = common::newest(dir.path());
    std::fs::copy(&reset, dead.path().join(reset.file_name().unwrap())).unwrap();
    let view = view(dead.path());
    let copy = dir.path().join("copy");
    assert_eq!((view.positions().first, finish(view.backup(&copy).unwrap()), view.positions().first), (5, 4, 5));
    let (wal, _) = open(&copy, options(Fsync::Always)).unwrap();
    assert_eq!((wal.positions().first, wal.positions().next), (5, 5));
}
