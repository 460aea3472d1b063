//! The open CONTROL file: two slots written in turn, and the page for readers in other processes.

use crate::error::Fault;
use crate::format::control::{ControlState, FILE_BYTES};
use crate::format::file_names::CONTROL;
use crate::format::horizon::{self, Horizon};
use crate::storage::{FileRef, ShortWrite, Storage};
use crate::util::limits::PAGE;

/// The name under which CONTROL is made.
pub const CREATING: &str = "spare-control";

/// Makes CONTROL, through a spare, so that it has its name only with its bytes durable.
pub fn create_control(storage: &dyn Storage, state: &ControlState) -> Result<FileRef, Fault> {
    let file = storage.create(CREATING, FILE_BYTES)?;
    file.write_at(&state.encode(), 0).map_err(|short| short.fault)?;
    file.sync()?;
    storage.rename(CREATING, CONTROL)?;
    storage.sync_dir()?;
    Ok(file)
}

/// The open CONTROL file: the state last written and the slot it went to.
pub struct Control {
    file: FileRef,
    state: ControlState,
    slot: u64,
    retired: bool,
}

impl Control {
    pub fn new(file: FileRef, state: ControlState, slot: u64) -> Control {
        Control { file, state, slot, retired: false }
    }

    /// Ends all writing, late background jobs included.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    pub fn is_retired(&self) -> bool {
        self.retired
    }

    pub fn file(&self) -> &FileRef {
        &self.file
    }

    pub fn state(&self) -> &ControlState {
        &self.state
    }

    /// Writes the slot that was read once more, same bytes, and makes it durable: it may have come from a cache that
    /// never reached the disk, and everything that follows rests on it.
    pub fn confirm(&mut self) -> Result<(), Fault> {
        self.put(self.slot, &self.state.clone()).map_err(|short| short.fault)
    }

    /// Writes the changed state to the other slot and makes it durable.
    ///
    /// # Errors
    /// The state is as before and still stands in its slot. Where bytes of the change were written, the next opening may find
    /// the change all the same, until another one is written over it.
    pub fn update(&mut self, change: impl FnOnce(&mut ControlState)) -> Result<(), ShortWrite> {
        let mut next = self.state.clone();
        change(&mut next);
        next.sequence += 1;
        let slot = self.slot ^ 1;
        self.put(slot, &next)?;
        self.slot = slot;
        self.state = next;
        Ok(())
    }

    /// What the last writer said to readers in other processes; `None` when it cannot be told.
    pub fn horizon(&self) -> Option<Horizon> {
        Horizon::read(&*self.file).ok().flatten()
    }

    /// Tells them how far the log is now. Not synced: nothing of recovery rests on it.
    pub fn put_horizon(&self, horizon: &Horizon) -> Result<(), Fault> {
        if self.retired {
            return Ok(());
        }
        self.file.write_at(&horizon.encode(), horizon::OFFSET).map_err(|short| short.fault)
    }

    fn put(&self, slot: u64, state: &ControlState) -> Result<(), ShortWrite> {
        let named = |short: ShortWrite| ShortWrite { fault: Fault { path: CONTROL.into(), ..short.fault }, ..short };
        self.file.write_at(&state.encode(), slot * PAGE).map_err(named)?;
        self.file.sync().map_err(|fault| ShortWrite { written: PAGE as usize, fault })
    }
}
