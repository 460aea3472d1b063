//! The states that a log may show. The content of every position follows from a tag, and bounds say which prefixes are valid.

use crate::error::Error;
use crate::format::record::RecordRef;
use crate::read::block::Record;
use crate::read::reader::{ReadPlan, Reader};
use crate::segments::catalog::Catalog;
use crate::storage::Storage;
use crate::testing::sim::Rng;
use std::sync::Arc;

/// Identifies one of the records that were ever tried at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub attempt: u32,
    pub len: u32,
}

/// A record as made from position and tag. No byte of it is zero, so that a lost sector never looks like content.
pub struct Made {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    expires_at: Option<u64>,
    version: Option<(u64, u64)>,
}

impl Made {
    pub fn new(position: u64, tag: Tag) -> Made {
        let mut rng = Rng::new(position << 20 ^ u64::from(tag.attempt) << 8 ^ u64::from(tag.len));
        let kind = position.wrapping_mul(7) + u64::from(tag.attempt);
        let mut bytes = |len: usize| {
            let mut out = vec![0; len];
            // Half of the records repeat themselves, so that there is something to compress.
            let period = if kind.is_multiple_of(2) { 24 } else { usize::MAX };
            for piece in out.chunks_mut(8) {
                let word = (rng.next() | 0x0101_0101_0101_0101).to_le_bytes();
                piece.copy_from_slice(&word[..piece.len()]);
            }
            for at in period.min(len)..len {
                out[at] = out[at - period];
            }
            out
        };
        let key = (!kind.is_multiple_of(3)).then(|| bytes(1 + kind as usize % 20));
        let value = (kind.is_multiple_of(3) || !kind.is_multiple_of(5)).then(|| bytes(tag.len as usize));
        let expires_at = kind.is_multiple_of(4).then_some(kind * 1000);
        let version = kind.is_multiple_of(7).then_some((kind, position));
        Made { key, value, expires_at, version }
    }

    pub fn record(&self) -> RecordRef<'_> {
        RecordRef {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            tombstone: self.value.is_none(),
            expires_at: self.expires_at,
            version: self.version,
        }
    }

    /// Whether `found` is this record, in every field.
    pub fn is(&self, found: Record<'_>) -> bool {
        self.record() == RecordRef::from(found)
    }
}

/// The operations on a log so far, and their results.
#[derive(Clone, Default)]
pub struct Expected {
    /// Tags by position. The first entry is not used.
    pub tags: Vec<Tag>,
    /// Whether the log may end after that position: not within a batch.
    pub whole: Vec<bool>,
    /// The wall clock when the records were committed, by position, in ms; 0 if that is not compared.
    pub times: Vec<u64>,
    /// The wall clock now, 0 if times are not compared.
    pub clock: u64,
    /// First position of the log.
    pub low: u64,
    /// Last position: nothing after it was appended, or it was rejected.
    pub end: u64,
    /// Last position that survives power loss.
    pub durable: u64,
    /// Last position that survives the end of the process.
    pub written: u64,
}

impl Expected {
    pub fn new() -> Expected {
        Expected { tags: vec![Tag { attempt: 0, len: 0 }], whole: vec![true], low: 1, ..Expected::default() }
    }

    pub fn push(&mut self, tag: Tag, whole: bool) {
        self.tags.push(tag);
        self.whole.push(whole);
        self.times.resize(self.end as usize + 1, 0);
        self.times.push(self.clock);
        self.end += 1;
    }

    /// Takes back positions above `end`. Positions up to it that were never assigned stay empty.
    pub fn cut(&mut self, end: u64) {
        self.tags.resize(end as usize + 1, Tag { attempt: 0, len: 0 });
        self.whole.resize(end as usize + 1, true);
        self.times.resize(end as usize + 1, 0);
        self.end = end;
    }

    pub fn bounds(&self) -> String {
        format!("from {}, durable {}, written {}, appended {}", self.low, self.durable, self.written, self.end)
    }

    /// Returns why the log may not end at `end`, as far as the bounds show.
    pub fn refuses(&self, end: u64, least: u64) -> Option<String> {
        if end + 1 < self.low {
            return Some(format!("the log ends at {end}, but starts at {}", self.low));
        }
        if end < least {
            return Some(format!("the log ends at {end}, but {least} must be in the log"));
        }
        if end > self.end {
            return Some(format!("the log ends at {end}, but nothing above {} may come back", self.end));
        }
        (end >= self.low && !self.whole[end as usize]).then(|| format!("the log ends at {end}, inside a batch"))
    }
}

/// Returns the time that `position_at` gets wrong, if there is one among `times`. `None` also if it fails to read.
pub fn misplaced(storage: &Arc<dyn Storage>, catalog: &Arc<Catalog>, expected: &Expected, times: &[u64]) -> Option<String> {
    let (first, last) = (expected.low, expected.end);
    let known = expected.times.get(first as usize..=last as usize)?;
    if known.contains(&0) {
        return None;
    }
    times.iter().find_map(|time| {
        let naive = known.iter().position(|known| known >= time).map_or(last + 1, |i| first + i as u64);
        let plan = ReadPlan { since: Some(*time), ..(first..=last).into() };
        let found = Reader::new(storage.clone(), catalog.clone(), plan).locate().ok()?;
        (found != naive).then(|| format!("the first record of {time} or later is at {naive}, not at {found}; times are {known:?}"))
    })
}

/// The result of reading.
pub enum Read {
    All,
    /// An error, after everything before it was right.
    Stopped(Error),
    Wrong(String),
}

/// Reads `from..=to` and compares it with what is expected.
pub fn read(storage: Arc<dyn Storage>, catalog: &Arc<Catalog>, expected: &Expected, from: u64, to: u64, block_bytes: usize) -> Read {
    let mut reader = Reader::new(storage, catalog.clone(), from..=to);
    let mut next = from;
    loop {
        let block = match reader.next_block(block_bytes) {
            Ok(Some(block)) => block,
            Ok(None) if next == to + 1 || from > to => return Read::All,
            Ok(None) => return Read::Wrong(format!("reading {from} to {to} ended before {next}")),
            Err(error) => return Read::Stopped(error),
        };
        if block.first_position != next || block.is_empty() {
            return Read::Wrong(format!("a block of {} starts at {}, expected {next}", block.len(), block.first_position));
        }
        for (i, record) in block.iter().enumerate() {
            let time = expected.times.get(next as usize).copied().unwrap_or(0);
            if time > 0 && block.committed_at(i) != Some(time) {
                return Read::Wrong(format!("position {next} was committed at {time}, but says {:?}", block.committed_at(i)));
            }
            let right = expected.tags.get(next as usize).is_some_and(|tag| Made::new(next, *tag).is(record));
            if !right || next > to {
                return Read::Wrong(format!("position {next} has something else than was appended"));
            }
            next += 1;
        }
    }
}
