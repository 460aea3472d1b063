//! Writes of the simulated disk that are submitted and complete later: in any order, torn, failed, or cut off by a power failure.

use super::*;
use crate::storage::write_queue::{Completed, Outcome, RawWrite, Refusal, SubmittedWrite, WriteQueue};
use crate::util::page_buffer::PageBuffer;

/// A write that is under way. Until it is complete, reads do not see it.
#[derive(Clone)]
pub(super) struct UnderWay {
    number: u64,
    inode: u64,
    bytes: Arc<[u8]>,
    offset: u64,
    /// Bytes of the file below this one were in use when the write was submitted, so the write may not change them.
    guarded: Option<u64>,
}

impl UnderWay {
    /// Whether the write touches a page of these bytes of a file.
    pub(super) fn overlaps(&self, inode: u64, from: u64, to: u64) -> bool {
        let end = self.offset + self.bytes.len() as u64;
        self.inode == inode && self.offset < to.next_multiple_of(PAGE) && from - from % PAGE < end
    }
}

#[cfg(test)]
thread_local! {
    static BEFORE_POLLS: std::cell::RefCell<Option<Box<dyn Fn()>>> = const { std::cell::RefCell::new(None) };
}

/// Calls this before each poll of a submitted write on this thread, without any lock of the disk.
#[cfg(test)]
pub fn before_polls(act: Option<Box<dyn Fn()>>) {
    BEFORE_POLLS.with(|before| *before.borrow_mut() = act);
}

/// The memory of a submitted write, and the disk that it goes to.
struct SimWrite {
    disk: SimDisk,
    number: u64,
    bytes: Option<PageBuffer>,
    place: Range<usize>,
}

/// The queue of a simulated disk, which completes writes when it is polled.
pub struct SimQueue;

impl WriteQueue for SimQueue {
    unsafe fn submit(&self, _write: RawWrite, _token: u64) -> Result<u32, Refusal> {
        Err(Refusal::Unsupported)
    }

    fn poll(&self, _number: u32) -> Option<i64> {
        None
    }

    fn wait(&self, _number: u32) -> i64 {
        0
    }

    fn take_tokens(&self, _tokens: &mut Vec<u64>) {}

    fn descriptor(&self) -> i32 {
        -1
    }

    fn acknowledge(&self) {}

    fn name(&self) -> &'static str {
        "simulated"
    }
}

impl SimDisk {
    pub(super) fn submit(
        &self,
        inode: u64,
        bytes: PageBuffer,
        place: Range<usize>,
        offset: u64,
    ) -> Result<Box<dyn SubmittedWrite>, (PageBuffer, Refusal)> {
        let mut disk = self.lock();
        match disk.submit(inode, &bytes[place.clone()], offset) {
            Ok(number) => Ok(Box::new(SimWrite { disk: self.clone(), number, bytes: Some(bytes), place })),
            Err(refusal) => Err((bytes, refusal)),
        }
    }

    /// Returns the number of writes under way.
    #[cfg(test)]
    pub fn under_way(&self) -> usize {
        self.lock().under_way.len()
    }

    /// Makes the outcomes of the next completions these, oldest first, and completes the writes in this order.
    #[cfg(test)]
    pub fn script_completions(&self, script: &[(usize, Ending)]) {
        self.lock().script = Some(script.to_vec());
    }

    /// Refuses every submission from here on for this reason, or none.
    #[cfg(test)]
    pub fn refuse_submissions(&self, refusal: Option<Refusal>) {
        self.lock().refusal = refusal;
    }

    /// Returns the number of submitted writes that have succeeded.
    pub fn completed_later(&self) -> u64 {
        self.lock().completed_later
    }

    /// Returns how many of those were complete before an earlier one.
    pub fn overtook(&self) -> u64 {
        self.lock().overtook
    }
}

/// How a write that is under way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    #[cfg(test)]
    Written,
    Unfinished,
    /// With EIO.
    #[cfg(test)]
    Failed,
    /// With ENOSPC, which passes.
    #[cfg(test)]
    Full,
}

impl SimState {
    fn submit(&mut self, inode: u64, bytes: &[u8], offset: u64) -> Result<u64, Refusal> {
        if self.through == Through::Refused {
            return Err(Refusal::Unsupported);
        }
        #[cfg(test)]
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if self.crashed || self.script.is_none() && self.rng.chance(0.03) {
            return Err(Refusal::Busy);
        }
        self.check_direct(inode, bytes, offset);
        if self.under_way.iter().any(|other| other.overlaps(inode, offset, offset + bytes.len() as u64)) {
            self.violation.get_or_insert(format!("#{inode}@{offset} is written while another write of the same page is under way"));
        }
        if self.step().is_err() {
            return Err(Refusal::Busy);
        }
        self.next_write += 1;
        let number = self.next_write;
        self.mix(&[11, inode, offset, bytes.len() as u64]);
        self.say(|s| format!("submit {}@{offset}+{} as write {number}", s.name_of(inode), bytes.len()));
        let guarded = self.inode(inode).guarded;
        self.under_way.push(UnderWay { number, inode, bytes: bytes.into(), offset, guarded });
        Ok(number)
    }

    /// Completes the write at this place among those under way.
    fn complete(&mut self, index: usize, ending: Option<Ending>) {
        let write = self.under_way.remove(index);
        let (number, bytes) = (write.number, write.bytes.clone());
        let unfinished = match ending {
            Some(ending) => ending == Ending::Unfinished,
            None => self.rng.chance(0.1),
        };
        let outcome = if unfinished {
            // It may have stopped anywhere.
            let p = self.rng.portion();
            self.harden_some(&write, p);
            self.say(|_| format!("write {number} stops early"));
            self.unfinished.push(write);
            Outcome::Unfinished
        } else {
            #[cfg(test)]
            self.strike_ending(ending);
            match self.guarding(&write, |disk| disk.write_through(write.inode, &write.bytes, write.offset)) {
                Ok(()) => {
                    self.completed_later += 1;
                    self.overtook += u64::from(index > 0);
                    self.say(|_| format!("write {number} is complete"));
                    Outcome::Written
                }
                Err(short) => Outcome::Failed(short.fault),
            }
        };
        self.outcomes.insert(number, (outcome, bytes));
    }

    #[cfg(test)]
    fn strike_ending(&mut self, ending: Option<Ending>) {
        let errno = match ending {
            Some(Ending::Failed) => EIO,
            Some(Ending::Full) => ENOSPC,
            _ => return,
        };
        self.strike = Some(Strike { numbers: 0..1, calls: &["direct"], errno, ..Strike::default() });
    }

    /// Does a part of a write that was submitted, with the bytes guarded that were in use then. A later write may have been complete first.
    fn guarding<T>(&mut self, write: &UnderWay, act: impl FnOnce(&mut SimState) -> T) -> T {
        let before = std::mem::replace(&mut self.inode(write.inode).guarded, write.guarded);
        let result = act(self);
        let file = self.inode(write.inode);
        file.guarded = file.guarded.max(before);
        result
    }

    /// Writes past the page cache at once. That may be a write that was submitted and stopped early.
    pub(super) fn write_direct(&mut self, inode: u64, bytes: &[u8], offset: u64) -> Result<(), ShortWrite> {
        if !self.crashed && self.through != Through::Refused {
            self.check_direct(inode, bytes, offset);
        }
        let again = self.unfinished.iter().position(|write| write.inode == inode && write.offset == offset && write.bytes[..] == *bytes);
        match again.map(|index| self.unfinished.remove(index)) {
            Some(write) => self.guarding(&write, |disk| disk.write_through(inode, bytes, offset)),
            None => self.write_through(inode, bytes, offset),
        }
    }

    /// Makes each sector of a write durable with probability `p`.
    fn harden_some(&mut self, write: &UnderWay, p: f64) {
        if !self.inodes.contains_key(&write.inode) {
            return;
        }
        let before = self.inode(write.inode).guarded;
        let put = self.guarding(write, |disk| disk.put_some(write.inode, &write.bytes, write.offset, p));
        let file = self.inode(write.inode);
        // All of it is written again, with the sectors between those that were put.
        file.guarded = before;
        for sector in put {
            file.fresh.remove(&sector);
            let newest = file.dirty.remove(&sector).and_then(|mut versions| versions.pop());
            file.durable.extend(newest.map(|chunk| (sector, chunk)));
        }
    }

    /// Lets the kernel go on with what a dead process has submitted. Each write is complete in the end, or stops early.
    pub(super) fn complete_for_the_dead(&mut self) {
        for write in std::mem::take(&mut self.under_way) {
            let p = if self.rng.chance(0.7) { 1.0 } else { self.rng.portion() };
            self.say(|_| format!("  write {} of the dead process: {p:.2} of it", write.number));
            self.harden_some(&write, p);
        }
    }

    /// Makes the writes under way versions of their sectors, of which a power cut keeps any.
    pub(super) fn cut_writes(&mut self) {
        for write in std::mem::take(&mut self.under_way) {
            if self.inodes.contains_key(&write.inode) {
                self.guarding(&write, |disk| disk.put(write.inode, &write.bytes, write.offset));
            }
        }
    }
}

impl SimWrite {
    /// A disk reads the memory at any time until the write is complete.
    fn check_memory(&self, disk: &mut SimState, submitted: &[u8]) {
        if self.bytes.as_ref().is_some_and(|bytes| bytes[self.place.clone()] != *submitted) {
            disk.violation.get_or_insert("the memory of a write was used again while it was under way".into());
        }
    }

    fn poll_in(&mut self, disk: &mut SimState, must: bool) -> Option<Completed> {
        self.bytes.as_ref()?;
        loop {
            if let Some((outcome, submitted)) = disk.outcomes.remove(&self.number) {
                self.check_memory(disk, &submitted);
                return Some(Completed { bytes: self.bytes.take()?, outcome });
            }
            if disk.crashed {
                // The process is gone, and nobody learns of the outcome.
                return if must { Some(Completed { bytes: self.bytes.take()?, outcome: Outcome::Failed(dead()) }) } else { None };
            }
            let count = disk.under_way.len();
            let next = match &mut disk.script {
                Some(script) if script.is_empty() => None,
                Some(script) => Some(script.remove(0)).map(|(index, ending)| (index, Some(ending))),
                None if count > 0 && (must || disk.rng.chance(0.4)) => Some((disk.rng.below(count as u64) as usize, None)),
                None => None,
            };
            match next {
                Some((index, ending)) if index < count => disk.complete(index, ending),
                // A scripted disk that is told nothing more completes what is waited for.
                _ if must => {
                    let own = disk.under_way.iter().position(|other| other.number == self.number)?;
                    disk.complete(own, None);
                }
                _ => return None,
            }
        }
    }
}

impl SubmittedWrite for SimWrite {
    fn poll(&mut self) -> Option<Completed> {
        #[cfg(test)]
        BEFORE_POLLS.with(|before| before.borrow().iter().for_each(|act| act()));
        let disk = self.disk.clone();
        let mut disk = disk.lock();
        self.poll_in(&mut disk, false)
    }

    fn wait(&mut self) -> Option<Completed> {
        let disk = self.disk.clone();
        let mut disk = disk.lock();
        self.poll_in(&mut disk, true)
    }
}

impl Drop for SimWrite {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        let own = disk.under_way.iter().find(|under| under.number == self.number).map(|under| under.bytes.clone());
        if let Some(submitted) = own {
            self.check_memory(&mut disk, &submitted);
        }
        drop(disk);
        // A process that has died waits for nothing: what it has submitted stays under way.
        if !self.disk.crashed() {
            self.wait();
        }
    }
}
