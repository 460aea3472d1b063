//! A storage that reads past bad blocks: what the disk fails to give back reads as zeroes, and that it did is remembered.
//!
//! No frame and no page of zeroes is valid, so bytes that cannot be read count as damaged ones.

use super::{Fault, File, FileRef, ShortWrite, Storage};
use crate::options::PAGE;
use std::sync::{Arc, Mutex, PoisonError};

type First = Arc<Mutex<Option<Fault>>>;

pub struct Lenient {
    storage: Arc<dyn Storage>,
    first: First,
}

impl Lenient {
    pub fn new(storage: Arc<dyn Storage>) -> Lenient {
        Lenient { storage, first: First::default() }
    }

    /// The first failure to read.
    pub fn fault(&self) -> Option<Fault> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Storage for Lenient {
    fn list(&self) -> Result<Vec<String>, Fault> {
        self.storage.list()
    }

    fn open(&self, name: &str, write: bool) -> Result<FileRef, Fault> {
        Ok(Arc::new(LenientFile { file: self.storage.open(name, write)?, first: self.first.clone() }))
    }

    fn create(&self, name: &str, len: u64) -> Result<FileRef, Fault> {
        self.storage.create(name, len)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.storage.remove(name)
    }

    fn sync_dir(&self) -> Result<(), Fault> {
        self.storage.sync_dir()
    }

    fn is_volatile(&self) -> bool {
        self.storage.is_volatile()
    }

    fn overwrites_in_place(&self) -> bool {
        self.storage.overwrites_in_place()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), Fault> {
        self.storage.random(out)
    }

    fn wall_clock(&self) -> u64 {
        self.storage.wall_clock()
    }
}

struct LenientFile {
    file: FileRef,
    first: First,
}

impl File for LenientFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let fault = match self.file.read_at(buffer, offset) {
            Err(fault) if fault.errno.is_some() => fault,
            other => return other,
        };
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        let len = (self.file.len()?.saturating_sub(offset)).min(buffer.len() as u64) as usize;
        let mut at = 0;
        while at < len {
            let page_end = (offset + at as u64 + 1).next_multiple_of(PAGE) - offset;
            let page = &mut buffer[at..len.min(page_end as usize)];
            match self.file.read_at(page, offset + at as u64) {
                Ok(n) => page[n..].fill(0),
                Err(fault) if fault.errno.is_none() => return Err(fault),
                Err(_) => page.fill(0),
            }
            at += page.len();
        }
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ShortWrite> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> Result<(), Fault> {
        self.file.sync()
    }

    fn len(&self) -> Result<u64, Fault> {
        self.file.len()
    }

    fn shrink(&self, len: u64) {
        self.file.shrink(len);
    }

    fn grow(&self, len: u64) -> Result<(), Fault> {
        self.file.grow(len)
    }
}
