use crate::{Log, Result, Row};
use memmap2::MmapMut;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const PAGE: usize = 4096;
const CHUNK: usize = 1 << 20;
/// Starts over at the end: only the device is measured.
const FILE_BYTES: u64 = 256 << 20;
/// A length and a checksum: what framing cannot do without.
const FRAMING: usize = 8;

/// No log at all: the same bytes, in whole pages, by one write with `O_DIRECT` and `O_DSYNC` into blocks that were written before.
pub struct Bare {
    file: File,
    state: Mutex<State>,
}

struct State {
    /// Aligned to a page.
    memory: MmapMut,
    offset: u64,
}

impl Bare {
    fn write(&self, records: usize) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let length = (records * (crate::VALUE_BYTES + FRAMING)).div_ceil(PAGE) * PAGE;
        if state.offset + length as u64 > FILE_BYTES {
            state.offset = 0;
        }
        self.file.write_all_at(&state.memory[..length], state.offset)?;
        state.offset += length as u64;
        Ok(())
    }
}

impl Log for Bare {
    const GROUPS: bool = false;

    fn open(dir: &Path, _: Row, _: u64) -> Result<Bare> {
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
        let file = OpenOptions::new().create(true).truncate(true).write(true).custom_flags(flags).open(dir.join("bare"))?;
        let mut memory = MmapMut::map_anon(CHUNK)?;
        for offset in (0..FILE_BYTES).step_by(CHUNK) {
            file.write_all_at(&memory, offset)?;
        }
        file.sync_all()?;
        memory.fill(1);
        Ok(Bare { file, state: Mutex::new(State { memory, offset: 0 }) })
    }

    fn append(&self, _: &[u8]) -> Result<()> {
        self.write(1)
    }

    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        self.write(values.len())
    }

    fn records(&self) -> Result<u64> {
        Err("it is no log".into())
    }

    fn replay(&self) -> Result<(u64, u64)> {
        Err("it is no log".into())
    }
}
