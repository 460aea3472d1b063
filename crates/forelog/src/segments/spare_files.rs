//! Spares: files prepared in the background for the next roll. A spare is the recycled file of a truncated segment, or a
//! new file that is allocated and, if that pays, filled with zeroes.
//!
//! Overwriting blocks that were written before syncs faster than extending a file or filling allocated holes.

use crate::error::Fault;
use crate::format::file_names::{RESERVE, SPARE};
use crate::segments::growth::first_len;
use crate::storage::{File, FileRef, Storage};
use crate::util::limits::PAGE;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of a new spare that are filled per step. Each step is synced separately, so that none delays a commit for long.
const STEP: usize = 1 << 20;
/// Size of `reserve`: enough for a header and for the frames that a roll carries after a few commits.
const RESERVE_BYTES: u64 = 1 << 20;

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
    aside: Vec<String>,
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

/// The file `reserve`, kept open so that a roll needs no descriptor for it.
#[derive(Default)]
struct Reserve {
    file: Option<FileRef>,
    /// A roll is using the file, which may become a segment at any moment.
    is_taken: bool,
}

/// The spares and the reserve of one open log.
pub struct SpareFiles {
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    shelf: Mutex<Inventory>,
    /// Never locked at the same time as `shelf`.
    reserve: Mutex<Reserve>,
    idle: Condvar,
}

impl SpareFiles {
    pub fn new(storage: Arc<dyn Storage>, segment_bytes: u64) -> SpareFiles {
        SpareFiles { storage, segment_bytes, shelf: Mutex::default(), reserve: Mutex::default(), idle: Condvar::new() }
    }

    fn shelf(&self) -> MutexGuard<'_, Inventory> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many more files of truncated segments can be kept for recycling.
    pub fn room(&self) -> usize {
        let shelf = self.shelf();
        let kept = shelf.ready.len() + shelf.aside.len() + usize::from(shelf.preparing);
        if shelf.closed || !self.storage.recycles() {
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
        let shelf = self.shelf();
        !shelf.aside.is_empty() || shelf.ready.iter().any(|spare| spare.recycled)
    }

    /// Queues files of truncated segments for recycling, under the names that they have now. The loss of their earlier
    /// names must be durable: if a crash brought one back, the segment would have the bytes of another one.
    pub fn queue_for_recycling(&self, names: Vec<String>) {
        self.shelf().aside.extend(names);
    }

    /// Returns a spare of at least `need` bytes: one that is ready, or a new one. If none can be created, returns the
    /// reserve.
    pub fn take(&self, need: u64) -> Result<Spare, Fault> {
        loop {
            let prepared = self.shelf().prepared;
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
        let mut shelf = self.shelf();
        while shelf.preparing {
            shelf = self.idle.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
        shelf
    }

    fn take_now(&self, need: u64) -> Result<Spare, Fault> {
        loop {
            let name = {
                let mut shelf = self.shelf();
                // Spares that are too small stay for a later segment: this one is larger than usual.
                if let Some(spare) = shelf.take(need) {
                    return Ok(spare);
                }
                shelf.aside.pop()
            };
            let Some(name) = name else { break };
            if !self.shelve(name) {
                break;
            }
        }
        let awake = self.shelf().awake;
        let mut len = need.max(if awake { self.segment_bytes } else { first_len(self.segment_bytes) });
        loop {
            let fault = match self.create(len) {
                Ok(spare) if !awake => return Ok(Spare { room: len.max(self.segment_bytes), ..spare }),
                Ok(spare) => return Ok(spare),
                Err(fault) => fault,
            };
            let (fit, small) = {
                let mut shelf = self.shelf();
                // Meanwhile a spare may have been made ready, out of the last free space.
                let fit = shelf.take(need);
                let crowded = fit.is_none() && fault.is_no_space();
                let small = if crowded { std::mem::take(&mut shelf.ready) } else { Vec::new() };
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
    fn shelve(&self, name: String) -> bool {
        let spare = match self.try_recycle(&name) {
            Err(fault) if fault.is_out_of_descriptors() => {
                self.shelf().aside.push(name);
                return false;
            }
            fit => fit.ok().flatten(),
        };
        if spare.is_none() {
            let _ = self.storage.remove(&name);
        }
        self.shelf().ready.extend(spare);
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
            let file = Some(spare.file).filter(|file| file.names() != Some(0));
            *self.reserve() = Reserve { file, is_taken: false };
        } else if is_good {
            self.shelf().ready.push(spare);
        } else {
            let _ = self.storage.remove(&spare.name);
        }
    }

    fn try_recycle(&self, name: &str) -> Result<Option<Spare>, Fault> {
        let file = self.storage.open(name, true)?;
        let (len, want) = (file.len()?, self.segment_bytes);
        // A backup may share the file by a hard link. None can begin to now: the name that it would link is gone.
        if file.names() != Some(1) || !self.takes(len) {
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

    fn take_reserve(&self, need: u64) -> Result<Option<Spare>, Fault> {
        let (file, len) = {
            let mut reserve = self.reserve();
            let file = match reserve.file.take() {
                Some(file) => file,
                None => self.storage.open(RESERVE, true)?,
            };
            let len = file.len()?;
            if len < need {
                reserve.file = Some(file);
                return Ok(None);
            }
            reserve.is_taken = true;
            (file, len)
        };
        let spare = Spare { name: RESERVE.into(), file, len, room: len, recycled: false, filled: false };
        if let Err(fault) = blank(&*spare.file, len) {
            self.take_back(spare, false);
            return Err(fault);
        }
        Ok(Some(spare))
    }

    /// Creates `reserve` if it is missing and there is space for it, and keeps it open. If anything fails, it is left for a
    /// later attempt.
    pub fn remake_reserve(&self) {
        let len = RESERVE_BYTES.min(self.segment_bytes);
        self.shelf().reserved = true;
        {
            let mut reserve = self.reserve();
            if reserve.is_taken || reserve.file.is_some() {
                return;
            }
            match self.storage.open(RESERVE, true).and_then(|file| Ok((file.len()?, file))) {
                Ok((found, file)) if (len..=RESERVE_BYTES).contains(&found) => {
                    reserve.file = Some(file);
                    return;
                }
                // A crash may have kept the name and lost the length. A longer file was not made by this code.
                Ok(_) if self.storage.remove(RESERVE).is_ok() => {}
                Err(fault) if fault.is_not_found() => {}
                _ => return,
            }
        }
        // The file gets its name only once it is complete, because a roll may take the reserve at any moment.
        let Ok(spare) = self.create(len) else { return };
        let is_whole = spare.file.sync().is_ok();
        let mut reserve = self.reserve();
        if is_whole && self.storage.rename(&spare.name, RESERVE).is_ok() {
            reserve.file = Some(spare.file);
        } else {
            let _ = self.storage.remove(&spare.name);
        }
    }

    /// Whether [`SpareFiles::prepare`] has work to do. `soon` says that the next roll is near.
    pub fn needs_preparation(&self, soon: bool) -> bool {
        let shelf = self.shelf();
        !shelf.preparing && !shelf.closed && (!shelf.aside.is_empty() || soon && shelf.ready.is_empty())
    }

    /// Notes that the log is being written to. From now on files are made in their full size.
    pub fn wake(&self) {
        self.shelf().awake = true;
    }

    /// Whether [`SpareFiles::prepare_reserve`] has work to do.
    pub fn wants_reserve(&self) -> bool {
        let shelf = self.shelf();
        shelf.awake && !shelf.reserved && !shelf.preparing && !shelf.closed
    }

    /// Creates `reserve`, blocking. If there is no space for it, the log works without one.
    pub fn prepare_reserve(&self) {
        if let Some(_under_way) = self.begin() {
            self.remake_reserve();
        }
    }

    /// Starts a preparation, unless one is running or the log is closed.
    fn begin(&self) -> Option<Preparation<'_>> {
        let mut shelf = self.shelf();
        if shelf.preparing || shelf.closed {
            return None;
        }
        shelf.preparing = true;
        Some(Preparation(self))
    }

    /// Makes [`SpareFiles::close`] delete `reserve` as well.
    pub fn need_no_reserve(&self) {
        self.shelf().unneeded = true;
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
                let mut shelf = self.shelf();
                if shelf.closed {
                    return false;
                }
                match shelf.aside.pop() {
                    Some(name) => name,
                    None => return shelf.ready.is_empty(),
                }
            };
            if !self.shelve(name) {
                return false;
            }
        }
    }

    fn prepare_new(&self, fill: bool) {
        let made = self.create(self.segment_bytes);
        self.remake_reserve();
        let whole = !fill || made.as_ref().is_ok_and(|spare| self.fill(spare).unwrap_or(false));
        let mut shelf = self.shelf();
        if let Ok(spare) = made {
            if whole && !shelf.closed {
                shelf.ready.push(Spare { filled: fill || spare.filled, ..spare });
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
            if self.shelf().closed {
                return Ok(false);
            }
            let step = (spare.len - at).min(STEP as u64);
            spare.file.write_at(&zeroes[..step as usize], at).map_err(|short| short.fault)?;
            spare.file.sync()?;
            at += step;
        }
        Ok(true)
    }

    /// Ends preparation and deletes all spares, and also `reserve` if it is not needed.
    pub fn close(&self) {
        self.shelf().closed = true;
        self.reserve().file = None;
        let mut shelf = self.await_preparation();
        let ready = std::mem::take(&mut shelf.ready).into_iter().map(|spare| spare.name);
        let reserve = shelf.unneeded.then(|| RESERVE.to_owned());
        for name in ready.chain(std::mem::take(&mut shelf.aside)).chain(reserve) {
            let _ = self.storage.remove(&name);
        }
    }
}

/// A preparation that is running. However it ends, dropping it wakes the threads that wait for it.
struct Preparation<'s>(&'s SpareFiles);

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        let mut shelf = self.0.shelf();
        shelf.preparing = false;
        shelf.prepared += 1;
        self.0.idle.notify_all();
    }
}

/// Overwrites with zeroes whatever an interrupted roll left in a file.
///
/// The next roll makes the zeroes durable together with its header, so recovery can recognise what a later crash tears. If
/// the file held stale bytes, half of a lost frame could be mistaken for them and come back later.
fn blank(file: &dyn File, len: u64) -> Result<(), Fault> {
    let mut piece = vec![0; 64 << 10];
    let mut at = 0;
    while let Some(data) = file.next_data(at).filter(|data| data.start < len) {
        at = data.start;
        let want = (data.end.min(len) - at).min(piece.len() as u64) as usize;
        let n = file.read_at(&mut piece[..want], at)?;
        if n == 0 {
            break;
        }
        if piece[..n].iter().any(|b| *b != 0) {
            piece[..n].fill(0);
            file.write_at(&piece[..n], at).map_err(|short| short.fault)?;
        }
        at += n as u64;
    }
    Ok(())
}

/// Returns the size of the smallest file that can hold a header and `carried` bytes of frames.
pub fn least_len(carried: u64) -> u64 {
    PAGE + carried + PAGE
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::storage::disk::Disk;
    use crate::storage::layer::{Layer, Layered};
    use crate::testing::sim::{Faults, SimDisk};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Runs out of space while it allocates a file, and records whether a reserve existed at that moment.
    #[derive(Default)]
    struct Full(AtomicBool);

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
        assert!(spares.room() == 0 && !spares.needs_preparation(true), "no new one beside them");
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
