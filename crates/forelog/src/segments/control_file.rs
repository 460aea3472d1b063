//! The open CONTROL file: two slots that are written in turn, and the horizon page for readers in other processes.

use crate::error::Fault;
use crate::format::control::{ControlState, Mark, FILE_BYTES};
use crate::format::file_names::CONTROL;
use crate::format::horizon::{self, Horizon};
use crate::storage::{File, FileRef, ShortWrite, Storage};
use crate::util::limits::PAGE;
use crate::util::locks::locked;
use std::sync::{Arc, Mutex};

/// The temporary name under which CONTROL is created.
pub const CREATING: &str = "spare-control";

/// How many times the horizon page is read before a reader gives up on a torn one. Writing one page takes far less time than this many
/// reads.
const READINGS: usize = 16;

/// Reads the horizon page from CONTROL. Returns `None` if there is no valid page.
pub fn read_horizon(control: &dyn File) -> Result<Option<Horizon>, Fault> {
    let mut page = vec![0; PAGE as usize];
    for _ in 0..READINGS {
        let n = control.read_at(&mut page, horizon::OFFSET)?;
        match Horizon::decode(&page[..n]) {
            Some(horizon) => return Ok(Some(horizon)),
            None if page[..n].iter().all(|b| *b == 0) => return Ok(None),
            None => std::thread::yield_now(),
        }
    }
    Ok(None)
}

/// Creates CONTROL under a temporary name and renames it, so that the file has its final name only once its contents are
/// durable.
pub fn create_control(storage: &dyn Storage, state: &ControlState) -> Result<FileRef, Fault> {
    let file = storage.create(CREATING, FILE_BYTES)?;
    file.write_at(&state.encode(), 0).map_err(|short| short.fault)?;
    file.sync()?;
    storage.rename(CREATING, CONTROL)?;
    storage.sync_dir()?;
    Ok(file)
}

/// The open CONTROL file, with the state that was last written and the slot that holds it.
pub struct Control {
    file: FileRef,
    state: ControlState,
    slot: u64,
    /// Set by [`Control::retire`].
    retired: bool,
}

impl Control {
    pub fn new(file: FileRef, state: ControlState, slot: u64) -> Control {
        Control { file, state, slot, retired: false }
    }

    /// Ends writing by background jobs, also by those that are late. [`Control::put_horizon`] does nothing from then on,
    /// and the job that writes the durable mark checks [`Control::is_retired`].
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

    /// Rewrites the slot that was read, with the same bytes, and makes it durable.
    ///
    /// The slot may have come from a page cache whose contents never reached the disk, and everything that follows depends
    /// on it.
    pub fn confirm(&mut self) -> Result<(), Fault> {
        self.put(self.slot, &self.state.clone()).map_err(|short| short.fault)
    }

    /// Writes the changed state to the other slot and makes it durable.
    ///
    /// # Errors
    /// The state in memory is unchanged, and its slot is intact. If bytes of the changed state were written, the next
    /// opening may still find the change, until another one overwrites it.
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

    /// Returns the horizon page as it was last written, or `None` if it cannot be read.
    pub fn horizon(&self) -> Option<Horizon> {
        read_horizon(&*self.file).ok().flatten()
    }

    /// Writes the horizon page for readers in other processes. The page is not synced, because recovery does not use it.
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

/// A job that writes a durable mark to CONTROL. It blocks and runs off the commit path.
pub struct MarkJob {
    pub control: Arc<Mutex<Control>>,
    pub mark: Mark,
}

impl MarkJob {
    pub fn run(&self) -> Result<(), Fault> {
        let mut control = locked(&self.control);
        let known = control.state();
        // A roll may have overtaken this job, and another mark may be at a higher offset already: a mark only ever advances.
        let stale = control.is_retired()
            || known.active != self.mark.segment
            || known.mark.is_some_and(|m| m.segment == self.mark.segment && m.offset >= self.mark.offset);
        if stale {
            return Ok(());
        }
        control.update(|state| state.mark = Some(self.mark)).map_err(|short| short.fault)
    }
}
