//! Spares: files prepared in the background for the next roll. A spare is the recycled file of a truncated segment, or a
//! new file that is allocated and, if that pays, filled with zeroes.
//!
//! Overwriting blocks that were written before syncs faster than extending a file or filling allocated holes.

use crate::error::Fault;
use crate::format::file_names::{RESERVE, SPARE};
use crate::segments::growth::first_len;
use crate::storage::{FileRef, Storage};
use crate::util::limits::PAGE;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

mod preparation;
mod reserve;

use reserve::Reserve;

/// How many files are kept for later rolls: one for the next, and another one for bursts of truncations. The files of other
/// truncated segments are deleted.
const STOCK: usize = 2;

/// Smallest size of a segment's file on a nearly full disk, unless the roll needs more.
const SMALLEST: u64 = 256 << 10;

/// A file that a roll can take.
pub struct Spare {
    pub name: String,
    pub file: FileRef,
    pub len: u64,
    /// The length to which the file may grow.
    pub room: u64,
    /// The file may hold bytes of an earlier use.
    pub recycled: bool,
    /// All blocks of the file have been written, or this storage gains nothing from that.
    pub filled: bool,
}

#[derive(Default)]
struct Inventory {
    ready: Vec<Spare>,
    /// Names of the files of truncated segments that have not been examined yet. They lost their earlier names durably.
    to_recycle: Vec<String>,
    preparing: bool,
    /// Number of preparations that have ended.
    prepared: u64,
    closed: bool,
    /// A record has been appended. Until then only small files are made.
    awake: bool,
    /// `reserve` exists, or creating it was attempted.
    reserved: bool,
    /// The log is being closed cleanly. When it is opened again it continues in place, and needs no `reserve` for that.
    unneeded: bool,
}

impl Inventory {
    fn take(&mut self, need: u64) -> Option<Spare> {
        let at = self.ready.iter().position(|spare| spare.len >= need)?;
        Some(self.ready.remove(at))
    }
}

/// The spares and the reserve of one open log.
pub struct SpareFiles {
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    inventory: Mutex<Inventory>,
    /// Never locked at the same time as `inventory`.
    reserve: Mutex<Reserve>,
    idle: Condvar,
}

impl SpareFiles {
    pub fn new(storage: Arc<dyn Storage>, segment_bytes: u64) -> SpareFiles {
        SpareFiles { storage, segment_bytes, inventory: Mutex::default(), reserve: Mutex::default(), idle: Condvar::new() }
    }

    fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many more files of truncated segments can be kept for recycling.
    pub fn room(&self) -> usize {
        let inventory = self.inventory();
        let kept = inventory.ready.len() + inventory.to_recycle.len() + usize::from(inventory.preparing);
        if inventory.closed || !self.storage.recycles() {
            0
        } else {
            STOCK.saturating_sub(kept)
        }
    }

    /// Whether a file of this size can be recycled. A much larger file is deleted instead of being shrunk.
    pub fn takes(&self, len: u64) -> bool {
        let want = self.segment_bytes;
        (want - want / 8..=want * 2).contains(&len)
    }

    #[cfg(any(test, feature = "sim"))]
    pub fn has_recycled(&self) -> bool {
        let inventory = self.inventory();
        !inventory.to_recycle.is_empty() || inventory.ready.iter().any(|spare| spare.recycled)
    }

    /// Queues files of truncated segments for recycling, under the names that they have now. The loss of their earlier
    /// names must be durable: if a crash brought one back, the segment would have the bytes of another one.
    pub fn queue_for_recycling(&self, names: Vec<String>) {
        self.inventory().to_recycle.extend(names);
    }

    /// Returns a spare of at least `need` bytes: one that is ready, or a new one. If none can be created, returns the
    /// reserve.
    pub fn take(&self, need: u64) -> Result<Spare, Fault> {
        loop {
            let prepared = self.inventory().prepared;
            match self.take_now(need) {
                Err(fault) if fault.is_no_space() && self.has_prepared_since(prepared) => {}
                taken => return taken,
            }
        }
    }

    /// Waits for a preparation that is running, and returns whether one has ended since `prepared` was read. The file that
    /// it examines may take up all the remaining space.
    fn has_prepared_since(&self, prepared: u64) -> bool {
        self.await_preparation().prepared != prepared
    }

    fn await_preparation(&self) -> MutexGuard<'_, Inventory> {
        let mut inventory = self.inventory();
        while inventory.preparing {
            inventory = self.idle.wait(inventory).unwrap_or_else(PoisonError::into_inner);
        }
        inventory
    }

    fn take_now(&self, need: u64) -> Result<Spare, Fault> {
        loop {
            let name = {
                let mut inventory = self.inventory();
                // Spares that are too small stay for a later segment: this one is larger than usual.
                if let Some(spare) = inventory.take(need) {
                    return Ok(spare);
                }
                inventory.to_recycle.pop()
            };
            let Some(name) = name else { break };
            if !self.recycle(name) {
                break;
            }
        }
        let awake = self.inventory().awake;
        let mut len = need.max(if awake { self.segment_bytes } else { first_len(self.segment_bytes) });
        loop {
            let fault = match self.create(len) {
                Ok(spare) if !awake => return Ok(Spare { room: len.max(self.segment_bytes), ..spare }),
                Ok(spare) => return Ok(spare),
                Err(fault) => fault,
            };
            let (fit, small) = {
                let mut inventory = self.inventory();
                // Meanwhile a spare may have been made ready, out of the last free space.
                let fit = inventory.take(need);
                let crowded = fit.is_none() && fault.is_no_space();
                let small = if crowded { std::mem::take(&mut inventory.ready) } else { Vec::new() };
                (fit, small)
            };
            // Spares kept for later take up space that is needed now.
            for spare in &small {
                let _ = self.storage.remove(&spare.name);
            }
            match fit {
                Some(spare) => return Ok(spare),
                None if !small.is_empty() => {}
                // A nearly full disk may still have room for a smaller segment, and a limit on file sizes may permit one.
                None if fault.wants_room() && len > need.max(SMALLEST) => len = need.max(SMALLEST).max(len / 4),
                None => return self.take_reserve(need).ok().flatten().ok_or(fault),
            }
        }
    }

    /// Returns an unused name for a spare.
    pub fn name(&self) -> Result<String, Fault> {
        let mut salt = [0; 8];
        self.storage.random(&mut salt)?;
        Ok(format!("{SPARE}{:016x}", u64::from_le_bytes(salt)))
    }

    /// Makes a spare of the file of a truncated segment, or deletes it. If no descriptor is left to open the file, it is
    /// queued again and false is returned.
    fn recycle(&self, name: String) -> bool {
        let spare = match self.try_recycle(&name) {
            Err(fault) if fault.is_out_of_descriptors() => {
                self.inventory().to_recycle.push(name);
                return false;
            }
            fit => fit.ok().flatten(),
        };
        if spare.is_none() {
            let _ = self.storage.remove(&name);
        }
        self.inventory().ready.extend(spare);
        true
    }

    /// Notes that a roll has renamed the spare `name` into place.
    pub fn used(&self, name: &str) {
        if name == RESERVE {
            *self.reserve() = Reserve::default();
        }
    }

    /// Takes a spare back from a roll that could not rename it into place. If it `is_good`, it is kept for the next roll.
    /// Otherwise it is deleted: on a full disk its space matters more than the file.
    pub fn take_back(&self, spare: Spare, is_good: bool) {
        if spare.name == RESERVE {
            let file = Some(spare.file).filter(|file| file.link_count() != Some(0));
            *self.reserve() = Reserve { file, is_taken: false };
        } else if is_good {
            self.inventory().ready.push(spare);
        } else {
            let _ = self.storage.remove(&spare.name);
        }
    }

    fn try_recycle(&self, name: &str) -> Result<Option<Spare>, Fault> {
        let file = self.storage.open(name, true)?;
        let (len, want) = (file.len()?, self.segment_bytes);
        // A backup may share the file by a hard link. None can begin to now: the name that it would link is gone.
        if file.link_count() != Some(1) || !self.takes(len) {
            return Ok(None);
        }
        if len > want {
            file.shrink(want);
        } else if len < want {
            file.grow(len, want)?;
        }
        // After this sync no earlier write to the file is still on its way to the disk.
        file.sync()?;
        let len = file.len()?;
        Ok((len == want).then(|| Spare { name: name.into(), file, len, room: len, recycled: true, filled: true }))
    }

    fn create(&self, len: u64) -> Result<Spare, Fault> {
        // If the name is taken, `create` fails. It never overwrites a file.
        let name = self.name()?;
        let file = self.storage.create(&name, len)?;
        Ok(Spare { name, file, len, room: len, recycled: false, filled: !self.storage.overwrites_in_place() })
    }

    /// Whether [`SpareFiles::prepare`] has work to do. `soon` says that the next roll is near.
    pub fn needs_preparation(&self, soon: bool) -> bool {
        let inventory = self.inventory();
        !inventory.preparing && !inventory.closed && (!inventory.to_recycle.is_empty() || soon && inventory.ready.is_empty())
    }

    /// Notes that the log is being written to. From now on files are made in their full size.
    pub fn wake(&self) {
        self.inventory().awake = true;
    }

    /// Ends preparation and deletes all spares, and also `reserve` if it is not needed.
    pub fn close(&self) {
        self.inventory().closed = true;
        self.reserve().file = None;
        let mut inventory = self.await_preparation();
        let ready = std::mem::take(&mut inventory.ready).into_iter().map(|spare| spare.name);
        let reserve = inventory.unneeded.then(|| RESERVE.to_owned());
        for name in ready.chain(std::mem::take(&mut inventory.to_recycle)).chain(reserve) {
            let _ = self.storage.remove(&name);
        }
    }
}

/// Returns the size of the smallest file that can hold a header and `carried` bytes of frames.
pub fn least_len(carried: u64) -> u64 {
    PAGE + carried + PAGE
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::storage::disk::Disk;
    use crate::storage::layer::{Layer, Layered};
    use crate::storage::File;
    use crate::testing::sim::{Faults, SimDisk};
    #[cfg(unix)]
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Runs out of space while it allocates a file, and records whether a reserve existed at that moment.
    #[cfg(unix)]
    #[derive(Default)]
    struct Full(AtomicBool);

    #[cfg(unix)]
    impl Layer for Full {
        fn create(&self, below: &dyn Storage, name: &str, len: u64) -> Result<FileRef, Fault> {
            below.create(name, len)?;
            self.0.store(below.open(RESERVE, false).is_ok(), Ordering::Relaxed);
            below.remove(name)?;
            Err(Fault::new("fallocate", name, &std::io::Error::from_raw_os_error(28)))
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_reserve_that_cannot_be_completed_is_never_visible_to_a_roll() {
        let dir = tempfile::tempdir().unwrap();
        let disk = || Disk::new(dir.path(), false).unwrap();
        let full = Arc::new(Layered::over(Arc::new(disk()), Full::default()));
        SpareFiles::new(full.clone(), 64 << 10).remake_reserve();
        assert!(!full.layer.0.load(Ordering::Relaxed));
        assert_eq!(full.list().unwrap(), [""; 0]);

        SpareFiles::new(Arc::new(disk()), 64 << 10).remake_reserve();
        assert_eq!(full.list().unwrap(), [RESERVE]);
        assert_eq!(full.open(RESERVE, false).unwrap().len().unwrap(), 64 << 10);
    }

    fn file(disk: &SimDisk, name: &str, len: u64) -> Result<(), Fault> {
        disk.create(name, len)?.write_at(&[7; 600], 900).unwrap();
        disk.open(name, false)?.sync()?;
        disk.sync_dir()
    }

    #[test]
    fn a_truncated_segment_s_file_is_recycled_only_if_it_has_the_right_length_and_no_other_link() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        let spares = SpareFiles::new(Arc::new(disk.clone()), 64 << 10);
        assert_eq!(spares.room(), 0);
        spares.wake();
        disk.set_recycles(true);
        assert_eq!(spares.room(), STOCK);
        for (len, linked) in [(64 << 10, false), (65_000, false), (100 << 10, false), (64 << 10, true), (50 << 10, false)] {
            file(&disk, "spare-a", len)?;
            if linked {
                disk.link_elsewhere("spare-a");
            }
            let fits = len > 56 << 10 && !linked;
            spares.queue_for_recycling(vec!["spare-a".into()]);
            assert_eq!(spares.room(), STOCK - 1);
            let taken = spares.take(8192)?;
            assert_eq!((taken.recycled, taken.filled, taken.len, taken.file.len()?), (fits, fits, 64 << 10, 64 << 10));
            assert_eq!((taken.name == "spare-a", disk.names().contains(&"spare-a".into())), (fits, fits));
            disk.remove(&taken.name)?;
        }
        assert_eq!((disk.violation(), disk.names()), (None, vec![]));
        Ok(())
    }

    #[test]
    fn recycled_files_are_limited_in_number_and_removed_for_a_larger_segment_and_at_close() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        disk.set_recycles(true);
        let spares = SpareFiles::new(Arc::new(disk.clone()), 64 << 10);
        for name in ["spare-a", "spare-b"] {
            file(&disk, name, 64 << 10)?;
        }
        spares.queue_for_recycling(vec!["spare-a".into(), "spare-b".into()]);
        assert!(spares.room() == 0 && spares.needs_preparation(false));
        spares.prepare(true);
        assert!(spares.room() == 0 && !spares.needs_preparation(true), "no new spare is made in addition");
        disk.set_faults(Faults { full: true, ..Faults::default() });
        assert!(spares.take(1 << 20).is_err_and(|fault| fault.is_no_space()));
        assert_eq!(disk.names(), [RESERVE], "recycled files are removed for a larger segment");
        disk.set_faults(Faults::default());
        for name in ["spare-d", "spare-e"] {
            file(&disk, name, 64 << 10)?;
        }
        spares.queue_for_recycling(vec!["spare-d".into()]);
        spares.prepare(true);
        spares.queue_for_recycling(vec!["spare-e".into()]);
        spares.close();
        assert_eq!(disk.names(), [RESERVE]);
        Ok(())
    }

    /// A full disk on which the examination of one file lasts until another file is created.
    #[derive(Default)]
    struct Looking(Mutex<(bool, bool)>, Condvar);

    impl Looking {
        fn tell(&self, change: impl FnOnce(&mut (bool, bool))) {
            change(&mut self.0.lock().unwrap());
            self.1.notify_all();
        }

        fn await_that(&self, is_so: impl Fn(&(bool, bool)) -> bool) {
            drop(self.1.wait_while(self.0.lock().unwrap(), |state| !is_so(state)).unwrap());
        }
    }

    impl Layer for Looking {
        fn sync(&self, file: &dyn File) -> Result<(), Fault> {
            self.tell(|(looking, _)| *looking = true);
            self.await_that(|(_, created)| *created);
            file.sync()
        }

        fn create(&self, _: &dyn Storage, name: &str, _: u64) -> Result<FileRef, Fault> {
            self.tell(|(_, created)| *created = true);
            Err(Fault::new("fallocate", name, &std::io::Error::from_raw_os_error(28)))
        }
    }

    #[test]
    fn on_a_full_disk_a_roll_waits_for_the_file_that_is_being_prepared_for_recycling() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        disk.set_recycles(true);
        file(&disk, "spare-a", 64 << 10)?;
        let disk = Arc::new(Layered::over(Arc::new(disk), Looking::default()));
        let spares = SpareFiles::new(disk.clone(), 64 << 10);
        spares.queue_for_recycling(vec!["spare-a".into()]);
        let taken = std::thread::scope(|scope| {
            scope.spawn(|| spares.prepare(false));
            disk.layer.await_that(|(looking, _)| *looking);
            spares.take(8192)
        })?;
        assert_eq!((taken.name.as_str(), taken.recycled), ("spare-a", true));
        assert!(spares.take(8192).is_err_and(|fault| fault.is_no_space()), "a roll does not wait if no file is being prepared");
        Ok(())
    }

    #[test]
    fn bytes_that_an_interrupted_roll_left_in_the_reserve_are_cleared_before_it_is_used() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        let spares = SpareFiles::new(Arc::new(disk.clone()), 128 << 10);
        spares.remake_reserve();
        disk.damage(RESERVE, 70_000, &[7; 900]);
        disk.set_faults(Faults { full: true, ..Faults::default() });
        let taken = spares.take(8192)?;
        assert_eq!((taken.name.as_str(), taken.recycled), (RESERVE, false));
        assert!(disk.bytes(RESERVE).iter().all(|b| *b == 0));
        Ok(())
    }
}
