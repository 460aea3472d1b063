use crate::{Log, Result, Row};
// A message with a number and bytes, which takes as many bytes as an entry of Raft does.
use protobuf::descriptor::UninterpretedOption as Message;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const REGION: u64 = 1;
const READ_AT_ONCE: u64 = 10_000;

#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Message;

    fn index(entry: &Message) -> u64 {
        entry.get_positive_int_value()
    }
}

pub struct RaftEngine {
    engine: Engine,
    next: AtomicU64,
}

impl Log for RaftEngine {
    const GROUPS: bool = true;

    /// Files are prefilled for the rows that write, nothing is compressed, and recovery reads large blocks.
    fn open(dir: &Path, row: Row, records: u64) -> Result<RaftEngine> {
        let writes = matches!(row, Row::One | Row::Eight | Row::Batches);
        let engine = Engine::open(Config {
            dir: dir.to_string_lossy().into_owned(),
            batch_compression_threshold: ReadableSize(0),
            recovery_read_block_size: ReadableSize::kb(256),
            prefill_for_recycle: writes,
            prefill_limit: writes.then_some(ReadableSize((records * 150).max(256 << 20))),
            ..Default::default()
        })?;
        let next = AtomicU64::new(engine.last_index(REGION).unwrap_or(0) + 1);
        Ok(RaftEngine { engine, next })
    }

    /// Threads that append at the same time are regions of their own, since the entries of one have to come in order.
    fn append(&self, value: &[u8]) -> Result<()> {
        thread_local! {
            static OWN: (u64, std::cell::Cell<u64>) = {
                static THREADS: AtomicU64 = AtomicU64::new(REGION + 1);
                (THREADS.fetch_add(1, Ordering::Relaxed), std::cell::Cell::new(1))
            };
        }
        OWN.with(|(region, next)| {
            let index = next.replace(next.get() + 1);
            self.write(*region, index, &[value])
        })
    }

    fn append_batch(&self, values: &[&[u8]]) -> Result<()> {
        let first = self.next.fetch_add(values.len() as u64, Ordering::Relaxed);
        self.write(REGION, first, values)
    }

    fn records(&self) -> Result<u64> {
        Ok(self.engine.last_index(REGION).unwrap_or(0))
    }

    fn replay(&self) -> Result<(u64, u64)> {
        let (end, mut bytes) = (self.records()? + 1, 0);
        let mut entries = Vec::new();
        for begin in (1..end).step_by(READ_AT_ONCE as usize) {
            entries.clear();
            self.engine.fetch_entries_to::<Entries>(REGION, begin, end.min(begin + READ_AT_ONCE), None, &mut entries)?;
            bytes += entries.iter().map(|entry| entry.get_string_value().len() as u64).sum::<u64>();
        }
        Ok((end - 1, bytes))
    }
}

impl RaftEngine {
    fn write(&self, region: u64, first: u64, values: &[&[u8]]) -> Result<()> {
        let entries: Vec<Message> = (first..)
            .zip(values)
            .map(|(index, value)| {
                let mut entry = Message::new();
                entry.set_positive_int_value(index);
                entry.set_string_value(value.to_vec());
                entry
            })
            .collect();
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(region, &entries)?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}
