//! The open logs of an environment. JavaScript refers to a log by its number.

use crate::wake::{LogNotify, WakeState};
use forelog::{Code, Error, Wal};
use std::cell::RefCell;
use std::sync::Arc;

/// A log, from the request to open it until it is forgotten.
struct LogSlot {
    notify: Arc<LogNotify>,
    wal: Option<Arc<Wal>>,
}

/// The logs of one environment, by number.
#[derive(Default)]
pub struct Logs(RefCell<Vec<Option<LogSlot>>>);

impl Logs {
    /// Reserves a number for a log that is about to be opened.
    pub fn reserve(&self, shared: &Arc<WakeState>) -> (u32, Arc<LogNotify>) {
        let mut slots = self.0.borrow_mut();
        let index = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        let notify = Arc::new(LogNotify::new(shared.clone(), index as u32));
        let slot = Some(LogSlot { notify: notify.clone(), wal: None });
        match slots.get_mut(index) {
            Some(free) => *free = slot,
            None => slots.push(slot),
        }
        (index as u32, notify)
    }

    /// Stores the log for which a number was reserved.
    pub fn opened(&self, log: u32, wal: Wal) {
        if let Some(Some(slot)) = self.0.borrow_mut().get_mut(log as usize) {
            slot.wal = Some(Arc::new(wal));
        }
    }

    /// Frees the number of a log.
    pub fn free(&self, log: u32) {
        let slot = self.0.borrow_mut().get_mut(log as usize).and_then(Option::take);
        drop(slot);
    }

    pub fn get(&self, log: u32) -> Option<Arc<Wal>> {
        self.0.borrow().get(log as usize)?.as_ref()?.wal.clone()
    }

    /// Calls `call` with an open log.
    pub fn with<T>(&self, log: u32, call: impl FnOnce(&Wal) -> forelog::Result<T>) -> Result<T, Error> {
        match self.0.borrow().get(log as usize) {
            Some(Some(LogSlot { wal: Some(wal), .. })) => call(wal),
            _ => Err(Error::new(Code::Closed, "the log is closed")),
        }
    }

    /// Takes a log that has something to settle.
    pub fn next_ready(&self, shared: &WakeState) -> Option<u32> {
        let log = shared.take_ready_log()?;
        if let Some(Some(slot)) = self.0.borrow().get(log as usize) {
            slot.notify.taken();
        }
        Some(log)
    }

    /// Takes all open logs, when the environment ends.
    pub fn take_all(&self) -> Vec<Arc<Wal>> {
        let slots = std::mem::take(&mut *self.0.borrow_mut());
        slots.into_iter().flatten().filter_map(|slot| slot.wal).collect()
    }
}
