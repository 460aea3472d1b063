use crate::{Log, Result, Row};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A map: the position is the key. It does not group commits, so that the bench does.
pub struct Fjall {
    database: Database,
    records: Keyspace,
    next: AtomicU64,
}

impl Log for Fjall {
    const GROUPS: bool = false;

    fn open(dir: &Path, _: Row, _: u64) -> Result<Fjall> {
        let database = Database::builder(dir).manual_journal_persist(true).open()?;
        let records = database.keyspace("log", KeyspaceCreateOptions::default)?;
        let log = Fjall { database, records, next: AtomicU64::new(1) };
        log.next.store(log.records()? + 1, Ordering::Relaxed);
        Ok(log)
    }

    fn append(&self, value: &[u8]) -> Result<()> {
        self.append_batch(&[value])
    }

    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        let first = self.next.fetch_add(values.len() as u64, Ordering::Relaxed);
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (position, value) in (first..).zip(values) {
            batch.insert(&self.records, position.to_be_bytes(), *value);
        }
        batch.commit()?;
        Ok(())
    }

    fn records(&self) -> Result<u64> {
        let Some(last) = self.records.last_key_value() else { return Ok(0) };
        Ok(u64::from_be_bytes(last.key()?.as_ref().try_into()?))
    }

    fn replay(&self) -> Result<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0);
        for entry in self.records.iter() {
            bytes += entry.value()?.len() as u64;
            records += 1;
        }
        Ok((records, bytes))
    }
}
