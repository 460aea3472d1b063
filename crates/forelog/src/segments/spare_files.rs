//! Files prepared ahead of a roll: those of truncated segments, or new ones, allocated and, where that pays, filled with
//! zeroes in the background.
//!
//! Overwriting blocks that were written before syncs faster than extending a file or filling allocated holes.

use crate::error::Fault;
use crate::format::file_names::{RESERVE, SPARE};
use crate::segments::growth::first_len;
use crate::storage::{File, FileRef, Storage};
use crate::util::limits::PAGE;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Filled per step, each followed by an fsync of its own, so that no step holds up a commit for long.
const STEP: usize = 1 << 20;
/// Size of `reserve`: enough for a header and a carry of what a few commits leave unproven.
const RESERVE_BYTES: u64 = 1 << 20;

/// Files that are kept for rolls to come: one for the next, and one more where truncations come in bursts. What else is
/// truncated gives its room back.
const STOCK: usize = 2;

/// On a nearly full disk a segment is made no smaller than this.
const SMALLEST: u64 = 256 << 10;

/// A file that a roll can take.
pub struct Spare {
    pub name: String,
    pub file: FileRef,
    pub len: u64,
    /// How long the file may grow.
    pub room: u64,
    /// It may hold bytes of an earlier use.
    pub recycled: bool,
    /// All of its blocks have been written.
    pub filled: bool,
}

#[derive(Default)]
struct Inventory {
    ready: Vec<Spare>,
    /// Names of files of truncated segments that are still to be looked at. That they had other names is durable.
    aside: Vec<String>,
    preparing: bool,
    /// Preparations that have ended.
    prepared: u64,
    closed: bool,
    /// Something has been appended: until then what is made is small.
    awake: bool,
    /// `reserve` is there, or was tried to be made.
    reserved: bool,
    /// The log is closed in order: it goes on in place when it is opened again, with no need of `reserve`.
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
    /// A roll has it: what has the name may become a segment at any moment.
    is_taken: bool,
}

pub struct SpareFiles {
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    shelf: Mutex<Inventory>,
    /// Never locked together with the shelf.
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

    /// How many files of truncated segments there is use for.
    pub fn room(&self) -> usize {
        let shelf = self.shelf();
        let kept = shelf.ready.len() + shelf.aside.len() + usize::from(shelf.preparing);
        if shelf.closed || !self.storage.recycles() {
            0
        } else {
            STOCK.saturating_sub(kept)
        }
    }

    /// Whether a file of this size is worth keeping. What has to be given back of a much larger one is given back by its removal.
    pub fn takes(&self, len: u64) -> bool {
        let want = self.segment_bytes;
        (want - want / 8..=want * 2).contains(&len)
    }

    #[cfg(any(test, feature = "sim"))]
    pub fn has_recycled(&self) -> bool {
        let shelf = self.shelf();
        !shelf.aside.is_empty() || shelf.ready.iter().any(|spare| spare.recycled)
    }

    /// Takes in files of truncated segments under these names. That they lost their old ones is durable: a crash that brought
    /// one back would show a segment with another's bytes.
    pub fn queue_for_recycling(&self, names: Vec<String>) {
        self.shelf().aside.extend(names);
    }

    /// A spare of at least `need` bytes: a ready one, a new one, or where none can be made the reserve.
    pub fn take(&self, need: u64) -> Result<Spare, Fault> {
        loop {
            let prepared = self.shelf().prepared;
            match self.take_now(need) {
                Err(fault) if fault.is_no_space() && self.has_prepared_since(prepared) => {}
                taken => return taken,
            }
        }
    }

    /// Waits for the preparation under way: what it looks at may be all the room there is.
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
                // Those that are too small stay for a later segment: this one has to be larger than the rest.
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
                // One may have been made ready meanwhile, of the last room there was.
                let fit = shelf.take(need);
                let crowded = fit.is_none() && fault.is_no_space();
                let small = if crowded { std::mem::take(&mut shelf.ready) } else { Vec::new() };
                (fit, small)
            };
            // What is kept for later is in the way of what is needed now.
            for spare in &small {
                let _ = self.storage.remove(&spare.name);
            }
            match fit {
                Some(spare) => return Ok(spare),
                None if !small.is_empty() => {}
                // A disk that is nearly full has room for a smaller segment, and a limit of file sizes may allow it.
                None if fault.wants_room() && len > need.max(SMALLEST) => len = need.max(SMALLEST).max(len / 4),
                None => return self.take_reserve(need).ok().flatten().ok_or(fault),
            }
        }
    }

    /// A name for a spare, which nothing else has.
    pub fn name(&self) -> Result<String, Fault> {
        let mut salt = [0; 8];
        self.storage.random(&mut salt)?;
        Ok(format!("{SPARE}{:016x}", u64::from_le_bytes(salt)))
    }

    /// Makes a spare of a truncated segment's file, or removes it. False where it cannot be opened now and stays for later.
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

    /// A roll has given the spare of this name its final name.
    pub fn used(&self, name: &str) {
        if name == RESERVE {
            *self.reserve() = Reserve::default();
        }
    }

    /// Takes a spare back from a roll that could not give it its final name: for the next one if it `is_good` for that. On a full
    /// disk its room is worth more than its bytes.
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
        // A backup may share the file. By now none can begin to: the name that it would link is gone.
        if file.names() != Some(1) || !self.takes(len) {
            return Ok(None);
        }
        if len > want {
            file.shrink(want);
        } else if len < want {
            file.grow(len, want)?;
        }
        // Nothing that was written to the file before is on its way to the disk any more.
        file.sync()?;
        let len = file.len()?;
        Ok((len == want).then(|| Spare { name: name.into(), file, len, room: len, recycled: true, filled: true }))
    }

    fn create(&self, len: u64) -> Result<Spare, Fault> {
        // A collision is an error of `create`, never an overwrite.
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

    /// Makes `reserve` if it is missing and there is room for it, and keeps it open. Whatever fails leaves that to a later time.
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
                // A crash may have kept its name and lost its length. One that is longer is not ours.
                Ok(_) if self.storage.remove(RESERVE).is_ok() => {}
                Err(fault) if fault.is_not_found() => {}
                _ => return,
            }
        }
        // It has its name only once it is whole: a roll may take the reserve at any moment.
        let Ok(spare) = self.create(len) else { return };
        let is_whole = spare.file.sync().is_ok();
        let mut reserve = self.reserve();
        if is_whole && self.storage.rename(&spare.name, RESERVE).is_ok() {
            reserve.file = Some(spare.file);
        } else {
            let _ = self.storage.remove(&spare.name);
        }
    }

    /// Whether `prepare` has something to do; `soon` if the next roll is near.
    pub fn needs_preparation(&self, soon: bool) -> bool {
        let shelf = self.shelf();
        !shelf.preparing && !shelf.closed && (!shelf.aside.is_empty() || soon && shelf.ready.is_empty())
    }

    /// From now on the log is one that is written to.
    pub fn wake(&self) {
        self.shelf().awake = true;
    }

    /// Whether `prepare_reserve` has something to do.
    pub fn wants_reserve(&self) -> bool {
        let shelf = self.shelf();
        shelf.awake && !shelf.reserved && !shelf.preparing && !shelf.closed
    }

    /// Makes `reserve`, blocking; without room the log does without.
    pub fn prepare_reserve(&self) {
        if let Some(_under_way) = self.begin() {
            self.remake_reserve();
        }
    }

    /// Claims the right to prepare, which one at a time has.
    fn begin(&self) -> Option<Preparation<'_>> {
        let mut shelf = self.shelf();
        if shelf.preparing || shelf.closed {
            return None;
        }
        shelf.preparing = true;
        Some(Preparation(self))
    }

    /// Has `close` remove `reserve` as well.
    pub fn need_no_reserve(&self) {
        self.shelf().unneeded = true;
    }

    /// Makes a spare ready, blocking, and writes its blocks if `fill`; a failure leaves the next roll to make its own.
    pub fn prepare(&self, fill: bool) {
        let Some(_under_way) = self.begin() else { return };
        if self.recycle_all() {
            self.prepare_new(fill);
        } else {
            // A roll on a full disk may have used it up; without room this leaves things as they are.
            self.remake_reserve();
        }
    }

    /// Makes what was put aside ready; whether a new file is needed all the same.
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

    /// False when the log was closed meanwhile.
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

    /// Ends preparation and removes what is ready, and `reserve` where it is not needed.
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

/// One under way. However it ends, nobody waits for it any more.
struct Preparation<'s>(&'s SpareFiles);

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        let mut shelf = self.0.shelf();
        shelf.preparing = false;
        shelf.prepared += 1;
        self.0.idle.notify_all();
    }
}

/// Zeroes what a roll that was cut off has left in a file. The next roll makes that durable with its header, and so can
/// tell what a later crash tears: were the bytes stale, half of a lost frame could be taken for them and come back.
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

/// Smallest file that can hold a header and `carried` bytes of frames.
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

    /// Runs out of space while it allocates a file, and notes whether a reserve could be seen just then.
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
    fn a_roll_never_finds_a_reserve_that_is_being_made_and_will_be_removed() {
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
    fn the_file_of_a_truncated_segment_is_used_again_only_if_it_is_whole_and_nobody_else_s() -> Result<(), Fault> {
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
    fn what_is_kept_is_bounded_makes_room_for_a_larger_segment_and_goes_at_the_end() -> Result<(), Fault> {
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
        assert_eq!(disk.names(), [RESERVE], "what is kept is in the way of what is needed");
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

    /// A full disk where a file is being looked at until another one was to be created.
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
    fn on_a_full_disk_a_roll_waits_for_the_truncated_file_that_is_being_looked_at() -> Result<(), Fault> {
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
        assert!(spares.take(8192).is_err_and(|fault| fault.is_no_space()), "nothing is waited for in vain");
        Ok(())
    }

    #[test]
    fn nothing_that_a_cut_off_roll_left_in_the_reserve_is_in_the_segment_that_takes_it() -> Result<(), Fault> {
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
