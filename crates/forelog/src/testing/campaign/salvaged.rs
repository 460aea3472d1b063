//! The result of salvaging a damaged disk: a log like any other, with everything that a salvaging reader returns, and holes for the rest.

use super::history::{broken, Held};
use crate::log::open::open;
use crate::log::read_only::{self, ReadOnlyLog};
use crate::maintenance::salvage::{Salvage, Salvaged};
use crate::maintenance::verify::verify_storage;
use crate::options::Options;
use crate::read::block::Record;
use crate::read::reader::{Hole, ReadPlan, Reader};
use crate::segments::catalog::Catalog;
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use std::sync::Arc;

/// A record as a reader returns it.
#[derive(Debug, PartialEq)]
pub struct Given {
    pub position: u64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    tombstone: bool,
    expires_at: Option<u64>,
    version: Option<(u64, u64)>,
}

impl Given {
    fn of(Record { position, key, value, tombstone, expires_at, version }: Record<'_>) -> Given {
        Given { position, key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec), tombstone, expires_at, version }
    }
}

/// Returns everything that a reader returns, and the holes.
pub fn gather(mut reader: Reader, block_bytes: usize) -> crate::Result<(Vec<Given>, Vec<Hole>)> {
    let (mut given, mut holes) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block(block_bytes)? {
        holes.extend_from_slice(&block.holes);
        given.extend(block.iter().map(Given::of));
    }
    Ok((given, holes))
}

/// Returns a disk for the new log.
pub fn elsewhere(disk: &SimDisk) -> SimDisk {
    SimDisk::new(!disk.digest(), disk.sector())
}

/// Salvages `disk` to `to`. Stops at the first error, like a process that dies there.
pub fn salvage_to(disk: &SimDisk, to: &SimDisk) -> crate::Result<Salvaged> {
    let mut salvage = Salvage::new(Arc::new(disk.clone()), Arc::new(to.clone()), Box::new(|| Ok(false)));
    while !salvage.is_done() {
        salvage.step()?;
    }
    Ok(salvage.report().clone())
}

fn plain(disk: &SimDisk, catalog: &Arc<Catalog>, from: u64, to: u64) -> crate::Result<(Vec<Given>, Vec<Hole>)> {
    gather(Reader::new(Arc::new(disk.clone()), catalog.clone(), from..=to), 1 << 13)
}

fn ranges(holes: &[Hole]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for hole in holes {
        match ranges.last_mut().filter(|last| last.1 + 1 == hole.first) {
            // Two damaged ranges may follow each other without a record between them.
            Some(last) => last.1 = hole.last,
            None => ranges.push((hole.first, hole.last)),
        }
    }
    ranges
}

/// Salvages a disk that cannot change, and compares the new log with what a salvaging reader returns from the old one.
pub fn check(disk: &SimDisk) -> Held<()> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let Ok(ReadOnlyLog { catalog, positions, .. }) = read_only::open(&storage, || 0) else {
        return match salvage_to(disk, &elsewhere(disk)) {
            Err(_) => Ok(()),
            Ok(report) => broken(format!("salvaging makes {report:?} of a log that cannot be opened")),
        };
    };
    let (to, changes) = (elsewhere(disk), disk.changes());
    let report = match salvage_to(disk, &to) {
        Ok(report) => report,
        Err(error) => return broken(format!("salvaging: {error:?}")),
    };
    if disk.changes() != changes {
        return broken("salvaging changes the damaged log");
    }
    // The page for readers in other processes may know of later positions than CONTROL: reading goes as far as the new log.
    let end = report.next_position - 1;
    if end < positions.written {
        return broken(format!("the salvaged log ends at {end}, but {} was used", positions.written));
    }
    let read = gather(Reader::new(storage, catalog, ReadPlan { past_damage: true, ..(positions.first..=end).into() }), 1 << 13);
    let (given, holes) = match read {
        Ok(read) => read,
        Err(error) => return broken(format!("the salvaging reader failed: {error:?}")),
    };
    let expected = ranges(&holes);
    if ranges(&report.holes) != expected {
        return broken(format!("the salvage reports {:?}, the reader {expected:?}", ranges(&report.holes)));
    }
    is_whole(&to, &report, &given)
}

/// Salvages whatever is on a disk. The result must be a log without a problem, or an error and no files.
pub fn holds_up(disk: &SimDisk) -> Held<()> {
    let (to, changes) = (elsewhere(disk), disk.changes());
    let salvaged = salvage_to(disk, &to);
    if disk.changes() != changes {
        return broken("salvaging changes the damaged log");
    }
    match salvaged {
        Err(_) if to.names().is_empty() => return Ok(()),
        Err(error) => return broken(format!("the salvage left {:?} after {error:?}", to.names())),
        Ok(_) => {}
    }
    match verify_storage(Arc::new(to.clone()), &Arc::default()) {
        Ok(found) if found.problems.is_empty() => {}
        other => return broken(format!("verifying the salvaged log reports {other:?}")),
    }
    match open(Arc::new(to.clone()), &Options::default(), || 0) {
        Ok(opened) if opened.recovery.clean => to.violation().map_or(Ok(()), broken),
        Ok(opened) => broken(format!("the salvaged log opens with {:?}", opened.recovery)),
        Err(error) => broken(format!("the salvaged log does not open: {error:?}")),
    }
}

/// Checks the new log after a power cut: it must be complete, without a problem, and have these records.
pub fn is_whole(to: &SimDisk, report: &Salvaged, given: &[Given]) -> Held<()> {
    to.power_cut();
    to.restart();
    let first = given.first().map_or(report.next_position, |given| given.position);
    if report.first_position != first {
        return broken(format!("the salvaged log begins at {}, its first record has {first}", report.first_position));
    }
    let holes: Vec<(u64, u64)> = ranges(&report.holes).into_iter().filter(|(from, _)| *from >= first).collect();
    match verify_storage(Arc::new(to.clone()), &Arc::default()) {
        Ok(found) if !found.problems.is_empty() => return broken(format!("verifying the salvaged log reports {:?}", found.problems)),
        Ok(found) if found.holes != holes || found.records != report.records || found.without_footer > 0 => {
            return broken(format!("verifying counts {found:?} of {report:?}"))
        }
        Ok(_) => {}
        Err(error) => return broken(format!("verifying the salvaged log: {error:?}")),
    }
    let opened = match open(Arc::new(to.clone()), &Options::default(), || 0) {
        Ok(opened) => opened,
        Err(error) => return broken(format!("the salvaged log does not open: {error:?}")),
    };
    let found = &opened.recovery;
    if (found.first_position, found.next_position, &found.holes) != (first, report.next_position, &holes) || !found.clean {
        return broken(format!("the salvaged log opens with {found:?}, expected {report:?}"));
    }
    match plain(to, &opened.catalog, first, report.next_position - 1) {
        Ok((read, told)) if read == given && ranges(&told) == holes && told.iter().all(|hole| hole.recorded) => {}
        Ok((read, told)) => {
            let positions = |given: &[Given]| given.iter().map(|given| given.position).collect::<Vec<_>>();
            return broken(format!(
                "the salvaged log has the records {:?} and the holes {told:?}, expected {:?}",
                positions(&read),
                positions(given)
            ));
        }
        Err(error) => return broken(format!("reading the salvaged log: {error:?}")),
    }
    to.violation().map_or(Ok(()), broken)
}
