//! The logs this process has open, so that opening a directory twice gives two handles on one writer.

use crate::log::state::LogState;
use crate::storage::dir_handle::Identity;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The log open at one place, and how many handles it has.
#[derive(Default)]
pub struct OpenLog {
    pub shared: Option<Arc<LogState>>,
    pub handles: usize,
}

/// One directory. Holding its tenant holds off every other opening and closing of that directory, and of no other.
#[derive(Default)]
pub struct DirectorySlot {
    tenant: Mutex<OpenLog>,
}

impl DirectorySlot {
    pub fn open_log(&self) -> MutexGuard<'_, OpenLog> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static PLACES: OnceLock<Mutex<HashMap<Identity, Arc<DirectorySlot>>>> = OnceLock::new();

pub fn place(identity: Identity) -> Arc<DirectorySlot> {
    let mut places = PLACES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody else holds these: their logs are closed.
    places.retain(|_, place| Arc::strong_count(place) > 1);
    places.entry(identity).or_default().clone()
}
