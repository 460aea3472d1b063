//! The file CURSORS: two slots, written in turn, like CONTROL's. It grows by a new file under the same name.

use super::codec::{choose, fits, is_fresh, slot_bytes, Slot, Table, MAGIC, MAX_SLOT_BYTES};
use crate::error::{Code, Error, Fault};
use crate::format::file_names::CURSORS;
use crate::format::page::BadPage;
use crate::storage::{FileRef, ShortWrite, Storage};
use crate::util::healing::On;
use std::sync::Arc;

/// The name under which CURSORS is made.
pub const CREATING: &str = "spare-cursors";

/// Why a table was not written.
#[derive(Debug)]
pub enum Failure {
    /// Everything is as before, and a later write may succeed: the disk is full, or the like.
    Refused(Fault),
    /// What is on the disk is unknown.
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

/// A sync that failed is final, whatever the reason.
fn broken(fault: Fault) -> Failure {
    Failure::Broken(fault)
}

fn short(short: ShortWrite, on: On) -> Failure {
    Failure::of(Fault { path: CURSORS.into(), ..short.fault }, on)
}

/// The open file, or none yet: the table last written and the slot it went to.
pub struct Store {
    storage: Arc<dyn Storage>,
    uuid: [u8; 16],
    file: Option<FileRef>,
    /// Nothing proves the file's name: its directory may never have been synced.
    unnamed: bool,
    slot_bytes: u64,
    slot: u64,
    sequence: u64,
    table: Table,
}

/// All bytes of CURSORS, and the file; `None` when there is none.
fn load(storage: &dyn Storage, write: bool) -> Result<Option<(FileRef, Vec<u8>)>, Fault> {
    let file = match storage.open(CURSORS, write) {
        Err(fault) if fault.is_not_found() => return Ok(None),
        other => other?,
    };
    // Longer than any there can be: one byte more shows that.
    let mut bytes = vec![0; file.len()?.min(2 * MAX_SLOT_BYTES + 2) as usize];
    let n = file.read_at(&mut bytes, 0)?;
    bytes.truncate(n);
    Ok(Some((file, bytes)))
}

/// A writer at work may have written to both slots during one look, but not during every one of these.
const LOOKS: usize = 16;

/// All bytes of CURSORS for a copy, beside a writer; damaged ones as they are. `None` when there is none.
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

/// What a copy of the log `uuid` has for CURSORS when it ends at `last`.
pub fn clamped(bytes: Vec<u8>, uuid: &[u8; 16], last: u64) -> Vec<u8> {
    let Ok((slot, _)) = judge(&bytes, uuid) else { return bytes };
    let table = slot.table.into_iter().map(|(name, position)| (name, position.min(last))).collect();
    Slot { sequence: 1, table, ..slot }.twice()
}

/// The cursors that `bytes` of the log `from` hold, as the log `to` has them when it ends at `last`, and how many they are.
/// `None` when the bytes do not hold.
pub fn adopted(bytes: &[u8], from: &[u8; 16], to: [u8; 16], last: u64) -> Option<(Vec<u8>, u64)> {
    let (slot, _) = judge(bytes, from).ok()?;
    let table: Table = slot.table.into_iter().map(|(name, position)| (name, position.min(last))).collect();
    let count = table.len() as u64;
    Some((Slot { uuid: to, sequence: 1, slot_bytes: slot.slot_bytes, table }.twice(), count))
}

/// The cursors of the log `uuid` as they stand in the directory, beside a writer too.
///
/// # Errors
/// Like `judge`, and `Io` when the disk does not read.
pub fn list(storage: &dyn Storage, uuid: &[u8; 16]) -> Result<Table, Error> {
    copy(storage)?.map_or(Ok(Table::new()), |bytes| judge(&bytes, uuid).map(|(slot, _)| slot.table))
}

/// Why CURSORS of the log `uuid` cannot be used, if so.
pub fn verify(storage: &dyn Storage, uuid: &[u8; 16]) -> Result<(), Error> {
    copy(storage)?.map_or(Ok(()), |bytes| judge(&bytes, uuid).map(|_| ()))
}

/// What stands in CURSORS of the log `uuid`.
///
/// # Errors
/// `Corrupt` when neither slot holds or they are another log's, `Format` for a newer version.
fn judge(bytes: &[u8], uuid: &[u8; 16]) -> Result<(Slot, u64), Error> {
    let corrupt = |text: &str| Error::new(Code::Corrupt, text).at(CURSORS, 0);
    match choose(bytes) {
        Ok((slot, _)) if slot.uuid != *uuid => Err(corrupt("CURSORS is another log's")),
        Ok(chosen) => Ok(chosen),
        Err(BadPage::Newer(version)) => {
            Err(Error::new(Code::Format, format!("CURSORS has format version {version}, which a newer forelog reads")).at(CURSORS, 0))
        }
        Err(_) => Err(corrupt("CURSORS is damaged: neither of its slots holds")),
    }
}

impl Store {
    pub fn empty(storage: Arc<dyn Storage>, uuid: [u8; 16]) -> Store {
        Store { storage, uuid, file: None, unnamed: false, slot_bytes: 0, slot: 0, sequence: 0, table: Table::new() }
    }

    /// The cursors as they stand in the directory; nothing is written.
    ///
    /// # Errors
    /// Like `judge`, and `Io` when the disk does not read.
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

    /// Writes the slot that was read once more, same bytes, and makes it durable: it may have come from a cache that
    /// never reached the disk, and what follows rests on it. So may the file's name: then there is a new file.
    pub fn confirm(&mut self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.unnamed {
            // Not by syncing the directory: after a failed sync of it another one proves nothing.
            return self.replace(self.table.clone());
        }
        let bytes = self.encode(self.sequence, self.slot_bytes, &self.table);
        file.write_at(&bytes, self.slot * self.slot_bytes).map_err(|cut| short(cut, On::Named))?;
        file.sync().map_err(broken)
    }

    /// Makes `table` durable in place of the one there is. With `both` the older slot goes too: a slot that rots then
    /// brings nothing back.
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
                // One slot has it, durably.
                Ok(()) | Err(Failure::Refused(_)) => {}
                broken => return broken,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &FileRef, table: &Table) -> Result<(), Failure> {
        let bytes = self.encode(self.sequence + 1, self.slot_bytes, table);
        let at = (self.slot ^ 1) * self.slot_bytes;
        if let Err(cut) = file.write_at(&bytes, at) {
            if cut.written > 0 && cut.fault.heals(On::Named) {
                // All of it that counts may be there: it must not come back once it has been rejected.
                file.write_at(&[0; MAGIC.len()], at).map_err(|again| broken(again.fault))?;
                file.sync().map_err(broken)?;
            }
            return Err(short(cut, On::Named));
        }
        file.sync().map_err(broken)?;
        self.slot ^= 1;
        self.sequence += 1;
        Ok(())
    }

    /// A new file, with its blocks allocated and written so that later writes need no space. It has its name only with
    /// its bytes durable, and a second slot of its own only with its name durable.
    fn replace(&mut self, table: Table) -> Result<(), Failure> {
        match self.storage.remove(CREATING) {
            Err(fault) if !fault.is_not_found() => return Err(Failure::of(fault, On::Unused)),
            _ => {}
        }
        let size = slot_bytes(&table).max(self.slot_bytes);
        let bytes = Slot { uuid: self.uuid, sequence: self.sequence + 1, slot_bytes: size, table: table.clone() }.twice();
        let made = self.storage.create(CREATING, 2 * size).map_err(|fault| Failure::of(fault, On::Spare));
        let written = made.and_then(|file| file.write_at(&bytes, 0).map_err(|cut| short(cut, On::Spare)).map(|()| file));
        let file = written.inspect_err(|_| drop(self.storage.remove(CREATING)))?;
        file.sync().map_err(broken)?;
        // Not every system renames over a file that is open.
        let had = self.file.take().is_some();
        if let Err(fault) = self.storage.rename(CREATING, CURSORS) {
            let _ = self.storage.remove(CREATING);
            // Without it the next change makes a new file again.
            self.file = had.then(|| self.storage.open(CURSORS, true).ok()).flatten();
            return Err(Failure::of(fault, On::Name));
        }
        self.storage.sync_dir().map_err(broken)?;
        (self.file, self.slot_bytes, self.slot) = (Some(file.clone()), size, 0);
        (self.sequence, self.table) = (self.sequence + 1, table.clone());
        match self.write(&file, &table) {
            Ok(()) => self.unnamed = false,
            // The next opening makes another file, that is all.
            Err(Failure::Refused(_)) => {}
            Err(broken) => return Err(broken),
        }
        Ok(())
    }
}
