//! A simulated disk, deterministic by seed. It shows a log everything that a power failure, a failed sync or a short write can do.
//!
//! Every file has two views: the bytes that reads return, and the bytes on the platter. An unsynced sector keeps every version written
//! since the last sync, and a power cut keeps any one of them or none. Any subset of the names is durable until their directory is synced.
//! A failed sync leaves pages clean and readable, but possibly not on the platter.

use crate::error::Fault;
use crate::format::file_names::{classify, FileKind, CONTROL};
use crate::storage::dir_handle::Identity;
use crate::storage::{File, FileRef, ShortWrite, Storage};
use crate::util::healing::On;
use crate::util::limits::PAGE;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Error;
use std::ops::Deref;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

const EIO: i32 = 5;
const EINVAL: i32 = 22;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// A small seeded generator (splitmix64), so that the seed of a failing test replays everywhere.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.share() < p
    }

    /// Returns 0, 1 or a share in between. All or nothing is drawn often, because it finds as many errors as a mixture.
    fn portion(&mut self) -> f64 {
        match self.below(10) {
            0 | 1 => 0.0,
            2 | 3 => 1.0,
            _ => self.share(),
        }
    }
}

/// Random faults, as probabilities per operation.
#[derive(Clone, Default)]
pub struct Faults {
    /// A sync of a file or of the directory fails.
    pub sync: f64,
    /// A write to a segment stops early with ENOSPC; writes to other files do so less often.
    pub short: f64,
    /// A write stops early with EIO, or a rename or a creation fails.
    pub write: f64,
    pub read: f64,
    /// A write, a creation, a growth or a rename fails for a reason that passes. A part of the write may have been done.
    pub refuse: f64,
    /// Nothing can be created.
    pub full: bool,
    /// A power cut leaves garbage in sectors that were being written for the first time.
    pub garble: bool,
}

/// Calls that a test makes fail: of the calls that are counted, those with these numbers.
#[cfg(test)]
#[derive(Clone, Default)]
pub struct Strike {
    pub numbers: Range<usize>,
    /// Names of the calls that are counted; empty for all.
    pub calls: &'static [&'static str],
    /// File of the calls that are counted; empty for all.
    pub file: &'static str,
    pub errno: i32,
    /// Failing calls that are done in part: a write has written some of its bytes, and a rename has been done as a whole.
    pub partly: Range<usize>,
    /// The calls that were counted, each with its file.
    pub counted: Vec<(&'static str, String)>,
}

/// Error numbers of reasons that pass. EINTR is not one of them: such a call is only tried again.
const PASSING: [i32; 8] = [1, 11, 12, 13, EFBIG, ENOSPC, EROFS, 122];

/// The content of one sector. Forks of a disk share it, so it is hashed only once.
struct Content {
    bytes: Box<[u8]>,
    hash: OnceLock<u64>,
}

#[derive(Clone)]
struct Chunk(Arc<Content>);

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Chunk {
        Chunk(Arc::new(Content { bytes: bytes.into(), hash: OnceLock::new() }))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

type Sectors = BTreeMap<u64, Chunk>;

/// The disk's support for writes past the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// A file cannot be opened for them.
    None,
    /// A file can be opened for them, and the first write is refused.
    Refused,
    Taken,
}

#[derive(Clone, Default)]
struct Inode {
    len: u64,
    durable_len: u64,
    seen: Sectors,
    durable: Sectors,
    /// Versions of each sector since it was last synced, oldest first.
    dirty: BTreeMap<u64, Vec<Chunk>>,
    /// Dirty sectors that are being written for the first time, from their first byte on, so nothing in them is durable. Zeroes alone do
    /// not show that, because padding is zeroes too.
    fresh: BTreeSet<u64>,
    /// Sectors from this one on were cut off since the last sync. A power cut may bring back those that were durable, without anything
    /// written there since.
    cut_from: Option<u64>,
    /// A sync failed: clean pages may differ from the platter, and may be dropped from memory.
    stale: bool,
    /// In a file under a segment's final name, bytes below this one were written and may not change. In a recycled file that is what was
    /// written since it got the name.
    guarded: Option<u64>,
    /// Number of names in other directories.
    elsewhere: u64,
}

#[derive(Clone)]
enum DirOp {
    Create(String, u64),
    Rename(String, u64),
    Remove(String, u64),
}

#[derive(Clone)]
struct SimState {
    rng: Rng,
    sector: u64,
    /// Copied only when a fork changes them.
    inodes: BTreeMap<u64, Arc<Inode>>,
    seen: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<DirOp>,
    next_inode: u64,
    drawn: u64,
    faults: Faults,
    through: Through,
    large_commit: u64,
    /// The time of the wall clock.
    wall_clock: u64,
    /// Whether files may be used again under other names.
    recycles: bool,
    /// Number of segments that were begun in a recycled file.
    recycled: u64,
    /// Number of writes past the page cache that succeeded.
    passed: u64,
    /// Writes that are submitted and not complete, oldest first.
    under_way: Vec<UnderWay>,
    /// Writes that stopped early, and have to be written again.
    unfinished: Vec<UnderWay>,
    /// Outcomes of complete writes that nobody has asked for yet.
    outcomes: BTreeMap<u64, (Outcome, Arc<[u8]>)>,
    next_write: u64,
    completed_later: u64,
    /// Number of those that were complete before an earlier one.
    overtook: u64,
    /// Which write under way completes next, and how. `None` leaves it to chance.
    script: Option<Vec<(usize, Ending)>>,
    /// Why every submission is refused, if it is.
    #[cfg(test)]
    refusal: Option<Refusal>,
    budget: u64,
    /// Number of operations after which one more fault happens.
    trip: u64,
    tripped: bool,
    /// Number of reads after which one fails.
    read_trip: u64,
    #[cfg(test)]
    strike: Option<Strike>,
    /// Bytes of inodes that cannot be read.
    bad: Vec<(u64, Range<u64>)>,
    /// Set if the directory is no longer at its path: what has become of it.
    lost: Option<String>,
    crashed: bool,
    /// Number of operations that changed something.
    changes: u64,
    sync_failed: bool,
    /// Number of failed syncs of anything but spares. Each of them ends the log.
    grave: u64,
    injected: u64,
    /// A random fault has happened since the log was last opened.
    faulty: bool,
    rolling: Rolling,
    watch: Option<Watch>,
    /// Hash of everything that has happened.
    digest: u64,
    violation: Option<String>,
    trace: Option<Vec<String>>,
}

/// Chooses which version of a dirty sector a power cut keeps (1 is the oldest), or 0 for none of them.
pub type Keep<'a> = &'a mut dyn FnMut(&mut Rng, &str, u64, usize) -> usize;

/// Chooses the fate of a name or a length that is not durable: true makes it durable.
pub type Settle<'a> = &'a mut dyn FnMut(&mut Rng) -> bool;

/// One directory on the simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<SimState>>);

struct SimFile {
    disk: SimDisk,
    inode: u64,
    /// Whether this handle writes past the page cache.
    through: bool,
}

fn fault(syscall: &'static str, name: &str, errno: i32) -> Fault {
    Fault::new(syscall, name, &Error::from_raw_os_error(errno))
}

/// Returns the fault of every operation after the process has died. No disk has such an error, and the operation does nothing.
fn dead() -> Fault {
    Fault { syscall: "crash", path: String::new(), errno: None, message: "the simulated process has died".into() }
}

/// Returns the end of the bytes that a file with a final name has to keep. Of a recycled file only the header and the carried frames are
/// known to be in use.
fn kept(sectors: &Sectors, sector: u64) -> u64 {
    match sectors.get(&0) {
        Some(page) if page[12] & 1 != 0 => crate::util::bytes::get_u64(page, 96),
        _ => last_used(sectors, sector),
    }
}

fn last_used(sectors: &Sectors, sector: u64) -> u64 {
    let used = |(s, chunk): (&u64, &Chunk)| chunk.iter().rposition(|b| *b != 0).map(|i| s * sector + i as u64 + 1);
    sectors.iter().rev().find_map(used).unwrap_or(0)
}

impl Inode {
    /// Returns the durable content of a sector, as far as it belongs to the file since it was last cut.
    fn platter(&self, sector: u64) -> Option<&Chunk> {
        self.durable.get(&sector).filter(|_| self.cut_from.is_none_or(|from| sector < from))
    }

    /// Shortens the file to `len` bytes. Bytes past them are gone from memory, but not yet from the platter.
    fn shrink(&mut self, len: u64, sector: u64) {
        let beyond = len.div_ceil(sector);
        self.len = len;
        self.seen.split_off(&beyond);
        self.dirty.split_off(&beyond);
        self.fresh.split_off(&beyond);
        self.cut_from = Some(self.cut_from.unwrap_or(beyond).min(beyond));
    }

    /// Removes from the platter what was cut off.
    fn settle_cut(&mut self, sector: u64) {
        if let Some(from) = self.cut_from.take() {
            self.durable.split_off(&from);
            self.durable_len = self.durable_len.min(from * sector);
        }
    }

    /// Shortens the file to `len` bytes in every view.
    fn drop_beyond(&mut self, len: u64, sector: u64) {
        self.len = len;
        let beyond = len.div_ceil(sector);
        self.seen.split_off(&beyond);
        self.durable.split_off(&beyond);
        self.dirty.split_off(&beyond);
        self.fresh.split_off(&beyond);
    }
}

impl SimState {
    fn say(&mut self, text: impl FnOnce(&SimState) -> String) {
        if self.trace.is_some() {
            let line = text(self);
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }

    fn name_of(&self, inode: u64) -> String {
        self.seen.iter().find(|(_, i)| **i == inode).map_or(format!("#{inode}"), |(name, _)| name.clone())
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        Arc::make_mut(self.inodes.entry(inode).or_default())
    }

    /// Counts an operation against the budget. The process dies at the one that exceeds it.
    fn step(&mut self) -> Result<(), Fault> {
        if self.crashed || self.budget == 0 {
            self.crashed = true;
            return Err(dead());
        }
        self.look();
        self.budget -= 1;
        self.changes += 1;
        self.tripped = self.trip == 0;
        self.trip = self.trip.checked_sub(1).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Returns how a test makes this call fail, and whether a part of it is done.
    #[cfg(test)]
    fn struck(&mut self, call: &'static str, name: &str) -> Option<(Fault, bool)> {
        let counts =
            |strike: &Strike| (strike.calls.is_empty() || strike.calls.contains(&call)) && (strike.file.is_empty() || strike.file == name);
        let strike = self.strike.as_mut().filter(|strike| counts(strike))?;
        strike.counted.push((call, name.to_owned()));
        let number = strike.counted.len() - 1;
        if !strike.numbers.contains(&number) {
            return None;
        }
        let (errno, partly) = (strike.errno, strike.partly.contains(&number));
        self.injected += 1;
        self.faulty = true;
        self.say(|_| format!("{call} {name} is struck: {errno}"));
        Some((fault(call, name, errno), partly))
    }

    #[cfg(not(test))]
    fn struck(&mut self, _: &'static str, _: &str) -> Option<(Fault, bool)> {
        None
    }

    /// Like `struck`, for a call on an open file, whose name is looked up.
    fn struck_at(&mut self, call: &'static str, inode: u64) -> Option<(Fault, bool)> {
        #[cfg(test)]
        if self.strike.is_some() {
            let name = self.name_of(inode);
            return self.struck(call, &name);
        }
        let _ = (call, inode);
        None
    }

    /// Returns how this call fails for a reason that passes.
    fn refused(&mut self, call: &'static str, name: &str) -> Option<Fault> {
        let p = self.faults.refuse;
        if p == 0.0 || !self.inject(p) {
            return None;
        }
        let errno = PASSING[self.rng.below(PASSING.len() as u64) as usize];
        self.say(|_| format!("{call} {name} is refused: {errno}"));
        Some(fault(call, name, errno))
    }

    /// Whether this read of `bytes` fails.
    fn read_fails(&mut self, inode: Option<u64>, bytes: Range<u64>) -> bool {
        let tripped = self.read_trip == 0;
        self.read_trip = self.read_trip.checked_sub(1).unwrap_or(u64::MAX);
        let bad = self.bad.iter().any(|(at, range)| Some(*at) == inode && range.start < bytes.end && bytes.start < range.end);
        let p = self.faults.read;
        tripped || bad || self.inject(p)
    }

    fn inject(&mut self, p: f64) -> bool {
        let hit = self.rng.chance(p) || std::mem::take(&mut self.tripped);
        self.injected += u64::from(hit);
        self.faulty |= hit;
        hit
    }

    fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> Result<(), ShortWrite> {
        if self.crashed {
            return Err(ShortWrite { written: 0, fault: dead() });
        }
        let name = self.name_of(inode);
        let weight = match classify(&name) {
            FileKind::Segment(_) => 1.0,
            FileKind::Control => 0.02,
            _ => 0.2,
        };
        let (full, broken) = (self.faults.short * weight, self.faults.write);
        let struck = self.struck("pwrite", &name);
        let refused = self.refused("pwrite", &name);
        let is_struck = struck.is_some();
        let none_written = match &struck {
            Some((_, partly)) => !partly,
            None => refused.is_some() && self.rng.chance(0.5),
        };
        let why = match self.step() {
            Err(dead) => Some(dead),
            Ok(()) if struck.is_some() || refused.is_some() => struck.map(|(fault, _)| fault).or(refused),
            Ok(()) if self.inject(full) => Some(fault("pwrite", &name, ENOSPC)),
            Ok(()) if self.inject(broken) => Some(fault("pwrite", &name, EIO)),
            Ok(()) => None,
        };
        self.look_midway(inode, bytes, offset, why.is_some(), false);
        let written = match &why {
            Some(_) if none_written => 0,
            Some(_) if is_struck => (self.rng.portion() * bytes.len() as f64) as usize,
            Some(_) => self.rng.below(bytes.len() as u64 + 1) as usize,
            None => bytes.len(),
        };
        self.put(inode, &bytes[..written], offset);
        self.roll_wrote(&name, &bytes[..written]);
        self.mix(&[1, inode, offset, written as u64]);
        self.say(|_| {
            let stop = why.as_ref().map_or(String::new(), |f| format!(" of {}: {}", bytes.len(), f.message));
            format!("write {name}@{offset}+{written}{stop}")
        });
        match why {
            Some(fault) => Err(ShortWrite { written, fault }),
            None => Ok(()),
        }
    }

    /// Checks the rules of a write past the page cache: the pages have to be allocated, and no earlier bytes may still need a sync.
    fn check_direct(&mut self, inode: u64, bytes: &[u8], offset: u64) {
        let (size, name, range) = (self.sector, self.name_of(inode), offset..offset + bytes.len() as u64);
        let file = self.inode(inode);
        let on_pages = [range.start, range.end, bytes.as_ptr() as u64].iter().all(|at| at.is_multiple_of(PAGE));
        let unsynced = file.dirty.range(..range.end.div_ceil(size)).next().is_some();
        let allocated = range.end <= file.len.min(file.durable_len) && file.cut_from.is_none_or(|from| range.end <= from * size);
        if !on_pages || unsynced || !allocated {
            let why = if !on_pages {
                "not on pages"
            } else if unsynced {
                "after unsynced bytes"
            } else {
                "over blocks that were never allocated"
            };
            self.violation.get_or_insert(format!("{name}@{offset} is written past the page cache {why}"));
        }
    }

    /// Writes past the page cache.
    fn write_through(&mut self, inode: u64, bytes: &[u8], offset: u64) -> Result<(), ShortWrite> {
        let failed = |fault| Err(ShortWrite { written: 0, fault });
        if self.crashed {
            return failed(dead());
        }
        let (size, name, range) = (self.sector, self.name_of(inode), offset..offset + bytes.len() as u64);
        if self.through == Through::Refused {
            return failed(fault("pwrite", &name, EINVAL));
        }
        let (sync, write) = (self.faults.sync, self.faults.write);
        let struck = self.struck("direct", &name).map(|(fault, partly)| (Fault { syscall: "pwrite", ..fault }, partly));
        let why = match self.step() {
            Err(dead) => Some(dead),
            Ok(()) if struck.is_some() => struck.map(|(fault, _)| fault),
            Ok(()) if self.inject(sync) => Some(if self.rng.chance(0.3) { ENOSPC } else { EIO }).map(|errno| fault("pwrite", &name, errno)),
            Ok(()) if self.inject(write) => Some(fault("pwrite", &name, EIO)),
            Ok(()) => None,
        };
        self.look_midway(inode, bytes, offset, why.is_some(), true);
        self.mix(&[10, inode, offset, u64::from(why.is_some())]);
        self.say(|_| {
            let stop = why.as_ref().map_or(String::new(), |f| format!(" FAILS: {}", f.message));
            format!("write through {name}@{offset}+{}{stop}", bytes.len())
        });
        let Some(fault) = why else {
            self.put(inode, bytes, offset);
            self.passed += 1;
            let file = self.inode(inode);
            for sector in offset / size..range.end / size {
                file.fresh.remove(&sector);
                let newest = file.dirty.remove(&sector).and_then(|mut versions| versions.pop());
                file.durable.extend(newest.map(|chunk| (sector, chunk)));
            }
            return Ok(());
        };
        let p = self.rng.portion();
        let put = self.put_some(inode, bytes, offset, p);
        // A reason that passes is met before anything is synced: what was written is on the disk, and the rest is as it was.
        if !self.crashed && fault.heals(On::Direct) {
            for sector in put {
                let file = self.inode(inode);
                file.fresh.remove(&sector);
                let newest = file.dirty.remove(&sector).and_then(|mut versions| versions.pop());
                file.durable.extend(newest.map(|chunk| (sector, chunk)));
            }
            return failed(fault);
        }
        // If the process is gone, the pages stay dirty and may still reach the platter.
        if !self.crashed {
            let p = self.rng.portion();
            for sector in put {
                let durable = self.rng.chance(p);
                let file = self.inode(inode);
                let newest = file.dirty.remove(&sector).and_then(|mut versions| versions.pop());
                file.durable.extend(newest.filter(|_| durable).map(|chunk| (sector, chunk)));
            }
            self.inode(inode).stale = true;
            self.sync_failed = true;
            self.grave += 1;
        }
        failed(fault)
    }

    /// Writes each sector with probability `p`, and returns the sectors written.
    fn put_some(&mut self, inode: u64, bytes: &[u8], offset: u64, p: f64) -> Vec<u64> {
        let mut put = Vec::new();
        for (i, piece) in bytes.chunks(self.sector as usize).enumerate() {
            if self.rng.chance(p) {
                let at = offset + i as u64 * self.sector;
                self.put(inode, piece, at);
                put.push(at / self.sector);
            }
        }
        put
    }

    fn put(&mut self, inode: u64, bytes: &[u8], offset: u64) {
        let (size, file) = (self.sector, Arc::make_mut(self.inodes.entry(inode).or_default()));
        let end = offset + bytes.len() as u64;
        if end > file.len {
            self.violation.get_or_insert(format!("#{inode} is written up to {end}, past its end at {}", file.len));
            return;
        }
        if self.under_way.iter().any(|write| write.overlaps(inode, offset, end)) {
            self.violation.get_or_insert(format!("#{inode}@{offset} is written while another write of the same page is under way"));
        }
        let guarded = file.guarded.unwrap_or(0);
        if file.guarded.is_none() && self.durable.iter().any(|(name, at)| *at == inode && matches!(classify(name), FileKind::Segment(_))) {
            self.violation.get_or_insert(format!("#{inode} is changed while a crash may bring back the segment that it was"));
        }
        let mut at = offset;
        while at < end {
            let (sector, from) = (at / size, (at % size) as usize);
            let n = (size as usize - from).min((end - at) as usize);
            let new = &bytes[(at - offset) as usize..][..n];
            let old = file.seen.get(&sector);
            let unwritten = old.is_none() && file.platter(sector).is_none() && !file.dirty.contains_key(&sector);
            if !(unwritten && new.iter().all(|b| *b == 0)) {
                let mut chunk = old.map_or_else(|| vec![0; size as usize], |old| old.to_vec());
                let kept = (guarded.saturating_sub(at) as usize).min(n);
                if chunk[from..from + kept] != new[..kept] {
                    self.violation.get_or_insert(format!("bytes of #{inode} near {at} are overwritten with others"));
                }
                chunk[from..from + n].copy_from_slice(new);
                let chunk: Chunk = chunk.into();
                let zero = |old: &Chunk| old.iter().all(|b| *b == 0);
                if from == 0 && !file.dirty.contains_key(&sector) && file.platter(sector).is_none_or(zero) {
                    file.fresh.insert(sector);
                }
                file.seen.insert(sector, chunk.clone());
                file.dirty.entry(sector).or_default().push(chunk);
            }
            at += n as u64;
        }
        // Zeroes may be prefilled before frames are written, and are there to be overwritten.
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| offset + i as u64 + 1);
        file.guarded = file.guarded.map(|g| g.max(used));
    }

    fn sync(&mut self, inode: u64) -> Result<(), Fault> {
        self.step()?;
        let name = self.name_of(inode);
        let struck = self.struck("fdatasync", &name);
        let failed = struck.is_some() || self.inject(self.faults.sync);
        let p = if failed { self.rng.portion() } else { 1.0 };
        let mut dirty = std::mem::take(&mut self.inode(inode).dirty);
        self.inode(inode).fresh.clear();
        let cut_from = self.inode(inode).cut_from;
        match cut_from {
            // If the cut is not on the platter, nothing written after it can be.
            Some(from) if failed && !self.rng.chance(p) => drop(dirty.split_off(&from)),
            _ => {
                let size = self.sector;
                self.inode(inode).settle_cut(size);
            }
        }
        for (sector, mut versions) in dirty {
            if self.rng.chance(p) {
                let last = versions.pop();
                self.inode(inode).durable.extend(last.map(|chunk| (sector, chunk)));
            }
        }
        self.mix(&[2, inode, u64::from(failed)]);
        let file = self.inode(inode);
        if !failed {
            file.durable_len = file.len;
            self.roll_synced(&name);
            self.say(|_| format!("sync {name}"));
            return Ok(());
        }
        file.stale = true;
        self.sync_failed = true;
        self.grave += u64::from(!matches!(classify(&name), FileKind::Spare(_) | FileKind::Reserve));
        let errno = match struck {
            Some((fault, _)) => fault.errno.unwrap_or(EIO),
            None if self.rng.chance(0.3) => ENOSPC,
            None => EIO,
        };
        self.say(|_| format!("sync {name} FAILS ({errno}), {p:.2} of it reached the disk"));
        Err(fault("fdatasync", &name, errno))
    }

    fn apply(&mut self, op: DirOp) {
        match op {
            DirOp::Create(name, inode) => drop(self.durable.insert(name, inode)),
            DirOp::Remove(name, inode) => {
                if self.durable.get(&name) == Some(&inode) {
                    self.durable.remove(&name);
                }
            }
            DirOp::Rename(to, inode) => {
                self.durable.retain(|_, i| *i != inode);
                self.durable.insert(to, inode);
            }
        }
    }

    /// Makes some pending directory operations durable. Of one file, none becomes durable if an earlier one is lost.
    fn apply_some(&mut self, settle: Settle) {
        let mut blocked = HashSet::new();
        for op in std::mem::take(&mut self.pending) {
            let (DirOp::Create(_, inode) | DirOp::Rename(_, inode) | DirOp::Remove(_, inode)) = op;
            if blocked.contains(&inode) {
                continue;
            }
            if settle(&mut self.rng) {
                self.apply(op);
            } else if !matches!(op, DirOp::Create(..)) {
                blocked.insert(inode);
            }
        }
    }

    fn sync_dir(&mut self) -> Result<(), Fault> {
        self.step()?;
        let struck = self.struck("fsync", ".");
        if struck.is_some() || self.inject(self.faults.sync) {
            let p = self.rng.portion();
            self.apply_some(&mut |rng| rng.chance(p));
            self.sync_failed = true;
            self.say(|_| "sync directory FAILS".into());
            return Err(struck.map_or_else(|| fault("fsync", ".", EIO), |(fault, _)| fault));
        }
        for op in std::mem::take(&mut self.pending) {
            self.apply(op);
        }
        self.mix(&[3]);
        self.say(|_| "sync directory".into());
        Ok(())
    }

    fn cut(&mut self, keep: Keep, settle: Settle) {
        self.cut_writes();
        let inodes: Vec<u64> = self.inodes.keys().copied().collect();
        for inode in inodes {
            let name = self.name_of(inode);
            let (size, cut_from) = (self.sector, self.inode(inode).cut_from);
            match cut_from {
                Some(from) if !settle(&mut self.rng) => {
                    self.say(|_| format!("  cut: {name} is as long as before"));
                    let file = self.inode(inode);
                    (file.cut_from, file.len) = (None, file.durable_len);
                    file.dirty.split_off(&from);
                    file.fresh.split_off(&from);
                }
                _ => self.inode(inode).settle_cut(size),
            }
            for (sector, versions) in std::mem::take(&mut self.inode(inode).dirty) {
                let offset = sector * self.sector;
                let kept = keep(&mut self.rng, &name, offset, versions.len());
                let mut chunk = kept.checked_sub(1).map(|i| versions[i].clone());
                let fresh = self.inode(inode).fresh.remove(&sector);
                if self.faults.garble && fresh && name != CONTROL && self.rng.chance(0.1) {
                    chunk = Some((0..self.sector).map(|_| self.rng.next() as u8).collect::<Vec<_>>().into());
                    self.faulty = true;
                    self.say(|_| "  the next one is garbled".into());
                }
                self.say(|_| format!("  cut: {name}@{offset}: version {kept} of {}", versions.len()));
                self.inode(inode).durable.extend(chunk.map(|chunk| (sector, chunk)));
            }
            // A length is metadata: until a sync it may be the old one, which is 0 in a new file.
            let (size, lens) = (self.sector, (self.inode(inode).durable_len, self.inode(inode).len));
            let len = if lens.0 == lens.1 || settle(&mut self.rng) { lens.1 } else { lens.0 };
            let file = self.inode(inode);
            file.drop_beyond(len, size);
            file.durable_len = len;
            file.seen = file.durable.clone();
            file.stale = false;
        }
        self.apply_some(settle);
        self.seen = self.durable.clone();
        let live: HashSet<u64> = self.seen.values().copied().collect();
        self.inodes.retain(|inode, _| live.contains(inode));
        self.sync_failed = false;
        self.guard_again();
        self.mix(&[4, self.inodes.len() as u64]);
        self.say(|s| format!("  names after the cut: {}", s.seen.keys().cloned().collect::<Vec<_>>().join(" ")));
    }

    /// Lets bytes be written again that a power cut or an eviction has taken away.
    fn guard_again(&mut self) {
        let size = self.sector;
        for (name, inode) in &self.seen {
            let Some(file) = self.inodes.get_mut(inode) else { continue };
            // A lost rename brings back a file that was not a segment yet.
            let used = matches!(classify(name), FileKind::Segment(_)).then(|| kept(&file.seen, size));
            if file.guarded != used {
                Arc::make_mut(file).guarded = used;
            }
        }
    }
}

mod files;
mod harness;
mod under_way;
mod watch;

use crate::storage::write_queue::Outcome;
#[cfg(test)]
use crate::storage::write_queue::Refusal;
#[cfg(test)]
pub use under_way::before_polls;
use under_way::UnderWay;
pub use under_way::{Ending, SimQueue};
pub use watch::Moment;
use watch::{Rolling, Watch};
