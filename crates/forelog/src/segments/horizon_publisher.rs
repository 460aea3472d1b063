//! Writes the horizon page, through which readers in other processes learn how far the log is acknowledged.

use crate::format::horizon::Horizon;
use crate::segments::control_file::Control;
use crate::storage::Storage;
use std::sync::{Mutex, TryLockError};

/// Writes the horizon page of one open log. Only a commit thread uses it.
#[derive(Default)]
pub struct Publisher {
    last: Option<Horizon>,
    generation: u64,
    kept: u64,
}

impl Publisher {
    /// Continues from the page `left` by an earlier writer.
    ///
    /// If that writer had acknowledged more than the log holds now, or if there is no valid page, positions may be used
    /// twice, and a new generation starts. A failed fsync, for example, can lose acknowledged records that were never
    /// durable.
    pub fn resume(storage: &dyn Storage, left: Option<Horizon>, uuid: &[u8; 16], end: u64) -> Publisher {
        match left.filter(|h| h.uuid == *uuid) {
            Some(left) if left.acknowledged.position <= end => {
                let (generation, kept) = (left.generation, left.kept);
                Publisher { last: Some(left), generation, kept }
            }
            Some(left) => Publisher { generation: left.generation + 1, kept: end, last: Some(left) },
            None => {
                let mut random = [0; 4];
                // The generation only has to differ from the one that a reader remembers. Without random numbers it very
                // probably still does.
                let _ = storage.random(&mut random);
                Publisher { last: None, generation: 1 + u64::from(u32::from_le_bytes(random)), kept: end }
            }
        }
    }

    /// Starts a new generation because the positions above `last` were taken back. If the current generation has not been
    /// published yet, it covers this truncation too.
    pub fn truncate(&mut self, last: u64) {
        let is_published = self.last.as_ref().is_some_and(|last| last.generation == self.generation);
        self.kept = if is_published { last } else { self.kept.min(last) };
        self.generation += u64::from(is_published);
    }

    /// Whether the published page differs from `now`. The sequence and the generation of `now` are ignored.
    pub fn is_behind(&self, now: &Horizon) -> bool {
        self.last.as_ref() != Some(&self.stamped(now, self.sequence()))
    }

    fn sequence(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.sequence)
    }

    fn stamped(&self, now: &Horizon, sequence: u64) -> Horizon {
        Horizon { sequence, generation: self.generation, kept: self.kept, ..now.clone() }
    }

    /// Writes the page, unless CONTROL is being synced: the write might then wait for the disk. Errors are ignored, because
    /// only readers in other processes use the page, and they merely lag behind.
    pub fn publish(&mut self, control: &Mutex<Control>, now: &Horizon) {
        let control = match control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let next = self.stamped(now, self.sequence() + 1);
        if control.put_horizon(&next).is_ok() {
            self.last = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::horizon::sample;
    use crate::testing::sim::SimDisk;

    #[test]
    fn a_writer_that_finds_fewer_records_than_were_acknowledged_starts_another_generation() {
        let (disk, left) = (SimDisk::new(1, 512), sample());
        let same = Publisher::resume(&disk, Some(left.clone()), &left.uuid, 40);
        assert_eq!((same.generation, same.kept), (2, 30));
        let less = Publisher::resume(&disk, Some(left.clone()), &left.uuid, 38);
        assert_eq!((less.generation, less.kept), (3, 38));
        let foreign = Publisher::resume(&disk, Some(left), &[8; 16], 40);
        assert_eq!((foreign.sequence(), foreign.kept), (0, 40));
    }
}
