//! The logs that this process has open. Opening a directory twice gives two handles on one writer.

use crate::log::state::LogState;
use crate::storage::dir_handle::Identity;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The log that is open in a directory, and the number of its handles.
#[derive(Default)]
pub struct OpenLog {
    pub shared: Option<Arc<LogState>>,
    pub handles: usize,
}

/// A directory. The lock on its [`OpenLog`] excludes every other opening and closing of this directory, and of no other.
#[derive(Default)]
pub struct DirectorySlot {
    open: Mutex<OpenLog>,
}

impl DirectorySlot {
    pub fn open_log(&self) -> MutexGuard<'_, OpenLog> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static SLOTS: OnceLock<Mutex<HashMap<Identity, Arc<DirectorySlot>>>> = OnceLock::new();

/// Returns the slot of a directory.
pub fn slot(identity: Identity) -> Arc<DirectorySlot> {
    let mut slots = SLOTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    // Slots without another owner belong to closed logs.
    slots.retain(|_, slot| Arc::strong_count(slot) > 1);
    slots.entry(identity).or_default().clone()
}
