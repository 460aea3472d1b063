//! Random histories of a log with cursors over the simulated disk: the process dies at any operation, or one fails, and the power goes. A
//! consumer knows what it has done. A cursor must never claim more than that, and never less than was reported durable.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::format::file_names::CURSORS;
use crate::options::Fsync;
use crate::segments::reader_positions::StartPosition;
use crate::testing::log::{code, TestLog};
use crate::testing::sim::{Faults, Rng, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::mpsc::{channel, Receiver};

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Log {
    log: TestLog,
    ops: u64,
}

impl Deref for Log {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.log
    }
}

/// The knowledge of a consumer about its cursor.
#[derive(Clone, Default)]
struct Consumer {
    /// Values of the records that it has done.
    done: BTreeSet<u64>,
    /// The position that was reported durable; `None` if there may be no cursor.
    least: Option<u64>,
}

struct Life {
    rng: Rng,
    disk: SimDisk,
    fsync: Fsync,
    values: u64,
    /// The records of the log: values by position.
    records: BTreeMap<u64, u64>,
    consumers: BTreeMap<&'static str, Consumer>,
}

impl Log {
    fn open(disk: &SimDisk, fsync: Fsync) -> Result<Log> {
        Ok(Log { log: TestLog::open(disk.clone(), fsync)?, ops: 0 })
    }

    /// Waits for the operation just submitted, and returns its result.
    fn settled(&mut self) -> Result<()> {
        self.ops += 1;
        self.log.settled(self.ops)
    }

    fn append(&mut self, value: u64, len: usize) -> Result<u64> {
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(len, 7);
        let position = self.wal.append(RecordRef { value: Some(&bytes), ..RecordRef::default() }, false)?;
        self.settled().map(|()| position)
    }

    fn read(&self) -> Result<BTreeMap<u64, u64>> {
        let first = self.wal.positions().first;
        let mut reader = self.wal.reader(first, u64::MAX)?;
        let mut records = BTreeMap::new();
        while let Some(block) = reader.next_block(1 << 20)? {
            for record in &block {
                let value = &record.value.unwrap()[..8];
                records.insert(record.position, u64::from_le_bytes(value.try_into().unwrap()));
            }
        }
        Ok(records)
    }

    fn cursor(&self, name: &str) -> Result<NamedCursor> {
        let (send, made) = channel();
        self.wal.cursor(name, StartPosition::First, move |cursor| send.send(cursor).unwrap());
        made.recv().unwrap()
    }
}

fn asked<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(Result<T>) + Send>)) -> Receiver<Result<T>> {
    let (send, told) = channel();
    ask(Box::new(move |outcome| drop(send.send(outcome))));
    told
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut rng = Rng::new(seed);
        let sector = if rng.chance(0.5) { 512 } else { 4096 };
        let fsync = if rng.chance(0.7) { Fsync::Os } else { Fsync::Always };
        let disk = SimDisk::new(seed, sector);
        Life { rng, disk, fsync, values: 0, records: BTreeMap::new(), consumers: BTreeMap::new() }
    }

    fn last(&self) -> u64 {
        self.records.last_key_value().map_or(0, |(position, _)| *position)
    }

    /// Records that the consumer has done everything up to `position`, before the commit.
    fn work(&mut self, name: &'static str, position: u64) {
        let done: Vec<u64> = self.records.range(..=position).map(|(_, value)| *value).collect();
        self.consumers.entry(name).or_default().done.extend(done);
    }

    fn told(&mut self, name: &'static str, outcome: Option<u64>) {
        let consumer = self.consumers.entry(name).or_default();
        if let Some(position) = outcome {
            consumer.least = Some(consumer.least.map_or(position, |least| least.max(position)));
        }
    }

    /// Records that the cursors may have gone back to `last`.
    fn lower(&mut self, last: u64) {
        self.consumers.values_mut().for_each(|consumer| consumer.least = consumer.least.map(|least| least.min(last)));
    }

    /// Performs one operation, or two at once. Returns an error if the log does not go on.
    fn act(&mut self, log: &mut Log) -> Result<()> {
        let name = NAMES[self.rng.below(3) as usize];
        let first = log.wal.positions().first;
        match self.rng.below(16) {
            0..=5 => {
                self.values += 1;
                // No reader sees the record while the append is in progress, so it is recorded afterwards. Every fifth record is large, so
                // that segments fill up.
                let position = log.append(self.values, if self.values.is_multiple_of(5) { 30_000 } else { 20 })?;
                self.records.insert(position, self.values);
            }
            6..=11 => {
                let cursor = log.cursor(name)?;
                self.told(name, Some(0));
                let at = cursor.position();
                let ahead = log.wal.positions().acknowledged.saturating_sub(at);
                let position = at + self.rng.below(ahead + 1);
                self.work(name, position);
                let told = asked(|done| cursor.commit(position, done));
                if self.rng.chance(0.2) {
                    self.cut(log, first)?;
                }
                match told.recv().unwrap() {
                    Ok(()) => {
                        let last = log.wal.positions().next - 1;
                        self.told(name, Some(position.min(last)));
                    }
                    Err(error) if error.code == Code::Truncated => {}
                    Err(error) => return Err(error),
                }
            }
            12 => self.cut(log, first)?,
            13 => {
                let position = first + self.rng.below(self.last().saturating_sub(first) + 1);
                log.wal.truncate_before(position)?;
                log.settled()?;
            }
            14 => {
                let cursor = log.cursor(name)?;
                let position = cursor.position().saturating_sub(self.rng.below(3)).max(first - 1);
                let consumer = self.consumers.entry(name).or_default();
                consumer.least = consumer.least.map(|least| least.min(position));
                asked(|done| cursor.rewind(position, done)).recv().unwrap()?;
            }
            _ => {
                let cursor = log.cursor(name)?;
                self.consumers.entry(name).or_default().least = None;
                asked(|done| cursor.delete(done)).recv().unwrap()?;
            }
        }
        Ok(())
    }

    /// Removes the end of the log, or all of it.
    fn cut(&mut self, log: &mut Log, first: u64) -> Result<()> {
        let last = first - 1 + self.rng.below(log.wal.positions().next - first + 1);
        let last = last.min(log.wal.positions().next - 1);
        if self.rng.chance(0.8) {
            self.lower(last);
            log.wal.truncate_after(last)?;
        } else {
            self.lower(last);
            log.wal.reset(last + 1)?;
            log.settled()?;
            self.records.clear();
            return Ok(());
        }
        log.settled()?;
        self.records.retain(|position, _| *position <= last);
        Ok(())
    }

    fn check(&mut self, log: &Log, label: &str) {
        self.records = match log.read() {
            Err(_) if self.disk.crashed() => return,
            records => records.unwrap(),
        };
        if self.disk.crashed() {
            return;
        }
        let positions = log.wal.positions();
        let cursors: BTreeMap<_, _> = log.wal.cursors().unwrap().into_iter().map(|(name, at)| (name.to_string(), at)).collect();
        for (name, consumer) in &self.consumers {
            let Some(at) = cursors.get(*name).copied() else {
                assert!(consumer.least.is_none(), "{label}: cursor {name} is gone");
                continue;
            };
            assert!(at < positions.next, "{label}: cursor {name} is at {at}, past the end of the log at {}", positions.next);
            assert!(consumer.least.unwrap_or(0) <= at, "{label}: cursor {name} is at {at}, below {:?}", consumer.least);
            let skipped: Vec<_> = self.records.range(..=at).filter(|(_, value)| !consumer.done.contains(value)).collect();
            assert!(skipped.is_empty(), "{label}: cursor {name} is at {at}, and skips {skipped:?}");
        }
    }

    fn epoch(&mut self, label: &str) {
        let mut log = match Log::open(&self.disk, self.fsync) {
            Ok(log) => log,
            Err(error) => {
                assert!(self.disk.crashed() || self.disk.sync_failed() || error.code == Code::Io, "{label}: {error}");
                return;
            }
        };
        self.check(&log, label);
        let budget = 20 + self.rng.below(120);
        if self.rng.chance(0.8) {
            self.disk.set_budget(budget);
        } else {
            self.disk.set_trip(budget);
        }
        for _ in 0..40 {
            if let Err(error) = self.act(&mut log) {
                let known = [Code::Poisoned, Code::Closed, Code::NoSpace, Code::Io];
                assert!(known.contains(&error.code), "{label}: {error}");
                break;
            }
        }
        let _ = log.wal.close();
    }
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    for epoch in 0..6 {
        let label = format!("seed {seed}, epoch {epoch}");
        // The process may also die while it opens the log.
        if life.rng.chance(0.3) {
            life.disk.set_budget(life.rng.below(40));
        }
        life.epoch(&label);
        if life.rng.chance(0.7) {
            life.disk.power_cut();
        }
        life.disk.restart();
        life.disk.set_trip(u64::MAX);
    }
    let log = Log::open(&life.disk, life.fsync).unwrap();
    life.check(&log, &format!("seed {seed}, at the end"));
    assert_eq!(life.disk.violation(), None, "seed {seed}");
}

#[test]
fn a_cursor_is_never_past_what_was_committed_and_never_below_what_was_durable() {
    let one = std::env::var("FORELOG_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..60, |seed| seed..seed + 1) {
        live(seed);
    }
}

/// Returns a log of ten records, none of them synced, with a cursor.
fn ten(fsync: Fsync) -> (Log, SimDisk, NamedCursor) {
    let disk = SimDisk::new(1, 4096);
    let mut log = Log::open(&disk, fsync).unwrap();
    assert!((1..=10).all(|value| log.append(value, 20).is_ok()));
    let cursor = log.cursor("a").unwrap();
    (log, disk, cursor)
}

#[test]
fn a_failed_fsync_of_cursors_poisons_the_log() {
    let (mut log, disk, cursor) = ten(Fsync::Os);
    log.wal.sync().unwrap();
    log.settled().unwrap();
    disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
    assert_eq!(code(asked(|done| cursor.commit(5, done)).recv().unwrap()), Some(Code::Poisoned));
    disk.set_faults(Faults::default());
    assert_eq!(code(asked(|done| cursor.commit(6, done)).recv().unwrap()), Some(Code::Poisoned));
    let appended = log.append(11, 20);
    assert_eq!(code(appended), Some(Code::Poisoned));
    let changes = disk.changes();
    assert_eq!((code(log.wal.close()), disk.changes()), (Some(Code::Poisoned), changes));
}

#[test]
fn a_poisoned_log_writes_no_cursor() {
    let (mut log, disk, cursor) = ten(Fsync::Os);
    disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
    log.wal.sync().unwrap();
    assert_eq!(code(log.settled()), Some(Code::Poisoned));
    disk.set_faults(Faults::default());
    let changes = disk.changes();
    assert_eq!(code(asked(|done| cursor.commit(5, done)).recv().unwrap()), Some(Code::Poisoned));
    assert_eq!(disk.changes(), changes);
}

#[test]
fn closing_waits_for_the_cursor_commits_that_were_accepted() {
    let (log, disk, cursor) = ten(Fsync::Os);
    let told = asked(|done| cursor.commit(10, done));
    log.wal.close().unwrap();
    assert!(told.try_recv().unwrap().is_ok());
    assert_eq!(code(asked(|done| cursor.commit(10, done)).recv().unwrap()), Some(Code::Closed));
    disk.power_cut();
    disk.restart();
    assert_eq!(Log::open(&disk, Fsync::Os).unwrap().cursor("a").unwrap().position(), 10);
}

#[test]
fn a_record_read_before_a_truncate_after_cannot_be_committed_as_its_replacement() {
    let (mut log, _disk, cursor) = ten(Fsync::Always);
    asked(|done| cursor.commit(3, done)).recv().unwrap().unwrap();
    log.wal.truncate_after(5).unwrap();
    log.settled().unwrap();
    assert!((11..=20).all(|value| log.append(value, 20).is_ok()));
    for _ in 0..2 {
        let refused = asked(|done| cursor.commit(8, done)).recv().unwrap().unwrap_err();
        assert_eq!((refused.code, refused.position), (Code::Truncated, Some(8)));
    }
    asked(|done| cursor.commit(5, done)).recv().unwrap().unwrap();
    cursor.acknowledge_truncations();
    asked(|done| cursor.commit(8, done)).recv().unwrap().unwrap();
    assert_eq!(cursor.position(), 8);
}

#[test]
fn damaged_cursors_are_reported_and_the_log_still_works() {
    let (log, disk, cursor) = ten(Fsync::Always);
    asked(|done| cursor.commit(3, done)).recv().unwrap().unwrap();
    log.wal.close().unwrap();
    for slot in [0, 4096] {
        disk.damage(CURSORS, slot + 30, b"rot");
    }
    let bytes = disk.bytes(CURSORS);
    let mut log = Log::open(&disk, Fsync::Always).unwrap();
    assert_eq!(
        (code(log.cursor("a")), code(log.cursor("new")), code(log.wal.cursors())),
        (Some(Code::Corrupt), Some(Code::Corrupt), Some(Code::Corrupt))
    );
    log.append(11, 20).unwrap();
    log.wal.truncate_after(4).unwrap();
    log.settled().unwrap();
    log.wal.truncate_before(3).unwrap();
    log.settled().unwrap();
    assert_eq!(log.read().unwrap().len(), 2);
    log.wal.close().unwrap();
    assert_eq!(disk.bytes(CURSORS), bytes, "damaged bytes are left unchanged");
}

#[test]
fn on_a_full_disk_a_cursor_moves_and_a_new_one_is_refused() {
    let (log, disk, cursor) = ten(Fsync::Always);
    disk.set_faults(Faults { full: true, ..Faults::default() });
    asked(|done| cursor.commit(7, done)).recv().unwrap().unwrap();
    let name = "x".repeat(255);
    let mut refused = 0;
    for n in 0..30 {
        refused += u64::from(code(log.cursor(&format!("{n}{}", &name[3..]))) == Some(Code::NoSpace));
    }
    assert!(refused > 10, "{refused} of 30 that do not fit");
    asked(|done| cursor.commit(8, done)).recv().unwrap().unwrap();
    disk.set_faults(Faults::default());
    log.cursor(&name).unwrap();
    assert_eq!(cursor.position(), 8);
    disk.power_cut();
    disk.restart();
}
