use crate::{Log, Result, Row};
use open_wal::{Lsn, Wal, WalConfig};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// With its production defaults. It is for one writer, so that the bench groups the appends of several threads.
pub struct OpenWal(Mutex<Wal>);

impl OpenWal {
    fn lock(&self) -> MutexGuard<'_, Wal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for OpenWal {
    const GROUPS: bool = false;

    fn open(dir: &Path, _: Row, _: u64) -> Result<OpenWal> {
        std::fs::create_dir_all(dir)?;
        Ok(OpenWal(Mutex::new(Wal::open(dir, WalConfig::default())?.0)))
    }

    fn append(&self, value: &[u8]) -> Result<()> {
        self.append_batch(&[value])
    }

    /// Durable together, although not atomic.
    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        let mut wal = self.lock();
        for value in values {
            wal.append(value)?;
        }
        wal.commit()?;
        Ok(())
    }

    fn records(&self) -> Result<u64> {
        Ok(self.lock().last_lsn().0)
    }

    fn replay(&self) -> Result<(u64, u64)> {
        let wal = self.lock();
        let mut reader = wal.reader_from(Lsn(0))?;
        let (mut records, mut bytes) = (0, 0);
        while let Some(record) = reader.next() {
            bytes += record?.1.len() as u64;
            records += 1;
        }
        Ok((records, bytes))
    }
}
