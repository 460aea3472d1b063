//! A backup is a log of its own: the records up to the cut, made while the original is written.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forelog::{Backup, Code, Fsync, Options, Progress, RecordRef, Settled, Waiter, Wal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

const LARGE: u64 = 2500;

struct Log {
    wal: Wal,
    waiter: Arc<Waiter>,
    entered: u64,
}

impl Log {
    fn open(dir: &Path, fsync: Fsync) -> forelog::Result<Log> {
        let waiter = Arc::new(Waiter::default());
        let options = Options { fsync, segment_bytes: 64 << 10, ..Options::default() };
        Ok(Log { wal: Wal::open(dir, options, waiter.clone())?, waiter, entered: 0 })
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let bytes = value(self.wal.positions().next);
            self.wal.append(RecordRef { value: Some(&bytes), ..Default::default() }, false).unwrap();
        }
        self.entered += count;
        self.settle();
    }

    fn settle(&self) {
        self.wal.kick();
        self.waiter.wait_for(|| match self.wal.settled() {
            Settled::Done(done) => (done >= self.entered).then_some(()),
            Settled::Failed(_, error) => panic!("{error}"),
        })
    }

    /// Every record is what was appended; gives the last position.
    fn check(&self) -> u64 {
        let mut next = self.wal.positions().first;
        let mut reader = self.wal.reader(next, u64::MAX).unwrap();
        while let Some(block) = reader.next_block(32 << 10).unwrap() {
            for record in &block {
                assert_eq!((record.position, record.value), (next, Some(&value(next)[..])));
                next += 1;
            }
        }
        assert_eq!(next, self.wal.positions().next);
        next - 1
    }
}

fn value(n: u64) -> Vec<u8> {
    let mut bytes = format!("record {n} ").into_bytes();
    // One is larger than what a backup copies at once.
    bytes.resize(if n == LARGE { 6 << 20 } else { 20 + (n as usize * 37) % 900 }, b'.');
    bytes
}

fn finish(mut backup: Backup) -> forelog::Result<Progress> {
    loop {
        let progress = backup.step()?;
        if backup.is_done() {
            return Ok(progress);
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| n != "LOCK").collect()
}

#[test]
fn a_backup_opens_clean_with_the_records_up_to_the_cut_and_continues_independently() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("log"), dir.path().join("a/copy"));
    let mut log = Log::open(&from, Fsync::Always).unwrap();
    log.append(1000);
    let progress = finish(log.wal.backup(&to).unwrap()).unwrap();
    assert_eq!((progress.first_position, progress.last_position), (1, 1000));
    assert_eq!((progress.segments, progress.bytes), (progress.total_segments, progress.total_bytes));
    assert_eq!(progress.linked + progress.cloned + progress.copied, progress.segments);
    assert!(progress.linked > 3 && progress.cloned + progress.copied <= 2, "{progress:?}");
    log.append(500);
    let mut copy = Log::open(&to, Fsync::Always).unwrap();
    assert!(copy.wal.recovery().clean, "{:?}", copy.wal.recovery());
    assert_eq!(copy.check(), 1000);
    copy.append(700);
    for log in [log, copy] {
        let end = log.check();
        log.wal.close().unwrap();
        let dir = if end == 1500 { &from } else { &to };
        assert_eq!(Log::open(dir, Fsync::Os).unwrap().check(), end);
    }
}

#[test]
fn only_durable_records_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("log"), Fsync::Os).unwrap();
    log.append(100);
    log.wal.sync().unwrap();
    log.entered += 1;
    log.settle();
    log.append(10);
    assert_eq!(log.wal.positions().durable, 100);
    let to = dir.path().join("copy");
    assert_eq!(finish(log.wal.backup(&to).unwrap()).unwrap().last_position, 100);
    assert_eq!(Log::open(&to, Fsync::Os).unwrap().check(), 100);
}

#[test]
fn a_backup_of_an_empty_log_is_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(&dir.path().join("log"), Fsync::Always).unwrap();
    let to = dir.path().join("copy");
    assert_eq!(finish(log.wal.backup(&to).unwrap()).unwrap().last_position, 0);
    let mut copy = Log::open(&to, Fsync::Always).unwrap();
    copy.append(3);
    assert_eq!(copy.check(), 3);
}

#[test]
fn appends_and_rolls_go_on_while_a_backup_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("log"), Fsync::Always).unwrap();
    log.append(500);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let backups: Vec<_> = (0..5).map(|n| dir.path().join(format!("copy-{n}"))).collect();
        let made: Vec<_> = backups.iter().map(|to| log.wal.backup(to).unwrap()).collect();
        scope.spawn(|| {
            for backup in made {
                finish(backup).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            log.append(20);
        }
        for to in backups {
            assert!(Log::open(&to, Fsync::Always).unwrap().check() >= 500);
        }
    });
}

#[test]
fn an_unfinished_backup_does_not_open_and_its_directory_can_be_used_for_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("log"), Fsync::Os).unwrap();
    log.append(LARGE);
    log.wal.sync().unwrap();
    log.entered += 1;
    log.settle();
    let to = dir.path().join("copy");
    let mut backup = log.wal.backup(&to).unwrap();
    // Locked meanwhile.
    assert_eq!(log.wal.backup(&to).err().map(|e| e.code), Some(Code::Locked));
    while names(&to).is_empty() {
        backup.step().unwrap();
    }
    assert!(!backup.is_done() && !names(&to).iter().any(|name| name == "CONTROL"));
    // As a crash would leave it.
    let left = dir.path().join("left");
    std::fs::create_dir(&left).unwrap();
    for name in names(&to) {
        std::fs::copy(to.join(&name), left.join(&name)).unwrap();
    }
    assert_eq!(Log::open(&left, Fsync::Os).err().map(|e| e.code), Some(Code::Corrupt));
    drop(backup);
    assert_eq!(names(&to), Vec::<String>::new());
    finish(log.wal.backup(&to).unwrap()).unwrap();
    assert_eq!(Log::open(&to, Fsync::Os).unwrap().check(), LARGE);
}

#[test]
fn a_target_directory_that_cannot_be_used_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("log");
    let mut log = Log::open(&from, Fsync::Always).unwrap();
    log.append(1);
    let used = dir.path().join("used");
    std::fs::create_dir(&used).unwrap();
    std::fs::write(used.join("notes.txt"), "mine").unwrap();
    let refused = |to: &Path| log.wal.backup(to).err().map(|e| e.code);
    assert_eq!(refused(&used), Some(Code::Format));
    assert_eq!(std::fs::read_dir(&used).unwrap().count(), 1);
    assert_eq!(refused(&from), Some(Code::InvalidArg));
    assert_eq!(refused(&from.join("inside/deep")), Some(Code::InvalidArg));
    assert!(!from.join("inside").exists());
    assert_eq!(refused(&used.join("notes.txt")), Some(Code::Io));
}

#[test]
#[cfg(unix)]
fn a_damaged_backup_that_is_written_to_does_not_change_the_files_it_shares_with_the_original() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("log"), dir.path().join("copy"));
    let mut log = Log::open(&from, Fsync::Always).unwrap();
    log.append(1000);
    let progress = finish(log.wal.backup(&to).unwrap()).unwrap();
    if progress.linked == 0 {
        println!("SKIP a_damaged_backup_that_is_written_to_does_not_change_the_files_it_shares_with_the_original: needs hard links");
        return;
    }
    let shared = names(&from).into_iter().filter(|name| std::fs::metadata(from.join(name)).unwrap().nlink() == 2).min().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(to.join(&shared)).unwrap();
    file.write_all_at(&[0xff; 100], 30_000).unwrap();
    let before = std::fs::read(from.join(&shared)).unwrap();
    let options = Options { segment_bytes: 64 << 10, mode: forelog::Mode::Prefix, ..Options::default() };
    let copy = Wal::open(&to, options, Arc::new(Waiter::default())).unwrap();
    assert_eq!(copy.recovery().verdict, "damaged-sealed");
    copy.close().unwrap();
    assert!(std::fs::read(from.join(&shared)).unwrap() == before);
}

#[test]
fn a_backup_overtaken_by_truncation_reports_the_positions_in_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("log"), dir.path().join("copy"));
    let mut log = Log::open(&from, Fsync::Os).unwrap();
    while log.wal.stats().rolls < 80 {
        log.append(500);
    }
    let mut backup = log.wal.backup(&to).unwrap();
    backup.step().unwrap();
    assert_eq!(backup.step().unwrap().segments, 64);
    log.wal.truncate_before(log.wal.positions().next - 200).unwrap();
    log.entered += 1;
    log.settle();
    let progress = finish(backup).unwrap();
    let segments: Vec<_> = names(&to).into_iter().filter(|name| name.ends_with(".wal")).collect();
    assert_eq!((progress.segments, progress.total_segments), (segments.len() as u64, segments.len() as u64));
    assert_eq!(progress.linked + progress.cloned + progress.copied, progress.segments);
    assert_eq!(progress.bytes, progress.total_bytes);
    assert!(progress.bytes < 10 * (64 << 10), "{progress:?}");
}
