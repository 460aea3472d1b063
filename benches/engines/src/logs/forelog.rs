use crate::{Log, Result, Row};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// With the default options.
pub struct Forelog(forelog::Log);

impl Log for Forelog {
    const GROUPS: bool = true;

    fn open(dir: &Path, _: Row, _: u64) -> Result<Forelog> {
        Ok(Forelog(forelog::Log::open(dir)?))
    }

    fn append(&self, value: &[u8]) -> Result<()> {
        self.0.append(value)?;
        Ok(())
    }

    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        self.0.append_batch(values.iter().copied())?;
        Ok(())
    }

    fn records(&self) -> Result<u64> {
        Ok(self.0.last_position().unwrap_or(0))
    }

    fn replay(&self) -> Result<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0);
        for record in self.0.iter() {
            bytes += record?.value().map_or(0, <[u8]>::len) as u64;
            records += 1;
        }
        Ok((records, bytes))
    }
}

static KIB_64: [u8; 64 << 10] = [1; 64 << 10];
const TRUNCATE_EVERY: u64 = (16 << 20) / crate::VALUE_BYTES as u64;

/// A log in use, truncated behind: its segments go on in files that were written before.
pub struct Recycled {
    log: Forelog,
    /// The position at which it is truncated next.
    next: AtomicU64,
}

impl Recycled {
    fn fill(&self, rolls: u64) -> Result<()> {
        while self.log.0.stats().rolls < rolls {
            self.log.0.append_batch([&KIB_64[..]; 16])?;
        }
        self.log.0.truncate_before(self.log.0.next_position())?;
        Ok(())
    }

    fn truncate(&self) -> Result<()> {
        let (position, next) = (self.log.0.next_position(), self.next.load(Ordering::Relaxed));
        if position >= next {
            self.next.store(position + TRUNCATE_EVERY, Ordering::Relaxed);
            self.log.0.truncate_before(position)?;
        }
        Ok(())
    }
}

impl Log for Recycled {
    const GROUPS: bool = true;

    fn open(dir: &Path, row: Row, records: u64) -> Result<Recycled> {
        let recycled = Recycled { log: Forelog::open(dir, row, records)?, next: AtomicU64::new(0) };
        recycled.fill(3)?;
        recycled.fill(4)?;
        recycled.next.store(recycled.log.0.next_position() + TRUNCATE_EVERY, Ordering::Relaxed);
        Ok(recycled)
    }

    fn append(&self, value: &[u8]) -> Result<()> {
        self.log.append(value)
    }

    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        self.log.append_batch(values)
    }

    fn records(&self) -> Result<u64> {
        Err("a truncated log has no part in this row".into())
    }

    fn replay(&self) -> Result<(u64, u64)> {
        Err("a truncated log has no part in this row".into())
    }

    fn between_batches(&self) -> Result<()> {
        self.truncate()
    }
}
