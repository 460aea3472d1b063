//! Backups that begin in the middle of a reset.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::commit::CommitThread;
use crate::host::Process;
use crate::intake::{Client, Command};
use crate::notify::Waiter;
use crate::open::open;
use crate::options::Options;
use crate::record::RecordRef;
use crate::shared::{locked, Shared};
use crate::storage::layer::{Layer, Layered};
use crate::storage::sim::SimDisk;
use std::sync::{Mutex, OnceLock};

/// Takes steps of a backup at a moment when a file is about to be removed.
#[derive(Default)]
struct Meanwhile {
    backup: OnceLock<Mutex<Backup>>,
    steps: Mutex<Vec<Result<Progress>>>,
}

impl Layer for Meanwhile {
    fn remove(&self, below: &dyn Storage, name: &str) -> std::result::Result<(), Fault> {
        if let Some(backup) = self.backup.get() {
            let mut backup = locked(backup);
            for _ in 0..2 * CUTS {
                if !backup.is_done() {
                    locked(&self.steps).push(backup.step());
                }
            }
        }
        below.remove(name)
    }
}

/// A log that is reset upwards between a look at where it is durable and one at where it starts.
struct Reset(Arc<Shared>, Mutex<Option<u64>>);

impl Origin for Reset {
    fn storage(&self) -> &Arc<dyn Storage> {
        self.0.storage()
    }
    fn cut(&self) -> Result<Cut> {
        let cut = self.0.cut();
        if let Some(first) = locked(&self.1).take() {
            self.0.catalog.raise(first);
        }
        cut
    }
    fn low(&self) -> Result<u64> {
        self.0.low()
    }
    fn hold(&self, first: u64) -> Arc<Place> {
        self.0.hold(first)
    }
    fn cuts(&self) -> u64 {
        self.0.cuts()
    }
    fn catch_up(&self) -> bool {
        false
    }
}

#[test]
fn a_backup_that_a_reset_upwards_leaves_empty_says_so() {
    let storage = Arc::new(SimDisk::new(1, 512));
    let opened = open(storage.clone(), &Options::default(), || 0).unwrap();
    let (shared, _writer) = Shared::writable(storage, Options::default(), opened);
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

#[test]
fn a_backup_that_begins_in_the_middle_of_a_reset_is_of_the_log_after_it() {
    for first in [30, 900] {
        let storage = Layered::over(Arc::new(SimDisk::new(1, 512)), Meanwhile::default());
        let (layer, storage) = (storage.layer.clone(), Arc::new(storage));
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let opened = open(storage.clone(), &options, || 0).unwrap();
        let (shared, writer) = Shared::writable(storage, options.clone(), opened);
        let client = locked(&shared.intake).join(Client::new(Arc::new(Waiter::default())));
        let mut thread = CommitThread::new(shared.clone(), writer, Arc::new(Process));
        for _ in 0..40 {
            let record = RecordRef { value: Some(&[7; 10_000]), ..RecordRef::default() };
            let mut intake = locked(&shared.intake);
            let taken = intake.append(client, &record, record.encoded_len(), true, &options);
            assert!(taken.is_ok());
            shared.rouse(intake);
            thread.step();
        }
        let copy = SimDisk::new(2, 512);
        let backup = Backup::new(shared.clone(), Arc::new(copy));
        assert!(layer.backup.set(Mutex::new(backup)).is_ok());
        let mut intake = locked(&shared.intake);
        assert!(intake.command(client, Command::Reset(first), &options).is_ok());
        shared.rouse(intake);
        thread.step();
        let steps = std::mem::take(&mut *locked(&layer.steps));
        assert!(!steps.is_empty(), "a reset removes segments");
        let last = steps.into_iter().map(|step| step.unwrap()).next_back();
        assert_eq!(last.map(|progress| (progress.first_position, progress.last_position)), Some((first, first - 1)));
        assert!(locked(layer.backup.get().unwrap()).is_done());
    }
}
