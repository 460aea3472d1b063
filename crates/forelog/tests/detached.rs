//! A log whose directory is moved, removed or replaced while it is open: it writes into no other log, says so with
//! `Detached`, and gives back what it acknowledged.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{next, open, options, settle, varied};
use forelog::{
    verify, Code, Error, Fsync, JobProgress, Mode, Options, ReadOptions, Reader, RecordRef, Settled, StartPosition, Waiter, Wal,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::Arc;

/// Records in the log before anything happens to it: enough for three segments.
const RECORDS: u64 = 300;

/// What happens to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Removed,
    RemovedAndMadeAnew,
    CursorMove,
    MovedAndMadeAnew,
    MovedAndBackupInItsPlace,
    ParentMoved,
    SymlinkPointsElsewhere,
    Emptied,
    EmptiedAndBackupPutIn,
    ControlRemoved,
    ControlReplaced,
    SegmentRemoved,
}

/// Those that the directory's own path shows.
const OF_THE_DIRECTORY: [Loss; 7] = [
    Loss::Removed,
    Loss::RemovedAndMadeAnew,
    Loss::CursorMove,
    Loss::MovedAndMadeAnew,
    Loss::MovedAndBackupInItsPlace,
    Loss::ParentMoved,
    Loss::SymlinkPointsElsewhere,
];

const INSIDE: [Loss; 5] = [Loss::Emptied, Loss::EmptiedAndBackupPutIn, Loss::ControlRemoved, Loss::ControlReplaced, Loss::SegmentRemoved];

fn all() -> impl Iterator<Item = Loss> {
    OF_THE_DIRECTORY.into_iter().chain(INSIDE)
}

/// A log of 300 records that a handle has open, and where it is.
struct Scene {
    base: tempfile::TempDir,
    wal: Wal,
    waiter: Arc<Waiter>,
    ops: u64,
}

fn backup(wal: &Wal, to: &Path) -> Result<(), Error> {
    let mut backup = wal.backup(to)?;
    while !backup.is_done() {
        backup.step()?;
    }
    Ok(())
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copied = fs::copy(entry.path(), to.join(entry.file_name()));
        // A spare gets another name in the background, and holds nothing.
        if !entry.file_name().to_string_lossy().starts_with("spare-") {
            copied.unwrap();
        }
    }
}

impl Scene {
    fn new(fsync: Fsync) -> Scene {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("parent")).unwrap();
        fs::create_dir(base.path().join("parent/real")).unwrap();
        std::os::unix::fs::symlink(base.path().join("parent/real"), base.path().join("parent/link")).unwrap();
        let (wal, waiter) = open(&base.path().join("parent/link"), options(fsync)).unwrap();
        let mut scene = Scene { base, wal, waiter, ops: 0 };
        for n in 1..=RECORDS {
            common::append(&scene.wal, &varied(n));
            scene.ops += 1;
            if n % 20 == 0 {
                settle(&scene.wal, &scene.waiter, scene.ops);
            }
        }
        // A backup ends where the log is durable.
        scene.wal.sync().unwrap();
        scene.settled().unwrap();
        backup(&scene.wal, &scene.at("backup")).unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// The path that the log was opened by, through a symbolic link.
    fn path(&self) -> PathBuf {
        self.at("parent/link")
    }

    /// Gives where the log's directory is now, if it is anywhere.
    fn lose(&self, loss: Loss) -> Option<PathBuf> {
        let (real, aside) = (self.at("parent/real"), self.at("aside"));
        let empty = || {
            for entry in fs::read_dir(&real).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        };
        match loss {
            Loss::Removed => fs::remove_dir_all(&real).unwrap(),
            Loss::RemovedAndMadeAnew => {
                fs::remove_dir_all(&real).unwrap();
                fs::create_dir(&real).unwrap();
            }
            Loss::CursorMove | Loss::MovedAndMadeAnew | Loss::MovedAndBackupInItsPlace => {
                fs::rename(&real, &aside).unwrap();
                match loss {
                    Loss::MovedAndMadeAnew => fs::create_dir(&real).unwrap(),
                    Loss::MovedAndBackupInItsPlace => fs::rename(self.at("backup"), &real).unwrap(),
                    _ => {}
                }
            }
            Loss::ParentMoved => {
                fs::rename(self.at("parent"), self.at("grandparent")).unwrap();
                return Some(self.at("grandparent/real"));
            }
            Loss::SymlinkPointsElsewhere => {
                fs::create_dir(self.at("other")).unwrap();
                fs::remove_file(self.path()).unwrap();
                std::os::unix::fs::symlink(self.at("other"), self.path()).unwrap();
                return Some(real);
            }
            Loss::Emptied => empty(),
            Loss::EmptiedAndBackupPutIn => {
                empty();
                copy_into(&self.at("backup"), &real);
            }
            Loss::ControlRemoved => fs::remove_file(real.join("CONTROL")).unwrap(),
            Loss::ControlReplaced => {
                fs::copy(real.join("CONTROL"), real.join("spare-0")).unwrap();
                fs::rename(real.join("spare-0"), real.join("CONTROL")).unwrap();
            }
            Loss::SegmentRemoved => fs::remove_file(common::newest(&real)).unwrap(),
        }
        aside.exists().then_some(aside)
    }

    /// A new log at the path where there can be one: another process would have it.
    fn successor(&self, loss: Loss) -> Option<(Wal, Arc<Waiter>)> {
        match loss {
            Loss::RemovedAndMadeAnew | Loss::MovedAndMadeAnew | Loss::MovedAndBackupInItsPlace | Loss::SymlinkPointsElsewhere => {
                let (wal, waiter) = open(&self.path(), options(Fsync::Always)).unwrap();
                assert_ne!(wal.identity(), self.wal.identity(), "{loss:?}: another log, another writer");
                Some((wal, waiter))
            }
            _ => None,
        }
    }

    /// How the operation just entered ends.
    fn settled(&mut self) -> Result<(), Error> {
        self.ops += 1;
        self.wal.kick();
        self.waiter.wait_for(|| match self.wal.settled() {
            Settled::Done(done) => (done >= self.ops).then_some(Ok(())),
            Settled::Failed(_, error) => Some(Err(error)),
        })
    }

    fn append(&mut self, value: &[u8]) -> Result<(), Error> {
        self.wal.append(RecordRef { value: Some(value), ..Default::default() }, false)?;
        self.settled()
    }

    fn first_of_active(&self) -> u64 {
        let names = fs::read_dir(self.at("parent/real")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".wal")).map(|name| name[..20].parse().unwrap()).max().unwrap()
    }
}

/// What the writer is doing when it notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Append,
    Sync,
    Roll,
    TruncateBefore,
    TruncateAfter,
    Reset,
    CursorCommit,
    Close,
}

const DUE: [Due; 8] =
    [Due::Append, Due::Sync, Due::Roll, Due::TruncateBefore, Due::TruncateAfter, Due::Reset, Due::CursorCommit, Due::Close];

impl Due {
    fn run(self, scene: &mut Scene, cursor: &forelog::NamedCursor) -> Result<(), Error> {
        match self {
            Due::Append => scene.append(b"late"),
            Due::Sync => scene.wal.sync().and_then(|()| scene.settled()),
            Due::Roll => scene.append(&[7; 62 << 10]),
            Due::TruncateBefore => scene.wal.truncate_before(RECORDS).and_then(|()| scene.settled()),
            Due::TruncateAfter => scene.wal.truncate_after(1).and_then(|()| scene.settled()),
            Due::Reset => scene.wal.reset(1000).and_then(|()| scene.settled()),
            Due::CursorCommit => {
                let (done, outcome) = channel();
                cursor.commit(10, move |committed| done.send(committed).unwrap());
                outcome.recv().unwrap()
            }
            Due::Close => scene.wal.close(),
        }
    }
}

fn read(wal: &Wal, from: u64) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let (mut reader, mut records) = (wal.reader(from, u64::MAX)?, Vec::new());
    loop {
        let more = next(&mut reader)?;
        if more.is_empty() {
            return Ok(records);
        }
        records.extend(more);
    }
}

fn is_whole(records: &[(u64, Vec<u8>)], from: u64) -> bool {
    records.iter().map(|(position, _)| *position).eq(from..=RECORDS) && records.iter().all(|(position, value)| *value == varied(*position))
}

fn code<T>(outcome: Result<T, Error>) -> Option<Code> {
    outcome.err().map(|error| error.code)
}

fn is_of_the_log(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.ends_with(".wal") || name == "CONTROL" || name == "CURSORS"
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    if dir.exists() {
        common::snapshot(dir)
    } else {
        Vec::new()
    }
}

fn cursor(wal: &Wal) -> forelog::NamedCursor {
    let (made, cursor) = channel();
    wal.cursor("worker", StartPosition::First, move |cursor| made.send(cursor).unwrap());
    cursor.recv().unwrap().unwrap()
}

/// Loses the log while something is due, and looks at everything that comes of it.
fn try_out(loss: Loss, due: Due, fsync: Fsync) {
    let case = format!("{loss:?}, {due:?}, {fsync:?}");
    let mut scene = Scene::new(fsync);
    let cursor = cursor(&scene.wal);
    let active = scene.first_of_active();
    assert!((2..=RECORDS).contains(&active));
    let now = scene.lose(loss);
    let successor = scene.successor(loss);
    let before = files(&scene.path());

    let outcome = due.run(&mut scene, &cursor);
    assert_eq!(code(outcome), Some(Code::Detached), "{case}");
    if due != Due::Close {
        assert_eq!(
            code(scene.wal.append(RecordRef { value: Some(b"later"), ..Default::default() }, false)),
            Some(Code::Detached),
            "{case}"
        );
        assert_eq!(code(scene.wal.sync()), Some(Code::Detached), "{case}");
        assert_eq!(code(scene.wal.truncate_before(2)), Some(Code::Detached), "{case}");
        assert_eq!(code(scene.wal.truncate_after(2)), Some(Code::Detached), "{case}");
        assert_eq!(code(scene.wal.reset(2)), Some(Code::Detached), "{case}");
        assert!(scene.wal.stats().detached && !scene.wal.stats().poisoned, "{case}");
        // What was acknowledged can be read, and a follower learns that nothing comes after it.
        let readable = if now.is_some() || !matches!(loss, Loss::Removed | Loss::RemovedAndMadeAnew | Loss::Emptied) { 1 } else { active };
        let records = read(&scene.wal, readable).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(is_whole(&records, readable), "{case}");
        let mut follower = scene.wal.read(ReadOptions::range(RECORDS, u64::MAX).follow()).unwrap();
        assert_eq!(next(&mut follower).unwrap().len(), 1, "{case}");
        assert_eq!(code(next(&mut follower)), Some(Code::Detached), "{case}");
        if readable > 1 {
            assert_eq!(code(read(&scene.wal, 1)), Some(Code::Detached), "{case}: a lost directory is neither damage nor the end");
        }
        assert_eq!(code(scene.wal.close()), Some(Code::Detached), "{case}");
    }
    assert_eq!(code(scene.wal.close()), Some(Code::Detached), "{case}: closing again returns the same error");

    // Nothing at the path has changed but by its own writer, which opened the log there before.
    if OF_THE_DIRECTORY.contains(&loss) {
        assert!(files(&scene.path()) == before, "{case}");
    } else if loss == Loss::EmptiedAndBackupPutIn {
        // What the background prepares for the next roll comes and goes by names of its own.
        let after = files(&scene.path());
        assert!(before.iter().filter(|(path, _)| is_of_the_log(path)).all(|file| after.contains(file)), "{case}");
    }
    let holds_backup = matches!(loss, Loss::MovedAndBackupInItsPlace | Loss::EmptiedAndBackupPutIn);
    if let Some((wal, waiter)) = successor {
        for n in 1..=100 {
            wal.append(RecordRef { value: Some(&varied(n)), ..Default::default() }, false).unwrap();
        }
        settle(&wal, &waiter, 100);
        wal.close().unwrap();
    }
    if holds_backup || scene.path().join("CONTROL").exists() && loss != Loss::SegmentRemoved {
        let (wal, _waiter) = open(&scene.path(), options(Fsync::Always)).unwrap();
        let records = read(&wal, 1).unwrap();
        assert!(records.len() as u64 >= if holds_backup { RECORDS } else { 100 }, "{case}");
    }
    if let Some(now) = now {
        let (wal, _waiter) = open(&now, options(Fsync::Always)).unwrap();
        assert!(is_whole(&read(&wal, 1).unwrap()[..RECORDS as usize], 1), "{case}");
    }
}

#[test]
fn operations_pending_when_the_directory_leaves_its_path_are_rejected_and_change_no_other_log() {
    for loss in OF_THE_DIRECTORY {
        for due in DUE {
            try_out(loss, due, Fsync::Always);
        }
    }
}

#[test]
fn a_roll_a_truncation_and_closing_detect_files_removed_from_the_directory() {
    for loss in INSIDE {
        for due in [Due::Roll, Due::TruncateBefore, Due::TruncateAfter, Due::Reset, Due::Close] {
            try_out(loss, due, Fsync::Always);
        }
    }
}

#[test]
fn a_log_that_acknowledges_without_an_fsync_detects_a_lost_directory_at_a_roll() {
    for loss in all() {
        try_out(loss, Due::Roll, Fsync::Os);
    }
}

#[test]
fn if_the_file_lock_is_removed_the_writer_continues_and_recreates_it() {
    for replaced in [false, true] {
        let mut scene = Scene::new(Fsync::Always);
        let lock = scene.at("parent/real/LOCK");
        fs::remove_file(&lock).unwrap();
        if replaced {
            fs::write(&lock, "").unwrap();
        }
        // Opened again by this process it is the same writer.
        let (again, _waiter) = open(&scene.path(), options(Fsync::Always)).unwrap();
        assert_eq!(again.identity(), scene.wal.identity());
        scene.append(&[7; 62 << 10]).unwrap();
        assert_eq!(fs::read_to_string(&lock).unwrap(), std::process::id().to_string());
        let held = fs::File::open(&lock).unwrap();
        assert!(matches!(held.try_lock(), Err(fs::TryLockError::WouldBlock)), "versions that look at LOCK alone are kept out");
        again.close().unwrap();
        scene.wal.close().unwrap();
        held.try_lock().unwrap();
    }
}

#[test]
fn a_writer_whose_lock_another_process_has_taken_stops() {
    let mut scene = Scene::new(Fsync::Always);
    let lock = scene.at("parent/real/LOCK");
    fs::remove_file(&lock).unwrap();
    // As versions do that know nothing of the lock on the directory.
    let taken = fs::File::create(&lock).unwrap();
    taken.lock().unwrap();
    assert_eq!(code(scene.append(&[7; 62 << 10])), Some(Code::Detached));
    assert!(is_whole(&read(&scene.wal, 1).unwrap(), 1));
    assert_eq!(code(scene.wal.close()), Some(Code::Detached));
}

#[test]
fn a_directory_moved_while_open_in_this_process_is_not_opened_again_at_its_new_path() {
    let scene = Scene::new(Fsync::Always);
    let now = scene.lose(Loss::CursorMove).unwrap();
    assert_eq!(open(&now, options(Fsync::Always)).err().map(|e| e.code), Some(Code::Detached));
    assert_eq!(code(scene.wal.close()), Some(Code::Detached));
    let (wal, _waiter) = open(&now, options(Fsync::Always)).unwrap();
    assert!(is_whole(&read(&wal, 1).unwrap(), 1));
}

#[test]
fn a_directory_that_returns_to_its_path_before_the_next_operation_is_used_as_before() {
    let mut scene = Scene::new(Fsync::Always);
    let now = scene.lose(Loss::CursorMove).unwrap();
    fs::rename(now, scene.at("parent/real")).unwrap();
    scene.append(b"as before").unwrap();
    scene.wal.close().unwrap();
}

fn view(dir: &Path) -> Wal {
    open(dir, Options { mode: Mode::ReadOnly, ..Options::default() }).unwrap().0
}

fn follow_to_the_end(follower: &mut Reader) -> (u64, Option<Code>) {
    let mut last = 0;
    loop {
        match next(follower) {
            Ok(records) => last = records.last().unwrap().0,
            Err(error) => return (last, Some(error.code)),
        }
    }
}

#[test]
fn a_follower_of_a_read_only_handle_ends_once_the_log_has_left_its_path() {
    for loss in all().filter(|loss| *loss != Loss::SegmentRemoved) {
        for writer_lives in [true, false] {
            let scene = Scene::new(Fsync::Always);
            if !writer_lives {
                scene.wal.close().unwrap();
            }
            let view = view(&scene.path());
            let mut follower = catch_up(&view);
            let mut late = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
            let now = scene.lose(loss);
            let _successor = scene.successor(loss);
            assert_eq!(code(next(&mut follower)), Some(Code::Detached), "{loss:?}");
            // One that had not read yet gives all that is there, and ends in the same way.
            let (last, ended) = follow_to_the_end(&mut late);
            assert_eq!(ended, Some(Code::Detached), "{loss:?}");
            let is_there = now.is_some() || !matches!(loss, Loss::Removed | Loss::RemovedAndMadeAnew | Loss::Emptied);
            assert_eq!(last, if is_there { RECORDS } else { 0 }, "{loss:?}");
            // Readers read on in the directory that they have open, and in no other.
            match read(&view, 1) {
                Ok(records) => assert!(is_there && is_whole(&records, 1), "{loss:?}"),
                Err(error) => assert!(!is_there && error.code == Code::Detached, "{loss:?}: {error}"),
            }
        }
    }
}

#[test]
fn a_follower_in_the_writer_s_process_ends_once_the_log_has_left_its_path_even_without_appends() {
    for loss in all() {
        let scene = Scene::new(Fsync::Always);
        let mut follower = scene.wal.read(ReadOptions::range(RECORDS, u64::MAX).follow()).unwrap();
        assert_eq!(next(&mut follower).unwrap().len(), 1);
        scene.lose(loss);
        assert_eq!(code(next(&mut follower)), Some(Code::Detached), "{loss:?}");
    }
}

/// Waits until a handle that only reads shows every record.
fn catch_up(view: &Wal) -> Reader {
    let mut follower = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
    while next(&mut follower).unwrap().last().unwrap().0 < RECORDS {}
    follower
}

/// What a backup is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handle {
    Writer,
    View,
    /// A view that has not been told of everything yet.
    FreshView,
}

fn all_records() -> Vec<(u64, Vec<u8>)> {
    (1..=RECORDS).map(|position| (position, varied(position))).collect()
}

#[test]
fn a_backup_of_a_moved_directory_is_whole_and_one_of_a_removed_directory_fails() {
    for loss in OF_THE_DIRECTORY {
        for by in [Handle::Writer, Handle::View, Handle::FreshView] {
            let scene = Scene::new(Fsync::Always);
            let view = (by != Handle::Writer).then(|| view(&scene.path()));
            if by == Handle::View {
                catch_up(view.as_ref().unwrap());
            }
            let now = scene.lose(loss);
            let _successor = scene.successor(loss);
            let made = backup(view.as_ref().unwrap_or(&scene.wal), &scene.at("copy"));
            if now.is_some() {
                made.unwrap_or_else(|error| panic!("{loss:?} by {by:?}: {error}"));
                let (copy, _waiter) = open(&scene.at("copy"), options(Fsync::Always)).unwrap();
                let records = read(&copy, 1).unwrap();
                let whole = is_whole(&records, 1);
                // The writer tells other handles some milliseconds later.
                let is_beginning = by == Handle::FreshView && records.iter().eq(&all_records()[..records.len()]);
                assert!(whole || is_beginning, "{loss:?} by {by:?}: {} records", records.len());
            } else {
                assert_eq!(code(made), Some(Code::Detached), "{loss:?} by {by:?}");
            }
        }
    }
}

#[test]
fn a_backup_whose_target_directory_is_replaced_meanwhile_is_not_reported_as_complete() {
    let scene = Scene::new(Fsync::Always);
    let mut backup = scene.wal.backup(&scene.at("copy")).unwrap();
    backup.step().unwrap();
    fs::rename(scene.at("copy"), scene.at("moved")).unwrap();
    fs::create_dir(scene.at("copy")).unwrap();
    let ended = loop {
        match backup.step() {
            Ok(_) => assert!(!backup.is_done()),
            Err(error) => break error.code,
        }
    };
    assert_eq!(ended, Code::Detached);
    drop(backup);
    assert_eq!(fs::read_dir(scene.at("copy")).unwrap().count(), 0, "nothing was put into the other directory");
    let left: Vec<_> = fs::read_dir(scene.at("moved")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["LOCK"]);
}

#[test]
fn a_backup_into_the_directory_of_its_own_log_is_refused_even_after_a_move() {
    let scene = Scene::new(Fsync::Always);
    let now = scene.lose(Loss::CursorMove).unwrap();
    assert_eq!(code(scene.wal.backup(&now.join("inside"))), Some(Code::InvalidArg));
    assert!(!now.join("inside").exists());
}

#[test]
fn a_scrub_reads_one_directory_even_if_another_one_takes_its_path() {
    for loss in OF_THE_DIRECTORY {
        let scene = Scene::new(Fsync::Always);
        let now = scene.lose(loss);
        let _successor = scene.successor(loss);
        let found = scene.wal.scrub(&Arc::new(JobProgress::new(None)));
        match found {
            Ok(found) => assert!(now.is_some() && found.problems.is_empty() && found.segments > 1, "{loss:?}: {found:?}"),
            Err(error) => assert!(now.is_none() && error.code == Code::Detached, "{loss:?}: {error}"),
        }
    }
}

#[test]
fn a_verification_whose_directory_is_removed_meanwhile_fails_as_detached() {
    let scene = Scene::new(Fsync::Always);
    scene.wal.close().unwrap();
    let dir = scene.at("parent/real");
    let (removed, again) = (std::sync::Once::new(), dir.clone());
    // With the first bytes read the directory goes away.
    let watch = JobProgress::new(None).reporting(move |_, _| removed.call_once(|| fs::remove_dir_all(&again).unwrap()));
    assert_eq!(code(verify(&dir, &Arc::new(watch))), Some(Code::Detached));
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_process_inherits_nothing_of_an_open_log() {
    let scene = Scene::new(Fsync::Always);
    let _view = view(&scene.path());
    let listed = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("/proc/"), "{listed}");
    assert!(!listed.contains(scene.base.path().to_str().unwrap()), "{listed}");
}
