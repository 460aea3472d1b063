//! Tests of backups that begin in the middle of a reset.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::error::Fault;
use crate::format::record::RecordRef;
use crate::log::commit_loop::CommitLoop;
use crate::log::open::open;
use crate::log::state::LogState;
use crate::options::Options;
use crate::storage::layer::{Layer, Layered};
use crate::testing::sim::SimDisk;
use crate::util::locks::locked;
use crate::util::notify::Waiter;
use crate::util::runtime::SystemRuntime;
use crate::write::submission_queue::{Client, Command};
use std::sync::{Mutex, OnceLock};

/// Makes steps of a backup whenever a file is about to be removed.
#[derive(Default)]
struct Meanwhile {
    backup: OnceLock<Mutex<Backup>>,
    steps: Mutex<Vec<Result<Progress>>>,
}

impl Layer for Meanwhile {
    fn remove(&self, below: &dyn Storage, name: &str) -> std::result::Result<(), Fault> {
        if let Some(backup) = self.backup.get() {
            let mut backup = locked(backup);
            for _ in 0..2 * OVERTAKEN {
                if !backup.is_done() {
                    locked(&self.steps).push(backup.step());
                }
            }
        }
        below.remove(name)
    }
}

/// A log that is reset to a higher position between the reads of its durable end and of its first position.
struct Reset(Arc<LogState>, Mutex<Option<u64>>);

impl Origin for Reset {
    fn storage(&self) -> &Arc<dyn Storage> {
        self.0.storage()
    }
    fn durable_end(&self) -> Result<DurableEnd> {
        let cut = self.0.durable_end();
        if let Some(first) = locked(&self.1).take() {
            self.0.catalog.raise_low_mark(first);
        }
        cut
    }
    fn low_mark(&self) -> Result<u64> {
        self.0.low_mark()
    }
    fn hold_retention(&self, first: u64) -> Arc<ReaderPosition> {
        self.0.hold_retention(first)
    }
    fn truncation_count(&self) -> u64 {
        self.0.truncation_count()
    }
    fn segments(&self) -> Vec<Name> {
        self.0.segments()
    }
    fn catch_up(&self) -> bool {
        false
    }
    fn is_past(&self, _: DurableEnd) -> bool {
        false
    }
}

#[test]
fn a_backup_left_empty_by_a_reset_to_a_higher_position_reports_no_records() {
    let storage = Arc::new(SimDisk::new(1, 512));
    let opened = open(storage.clone(), &Options::default(), || 0).unwrap();
    let (shared, _writer) = LogState::writable(storage, Options::default(), opened);
    let copy = SimDisk::new(2, 512);
    let mut backup = Backup::new(Arc::new(Reset(shared, Mutex::new(Some(500)))), Arc::new(copy.clone()));
    let mut progress = Progress::default();
    while !backup.is_done() {
        progress = backup.step().unwrap();
    }
    assert_eq!((progress.first_position, progress.last_position), (500, 499));
    let opened = open(Arc::new(copy), &Options::default(), || 0).unwrap();
    assert_eq!((opened.recovery.first_position, opened.writer.next_position()), (500, 500));
}

/// A log of another process, which publishes its durable end only after this many waits.
struct Untold(Arc<LogState>, Mutex<usize>);

impl Origin for Untold {
    fn storage(&self) -> &Arc<dyn Storage> {
        self.0.storage()
    }
    fn durable_end(&self) -> Result<DurableEnd> {
        if *locked(&self.1) > 0 {
            return Err(Error::new(Code::Locked, "the log is still being opened by its writer"));
        }
        self.0.durable_end()
    }
    fn low_mark(&self) -> Result<u64> {
        self.0.low_mark()
    }
    fn hold_retention(&self, first: u64) -> Arc<ReaderPosition> {
        self.0.hold_retention(first)
    }
    fn truncation_count(&self) -> u64 {
        self.0.truncation_count()
    }
    fn segments(&self) -> Vec<Name> {
        self.0.segments()
    }
    fn catch_up(&self) -> bool {
        let mut moments = locked(&self.1);
        *moments = moments.saturating_sub(1);
        true
    }
    fn is_past(&self, _: DurableEnd) -> bool {
        false
    }
}

#[test]
fn a_backup_waits_for_the_writer_to_publish_its_horizons_but_not_forever() {
    for (moments, ends) in [(BEHIND - 1, None), (usize::MAX, Some(Code::Locked))] {
        let storage = Arc::new(SimDisk::new(1, 512));
        let opened = open(storage.clone(), &Options::default(), || 0).unwrap();
        let (shared, _writer) = LogState::writable(storage, Options::default(), opened);
        let copy = SimDisk::new(2, 512);
        let mut backup = Backup::new(Arc::new(Untold(shared, Mutex::new(moments))), Arc::new(copy));
        let ended = loop {
            match backup.step() {
                Ok(_) if backup.is_done() => break None,
                Ok(_) => {}
                Err(error) => break Some(error.code),
            }
        };
        assert_eq!(ended, ends);
    }
}

#[test]
fn a_backup_that_begins_during_a_reset_copies_the_log_after_it() {
    for first in [30, 900] {
        let storage = Layered::over(Arc::new(SimDisk::new(1, 512)), Meanwhile::default());
        let (layer, storage) = (storage.layer.clone(), Arc::new(storage));
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let opened = open(storage.clone(), &options, || 0).unwrap();
        let (shared, writer) = LogState::writable(storage, options.clone(), opened);
        let client = locked(&shared.submissions).join(Client::new(Arc::new(Waiter::default())));
        let mut thread = CommitLoop::new(shared.clone(), writer, Arc::new(SystemRuntime));
        for _ in 0..40 {
            let record = RecordRef { value: Some(&[7; 10_000]), ..RecordRef::default() };
            let mut submissions = locked(&shared.submissions);
            let taken = submissions.append(client, &record, record.encoded_len(), true, &options);
            assert!(taken.is_ok());
            shared.rouse(submissions);
            thread.step();
        }
        let copy = SimDisk::new(2, 512);
        let backup = Backup::new(shared.clone(), Arc::new(copy));
        assert!(layer.backup.set(Mutex::new(backup)).is_ok());
        let mut submissions = locked(&shared.submissions);
        assert!(submissions.command(client, Command::Reset(first), &options).is_ok());
        shared.rouse(submissions);
        thread.step();
        let steps = std::mem::take(&mut *locked(&layer.steps));
        assert!(!steps.is_empty(), "a reset removes segments");
        let last = steps.into_iter().map(|step| step.unwrap()).next_back();
        assert_eq!(last.map(|progress| (progress.first_position, progress.last_position)), Some((first, first - 1)));
        assert!(locked(layer.backup.get().unwrap()).is_done());
    }
}

/// Truncates the log just when a backup is about to link its oldest segment: either before the link exists or, as if the system had looked
/// the name up already, only after the file was found to have no other link.
#[cfg(unix)]
struct Overtaken {
    late: bool,
    writer: Mutex<Option<crate::write::writer::Writer>>,
}

#[cfg(unix)]
impl Layer for Overtaken {
    fn link(&self, below: &dyn Storage, from: &dyn Storage, name: &str) -> std::result::Result<bool, Fault> {
        let Some(mut writer) = locked(&self.writer).take() else { return below.link(from, name) };
        let linked = self.late || below.link(from, name)?;
        let first = writer.next_position();
        writer.truncate_before(first).unwrap();
        writer.spares().prepare(false);
        if self.late {
            let spare = Listing::read(from)?.spares.pop().unwrap();
            fs::hard_link(from.home().unwrap().path().join(spare), below.home().unwrap().path().join(name)).unwrap();
        } else {
            // Of the two files, the one that the copy has as well was not kept as a spare.
            assert_eq!(Listing::read(from)?.spares.len(), 1);
        }
        Ok(linked)
    }
}

#[test]
#[cfg(unix)]
fn a_backup_never_keeps_a_file_that_was_removed_while_it_was_linked() {
    for late in [false, true] {
        let (log, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage: Arc<dyn Storage> = Arc::new(Disk::new(log.path(), false).unwrap());
        if !storage.recycles() {
            println!("SKIP a_backup_never_keeps_a_file_that_was_removed_while_it_was_linked: needs ext4 or XFS");
            return;
        }
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let opened = open(storage.clone(), &options, || 0).unwrap();
        let (shared, mut writer) = LogState::writable(storage.clone(), options.clone(), opened);
        for position in 1..=3 {
            let mut group = crate::write::group::Group::default();
            let mut batch = crate::write::group::Batch::new();
            batch.push(RecordRef { value: Some(&[7; 60_000]), ..RecordRef::default() }, 1 << 20).unwrap();
            group.push_batch(0, position, &mut batch);
            assert!(writer.commit(&mut group, true).failure.is_none());
        }
        writer.sealer.run().unwrap();
        shared.catalog.ends.change(|ends| ends.durable_end = writer.durable_end());
        let to = Layered::over(Arc::new(Disk::new(copy.path(), false).unwrap()), Overtaken { late, writer: Mutex::new(Some(writer)) });
        let oldest = Listing::read(&*storage).unwrap().segments.into_values().next().unwrap().file;
        let mut backup = Backup::new(shared, Arc::new(to));
        while !backup.is_done() {
            backup.step().unwrap();
        }
        assert!(!copy.path().join(oldest).exists());
        drop(backup);
        let copy = Arc::new(Disk::new(copy.path(), false).unwrap());
        let report = crate::maintenance::verify::verify_storage(copy, &Arc::default()).unwrap();
        assert_eq!(report.problems, []);
    }
}
