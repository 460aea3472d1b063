//! The other modes, on a disk that `strict` opens: they must find the same log.

use super::history::{broken, Held, History};
use super::oracle::{read, Expected, Read};
use super::salvage::salvage;
use crate::error::Code;
use crate::log::open::open;
use crate::log::read_only;
use crate::options::{Mode, Options};
use crate::storage::Storage;
use crate::testing::sim::{Faults, Rng, SimDisk};
use std::sync::Arc;

/// Share of the openings that are compared.
const SHARE: f64 = 0.3;

impl History {
    /// In some cases, opens the disk as it was `before` opening found `low..=end` there, in the other modes.
    pub fn check_views(&self, before: &SimDisk, low: u64, end: u64) -> Held<()> {
        // Drawn from the disk, so that the choice changes nothing of the history.
        if !Rng::new(before.digest()).chance(SHARE) {
            return Ok(());
        }
        before.set_faults(Faults::default());
        before.set_budget(u64::MAX);
        check_read_only(before, &self.expected, low, end)?;
        check_prefix(&before.fork(), &self.options, &self.expected, low, end)
    }
}

/// Checks that `readOnly` shows every record, to a salvaging reader without a hole, and changes nothing.
fn check_read_only(disk: &SimDisk, expected: &Expected, low: u64, end: u64) -> Held<()> {
    let (changes, storage) = (disk.changes(), Arc::new(disk.clone()) as Arc<dyn Storage>);
    let view = match read_only::open(&storage, || 0) {
        Ok(view) => view,
        // There was nothing yet from which a log could be read: opening created it.
        Err(error) if error.code == Code::NotFound && end < low => return Ok(()),
        Err(error) => return broken(format!("readOnly: {error}")),
    };
    let at = view.positions;
    if (at.first, at.written, at.next) != (low, end, end + 1) || view.recovery.damage.is_some() {
        return broken(format!("readOnly shows {at:?} of {low}..={end}, {}", view.recovery.verdict));
    }
    match read(storage, &view.catalog, expected, low, end, 1 << 13) {
        Read::All => {}
        Read::Stopped(error) => return broken(format!("readOnly: reading {low} to {end}: {error}")),
        Read::Wrong(text) => return broken(format!("readOnly: {text}")),
    }
    let (_, holes) = salvage(disk, &view.catalog, expected, low, end, 1 << 14)?;
    match (holes.first(), disk.changes() == changes) {
        (Some(hole), _) => broken(format!("salvaging an undamaged log reports {hole:?}")),
        (None, false) => broken("readOnly changes the disk"),
        (None, true) => Ok(()),
    }
}

/// Checks that `prefix` leaves nothing out.
fn check_prefix(disk: &SimDisk, options: &Options, expected: &Expected, low: u64, end: u64) -> Held<()> {
    let options = Options { mode: Mode::Prefix, ..options.clone() };
    let opened = match open(Arc::new(disk.clone()), &options, || 0) {
        Ok(opened) => opened,
        Err(error) => return broken(format!("prefix: {error}")),
    };
    let found = (opened.recovery.first_position, opened.writer.next_position() - 1);
    if found != (low, end) || opened.recovery.damage.is_some() {
        return broken(format!("prefix opens with {found:?}, expected {low}..={end}, {}", opened.recovery.verdict));
    }
    match read(Arc::new(disk.clone()), &opened.catalog, expected, low, end, 1 << 15) {
        Read::All => Ok(()),
        Read::Stopped(error) => broken(format!("prefix: reading {low} to {end}: {error}")),
        Read::Wrong(text) => broken(format!("prefix: {text}")),
    }
}
