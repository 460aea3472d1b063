//! Verifying on the real disk, beside a writer at work.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use forelog::{verify, Code, JobProgress, Options, RecordRef, Waiter, Wal};
use std::sync::mpsc::channel;
use std::sync::Arc;

fn small() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

fn log(dir: &std::path::Path) -> (Wal, Arc<Waiter>) {
    let waiter = Arc::new(Waiter::default());
    (Wal::open(dir, small(), waiter.clone()).unwrap(), waiter)
}

fn append(wal: &Wal, waiter: &Waiter, count: u64) {
    for _ in 0..count {
        wal.append(RecordRef { value: Some(&[b'v'; 3000]), ..Default::default() }, false).unwrap();
    }
    wal.sync().unwrap();
    wal.kick();
    let durable = wal.positions().next - 1;
    waiter.wait_for(|| {
        let _ = wal.settled();
        (wal.positions().durable >= durable).then_some(())
    });
}

#[test]
fn verifying_a_log_during_appends_reports_no_damage_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = log(dir.path());
    append(&wal, &waiter, 10);
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            let mut seen = 0;
            while seen < 600 {
                let report = verify(dir.path(), &Arc::default()).unwrap();
                assert_eq!(report.problems, []);
                assert!(report.records >= seen);
                seen = report.records;
            }
        });
        while !verifier.is_finished() {
            append(&wal, &waiter, 7);
        }
    });
    wal.close().unwrap();
    let before = snapshot(dir.path());
    let report = verify(dir.path(), &Arc::default()).unwrap();
    assert!(report.records >= 600 && report.problems.is_empty() && report.without_footer == 0);
    assert_eq!(snapshot(dir.path()), before);
}

#[test]
fn progress_ends_at_the_total() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = log(dir.path());
    append(&wal, &waiter, 100);
    let (send, told) = channel();
    let job = Arc::new(JobProgress::default().reporting(move |done, total| send.send((done, total)).unwrap()));
    verify(dir.path(), &job).unwrap();
    let told: Vec<_> = told.try_iter().skip_while(|(_, total)| *total == 0).collect();
    assert!(told.len() > 5 && told.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 == pair[1].1));
    assert!(told.last().is_some_and(|(done, total)| done == total && *total > 300_000));
}

#[test]
fn verifying_a_directory_without_a_log_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let code = |dir: &std::path::Path| verify(dir, &Arc::default()).unwrap_err().code;
    assert_eq!(code(dir.path()), Code::NotFound);
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert_eq!(code(dir.path()), Code::Format);
    assert_eq!(code(&dir.path().join("absent")), Code::NotFound);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_scrub_finds_rot_in_sealed_segments_during_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = log(dir.path());
    // One frame each.
    (0..100).for_each(|_| append(&wal, &waiter, 1));
    let report = wal.scrub(&Arc::default()).unwrap();
    assert!(report.segments >= 4 && report.problems.is_empty());
    let files = snapshot(dir.path()).into_iter().filter_map(|(path, _)| path.file_name()?.to_str().map(str::to_owned));
    let oldest = files.filter(|name| name.ends_with(".wal")).min().unwrap();
    write_at(&std::fs::OpenOptions::new().write(true).open(dir.path().join(&oldest)).unwrap(), &[0xee], 10_000);
    append(&wal, &waiter, 10);
    let report = wal.scrub(&Arc::default()).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!((report.problems[0].kind, &report.problems[0].damage.segment), ("damaged-sealed", &oldest));
    assert_eq!(report.problems[0].damage.lost, Some((2, 2)));
}

#[test]
fn a_single_flipped_bit_that_explains_damage_is_located_in_every_structure() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = log(dir.path());
    // One frame each.
    (0..60).for_each(|_| append(&wal, &waiter, 1));
    wal.close().unwrap();
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let segments = || names.iter().filter(|name| name.ends_with(".wal"));
    for name in [segments().min().unwrap(), segments().max().unwrap()] {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join(name)).unwrap();
        // In the header page; in the first frame's header and its body; in the second frame's body.
        for (offset, bit) in [(50, 3), (4096, 0), (4096 + 13, 7), (4096 + 2000, 5), (4096 + 5000, 1)] {
            let flip = || {
                let mut byte = [0];
                read_at(&file, &mut byte, offset);
                write_at(&file, &[byte[0] ^ 1 << bit], offset);
            };
            flip();
            let report = verify(dir.path(), &Arc::default()).unwrap();
            flip();
            assert_eq!(report.problems.len(), 1, "{report:?}");
            let damage = &report.problems[0].damage;
            assert_eq!(damage.flipped.map(|f| (f.offset, f.bit)), Some((offset, bit)), "{damage:?}");
            assert!(
                damage.segment == *name && damage.text.ends_with(&format!("; bit {bit} of the byte at offset {offset} has flipped")),
                "{damage:?}"
            );
        }
        // What more than one bit did is explained by none.
        let mut whole = [0; 20];
        read_at(&file, &mut whole, 4096 + 2000);
        write_at(&file, &[0x5a; 20], 4096 + 2000);
        let report = verify(dir.path(), &Arc::default()).unwrap();
        write_at(&file, &whole, 4096 + 2000);
        assert!(report.problems.len() == 1 && report.problems[0].damage.flipped.is_none(), "{report:?}");
    }
}

#[test]
fn closing_ends_a_scrub_during_its_pause_and_commits_do_not_wait_for_a_scrub() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, waiter) = log(dir.path());
    append(&wal, &waiter, 100);
    // At a byte a second it pauses for hours after its first read.
    let (send, told) = channel();
    let job = Arc::new(JobProgress::new(Some(1)));
    std::thread::scope(|scope| {
        let scrub = scope.spawn(|| wal.scrub(&job));
        scope.spawn(|| {
            while job.progress().0 == 0 {
                std::thread::yield_now();
            }
            send.send(()).unwrap();
        });
        told.recv().unwrap();
        append(&wal, &waiter, 100);
        wal.close().unwrap();
        assert_eq!(scrub.join().unwrap().unwrap_err().code, Code::Closed);
    });
    assert_eq!(wal.scrub(&Arc::default()).unwrap_err().code, Code::Closed);
}
