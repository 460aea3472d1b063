//! Moments: the state of the disk before each operation that changes it, kept so that one history can be cut at all of them. Also the hash
//! that distinguishes images of a disk.

use super::*;
use xxhash_rust::xxh3::{xxh3_64, Xxh3Default};

/// How far a roll has come, as shown by its operations on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rolling {
    No,
    /// The next header is being written into a spare.
    Written,
    /// The segment has its final name, and CONTROL does not name it yet.
    Named,
}

/// The disk at one moment, before the next operation or in the middle of it.
pub struct Moment {
    pub disk: SimDisk,
    /// A new segment was being made: from the first byte of its header until CONTROL names it.
    pub rolling: bool,
}

#[derive(Clone)]
pub(super) struct Watch {
    rng: Rng,
    share: f64,
    seen: Vec<SimState>,
}

impl SimState {
    pub(super) fn mix(&mut self, words: &[u64]) {
        for word in words {
            self.digest = Rng::new(self.digest ^ word).next();
        }
    }

    /// Returns a copy of the disk in this state, for another test to use.
    fn apart(&mut self) -> SimState {
        let watch = self.watch.take();
        let apart = SimState {
            budget: u64::MAX,
            trip: u64::MAX,
            #[cfg(test)]
            strike: None,
            ..self.clone()
        };
        self.watch = watch;
        apart
    }

    fn keep(&mut self, state: SimState) {
        if let Some(watch) = &mut self.watch {
            watch.seen.push(state);
        }
    }

    /// Keeps this moment or not, at random.
    pub(super) fn look(&mut self) {
        let rolling = self.rolling != Rolling::No;
        // A roll is short and intricate, so all of its moments are kept if many are.
        if self.watch.as_mut().is_some_and(|watch| watch.rng.chance(watch.share) || rolling && watch.share >= 0.5) {
            let state = self.apart();
            self.keep(state);
        }
    }

    /// Keeps a moment in which a part of a write has arrived and the process is gone.
    pub(super) fn look_midway(&mut self, inode: u64, bytes: &[u8], offset: u64, failing: bool, through: bool) {
        let Some(watch) = self.watch.as_mut().filter(|_| !failing && !self.crashed) else { return };
        if !watch.rng.chance(watch.share / 4.0) {
            return;
        }
        let (part, p) = (watch.rng.below(bytes.len() as u64) as usize, watch.rng.portion());
        let name = self.name_of(inode);
        let mut state = self.apart();
        // The operation is not complete, so nothing that depends on it has been reported yet.
        state.changes -= 1;
        if through {
            state.put_some(inode, bytes, offset, p);
        } else {
            state.put(inode, &bytes[..part], offset);
            state.roll_wrote(&name, &bytes[..part]);
        }
        state.say(|_| format!("write {name}@{offset}+{part} of {}: the process dies", bytes.len()));
        self.keep(state);
    }

    pub(super) fn roll_wrote(&mut self, name: &str, bytes: &[u8]) {
        // Zeroes only prepare a spare, and a new CONTROL is not a segment.
        let spare = matches!(classify(name), FileKind::Spare(_) | FileKind::Reserve) && !name.ends_with("control");
        if spare && bytes.iter().any(|b| *b != 0) {
            self.rolling = Rolling::Written;
        }
    }

    pub(super) fn roll_renamed(&mut self, to: &str) {
        if let FileKind::Segment(_) = classify(to) {
            self.rolling = Rolling::Named;
        }
    }

    pub(super) fn roll_removed(&mut self, name: &str) {
        if self.rolling == Rolling::Written && matches!(classify(name), FileKind::Spare(_)) {
            self.rolling = Rolling::No;
        }
    }

    pub(super) fn roll_synced(&mut self, name: &str) {
        if self.rolling == Rolling::Named && name == CONTROL {
            self.rolling = Rolling::No;
        }
    }

    /// Hashes names, lengths and contents as reads return them. A sector of zeroes counts as never written.
    fn image(&self) -> u64 {
        let mut hash = Xxh3Default::new();
        for (name, inode) in &self.seen {
            hash.update(name.as_bytes());
            let Some(file) = self.inodes.get(inode) else { continue };
            hash.update(&file.len.to_le_bytes());
            for (sector, chunk) in &file.seen {
                let content = chunk.hash();
                if content != 0 {
                    hash.update(&sector.to_le_bytes());
                    hash.update(&content.to_le_bytes());
                }
            }
        }
        hash.digest()
    }
}

impl Chunk {
    /// Returns the hash of a sector, 0 if it is zeroes.
    fn hash(&self) -> u64 {
        *self.0.hash.get_or_init(|| if self.iter().all(|b| *b == 0) { 0 } else { xxh3_64(self).max(1) })
    }
}

impl SimDisk {
    /// Keeps about this share of the moments from here on. They are drawn by a seed of their own, so that a history goes the same way
    /// whether it is watched or not.
    pub fn watch(&self, seed: u64, share: f64) {
        self.lock().watch = Some(Watch { rng: Rng::new(seed), share, seen: Vec::new() });
    }

    /// Returns the moments kept since `watch`, and ends the watch.
    pub fn watched(&self) -> Vec<Moment> {
        let seen = self.lock().watch.take().map_or(Vec::new(), |watch| watch.seen);
        let moment = |state: SimState| Moment { rolling: state.rolling != Rolling::No, disk: SimDisk(Arc::new(Mutex::new(state))) };
        seen.into_iter().map(moment).collect()
    }

    /// Returns a hash of the whole disk: names, lengths, contents.
    pub fn image(&self) -> u64 {
        self.lock().image()
    }

    /// Returns a hash of everything that has ever happened to this disk.
    pub fn digest(&self) -> u64 {
        self.lock().digest
    }

    /// Whether a random fault has happened since this was last reset.
    pub fn is_faulty(&self) -> bool {
        self.lock().faulty
    }

    pub fn forget_faults(&self) {
        self.lock().faulty = false;
    }

    pub fn sector(&self) -> u64 {
        self.lock().sector
    }

    /// Makes the random choices from here on differ from those of other forks of one moment.
    pub fn reseed(&self, seed: u64) {
        self.lock().rng = Rng::new(seed);
    }
}
