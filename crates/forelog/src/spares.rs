//! Files prepared ahead of a roll: created, allocated and, where that pays, filled with zeroes in the background.
//!
//! Overwriting blocks that were written before syncs faster than extending a file or filling allocated holes.

use crate::options::PAGE;
use crate::segment::{RESERVE, SPARE};
use crate::storage::{Fault, File, FileRef, Storage};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Filled per step, each followed by an fsync of its own, so that no step holds up a commit for long.
const STEP: usize = 1 << 20;
/// Size of `reserve`: enough for a header and a carry of what a few commits leave unproven.
const RESERVE_BYTES: u64 = 1 << 20;

/// On a nearly full disk a segment is made no smaller than this.
const SMALLEST: u64 = 256 << 10;

/// A file that a roll can take.
pub struct Spare {
    pub name: String,
    pub file: FileRef,
    pub len: u64,
    /// It may hold bytes of an earlier use.
    pub recycled: bool,
    /// All of its blocks have been written.
    pub filled: bool,
}

#[derive(Default)]
struct Shelf {
    ready: Option<Spare>,
    preparing: bool,
    closed: bool,
}

pub struct Spares {
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    shelf: Mutex<Shelf>,
    idle: Condvar,
}

impl Spares {
    pub fn new(storage: Arc<dyn Storage>, segment_bytes: u64) -> Spares {
        Spares { storage, segment_bytes, shelf: Mutex::default(), idle: Condvar::new() }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A spare of at least `need` bytes: the prepared one, a new one, or on a full disk the reserve.
    pub fn take(&self, need: u64) -> Result<Spare, Fault> {
        let ready = self.shelf().ready.take();
        match ready {
            Some(spare) if spare.len >= need => return Ok(spare),
            // Put back for a later segment: this one has to be larger than the rest.
            Some(spare) => self.shelf().ready = Some(spare),
            None => {}
        }
        let mut len = need.max(self.segment_bytes);
        loop {
            match self.create(len) {
                // A disk that is nearly full has room for a smaller segment.
                Err(fault) if fault.is_no_space() && len > need.max(SMALLEST) => len = need.max(SMALLEST).max(len / 4),
                Err(fault) if fault.is_no_space() => return self.open_reserve(need)?.ok_or(fault),
                other => return other,
            }
        }
    }

    fn create(&self, len: u64) -> Result<Spare, Fault> {
        let mut salt = [0; 8];
        // The name only has to be free; a collision is an error of `create`, never an overwrite.
        self.storage.random(&mut salt)?;
        let name = format!("{SPARE}{:016x}", u64::from_le_bytes(salt));
        let file = self.storage.create(&name, len)?;
        Ok(Spare { name, file, len, recycled: false, filled: !self.storage.overwrites_in_place() })
    }

    fn open_reserve(&self, need: u64) -> Result<Option<Spare>, Fault> {
        let file = match self.storage.open(RESERVE, true) {
            Ok(file) => file,
            Err(fault) if fault.is_not_found() => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let len = file.len()?;
        if len < need {
            return Ok(None);
        }
        blank(&*file, len)?;
        Ok(Some(Spare { name: RESERVE.into(), file, len, recycled: false, filled: false }))
    }

    /// Makes `reserve` if it is missing and there is room for it.
    pub fn remake_reserve(&self) -> Result<(), Fault> {
        let len = RESERVE_BYTES.min(self.segment_bytes);
        match self.storage.open(RESERVE, false).and_then(|file| file.len()) {
            Ok(found) if found >= len => return Ok(()),
            // A crash may have kept its name and lost its length.
            Ok(_) => self.storage.remove(RESERVE)?,
            Err(_) => {}
        }
        // It has its name only once it is whole: a roll may take the reserve at any moment.
        let made = self.create(len).and_then(|spare| {
            let named = spare.file.sync().and_then(|()| self.storage.rename(&spare.name, RESERVE));
            named.inspect_err(|_| drop(self.storage.remove(&spare.name)))
        });
        match made {
            Err(fault) if fault.is_no_space() => Ok(()),
            other => other,
        }
    }

    /// Whether `prepare` has something to do.
    pub fn wanted(&self) -> bool {
        let shelf = self.shelf();
        shelf.ready.is_none() && !shelf.preparing && !shelf.closed
    }

    /// Makes a spare ready, blocking, and writes its blocks if `fill`; a failure leaves the next roll to make its own.
    pub fn prepare(&self, fill: bool) {
        {
            let mut shelf = self.shelf();
            if shelf.ready.is_some() || shelf.preparing || shelf.closed {
                return;
            }
            shelf.preparing = true;
        }
        let made = self.create(self.segment_bytes);
        // A roll on a full disk may have used it up; without room this leaves things as they are.
        let _ = self.remake_reserve();
        let whole = !fill || made.as_ref().is_ok_and(|spare| self.fill(spare).unwrap_or(false));
        let mut shelf = self.shelf();
        shelf.preparing = false;
        if let Ok(spare) = made {
            if whole && !shelf.closed {
                shelf.ready = Some(Spare { filled: fill || spare.filled, ..spare });
            } else {
                let _ = self.storage.remove(&spare.name);
            }
        }
        self.idle.notify_all();
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

    /// Ends preparation and removes what is ready.
    pub fn close(&self) {
        let mut shelf = self.shelf();
        shelf.closed = true;
        while shelf.preparing {
            shelf = self.idle.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(spare) = shelf.ready.take() {
            let _ = self.storage.remove(&spare.name);
        }
    }
}

/// Zeroes what a roll that was cut off has left in a file. The next roll makes that durable with its header, and so can
/// tell what a later crash tears: were the bytes stale, half of a lost frame could be taken for them and come back.
fn blank(file: &dyn File, len: u64) -> Result<(), Fault> {
    let mut piece = vec![0; 64 << 10];
    let mut at = 0;
    while at < len {
        let n = file.read_at(&mut piece, at)?;
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
    use crate::storage::sim::{Faults, SimDisk};
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
        Spares::new(full.clone(), 64 << 10).remake_reserve().unwrap();
        assert!(!full.layer.0.load(Ordering::Relaxed));
        assert_eq!(full.list().unwrap(), [""; 0]);

        Spares::new(Arc::new(disk()), 64 << 10).remake_reserve().unwrap();
        assert_eq!(full.list().unwrap(), [RESERVE]);
        assert_eq!(full.open(RESERVE, false).unwrap().len().unwrap(), 64 << 10);
    }

    #[test]
    fn nothing_that_a_cut_off_roll_left_in_the_reserve_is_in_the_segment_that_takes_it() -> Result<(), Fault> {
        let disk = SimDisk::new(1, 512);
        let spares = Spares::new(Arc::new(disk.clone()), 128 << 10);
        spares.remake_reserve()?;
        disk.damage(RESERVE, 70_000, &[7; 900]);
        disk.set_faults(Faults { full: true, ..Faults::default() });
        let taken = spares.take(8192)?;
        assert_eq!((taken.name.as_str(), taken.recycled), (RESERVE, false));
        assert!(disk.bytes(RESERVE).iter().all(|b| *b == 0));
        Ok(())
    }
}
