//! A [`Storage`] decorator. A [`Layer`] overrides single operations, and everything else is forwarded to the storage below.

use super::dir_handle::Identity;
use super::{File, FileRef, ShortWrite, Storage};
use crate::error::Fault;
use std::ops::Range;
use std::sync::Arc;

/// The operations that a layer can override. By default each one is forwarded.
pub trait Layer: Send + Sync + 'static {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        file.read_at(buffer, offset)
    }

    fn drop_cache(&self, file: &dyn File, offset: u64, len: u64) {
        file.drop_cache(offset, len);
    }

    fn next_data(&self, file: &dyn File, offset: u64) -> Option<Range<u64>> {
        file.next_data(offset)
    }

    fn sync(&self, file: &dyn File) -> Result<(), Fault> {
        file.sync()
    }

    fn open(&self, below: &dyn Storage, name: &str, write: bool) -> Result<FileRef, Fault> {
        below.open(name, write)
    }

    fn create(&self, below: &dyn Storage, name: &str, len: u64) -> Result<FileRef, Fault> {
        below.create(name, len)
    }

    fn remove(&self, below: &dyn Storage, name: &str) -> Result<(), Fault> {
        below.remove(name)
    }

    fn link(&self, below: &dyn Storage, from: &dyn Storage, name: &str) -> Result<bool, Fault> {
        below.link(from, name)
    }
}

/// A storage with a layer over it.
pub struct Layered<L> {
    below: Arc<dyn Storage>,
    pub layer: Arc<L>,
}

impl<L: Layer> Layered<L> {
    pub fn over(below: Arc<dyn Storage>, layer: L) -> Layered<L> {
        Layered { below, layer: Arc::new(layer) }
    }
}

/// Puts a layer over one open file.
pub fn layered<L: Layer>(file: FileRef, layer: L) -> FileRef {
    Arc::new(LayeredFile { file, layer: Arc::new(layer) })
}

impl<L: Layer> Storage for Layered<L> {
    fn list(&self) -> Result<Vec<String>, Fault> {
        self.below.list()
    }

    fn open(&self, name: &str, write: bool) -> Result<FileRef, Fault> {
        Ok(Arc::new(LayeredFile { file: self.layer.open(&*self.below, name, write)?, layer: self.layer.clone() }))
    }

    fn create(&self, name: &str, len: u64) -> Result<FileRef, Fault> {
        self.layer.create(&*self.below, name, len)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.below.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.layer.remove(&*self.below, name)
    }

    fn sync_dir(&self) -> Result<(), Fault> {
        self.below.sync_dir()
    }

    fn lost(&self) -> Option<String> {
        self.below.lost()
    }

    fn find(&self, name: &str) -> Result<Option<Identity>, Fault> {
        self.below.find(name)
    }

    fn link(&self, from: &dyn Storage, name: &str) -> Result<bool, Fault> {
        self.layer.link(&*self.below, from, name)
    }

    fn is_volatile(&self) -> bool {
        self.below.is_volatile()
    }

    fn overwrites_in_place(&self) -> bool {
        self.below.overwrites_in_place()
    }

    fn recycles(&self) -> bool {
        self.below.recycles()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), Fault> {
        self.below.random(out)
    }

    fn wall_clock(&self) -> u64 {
        self.below.wall_clock()
    }
}

struct LayeredFile<L> {
    file: FileRef,
    layer: Arc<L>,
}

impl<L: Layer> File for LayeredFile<L> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        self.layer.read_at(&*self.file, buffer, offset)
    }

    fn write_back(&self, offset: u64, len: u64) {
        self.file.write_back(offset, len);
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        self.layer.drop_cache(&*self.file, offset, len);
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ShortWrite> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> Result<(), Fault> {
        self.layer.sync(&*self.file)
    }

    fn len(&self) -> Result<u64, Fault> {
        self.file.len()
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.layer.next_data(&*self.file, offset)
    }

    fn allocated(&self) -> Result<u64, Fault> {
        self.file.allocated()
    }

    fn shrink(&self, len: u64) {
        self.file.shrink(len);
    }

    fn grow(&self, from: u64, len: u64) -> Result<(), Fault> {
        self.file.grow(from, len)
    }

    fn lengthen(&self, len: u64) -> Result<(), Fault> {
        self.file.lengthen(len)
    }

    fn identity(&self) -> Option<Identity> {
        self.file.identity()
    }

    fn link_count(&self) -> Option<u64> {
        self.file.link_count()
    }
}
