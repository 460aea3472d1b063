//! The simulated disk as the engine uses it.

use super::*;
use crate::storage::write_queue::{Refusal, SubmittedWrite, WriteQueue};
use crate::util::page_buffer::PageBuffer;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

impl Storage for SimDisk {
    fn list(&self) -> Result<Vec<String>, Fault> {
        let mut disk = self.lock();
        if disk.crashed {
            return Err(dead());
        }
        if let Some((fault, _)) = disk.struck("scandir", ".") {
            return Err(fault);
        }
        if disk.read_fails(None, 0..0) {
            return Err(fault("scandir", ".", EIO));
        }
        // Sorted by age, because names of spares are random and histories have to replay.
        let mut names: Vec<_> = disk.seen.iter().map(|(name, inode)| (*inode, name.clone())).collect();
        names.sort();
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }

    fn open(&self, name: &str, _write: bool) -> Result<FileRef, Fault> {
        let mut disk = self.lock();
        if disk.crashed {
            return Err(dead());
        }
        if let Some((fault, _)) = disk.struck("open", name) {
            return Err(fault);
        }
        let inode = *disk.seen.get(name).ok_or_else(|| fault("open", name, ENOENT))?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, through: false }))
    }

    fn open_direct(&self, name: &str) -> Option<FileRef> {
        let mut disk = self.lock();
        if disk.through != Through::None && disk.struck("open", name).is_some() {
            return None;
        }
        let inode = *disk.seen.get(name).filter(|_| disk.through != Through::None && !disk.crashed)?;
        Some(Arc::new(SimFile { disk: self.clone(), inode, through: true }))
    }

    /// Low enough that some commits of a history are large.
    fn large_commit(&self) -> u64 {
        self.lock().large_commit
    }

    fn create(&self, name: &str, len: u64) -> Result<FileRef, Fault> {
        let mut disk = self.lock();
        disk.step()?;
        if disk.seen.contains_key(name) {
            return Err(fault("open", name, EEXIST));
        }
        for call in ["open", "fallocate"] {
            if let Some((fault, _)) = disk.struck(call, name) {
                return Err(fault);
            }
        }
        if let Some(fault) = disk.refused("fallocate", name) {
            return Err(fault);
        }
        if disk.faults.full || disk.inject(0.0) {
            disk.faulty = true;
            disk.say(|_| "create: the disk is full".into());
            return Err(fault("fallocate", name, ENOSPC));
        }
        let p = disk.faults.write;
        if disk.inject(p) {
            return Err(fault("open", name, EIO));
        }
        disk.next_inode += 1;
        let inode = disk.next_inode;
        disk.inodes.insert(inode, Arc::new(Inode { len, ..Inode::default() }));
        disk.mix(&[5, inode, len]);
        disk.seen.insert(name.to_owned(), inode);
        disk.pending.push(DirOp::Create(name.to_owned(), inode));
        disk.say(|_| format!("create {name} #{inode}, {len} bytes"));
        Ok(Arc::new(SimFile { disk: self.clone(), inode, through: false }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let mut disk = self.lock();
        disk.step()?;
        let struck = disk.struck("rename", to);
        if let Some((fault, false)) = struck {
            return Err(fault);
        }
        if let Some(fault) = disk.refused("rename", from) {
            return Err(fault);
        }
        let p = disk.faults.write;
        if disk.inject(p) {
            let errno = if disk.rng.chance(0.5) { ENOSPC } else { EIO };
            return Err(fault("rename", from, errno));
        }
        let inode = disk.seen.remove(from).ok_or_else(|| fault("rename", from, ENOENT))?;
        disk.seen.insert(to.to_owned(), inode);
        disk.pending.push(DirOp::Rename(to.to_owned(), inode));
        disk.roll_renamed(to);
        disk.mix(&[6, inode]);
        let size = disk.sector;
        let file = disk.inode(inode);
        let segment = matches!(classify(to), FileKind::Segment(_));
        let recycled = segment && file.seen.get(&0).is_some_and(|page| page[12] & 1 != 0);
        file.guarded = segment.then(|| kept(&file.seen, size));
        disk.recycled += u64::from(recycled);
        disk.say(|_| format!("rename {from} -> {to}"));
        struck.map_or(Ok(()), |(fault, _)| Err(fault))
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        let mut disk = self.lock();
        disk.step()?;
        if let Some((fault, _)) = disk.struck("unlink", name) {
            return Err(fault);
        }
        let inode = disk.seen.remove(name).ok_or_else(|| fault("unlink", name, ENOENT))?;
        disk.pending.push(DirOp::Remove(name.to_owned(), inode));
        disk.roll_removed(name);
        disk.mix(&[7, inode]);
        disk.say(|_| format!("remove {name}"));
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), Fault> {
        self.lock().sync_dir()
    }

    fn lost(&self) -> Option<String> {
        self.lock().lost.clone()
    }

    fn find(&self, name: &str) -> Result<Option<Identity>, Fault> {
        let disk = self.lock();
        if disk.crashed {
            return Err(dead());
        }
        Ok(disk.seen.get(name).map(|inode| Identity::simulated(*inode)))
    }

    fn overwrites_in_place(&self) -> bool {
        true
    }

    fn recycles(&self) -> bool {
        self.lock().recycles
    }

    /// The numbers are the same in every history, so that two disks differ only in what happened to them.
    fn random(&self, out: &mut [u8]) -> Result<(), Fault> {
        let mut disk = self.lock();
        if let Some((fault, _)) = disk.struck("getrandom", "") {
            return Err(fault);
        }
        disk.drawn += 1;
        let mut rng = Rng::new(disk.drawn);
        out.iter_mut().for_each(|byte| *byte = rng.next() as u8);
        Ok(())
    }

    fn wall_clock(&self) -> u64 {
        self.lock().wall_clock
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let mut disk = self.disk.lock();
        if disk.crashed {
            return Err(dead());
        }
        if let Some((fault, _)) = disk.struck_at("pread", self.inode) {
            return Err(fault);
        }
        if disk.read_fails(Some(self.inode), offset..offset + buffer.len() as u64) {
            return Err(fault("pread", &disk.name_of(self.inode), EIO));
        }
        let (size, inode) = (disk.sector, self.inode);
        let Some(file) = disk.inodes.get(&inode) else { return Ok(0) };
        let n = (buffer.len() as u64).min(file.len.saturating_sub(offset)) as usize;
        buffer[..n].fill(0);
        if n == 0 {
            return Ok(0);
        }
        let end = offset + n as u64;
        for (sector, chunk) in file.seen.range(offset / size..=(end - 1) / size) {
            let (from, to) = ((sector * size).max(offset), (sector * size + size).min(end));
            let bytes = &chunk[(from - sector * size) as usize..(to - sector * size) as usize];
            buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(bytes);
        }
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ShortWrite> {
        let mut disk = self.disk.lock();
        match self.through {
            true => disk.write_direct(self.inode, bytes, offset),
            false => disk.write(self.inode, bytes, offset),
        }
    }

    fn submit(
        &self,
        _queue: &Arc<dyn WriteQueue>,
        bytes: PageBuffer,
        range: Range<usize>,
        offset: u64,
        _token: u64,
    ) -> Result<Box<dyn SubmittedWrite>, (PageBuffer, Refusal)> {
        match self.through {
            true => self.disk.submit(self.inode, bytes, range, offset),
            false => Err((bytes, Refusal::Unsupported)),
        }
    }

    fn sync(&self) -> Result<(), Fault> {
        self.disk.lock().sync(self.inode)
    }

    fn len(&self) -> Result<u64, Fault> {
        let mut disk = self.disk.lock();
        if disk.crashed {
            return Err(dead());
        }
        if let Some((fault, _)) = disk.struck_at("fstat", self.inode) {
            return Err(fault);
        }
        Ok(disk.inodes.get(&self.inode).map_or(0, |file| file.len))
    }

    /// Sectors that were never written are holes.
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let disk = self.disk.lock();
        let size = disk.sector;
        let seen = &disk.inodes.get(&self.inode)?.seen;
        let start = *seen.range(offset / size..).next()?.0;
        let end = (start..).find(|sector| !seen.contains_key(sector))?;
        Some((start * size).max(offset)..end * size)
    }

    fn shrink(&self, len: u64) {
        let mut disk = self.disk.lock();
        if disk.step().is_err() {
            return;
        }
        let (size, name) = (disk.sector, disk.name_of(self.inode));
        if disk.struck("ftruncate", &name).is_some() {
            return;
        }
        let file = disk.inode(self.inode);
        let lost = match file.guarded {
            Some(kept) => kept > len,
            // A spare of a truncated segment.
            None => false,
        };
        file.shrink(len, size);
        if lost {
            disk.violation.get_or_insert(format!("{name} is shortened to {len} bytes, which loses bytes that are not zero"));
        }
        disk.say(|_| format!("shrink {name} to {len}"));
    }

    fn lengthen(&self, len: u64) -> Result<(), Fault> {
        self.grow(len, len)
    }

    fn grow(&self, _from: u64, len: u64) -> Result<(), Fault> {
        let mut disk = self.disk.lock();
        disk.step()?;
        let name = disk.name_of(self.inode);
        if let Some((fault, _)) = disk.struck("fallocate", &name) {
            return Err(fault);
        }
        if let Some(fault) = disk.refused("fallocate", &name) {
            return Err(fault);
        }
        if disk.faults.full || disk.inject(0.0) {
            disk.faulty = true;
            disk.say(|_| format!("grow {name}: the disk is full"));
            return Err(fault("fallocate", &name, ENOSPC));
        }
        let file = disk.inode(self.inode);
        file.len = file.len.max(len);
        disk.mix(&[9, self.inode, len]);
        disk.say(|_| format!("grow {name} to {len}"));
        Ok(())
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity::simulated(self.inode))
    }

    fn link_count(&self) -> Option<u64> {
        let disk = self.disk.lock();
        let here = disk.seen.values().filter(|inode| **inode == self.inode).count() as u64;
        disk.inodes.get(&self.inode).map(|file| here + file.elsewhere)
    }
}
