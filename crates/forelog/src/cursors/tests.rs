//! Tests of CURSORS on a simulated disk: a crash at every step, a failure of every sync, a full disk.
#![allow(clippy::unwrap_used)]

use super::codec::Table;
use super::store::{Failure, Store, CREATING};
use super::*;
use crate::format::file_names::CURSORS;
use crate::testing::sim::{Faults, Rng, SimDisk};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;

const UUID: [u8; 16] = [5; 16];

fn read(disk: &SimDisk) -> Result<Store> {
    Store::read(Arc::new(disk.clone()), UUID)
}

/// Returns the table after `step` changes. It grows past every size of a slot, and goes back now and then.
fn table(step: u64) -> Table {
    let name = |n: u64| format!("cursor {n} {}", "x".repeat(n as usize * 7 % 200));
    (0..=step * 3).map(|n| (name(n).as_str().into(), if step % 5 == 4 { n } else { step * 10 + n })).collect()
}

/// Puts one table after the other until that fails. Returns the last step that was durable, and the one that failed.
fn fill(store: &mut Store, from: u64, to: u64) -> (u64, Option<u64>) {
    for step in from..=to {
        if store.put(table(step), step % 5 == 4).is_err() {
            return (step - 1, Some(step));
        }
    }
    (to, None)
}

/// Ends the process at each of its operations, or makes one of them fail. Then the power goes, the process dies once more while it opens
/// the file, and the power goes again.
fn sweep(steps: u64, sector: u64, arm: impl Fn(&SimDisk, u64), seeds: u64) {
    let begin = |seed| {
        let disk = SimDisk::new(seed, sector);
        assert_eq!(fill(&mut read(&disk).unwrap(), 1, 2).0, 2);
        // Another process goes on.
        (read(&disk).unwrap(), disk)
    };
    let (mut store, disk) = begin(0);
    let before = disk.changes();
    assert_eq!(fill(&mut store, 3, steps), (steps, None));
    for at in 0..disk.changes() - before {
        for seed in 0..seeds {
            let (mut store, disk) = begin(at * 1000 + seed);
            arm(&disk, at);
            let (durable, unknown) = fill(&mut store, 3, steps);
            disk.set_budget(u64::MAX);
            let allowed = [Some(durable), unknown].map(|step| step.map(table));
            if seed % 2 == 0 {
                disk.power_cut();
            }
            disk.restart();
            let mut again = read(&disk).unwrap();
            let found = Some(again.table().clone());
            assert!(allowed.contains(&found), "step {at}, seed {seed}: neither of the two tables");
            disk.set_budget(seed % 11);
            let confirmed = again.confirm().is_ok();
            disk.power_cut();
            disk.restart();
            let last = Some(read(&disk).unwrap().table().clone());
            assert!(allowed.contains(&last), "step {at}, seed {seed}: after opening");
            assert!(!confirmed || last == found, "step {at}, seed {seed}: what was acted on is gone");
        }
    }
}

#[test]
fn after_a_power_cut_at_any_step_the_last_durable_table_or_the_next_one_is_read() {
    for sector in [512, 4096] {
        sweep(22, sector, |disk, at| disk.set_budget(at), 22);
    }
}

#[test]
fn after_any_failed_operation_a_table_is_made_durable_before_it_is_used() {
    for sector in [512, 4096] {
        sweep(22, sector, |disk, at| disk.set_trip(at), 22);
    }
}

#[test]
fn on_a_full_disk_an_existing_cursor_moves_and_a_new_one_is_refused_without_effect() {
    let disk = SimDisk::new(1, 512);
    let mut store = read(&disk).unwrap();
    store.put(table(1), false).unwrap();
    disk.set_faults(Faults { full: true, ..Faults::default() });
    let mut moved = table(1);
    moved.values_mut().for_each(|position| *position += 1);
    store.put(moved.clone(), false).unwrap();
    assert!(matches!(store.put(table(40), false), Err(Failure::Refused(_))));
    assert_eq!((store.table(), disk.names()), (&moved, vec![CURSORS.to_owned()]));
    store.put(table(1), true).unwrap();
    disk.set_faults(Faults::default());
    store.put(table(40), false).unwrap();
    disk.power_cut();
    disk.restart();
    assert_eq!(read(&disk).unwrap().table(), &table(40));
}

#[test]
fn a_write_that_a_full_disk_stops_early_leaves_the_table_unchanged() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed, 512);
        let mut store = read(&disk).unwrap();
        store.put(table(1), false).unwrap();
        disk.set_trip(0);
        assert!(matches!(store.put(table(2), false), Err(Failure::Refused(_))));
        disk.power_cut();
        disk.restart();
        assert_eq!((store.table(), read(&disk).unwrap().table()), (&table(1), &table(1)));
        store.put(table(2), false).unwrap();
        assert_eq!(read(&disk).unwrap().table(), &table(2));
    }
}

#[test]
fn a_damaged_slot_does_not_undo_a_cursor_s_move_backwards() {
    for slot in [0, 4096] {
        let disk = SimDisk::new(1, 512);
        let mut store = read(&disk).unwrap();
        let at = |position| Table::from([("a".into(), position)]);
        store.put(at(10), false).unwrap();
        store.put(at(20), false).unwrap();
        store.put(at(5), true).unwrap();
        disk.damage(CURSORS, slot + 50, b"rot");
        assert_eq!(read(&disk).unwrap().table(), &at(5), "slot at {slot}");
    }
}

#[test]
fn two_damaged_slots_or_the_cursors_file_of_another_log_are_an_error() {
    let disk = SimDisk::new(1, 512);
    read(&disk).unwrap().put(table(1), false).unwrap();
    let code = |found: Result<Store>| found.err().map(|error| (error.code, error.segment.clone()));
    assert_eq!(code(Store::read(Arc::new(disk.clone()), [6; 16])), Some((Code::Corrupt, Some(CURSORS.into()))));
    disk.damage(CURSORS, 100, b"rot");
    assert!(read(&disk).is_ok());
    disk.damage(CURSORS, disk.bytes(CURSORS).len() as u64 / 2 + 100, b"rot");
    assert_eq!(code(read(&disk)), Some((Code::Corrupt, Some(CURSORS.into()))));
    let cursors = Cursors::open(Arc::new(disk.clone()), UUID, 1, 9).unwrap();
    assert_eq!((cursors.list().err().map(|error| error.code), cursors.floor()), (Some(Code::Corrupt), 1));
    disk.truncate(CURSORS, 0);
    assert!(read(&disk).is_err(), "an empty file is not a missing file");
}

#[test]
fn opening_moves_a_cursor_past_the_end_of_the_log_back_to_the_end() {
    let disk = SimDisk::new(1, 512);
    let named = |a: u64| -> Table { [("a".into(), a), ("b".into(), 3)].into() };
    assert!(read(&disk).unwrap().put(named(10), true).is_ok());
    Cursors::open(Arc::new(disk.clone()), UUID, 1, 5).unwrap();
    disk.power_cut();
    disk.restart();
    assert_eq!(*read(&disk).unwrap().table(), named(5));
}

#[test]
fn a_half_made_larger_file_left_by_a_crash_does_not_prevent_growing() {
    let disk = SimDisk::new(1, 512);
    disk.create(CREATING, 100).unwrap();
    let mut store = read(&disk).unwrap();
    store.put(table(30), false).unwrap();
    assert_eq!(disk.names(), [CURSORS]);
    assert_eq!(read(&disk).unwrap().table(), &table(30));
}

/// A log that is durable up to the position that the test sets.
struct FakeLog {
    durable: AtomicU64,
    flushes: AtomicU64,
}

impl CursorLog for FakeLog {
    fn acknowledged(&self) -> u64 {
        1000
    }

    fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }

    fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.durable.store(1000, Ordering::Relaxed);
        Ok(())
    }

    fn alive(&self) -> Result<()> {
        Ok(())
    }

    fn report(&self, _: Fault) {}
}

#[test]
fn commits_that_wait_together_share_one_fsync_after_the_log_is_made_durable() {
    let disk = SimDisk::new(1, 512);
    let cursors = Cursors::open(Arc::new(disk.clone()), UUID, 1, 1000).unwrap();
    let log = FakeLog { durable: AtomicU64::new(0), flushes: AtomicU64::new(0) };
    let places = crate::segments::reader_positions::ReaderPositions::default();
    let (send, made) = channel();
    for name in 0..100 {
        let send = send.clone();
        cursors.create(&log, &format!("{name}"), StartPosition::First, Box::new(move |made| send.send(made.ok().unwrap()).unwrap()));
    }
    cursors.run(&log);
    let handles: Vec<_> = (0..100).map(|_| cursors.handle(made.recv().unwrap(), places.enter(u64::MAX))).collect();
    assert_eq!(log.flushes.load(Ordering::Relaxed), 0, "nothing is done yet");
    let before = disk.changes();
    let (send, done) = channel();
    for (i, handle) in handles.iter().enumerate() {
        let send = send.clone();
        cursors.commit(&log, handle, i as u64 + 1, Box::new(move |done| send.send(done.is_ok()).unwrap()));
    }
    assert!(done.try_recv().is_err() && cursors.position(&handles[9].entry) == 0, "no commit settles before it is durable");
    cursors.run(&log);
    assert!((0..100).all(|_| done.try_recv() == Ok(true)));
    assert_eq!((disk.changes() - before, log.flushes.load(Ordering::Relaxed)), (2, 1), "one write, one fsync, one sync of the log");
    assert!(handles.iter().enumerate().all(|(i, handle)| cursors.position(&handle.entry) == i as u64 + 1));
}

#[test]
fn on_a_full_disk_a_new_cursor_is_refused_without_failing_the_commits_that_wait_with_it() {
    let disk = SimDisk::new(1, 512);
    let cursors = Cursors::open(Arc::new(disk.clone()), UUID, 1, 1000).unwrap();
    let log = FakeLog { durable: AtomicU64::new(1000), flushes: AtomicU64::new(0) };
    let places = crate::segments::reader_positions::ReaderPositions::default();
    let (send, told) = channel();
    let create = |name: String| {
        let send = send.clone();
        cursors.create(&log, &name, StartPosition::First, Box::new(move |made| send.send(made.map_err(|error| error.code)).unwrap()));
    };
    create("a".into());
    cursors.run(&log);
    let handle = cursors.handle(told.recv().unwrap().ok().unwrap(), places.enter(u64::MAX));
    disk.set_faults(Faults { full: true, ..Faults::default() });
    (0..30).for_each(|n| create(format!("{n}").repeat(100)));
    let (committed, outcome) = channel();
    cursors.commit(&log, &handle, 7, Box::new(move |done| committed.send(done.is_ok()).unwrap()));
    cursors.run(&log);
    assert!((0..30).all(|_| told.recv().unwrap().err() == Some(Code::NoSpace)));
    assert!(outcome.recv().unwrap());
    assert_eq!((cursors.list().unwrap(), read(&disk).unwrap().table().len()), (vec![("a".into(), 7)], 1));
}

#[test]
fn changes_written_together_have_the_same_outcome_as_changes_written_one_by_one() {
    for seed in 0..300 {
        let [mut all, mut each] = [0, 1].map(|_| Vec::new());
        for (together, told) in [(true, &mut all), (false, &mut each)] {
            let mut choices = Rng::new(seed);
            let disk = SimDisk::new(1, 512);
            let cursors = Cursors::open(Arc::new(disk.clone()), UUID, 4, 1000).unwrap();
            let log = FakeLog { durable: AtomicU64::new(1000), flushes: AtomicU64::new(0) };
            let places = crate::segments::reader_positions::ReaderPositions::default();
            let (made, entries) = channel();
            cursors.create(&log, "a", StartPosition::First, Box::new(move |entry| made.send(entry.ok().unwrap()).unwrap()));
            cursors.run(&log);
            let handle = cursors.handle(entries.recv().unwrap(), places.enter(u64::MAX));
            let (send, outcomes) = channel();
            for _ in 0..6 {
                let (which, position, send) = (choices.below(7), choices.below(9), send.clone());
                let done = Box::new(move |done: Result<()>| send.send(done.err().map(|error| error.code)).unwrap());
                match which {
                    0 => cursors.delete(&handle, done),
                    1 => cursors.create(&log, "a", StartPosition::At(6), Box::new(|_| {})),
                    2 | 3 => cursors.rewind(&handle, position, done),
                    _ => cursors.commit(&log, &handle, position, done),
                };
                if !together {
                    cursors.run(&log);
                }
            }
            cursors.run(&log);
            told.push((outcomes.try_iter().collect::<Vec<_>>(), cursors.list().unwrap(), read(&disk).unwrap().table().clone()));
        }
        assert_eq!(all, each, "seed {seed}");
    }
}

#[test]
fn a_backup_limits_cursors_to_its_end_and_copies_damaged_cursors_unchanged() {
    let disk = SimDisk::new(1, 512);
    assert_eq!(copy(&disk).unwrap(), None);
    let mut store = read(&disk).unwrap();
    store.put(table(1), false).unwrap();
    store.put(table(3), false).unwrap();
    let to = SimDisk::new(2, 512);
    let put = |bytes: Vec<u8>| {
        let _ = to.remove(CURSORS);
        to.create(CURSORS, bytes.len() as u64).unwrap().write_at(&bytes, 0).unwrap();
    };
    put(clamped(copy(&disk).unwrap().unwrap(), &UUID, 33));
    let expected: Table = table(3).into_iter().map(|(name, position)| (name, position.min(33))).collect();
    assert!(expected != table(3) && read(&to).unwrap().table() == &expected);
    // Either slot is enough.
    to.damage(CURSORS, 60, b"rot");
    assert_eq!(read(&to).unwrap().table(), &expected);
    let other = copy(&disk).unwrap().unwrap();
    assert_eq!(clamped(other.clone(), &[6; 16], 33), other);
}
