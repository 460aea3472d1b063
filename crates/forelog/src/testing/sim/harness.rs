//! The simulated disk as a test uses it: faults, crashes, power cuts, damage, and access to the bytes.

use super::*;

impl SimDisk {
    pub fn new(seed: u64, sector: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(SimState {
            rng: Rng::new(seed),
            sector,
            inodes: BTreeMap::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            next_inode: 0,
            drawn: 0,
            faults: Faults::default(),
            through: Through::None,
            large_commit: 0,
            wall_clock: 1_700_000_000_000,
            recycles: false,
            recycled: 0,
            passed: 0,
            under_way: Vec::new(),
            unfinished: Vec::new(),
            outcomes: BTreeMap::new(),
            next_write: 0,
            completed_later: 0,
            overtook: 0,
            script: None,
            #[cfg(test)]
            refusal: None,
            budget: u64::MAX,
            trip: u64::MAX,
            tripped: false,
            read_trip: u64::MAX,
            #[cfg(test)]
            strike: None,
            bad: Vec::new(),
            lost: None,
            crashed: false,
            changes: 0,
            sync_failed: false,
            grave: 0,
            injected: 0,
            faulty: false,
            rolling: Rolling::No,
            watch: None,
            digest: seed,
            violation: None,
            trace: None,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SimState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns another disk in the same state, so that one moment can be damaged in many ways.
    pub fn fork(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.lock().clone())))
    }

    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub fn set_through(&self, through: Through) {
        self.lock().through = through;
    }

    /// Sets the size in bytes from which a commit is written past the page cache, if the disk supports that.
    pub fn set_large_commit(&self, bytes: u64) {
        self.lock().large_commit = bytes;
    }

    pub fn set_wall_clock(&self, ms: u64) {
        self.lock().wall_clock = ms;
    }

    pub fn set_recycles(&self, recycles: bool) {
        self.lock().recycles = recycles;
    }

    /// Returns the number of segments that were begun in the file of a truncated one.
    #[cfg(test)]
    pub fn recycled(&self) -> u64 {
        self.lock().recycled
    }

    /// Whether the newest segment is in a recycled file.
    pub fn is_recycled(&self) -> bool {
        let disk = self.lock();
        let segments = disk.seen.iter().filter_map(|(name, inode)| match classify(name) {
            FileKind::Segment(name) => Some((name.id, inode)),
            _ => None,
        });
        let newest = segments.max().and_then(|(_, inode)| disk.inodes.get(inode)?.seen.get(&0));
        newest.is_some_and(|page| page[12] & 1 != 0)
    }

    /// Gives a file a name in another directory as well.
    #[cfg(test)]
    pub fn link_elsewhere(&self, name: &str) {
        let mut disk = self.lock();
        if let Some(inode) = disk.seen.get(name).copied() {
            disk.inode(inode).elsewhere += 1;
        }
    }

    /// Returns the number of writes past the page cache that succeeded.
    #[cfg(test)]
    pub fn passed(&self) -> u64 {
        self.lock().passed
    }

    /// Makes the process die at the operation after the next `operations`.
    pub fn set_budget(&self, operations: u64) {
        self.lock().budget = operations;
    }

    /// Makes the operation after the next `operations` fail, if it is one that can fail.
    #[cfg(test)]
    pub fn set_trip(&self, operations: u64) {
        let mut disk = self.lock();
        disk.trip = operations;
        // A fault whose operation could not fail is dropped.
        disk.tripped = false;
    }

    /// Makes calls fail from here on. Returns the calls that were counted since the last time.
    #[cfg(test)]
    pub fn set_strike(&self, strike: Option<Strike>) -> Vec<(&'static str, String)> {
        let before = std::mem::replace(&mut self.lock().strike, strike);
        before.map_or(Vec::new(), |strike| strike.counted)
    }

    /// Makes the read after the next `reads` fail, once.
    #[cfg(test)]
    pub fn set_read_trip(&self, reads: u64) {
        self.lock().read_trip = reads;
    }

    /// Returns the number of reads before that failure; a very large number once it has happened.
    #[cfg(test)]
    pub fn read_trip(&self) -> u64 {
        self.lock().read_trip
    }

    /// Makes bytes of a file unreadable.
    #[cfg(test)]
    pub fn spoil(&self, name: &str, bytes: Range<u64>) {
        let mut disk = self.lock();
        if let Some(inode) = disk.seen.get(name).copied() {
            disk.bad.push((inode, bytes));
        }
    }

    /// From now on the directory's path does not lead to it, for this reason.
    #[cfg(test)]
    pub fn lose(&self, why: &str) {
        self.lock().lost = Some(why.to_owned());
    }

    /// Gives the name of a file to another, empty one, or to none, without the engine's knowledge.
    #[cfg(test)]
    pub fn swap(&self, name: &str, for_another: bool) {
        let mut disk = self.lock();
        disk.seen.remove(name);
        disk.durable.remove(name);
        if for_another {
            disk.next_inode += 1;
            let inode = disk.next_inode;
            disk.inodes.insert(inode, Arc::new(Inode::default()));
            disk.seen.insert(name.to_owned(), inode);
            disk.durable.insert(name.to_owned(), inode);
        }
    }

    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Returns the number of operations that changed something.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Returns the number of faults. A full disk's refusals to create a file are not counted.
    pub fn injected(&self) -> u64 {
        self.lock().injected
    }

    /// Whether a sync has failed since the last power cut, so that bytes returned by reads may be on no disk.
    pub fn sync_failed(&self) -> bool {
        self.lock().sync_failed
    }

    /// Returns the number of failed syncs of files that hold, or may hold, a part of the log.
    pub fn grave_failures(&self) -> u64 {
        self.lock().grave
    }

    /// Returns the first rule that the engine broke in its use of the disk.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    pub fn start_trace(&self) {
        self.lock().trace = Some(Vec::new());
    }

    fn is_traced(&self) -> bool {
        self.lock().trace.is_some()
    }

    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.clone().unwrap_or_default()
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        // Made before the lock is taken, because making the text may use the disk.
        if self.is_traced() {
            let line = text();
            self.lock().say(|_| line);
        }
    }

    /// Ends the process and begins another one. Pages that a failed sync left clean may be dropped in between.
    pub fn restart(&self) {
        let mut disk = self.lock();
        disk.crashed = false;
        disk.budget = u64::MAX;
        disk.complete_for_the_dead();
        disk.outcomes.clear();
        disk.unfinished.clear();
        disk.rolling = Rolling::No;
        disk.mix(&[8]);
        let stale: Vec<u64> = disk.inodes.iter().filter(|(_, f)| f.stale).map(|(inode, _)| *inode).collect();
        for inode in stale {
            let p = disk.rng.share();
            let sectors: Vec<u64> = disk.inode(inode).seen.keys().copied().collect();
            for sector in sectors {
                if disk.inode(inode).dirty.contains_key(&sector) || !disk.rng.chance(p) {
                    continue;
                }
                let file = disk.inode(inode);
                let forgotten = match file.platter(sector).cloned() {
                    Some(chunk) => file.seen.insert(sector, chunk.clone()).is_some_and(|old| *old != *chunk),
                    None => file.seen.remove(&sector).is_some(),
                };
                if forgotten {
                    disk.say(|s| format!("  evicted: {}@{}", s.name_of(inode), sector * s.sector));
                }
            }
        }
        disk.guard_again();
    }

    /// Cuts the power, which loses any subset of what was not synced.
    pub fn power_cut(&self) {
        let mut disk = self.lock();
        let p = disk.rng.portion();
        let names = disk.rng.portion();
        disk.cut(&mut |rng, _, _, versions| some_version(rng, p, versions), &mut |rng| rng.chance(names));
    }

    /// Cuts the power, which loses what `keep` and `settle` choose.
    #[cfg(test)]
    pub fn power_cut_keeping(&self, keep: Keep, settle: Settle) {
        self.lock().cut(keep, settle);
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().seen.keys().cloned().collect()
    }

    /// Returns all bytes of a file as reads return them; empty if there is no file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let disk = self.lock();
        let Some(file) = disk.seen.get(name).and_then(|inode| disk.inodes.get(inode)) else { return Vec::new() };
        let mut bytes = vec![0; file.len as usize];
        for (sector, chunk) in &file.seen {
            let at = (sector * disk.sector) as usize;
            let n = chunk.len().min(bytes.len() - at);
            bytes[at..at + n].copy_from_slice(&chunk[..n]);
        }
        bytes
    }

    /// Changes bytes without the engine's knowledge, in memory and on the platter.
    pub fn damage(&self, name: &str, offset: u64, bytes: &[u8]) {
        let mut disk = self.lock();
        disk.faulty = true;
        let size = disk.sector;
        let Some(inode) = disk.seen.get(name).copied() else { return };
        let file = disk.inode(inode);
        for (i, byte) in bytes.iter().enumerate() {
            let at = offset + i as u64;
            let old = file.seen.get(&(at / size)).cloned();
            let mut chunk = old.map_or_else(|| vec![0; size as usize], |old| old.to_vec());
            if chunk[(at % size) as usize] != *byte {
                chunk[(at % size) as usize] = *byte;
                let chunk: Chunk = chunk.into();
                file.seen.insert(at / size, chunk.clone());
                file.durable.insert(at / size, chunk);
            }
        }
    }

    /// Cuts a file to `len` bytes without the engine's knowledge.
    pub fn truncate(&self, name: &str, len: u64) {
        let old = self.bytes(name);
        let zeroes = vec![0; old.len().saturating_sub(len as usize)];
        self.damage(name, len, &zeroes);
        let mut disk = self.lock();
        if let Some(inode) = disk.seen.get(name).copied() {
            let size = disk.sector;
            disk.inode(inode).drop_beyond(len, size);
            disk.inode(inode).durable_len = len;
        }
    }
}

/// Chooses a version of a sector with probability `p`, mostly the newest.
fn some_version(rng: &mut Rng, p: f64, versions: usize) -> usize {
    if !rng.chance(p) {
        return 0;
    }
    let older = if rng.chance(0.5) { rng.below(versions as u64) as usize } else { 0 };
    versions - older
}
