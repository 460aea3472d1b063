//! The state and the disk usage of a log, from its directory alone.

use crate::cursors;
use crate::error::{Fault, Result};
use crate::format::file_names::{classify, FileKind};
use crate::log::read_only::{self, ReadOnlyLog};
use crate::recovery::directory::{named, prepare_dir};
use crate::recovery::survey::Damage;
use crate::storage::disk::Disk;
use crate::storage::lock::Lock;
use crate::storage::{data_len, Storage};
use crate::util::runtime::clock;
use std::path::Path;
use std::sync::Arc;

/// The result of [`stat()`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The identity of the log, which backups share.
    pub uuid: [u8; 16],
    /// Label of the verdict that opening would reach, one of docs/recovery.md.
    pub verdict: &'static str,
    /// Opening would have nothing to cut off or to write again, and no writer has the log open. The log need not have been closed in order.
    pub clean: bool,
    /// Damage that shows without reading the whole log.
    pub damage: Option<Damage>,
    /// A writer has the log open.
    pub locked: bool,
    /// First position that can be read; equal to `next` in an empty log.
    pub first: u64,
    /// Position of the next record.
    pub next: u64,
    /// Number of segments that make up the log.
    pub segments: u64,
    /// Named cursors, each with the last position that it has done; `None` if CURSORS cannot be read.
    pub cursors: Option<Vec<(Arc<str>, u64)>>,
    /// Number of files prepared for later segments.
    pub spares: u64,
    /// Disk space in bytes that those files take.
    pub spare_bytes: u64,
    /// Disk space in bytes that `reserve` takes, 0 without one.
    pub reserve_bytes: u64,
    /// Disk space in bytes that all files of the log take, spares and `reserve` included.
    pub allocated: u64,
    /// Bytes of segments that are in use: headers, frames and footers.
    pub used: u64,
}

/// Reports on the log in `dir`; blocking. Writes nothing and takes no lock, so a writer may be at work.
///
/// # Errors
/// `NotFound` or `Format` if there is no log, `Io` if the directory cannot be read.
pub fn stat(dir: &Path) -> Result<Standing> {
    inspect(dir).map_err(|error| error.during("stat"))
}

fn inspect(dir: &Path) -> Result<Standing> {
    prepare_dir(dir, false)?;
    let disk = Disk::new(dir, true)?;
    let locked = Lock::is_held(&disk.handle())?;
    let disk: Arc<dyn Storage> = Arc::new(disk);
    let view = read_only::open_beside_writer(&disk, &Arc::default(), || Ok(locked), clock).map_err(|error| named(error, dir))?;
    let room = room(&*disk)?;
    let used = used(&*disk, &view)?;
    let ReadOnlyLog { recovery, positions, uuid, .. } = view;
    let cursors = cursors::list(&*disk, &uuid).ok();
    Ok(Standing {
        uuid,
        verdict: recovery.verdict,
        clean: recovery.clean && !locked,
        damage: recovery.damage,
        locked,
        first: positions.first,
        next: positions.next,
        segments: view.catalog.all().len() as u64,
        // A cursor below the start of the log has done everything before that start.
        cursors: cursors.map(|all| all.into_iter().map(|(name, at)| (name, at.max(positions.first - 1))).collect()),
        used,
        ..room
    })
}

/// Measures the disk space that the files of a log take.
fn room(storage: &dyn Storage) -> std::result::Result<Standing, Fault> {
    let mut room = Standing::default();
    for name in storage.list()? {
        let entry = classify(&name);
        if entry == FileKind::Foreign {
            continue;
        }
        let allocated = match storage.open(&name, false).and_then(|file| file.allocated()) {
            Ok(allocated) => allocated,
            // Removed or renamed since the directory was listed.
            Err(fault) if fault.is_not_found() => continue,
            Err(fault) => return Err(fault),
        };
        room.allocated += allocated;
        match entry {
            FileKind::Spare(_) => (room.spares, room.spare_bytes) = (room.spares + 1, room.spare_bytes + allocated),
            FileKind::Reserve => room.reserve_bytes = allocated,
            _ => {}
        }
    }
    Ok(room)
}

/// Returns the disk space in bytes that the files of a log take.
pub fn allocated(storage: &dyn Storage) -> std::result::Result<u64, Fault> {
    Ok(room(storage)?.allocated)
}

fn used(storage: &dyn Storage, view: &ReadOnlyLog) -> std::result::Result<u64, Fault> {
    let mut used = 0;
    let segments = view.catalog.all();
    for (i, segment) in segments.iter().enumerate() {
        used += match view.end.filter(|_| i + 1 == segments.len()) {
            Some(end) => end,
            None => match storage.open(&segment.file, false).and_then(|file| Ok(data_len(&*file, file.len()?))) {
                Err(fault) if fault.is_not_found() => 0,
                other => other?,
            },
        };
    }
    Ok(used)
}
