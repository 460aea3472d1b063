//! The file CURSORS: two slots, written in turn like those of CONTROL. To grow, it is replaced by a new file under the same name.

use super::codec::{choose, fits, is_fresh, slot_bytes, Slot, Table, MAGIC, MAX_SLOT_BYTES};
use crate::error::{Code, Error, Fault};
use crate::format::file_names::CURSORS;
use crate::format::page::BadPage;
use crate::storage::{FileRef, ShortWrite, Storage};
use crate::util::healing::On;
use std::sync::Arc;

/// Temporary name under which CURSORS is made.
pub const CREATING: &str = "spare-cursors";

/// Why a table was not written.
#[derive(Debug)]
pub enum Failure {
    /// Nothing has changed, and a later write may succeed, for example after the disk was full.
    Refused(Fault),
    /// The contents of the disk are unknown.
    Broken(Fault),
}

impl Failure {
    fn of(fault: Fault, on: On) -> Failure {
        if fault.heals(on) {
            Failure::Refused(fault)
        } else {
            Failure::Broken(fault)
        }
    }
}

/// Returns the failure of a sync, which is final whatever the reason.
fn broken(fault: Fault) -> Failure {
    Failure::Broken(fault)
}

fn short(short: ShortWrite, on: On) -> Failure {
    Failure::of(Fault { path: CURSORS.into(), ..short.fault }, on)
}

/// The open file, if there is one, with the table last written and the slot that has it.
pub struct Store {
    storage: Arc<dyn Storage>,
    uuid: [u8; 16],
    file: Option<FileRef>,
    /// The file's name may not be durable, because its directory may never have been synced.
    unnamed: bool,
    slot_bytes: u64,
    slot: u64,
    sequence: u64,
    table: Table,
}

/// Reads all bytes of CURSORS, and returns them with the file; `None` if there is none.
fn load(storage: &dyn Storage, write: bool) -> Result<Option<(FileRef, Vec<u8>)>, Fault> {
    let file = match storage.open(CURSORS, write) {
        Err(fault) if fault.is_not_found() => return Ok(None),
        other => other?,
    };
    // One byte more than the largest valid file shows that a file is too long.
    let mut bytes = vec![0; file.len()?.min(2 * MAX_SLOT_BYTES + 2) as usize];
    let n = file.read_at(&mut bytes, 0)?;
    bytes.truncate(n);
    Ok(Some((file, bytes)))
}

/// A writer at work may write to both slots during one read, but not during every one of these.
const LOOKS: usize = 16;

/// Reads all bytes of CURSORS for a copy, while a writer may be at work. Damaged bytes are returned as they are. `None` if there is no
/// file.
pub fn copy(storage: &dyn Storage) -> Result<Option<Vec<u8>>, Fault> {
    let mut bytes = None;
    for _ in 0..LOOKS {
        bytes = load(storage, false)?.map(|(_, bytes)| bytes);
        if bytes.as_ref().is_none_or(|bytes| choose(bytes).is_ok()) {
            break;
        }
    }
    Ok(bytes)
}

/// Returns the bytes of CURSORS for a copy of the log `uuid` that ends at `last`.
pub fn clamped(bytes: Vec<u8>, uuid: &[u8; 16], last: u64) -> Vec<u8> {
    let Ok((slot, _)) = judge(&bytes, uuid) else { return bytes };
    let table = slot.table.into_iter().map(|(name, position)| (name, position.min(last))).collect();
    Slot { sequence: 1, table, ..slot }.twice()
}

/// Converts the cursors in `bytes` of the log `from` to those of the log `to`, which ends at `last`. Returns the new bytes and the number
/// of cursors; `None` if `bytes` are damaged.
pub fn adopted(bytes: &[u8], from: &[u8; 16], to: [u8; 16], last: u64) -> Option<(Vec<u8>, u64)> {
    let (slot, _) = judge(bytes, from).ok()?;
    let table: Table = slot.table.into_iter().map(|(name, position)| (name, position.min(last))).collect();
    let count = table.len() as u64;
    Some((Slot { uuid: to, sequence: 1, slot_bytes: slot.slot_bytes, table }.twice(), count))
}

/// Returns the cursors of the log `uuid`, while a writer may be at work.
///
/// # Errors
/// The errors of `judge`, and `Io` if the disk fails to read.
pub fn list(storage: &dyn Storage, uuid: &[u8; 16]) -> Result<Table, Error> {
    copy(storage)?.map_or(Ok(Table::new()), |bytes| judge(&bytes, uuid).map(|(slot, _)| slot.table))
}

/// Fails if CURSORS of the log `uuid` cannot be used.
pub fn verify(storage: &dyn Storage, uuid: &[u8; 16]) -> Result<(), Error> {
    copy(storage)?.map_or(Ok(()), |bytes| judge(&bytes, uuid).map(|_| ()))
}

/// Decodes CURSORS of the log `uuid`.
///
/// # Errors
/// `Corrupt` if neither slot is good or they are another log's, `Format` for a newer version.
fn judge(bytes: &[u8], uuid: &[u8; 16]) -> Result<(Slot, u64), Error> {
    let corrupt = |text: &str| Error::new(Code::Corrupt, text).at(CURSORS, 0);
    match choose(bytes) {
        Ok((slot, _)) if slot.uuid != *uuid => Err(corrupt("CURSORS belongs to another log")),
        Ok(chosen) => Ok(chosen),
        Err(BadPage::Newer(version)) => {
            Err(Error::new(Code::Format, format!("CURSORS has format version {version}, which needs a newer version of forelog"))
                .at(CURSORS, 0))
        }
        Err(_) => Err(corrupt("CURSORS is damaged: neither of its slots is intact")),
    }
}

impl Store {
    pub fn empty(storage: Arc<dyn Storage>, uuid: [u8; 16]) -> Store {
        Store { storage, uuid, file: None, unnamed: false, slot_bytes: 0, slot: 0, sequence: 0, table: Table::new() }
    }

    /// Reads the cursors from the directory. Writes nothing.
    ///
    /// # Errors
    /// The errors of `judge`, and `Io` if the disk fails to read.
    pub fn read(storage: Arc<dyn Storage>, uuid: [u8; 16]) -> Result<Store, Error> {
        let Some((file, bytes)) = load(&*storage, true)? else { return Ok(Store::empty(storage, uuid)) };
        let (Slot { sequence, slot_bytes, table, .. }, slot) = judge(&bytes, &uuid)?;
        let unnamed = is_fresh(&bytes);
        Ok(Store { storage, uuid, file: Some(file), unnamed, slot_bytes, slot, sequence, table })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    fn encode(&self, sequence: u64, slot_bytes: u64, table: &Table) -> Vec<u8> {
        Slot { uuid: self.uuid, sequence, slot_bytes, table: table.clone() }.encode()
    }

    /// Writes the slot that was read once more, with the same bytes, and makes it durable. The slot may have come from a cache that never
    /// reached the disk, and later writes depend on it. If the file's name may not be durable either, makes a new file.
    pub fn confirm(&mut self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.unnamed {
            // Syncing the directory does not help: after a failed sync of it another one proves nothing.
            return self.replace(self.table.clone());
        }
        let bytes = self.encode(self.sequence, self.slot_bytes, &self.table);
        file.write_at(&bytes, self.slot * self.slot_bytes).map_err(|error| short(error, On::Named))?;
        file.sync().map_err(broken)
    }

    /// Makes `table` durable in place of the present one. With `both` the older slot is overwritten as well, so that rot in one slot brings
    /// nothing back.
    pub fn put(&mut self, table: Table, both: bool) -> Result<(), Failure> {
        let file = match &self.file {
            Some(file) if fits(&table, self.slot_bytes) => file.clone(),
            _ => return self.replace(table),
        };
        self.write(&file, &table)?;
        self.table = table;
        if both {
            let table = self.table.clone();
            match self.write(&file, &table) {
                // One slot has the table, durably.
                Ok(()) | Err(Failure::Refused(_)) => {}
                broken => return broken,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &FileRef, table: &Table) -> Result<(), Failure> {
        let bytes = self.encode(self.sequence + 1, self.slot_bytes, table);
        let at = (self.slot ^ 1) * self.slot_bytes;
        if let Err(error) = file.write_at(&bytes, at) {
            if error.written > 0 && error.fault.heals(On::Named) {
                // The file may have all bytes of the slot that count. They must not come back once the change has been rejected.
                file.write_at(&[0; MAGIC.len()], at).map_err(|again| broken(again.fault))?;
                file.sync().map_err(broken)?;
            }
            return Err(short(error, On::Named));
        }
        file.sync().map_err(broken)?;
        self.slot ^= 1;
        self.sequence += 1;
        Ok(())
    }

    /// Makes a new file, with its blocks allocated and written so that later writes need no space. The file gets its name only after its
    /// bytes are durable, and a second slot of its own only after its name is durable.
    fn replace(&mut self, table: Table) -> Result<(), Failure> {
        match self.storage.remove(CREATING) {
            Err(fault) if !fault.is_not_found() => return Err(Failure::of(fault, On::Unused)),
            _ => {}
        }
        let size = slot_bytes(&table).max(self.slot_bytes);
        let bytes = Slot { uuid: self.uuid, sequence: self.sequence + 1, slot_bytes: size, table: table.clone() }.twice();
        let made = self.storage.create(CREATING, 2 * size).map_err(|fault| Failure::of(fault, On::Spare));
        let written = made.and_then(|file| file.write_at(&bytes, 0).map_err(|error| short(error, On::Spare)).map(|()| file));
        let file = written.inspect_err(|_| drop(self.storage.remove(CREATING)))?;
        file.sync().map_err(broken)?;
        // Not every system can rename over an open file.
        let had = self.file.take().is_some();
        if let Err(fault) = self.storage.rename(CREATING, CURSORS) {
            let _ = self.storage.remove(CREATING);
            // If it cannot be opened, the next change makes a new file again.
            self.file = had.then(|| self.storage.open(CURSORS, true).ok()).flatten();
            return Err(Failure::of(fault, On::Name));
        }
        self.storage.sync_dir().map_err(broken)?;
        (self.file, self.slot_bytes, self.slot) = (Some(file.clone()), size, 0);
        (self.sequence, self.table) = (self.sequence + 1, table.clone());
        match self.write(&file, &table) {
            Ok(()) => self.unnamed = false,
            // The only effect is that the next opening makes another file.
            Err(Failure::Refused(_)) => {}
            Err(broken) => return Err(broken),
        }
        Ok(())
    }
}
