//! Opening for reading alone: beside a writer, after a crash, damaged, and without the right to write.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{expected, fill, killed_copy, newest, open, options, read_all, snapshot, write_at};
use forelog::{Code, Fsync, Mode, Options, RecordRef};
use std::path::Path;

fn read_only() -> Options {
    Options { mode: Mode::ReadOnly, ..Options::default() }
}

fn look(dir: &Path) -> forelog::Wal {
    open(dir, read_only()).unwrap().0
}

#[test]
fn a_log_with_a_writer_can_be_read_without_writing_or_locking_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 3000);
    // It tells others what it has acknowledged soon, not at once.
    while look(dir.path()).positions().acknowledged < 3000 {}
    // The writer rounds off in the background, so a look beside it counts that it did not write to.
    loop {
        let before = snapshot(dir.path());
        let view = look(dir.path());
        assert_eq!((view.recovery().verdict, view.recovery().created), ("unproven", false));
        let at = view.positions();
        assert_eq!((at.first, at.next, at.written, at.acknowledged), (1, 3001, 3000, 3000));
        assert_eq!(read_all(&view), expected(3000));
        view.close().unwrap();
        if snapshot(dir.path()) == before {
            break;
        }
    }
    fill(&wal, &waiter, 3001, 3010);
    wal.close().unwrap();
    let view = look(dir.path());
    assert_eq!((view.recovery().verdict, view.recovery().clean, view.positions().durable), ("clean", true, 3010));
    assert_eq!(read_all(&view), expected(3010));
}

#[test]
fn every_operation_that_would_write_is_refused_in_read_only_mode() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Always)).unwrap();
    fill(&wal, &waiter, 1, 3);
    wal.close().unwrap();
    let view = look(dir.path());
    let mut batch = forelog::Batch::new();
    batch.push(RecordRef { value: Some(b"x"), ..Default::default() }, 100).unwrap();
    let refused = [
        view.append(RecordRef { value: Some(b"x"), ..Default::default() }, false).err(),
        view.append_batch(&mut batch, true).err(),
        view.sync().err(),
    ];
    for error in refused {
        assert_eq!(error.map(|e| e.code), Some(Code::ReadOnly));
    }
    view.close().unwrap();
    view.close().unwrap();
    assert_eq!(view.reader(1, 3).err().map(|e| e.code), Some(Code::Closed));
}

#[test]
fn a_missing_log_is_not_created() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("nowhere")] {
        let error = open(&path, read_only()).err().unwrap();
        assert_eq!((error.code, error.verdict), (Code::NotFound, Some("absent")));
    }
    assert!(snapshot(dir.path()).is_empty() && !dir.path().join("nowhere").exists());
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let error = open(dir.path(), read_only()).err().unwrap();
    assert_eq!((error.code, error.verdict), (Code::Format, Some("foreign")));
}

#[test]
fn in_read_only_mode_a_torn_tail_is_not_read_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 20);
    let copy = killed_copy(dir.path());
    let torn = newest(copy.path());
    let end = std::fs::read(&torn).unwrap().iter().rposition(|b| *b != 0).unwrap() as u64;
    write_at(&std::fs::OpenOptions::new().write(true).open(&torn).unwrap(), &[0xab; 100], end + 32);
    let before = snapshot(copy.path());
    let view = look(copy.path());
    assert_eq!((view.recovery().verdict, view.positions().next), ("torn", 21));
    assert!(view.recovery().fenced.as_ref().is_some_and(|f| f.offset > end));
    assert_eq!(read_all(&view), expected(20));
    drop(view);
    assert_eq!(snapshot(copy.path()), before);
}

#[test]
fn in_read_only_mode_a_damaged_log_opens_and_reading_stops_at_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), Options { segment_bytes: 1 << 20, ..options(Fsync::Always) }).unwrap();
    fill(&wal, &waiter, 1, 40);
    let copy = killed_copy(dir.path());
    write_at(&std::fs::OpenOptions::new().write(true).open(newest(copy.path())).unwrap(), &[0xff; 100], 5000);
    let before = snapshot(copy.path());
    let refused = open(copy.path(), options(Fsync::Always)).err().unwrap();
    assert_eq!((refused.code, refused.verdict), (Code::Corrupt, Some("damaged-active")));
    let view = look(copy.path());
    let damage = view.recovery().damage.clone().unwrap();
    assert_eq!((view.recovery().verdict, damage.lost, Some(damage.offset)), ("damaged-active", refused.lost, refused.offset));
    let first = damage.lost.unwrap().0;
    assert_eq!(view.positions().next, 41);
    let mut reader = view.reader(1, u64::MAX).unwrap();
    let good = reader.next_block(1 << 20).unwrap().unwrap();
    assert_eq!(good.len() as u64, first - 1);
    let error = reader.next_block(1 << 20).err().unwrap();
    assert_eq!((error.code, error.lost.map(|(first, _)| first)), (Code::Corrupt, Some(first)));
    drop(view);
    assert_eq!(snapshot(copy.path()), before);
}
