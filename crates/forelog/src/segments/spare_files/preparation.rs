//! Prepares spares in the background, one preparation at a time.

use super::{Spare, SpareFiles};
use crate::error::Fault;

/// Bytes of a new spare that are filled per step. Each step is synced separately, so that none delays a commit for long.
const STEP: usize = 1 << 20;

impl SpareFiles {
    /// Starts a preparation, unless one is running or the log is closed.
    pub(super) fn begin(&self) -> Option<Preparation<'_>> {
        let mut inventory = self.inventory();
        if inventory.preparing || inventory.closed {
            return None;
        }
        inventory.preparing = true;
        Some(Preparation(self))
    }

    /// Makes a spare ready, blocking, and fills a new one with zeroes if `fill` is set. After a failure the next roll
    /// creates its own file.
    pub fn prepare(&self, fill: bool) {
        let Some(_under_way) = self.begin() else { return };
        if self.recycle_all() {
            self.prepare_new(fill);
        } else {
            // A roll on a full disk may have used up the reserve. If there is still no space, nothing changes.
            self.remake_reserve();
        }
    }

    /// Prepares all queued files, and returns whether a new file is still needed.
    fn recycle_all(&self) -> bool {
        loop {
            let name = {
                let mut inventory = self.inventory();
                if inventory.closed {
                    return false;
                }
                match inventory.to_recycle.pop() {
                    Some(name) => name,
                    None => return inventory.ready.is_empty(),
                }
            };
            if !self.recycle(name) {
                return false;
            }
        }
    }

    fn prepare_new(&self, fill: bool) {
        let made = self.create(self.segment_bytes);
        self.remake_reserve();
        let whole = !fill || made.as_ref().is_ok_and(|spare| self.fill(spare).unwrap_or(false));
        let mut inventory = self.inventory();
        if let Ok(spare) = made {
            if whole && !inventory.closed {
                inventory.ready.push(Spare { filled: fill || spare.filled, ..spare });
            } else {
                let _ = self.storage.remove(&spare.name);
            }
        }
    }

    /// Fills a spare with zeroes. Returns false if the log was closed meanwhile.
    fn fill(&self, spare: &Spare) -> Result<bool, Fault> {
        if spare.filled {
            return Ok(true);
        }
        let zeroes = vec![0; STEP];
        let mut at = 0;
        while at < spare.len {
            if self.inventory().closed {
                return Ok(false);
            }
            let step = (spare.len - at).min(STEP as u64);
            spare.file.write_at(&zeroes[..step as usize], at).map_err(|short| short.fault)?;
            spare.file.sync()?;
            at += step;
        }
        Ok(true)
    }
}

/// A preparation that is running. However it ends, dropping it wakes the threads that wait for it.
pub struct Preparation<'s>(&'s SpareFiles);

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        let mut inventory = self.0.inventory();
        inventory.preparing = false;
        inventory.prepared += 1;
        self.0.idle.notify_all();
    }
}
