use crate::{Log, Result, Row};
use okaywal::{Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Its recovery gives every entry to the program, so that opening and reading are one.
pub struct Okaywal {
    log: WriteAheadLog,
    recovered: Arc<Recovered>,
}

#[derive(Debug, Default)]
struct Recovered {
    records: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Manager {
    recovered: Arc<Recovered>,
}

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        loop {
            let mut chunk = match entry.read_chunk()? {
                ReadChunkResult::Chunk(chunk) => chunk,
                ReadChunkResult::EndOfEntry | ReadChunkResult::AbortedEntry => return Ok(()),
            };
            self.recovered.records.fetch_add(1, Ordering::Relaxed);
            self.recovered.bytes.fetch_add(chunk.read_all()?.len() as u64, Ordering::Relaxed);
            if !chunk.check_crc()? {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a checksum does not match"));
            }
        }
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

/// A record takes 9 bytes of framing in a batch; alone, 19.
const RECORD_BYTES: u64 = crate::VALUE_BYTES as u64 + 20;

impl Log for Okaywal {
    const GROUPS: bool = true;

    /// The file is filled with zeroes for all that the row writes, and never checkpointed, which would remove its records.
    fn open(dir: &Path, _: Row, records: u64) -> Result<Okaywal> {
        let recovered = Arc::new(Recovered::default());
        let log = Configuration::default_for(dir)
            .preallocate_bytes((records * RECORD_BYTES).max(16 << 20) as u32)
            .checkpoint_after_bytes(u64::MAX)
            .buffer_bytes(256 << 10)
            .open(Manager { recovered: recovered.clone() })?;
        Ok(Okaywal { log, recovered })
    }

    fn append(&self, value: &[u8]) -> Result<()> {
        self.append_batch(&[value])
    }

    /// An entry of several chunks, which is atomic.
    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        let mut entry = self.log.begin_entry()?;
        for value in values {
            entry.write_chunk(value)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn records(&self) -> Result<u64> {
        Ok(self.recovered.records.load(Ordering::Relaxed))
    }

    fn replay(&self) -> Result<(u64, u64)> {
        Ok((self.records()?, self.recovered.bytes.load(Ordering::Relaxed)))
    }
}
