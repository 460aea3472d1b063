//! The contents of a log's directory: its names, and CONTROL. Reading them neither writes nor judges anything.

use crate::error::{Code, Error, Fault};
use crate::format::control::{self, ControlState};
use crate::format::file_names::{classify, FileKind, Name, CONTROL};
use crate::format::page::BadPage;
use crate::recovery::verdict::Verdict;
use crate::segments::segment_file::SegmentFile;
use crate::storage::disk::{create_dir, sync_name};
use crate::storage::{FileRef, Storage};
use std::collections::BTreeMap;
use std::path::Path;

/// The names in a directory, by what they mean.
#[derive(Default)]
pub struct Listing {
    /// Segments by id.
    pub segments: BTreeMap<u64, Name>,
    /// A file with the same id as one of the segments.
    pub duplicate: Option<Name>,
    pub spares: Vec<String>,
    pub control: bool,
    pub foreign: Option<String>,
}

impl Listing {
    pub fn read(storage: &dyn Storage) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        for name in storage.list()? {
            match classify(&name) {
                FileKind::Segment(name) => match listing.segments.remove(&name.id) {
                    None => drop(listing.segments.insert(name.id, name)),
                    Some(other) => {
                        // Prefer the file whose header matches its name: read-only mode can still read it.
                        let (kept, duplicate) = if is_as_named(storage, &other) { (other, name) } else { (name, other) };
                        listing.segments.insert(kept.id, kept);
                        listing.duplicate = Some(duplicate);
                    }
                },
                FileKind::Control => listing.control = true,
                FileKind::Spare(name) => listing.spares.push(name),
                FileKind::Foreign => listing.foreign = Some(name),
                FileKind::Lock | FileKind::Reserve | FileKind::Cursors => {}
            }
        }
        Ok(listing)
    }
}

fn is_as_named(storage: &dyn Storage, name: &Name) -> bool {
    SegmentFile::open(storage, &name.file, false).is_ok_and(|found| found.header_of(name.id, name.first).is_some())
}

/// CONTROL as read from the directory.
pub struct Slots {
    pub file: FileRef,
    pub chosen: Result<(ControlState, u64), BadPage>,
    pub len: u64,
}

impl Slots {
    pub fn read(storage: &dyn Storage, write: bool) -> Result<Slots, Fault> {
        let file = storage.open(CONTROL, write)?;
        let len = file.len()?;
        let mut bytes = vec![0; control::FILE_BYTES as usize];
        let n = file.read_at(&mut bytes, 0)?;
        Ok(Slots { chosen: control::choose(&bytes[..n]), file, len })
    }
}

fn not_found(dir: &Path) -> Error {
    Error::new(Code::NotFound, format!("there is no log in {}", dir.display())).judged(Verdict::Absent.label())
}

/// Adds the directory to the error for a missing log.
pub fn named(mut error: Error, dir: &Path) -> Error {
    if error.code == Code::NotFound {
        error.message = not_found(dir).into_info().message;
    }
    error
}

pub fn prepare_dir(dir: &Path, create: bool) -> Result<(), Error> {
    match std::fs::metadata(dir) {
        Ok(meta) if meta.is_dir() && create && !dir.join(CONTROL).exists() => Ok(sync_name(dir)?),
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => {
            let error = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            let mut fault = Fault::new("scandir", dir.to_string_lossy(), &error);
            fault.errno = std::fs::read_dir(dir).err().and_then(|e| e.raw_os_error());
            Err(fault.into())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && create => Ok(create_dir(dir)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(not_found(dir)),
        Err(e) => Err(Fault::new("stat", dir.to_string_lossy(), &e).into()),
    }
}
