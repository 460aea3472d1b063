//! What opening makes of a log that was not closed: on the real disk, with the bytes a crash can leave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{expected, fill, killed_copy, newest, open, options, read_all, read_at, settle, snapshot, write_at};
use forelog::{Code, Fsync, Mode, Options};
use std::path::Path;

/// Offset of the first zero page after the frames of a segment: where the next frame would go, rounded up.
fn end_of_frames(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|b| *b != 0).unwrap() as u64 + 1
}

#[test]
fn a_log_whose_process_was_killed_opens_with_every_written_record_and_carries_the_unproven_ones() {
    for fsync in [Fsync::Always, Fsync::Os] {
        let options = |fsync| Options { segment_bytes: 1 << 20, ..options(fsync) };
        let dir = tempfile::tempdir().unwrap();
        let (wal, waiter) = open(dir.path(), options(fsync)).unwrap();
        fill(&wal, &waiter, 1, 50);
        let copy = killed_copy(dir.path());
        let (wal, waiter) = open(copy.path(), options(fsync)).unwrap();
        let report = wal.recovery().clone();
        assert_eq!((report.records, report.next_position), (50, 51));
        match fsync {
            Fsync::Os => assert_eq!((report.verdict, report.carried), ("unproven", 50)),
            // Each frame vouches for the one before it, so only the last is in doubt; on a machine that stalls for a
            // second, CONTROL's mark has vouched for that one too.
            _ => assert!(matches!((report.verdict, report.carried), ("unproven", 1) | ("clean", 0)), "{report:?}"),
        }
        assert_eq!(wal.positions().durable, 50);
        assert_eq!(read_all(&wal), expected(50));
        fill(&wal, &waiter, 51, 60);
        assert_eq!(read_all(&wal), expected(60));
        wal.close().unwrap();
        let (wal, _) = open(copy.path(), options(fsync)).unwrap();
        assert!(wal.recovery().clean);
        assert_eq!(read_all(&wal), expected(60));
    }
}

#[test]
fn a_torn_tail_is_fenced_and_reported_and_its_bytes_stay_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 20);
    let copy = killed_copy(dir.path());
    let torn = newest(copy.path());
    let end = end_of_frames(&torn).next_multiple_of(8);
    write_at(&std::fs::OpenOptions::new().write(true).open(&torn).unwrap(), &[0xab; 100], end + 16);
    let before = std::fs::read(&torn).unwrap();
    let (wal, _) = open(copy.path(), options(Fsync::Os)).unwrap();
    let report = wal.recovery();
    assert_eq!(report.verdict, "torn");
    let fenced = report.fenced.clone().unwrap();
    assert_eq!((fenced.offset, fenced.bytes), (end, 116 + (8 - (end + 116) % 8) % 8));
    assert_eq!(read_all(&wal), expected(20));
    // The footer that the segment gets goes past them.
    let kept = &before[..before.iter().rposition(|b| *b != 0).unwrap() + 1];
    assert!(std::fs::read(&torn).unwrap().starts_with(kept), "no repair destroys bytes");
}

/// Every record up to the first that cannot be read, and the verdict of why.
fn read_to_damage(wal: &forelog::Wal) -> (Vec<Vec<u8>>, Option<&'static str>) {
    let mut reader = wal.reader(wal.positions().first, u64::MAX).unwrap();
    let mut out = Vec::new();
    loop {
        match reader.next_block(64 << 10) {
            Ok(Some(block)) => out.extend(block.iter().map(|record| record.value.unwrap().to_vec())),
            Ok(None) => return (out, None),
            Err(error) => return (out, error.verdict),
        }
    }
}

#[test]
fn two_files_with_one_segment_id_are_reported_as_twins_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 2500);
    assert!(wal.stats().rolls > 2);
    wal.close().unwrap();
    let names: Vec<String> = snapshot(dir.path()).iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().into()).collect();
    for name in names.iter().filter(|name| name.ends_with(".wal")) {
        let (first, rest) = name.split_at(20);
        let first: u64 = first.parse().unwrap();
        // A copy under a name that sorts before or after it.
        for other in [first - 1, first + 1].into_iter().filter(|other| *other > 0) {
            let copy = killed_copy(dir.path());
            let twin = format!("{other:020}{rest}");
            std::fs::copy(copy.path().join(name), copy.path().join(&twin)).unwrap();
            let before = snapshot(copy.path());
            for mode in [Mode::Strict, Mode::Prefix] {
                let error = open(copy.path(), Options { mode, ..options(Fsync::Os) }).err().unwrap();
                assert_eq!((error.code, error.verdict), (Code::Corrupt, Some("twins")), "{error}");
                assert!(error.message.contains(name) && error.message.contains(&twin) && error.segment.is_some(), "{error}");
                let mut now = snapshot(copy.path());
                now.retain(|(path, _)| path.file_name().is_some_and(|name| name != "LOCK"));
                assert!(now.iter().all(|file| before.contains(file)), "{mode:?}");
            }
            let (view, _) = open(copy.path(), Options { mode: Mode::ReadOnly, ..options(Fsync::Os) }).unwrap();
            assert_eq!(view.recovery().verdict, "twins");
            assert_eq!(read_to_damage(&view), (expected(2500), None), "the one that is what its name says is read: {name}");
        }
    }
}

#[test]
fn a_position_whose_segment_is_missing_was_not_truncated() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 3500);
    wal.close().unwrap();
    let mut segments: Vec<_> = snapshot(dir.path()).into_iter().map(|(path, _)| path).filter(|path| path.extension().is_some()).collect();
    segments.sort();
    assert!(segments.len() >= 4);
    // The verdict speaks of the gap alone.
    std::fs::remove_file(&segments[0]).unwrap();
    std::fs::remove_file(&segments[2]).unwrap();
    let (view, _) = open(dir.path(), Options { mode: Mode::ReadOnly, ..options(Fsync::Os) }).unwrap();
    assert_eq!(view.recovery().verdict, "gap");
    let error = view.reader(1, u64::MAX).unwrap().next_block(64 << 10).map(|_| ()).unwrap_err();
    assert_eq!((error.code, error.verdict, error.position), (Code::Corrupt, Some("late-start"), Some(1)));
}

#[test]
fn of_two_segments_with_one_first_position_the_higher_id_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 1200);
    let active = newest(dir.path());
    let first: u64 = active.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap();
    assert!(first > 1 && first < 1200);
    wal.truncate_after(first - 1).unwrap();
    settle(&wal, &waiter, 1201);
    let copy = killed_copy(dir.path());
    let same = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{first:020}-"));
    assert_eq!(snapshot(copy.path()).iter().filter(|(path, _)| same(path)).count(), 2);
    let (wal, waiter) = open(copy.path(), options(Fsync::Os)).unwrap();
    assert_ne!(wal.recovery().verdict, "twins");
    assert_eq!(read_all(&wal), expected(first - 1));
    fill(&wal, &waiter, first, first + 10);
    assert_eq!(read_all(&wal), expected(first + 10));
}

#[test]
fn damage_below_the_durable_mark_is_corruption_and_opening_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Always)).unwrap();
    fill(&wal, &waiter, 1, 20);
    let copy = killed_copy(dir.path());
    let damaged = newest(copy.path());
    // Not one of the zeroes between two frames, which no checksum covers and nothing reads.
    let half = (4096 + end_of_frames(&damaged)) / 2;
    let middle = half + std::fs::read(&damaged).unwrap()[half as usize..].iter().position(|b| *b != 0).unwrap() as u64;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&damaged).unwrap();
    let mut byte = [0];
    read_at(&file, &mut byte, middle);
    write_at(&file, &[byte[0] ^ 0x10], middle);
    let before = snapshot(copy.path());
    let error = open(copy.path(), options(Fsync::Always)).err().unwrap();
    assert_eq!(error.code, Code::Corrupt);
    assert_eq!(error.segment.as_deref(), damaged.file_name().and_then(|n| n.to_str()));
    let (first, last) = error.lost.unwrap();
    assert!(error.offset.unwrap() <= middle && first > 1 && first <= 20 && last == 20, "{error:?}");
    assert_eq!(snapshot(copy.path()), before);
}

#[test]
fn a_missing_segment_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 8000);
    wal.close().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "wal")).collect();
    names.sort();
    assert!(names.len() >= 5);
    for missing in &names {
        let copy = killed_copy(dir.path());
        std::fs::remove_file(copy.path().join(missing.file_name().unwrap())).unwrap();
        let before = snapshot(copy.path());
        assert_eq!(open(copy.path(), options(Fsync::Os)).err().map(|e| e.code), Some(Code::Corrupt), "{missing:?}");
        assert_eq!(snapshot(copy.path()), before);
    }
    let copy = killed_copy(dir.path());
    std::fs::remove_file(copy.path().join("CONTROL")).unwrap();
    assert_eq!(open(copy.path(), options(Fsync::Os)).err().map(|e| e.code), Some(Code::Corrupt));
}

#[test]
fn damage_in_a_sealed_segment_is_an_error_and_the_records_before_it_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Os)).unwrap();
    fill(&wal, &waiter, 1, 4000);
    wal.close().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "wal")).collect();
    names.sort();
    let file = std::fs::OpenOptions::new().write(true).open(&names[1]).unwrap();
    write_at(&file, &[0xff; 1000], 30_000);
    let (wal, _) = open(dir.path(), options(Fsync::Os)).unwrap();
    let mut reader = wal.reader(1, u64::MAX).unwrap();
    let mut read = 0;
    let error = loop {
        match reader.next_block(64 << 10) {
            Ok(Some(block)) => read += block.len() as u64,
            Ok(None) => panic!("the damage was not noticed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Corrupt);
    assert_eq!(error.lost.map(|(first, _)| first), Some(read + 1));
    let offset = error.offset.unwrap();
    assert!((29_800..31_000).contains(&offset), "{offset}");
}

#[test]
fn a_newer_format_version_and_a_foreign_control_file_are_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = open(dir.path(), options(Fsync::Always)).unwrap();
    fill(&wal, &waiter, 1, 3);
    wal.close().unwrap();
    let reseal = |page: &mut [u8]| {
        let crc = crc32c::crc32c(&page[..4092]).rotate_right(15).wrapping_add(0xa282_ead8);
        page[4092..4096].copy_from_slice(&crc.to_le_bytes());
    };
    let change = |name: &Path, change: &dyn Fn(&mut [u8])| {
        let copy = killed_copy(dir.path());
        let path = copy.path().join(name.file_name().unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let before = snapshot(copy.path());
        let code = open(copy.path(), options(Fsync::Always)).err().map(|e| e.code);
        assert_eq!(snapshot(copy.path()), before);
        code
    };
    let control = dir.path().join("CONTROL");
    let newer = |page: &mut [u8]| {
        page[8] = 2;
        reseal(page);
    };
    assert_eq!(change(&control, &|bytes| bytes[..8192].chunks_mut(4096).for_each(newer)), Some(Code::Format));
    assert_eq!(change(&control, &|bytes| bytes.fill(b'x')), Some(Code::Corrupt), "the segments say that it is a log");
    assert_eq!(change(&control, &|bytes| (bytes[100], bytes[4196]) = (7, 7)), Some(Code::Corrupt));
    assert_eq!(change(&newest(dir.path()), &|bytes| newer(&mut bytes[..4096])), Some(Code::Format));
    assert_eq!(change(&newest(dir.path()), &|bytes| bytes[0] ^= 1), Some(Code::Corrupt));
}

#[test]
fn a_directory_with_only_the_remains_of_an_interrupted_creation_becomes_a_log() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("LOCK"), "").unwrap();
    std::fs::write(dir.path().join("spare-control"), [1; 500]).unwrap();
    std::fs::write(dir.path().join("CONTROL"), vec![0; 12288]).unwrap();
    assert_eq!(open(dir.path(), options(Fsync::Always)).err().map(|e| e.code), Some(Code::Format), "zeroes carry no magic");
}

#[test]
fn a_segment_left_by_a_crash_releases_its_unused_blocks_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 4 << 20, ..Options::default() };
    let (wal, waiter) = open(dir.path(), options.clone()).unwrap();
    fill(&wal, &waiter, 1, 20);
    let copy = killed_copy(dir.path());
    let left = newest(copy.path());
    let before = std::fs::read(&left).unwrap();
    assert_eq!(before.len(), 4 << 20);
    let (wal, _) = open(copy.path(), options).unwrap();
    assert_eq!(read_all(&wal), expected(20));
    // Closing waits for the background, which puts the footer on a page of its own.
    wal.close().unwrap();
    let after = std::fs::read(&left).unwrap();
    let frames = after.len() / 4096 * 4096;
    assert!(after.len() < 128 << 10 && before.starts_with(&after[..frames]) && before[frames..].iter().all(|b| *b == 0));
}

#[test]
fn directories_and_pipes_in_place_of_files_are_errors_and_opening_does_not_block_on_them() {
    for name in ["CONTROL", "00000000000000000001-0000000000000001.wal", "00000000000000000009-0000000000000009.wal"] {
        for make in ["mkdir", "mkfifo"] {
            let dir = tempfile::tempdir().unwrap();
            let (wal, waiter) = open(dir.path(), options(Fsync::Always)).unwrap();
            fill(&wal, &waiter, 1, 5);
            wal.close().unwrap();
            let _ = std::fs::remove_file(dir.path().join(name));
            assert!(std::process::Command::new(make).arg(dir.path().join(name)).status().unwrap().success());
            let before = std::fs::read_dir(dir.path()).unwrap().count();
            for mode in [Mode::Strict, Mode::Prefix] {
                let opened = open(dir.path(), Options { mode, ..options(Fsync::Always) });
                assert!(matches!(opened.err().map(|e| e.code), Some(Code::Io | Code::Corrupt)), "{make} {name}");
            }
            if let Ok((view, _)) = open(dir.path(), Options { mode: Mode::ReadOnly, ..options(Fsync::Always) }) {
                let mut reader = view.reader(view.positions().first, u64::MAX).unwrap();
                while let Ok(Some(_)) = reader.next_block(1 << 16) {}
            }
            let _ = forelog::verify(dir.path(), &Default::default());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
        }
    }
}
