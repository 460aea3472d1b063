//! The contents of a log's directory: its names, and CONTROL. Reading them neither writes nor judges anything.

use crate::error::{Code, Error, Fault};
use crate::format::control::{self, ControlState};
use crate::format::file_names::{classify, Entry, Name, CONTROL};
use crate::format::header::Header;
use crate::format::page::BadPage;
use crate::recovery::verdict::Verdict;
use crate::storage::disk::{create_dir, sync_name};
use crate::storage::{File, FileRef, Storage};
use crate::util::limits::PAGE;
use std::collections::BTreeMap;
use std::path::Path;

/// The names in a directory, by what they mean.
#[derive(Default)]
pub struct Listing {
    /// Segments by id.
    pub segments: BTreeMap<u64, Name>,
    /// A file with the same id as one of the segments.
    pub twin: Option<Name>,
    pub spares: Vec<String>,
    pub control: bool,
    pub foreign: Option<String>,
}

impl Listing {
    pub fn read(storage: &dyn Storage) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        for name in storage.list()? {
            match classify(&name) {
                Entry::Segment(name) => match listing.segments.remove(&name.id) {
                    None => drop(listing.segments.insert(name.id, name)),
                    Some(other) => {
                        // Prefer the file whose header matches its name: read-only mode can still read it.
                        let (kept, twin) = if is_as_named(storage, &other) { (other, name) } else { (name, other) };
                        listing.segments.insert(kept.id, kept);
                        listing.twin = Some(twin);
                    }
                },
                Entry::Control => listing.control = true,
                Entry::Spare(name) => listing.spares.push(name),
                Entry::Foreign => listing.foreign = Some(name),
                Entry::Lock | Entry::Reserve | Entry::Cursors => {}
            }
        }
        Ok(listing)
    }
}

fn is_as_named(storage: &dyn Storage, name: &Name) -> bool {
    let page = storage.open(&name.file, false).and_then(|file| first_page(&*file));
    page.is_ok_and(|page| Header::decode(&page).is_ok_and(|header| (header.id, header.first) == (name.id, name.first)))
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

/// Reads the first page of a segment, or less if the file is shorter.
pub fn first_page(file: &dyn File) -> Result<Vec<u8>, Fault> {
    let mut page = vec![0; PAGE as usize];
    let n = file.read_at(&mut page, 0)?;
    page.truncate(n);
    Ok(page)
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
