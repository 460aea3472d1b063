//! Reading: returns blocks of verified records in position order, across segments, while the writer runs.

use crate::error::Result;
use crate::read::block::Block;
use crate::read::follow::{FollowWait, FollowedLog};
use crate::segments::catalog::Catalog;
use crate::segments::reader_positions::{ReaderPosition, StartPosition};
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::Storage;
use std::ops::RangeInclusive;
use std::sync::Arc;

mod beginning;
pub mod gap;
mod plain;
mod salvage;
mod segment_reader;
mod stored;
mod time;

use plain::PlainReader;
use salvage::DamageSkipper;
pub use salvage::{header_of, Hole};

/// The range that a reader reads, and how it reads it. A range of positions has the defaults.
pub struct ReadPlan {
    /// Position of the first record.
    pub next: u64,
    /// Position of the last record.
    pub to: u64,
    /// The log that says how far the reader may read. Without one the caller has checked that the positions up to `to` are acknowledged.
    pub tail: Option<Tail>,
    /// The end of a log at which the reader begins, and the last position that was asked for. Until it returns a record, the reader moves
    /// along with that end.
    pub beginning: Option<(StartPosition, Arc<dyn FollowedLog>, u64)>,
    /// The time at which the reader begins, in ms since 1970: it leaves out everything before the first record that was committed then or later.
    pub since: Option<u64>,
    /// Maximum number of records, wherever the reader begins.
    pub max_records: u64,
    /// The reader goes on after damage. Bytes that the disk fails to read count as damaged.
    pub past_damage: bool,
    /// The reader reports which records are one atomic batch, see [`Block::batches`].
    pub detailed: bool,
    /// The reader's position, if it was entered before `to` was looked up.
    pub position: Option<Arc<ReaderPosition>>,
}

/// A log that can become longer while a reader reads it, or whose end shows only at the first block.
pub struct Tail {
    pub log: Arc<dyn FollowedLog>,
    /// The reader goes on as the log grows. Otherwise it ends with what is in the log at its first block.
    pub follows: bool,
    /// The log shows at the first block whether the reader's first position exists.
    pub check_start: bool,
}

impl From<RangeInclusive<u64>> for ReadPlan {
    /// Returns the plan of a reader of these positions that ends at damage.
    fn from(positions: RangeInclusive<u64>) -> ReadPlan {
        let (next, to) = positions.into_inner();
        ReadPlan {
            next,
            to,
            tail: None,
            beginning: None,
            since: None,
            max_records: u64::MAX,
            past_damage: false,
            detailed: false,
            position: None,
        }
    }
}

/// How large a block may be, and where its bytes may be put.
struct Space<'a> {
    max_bytes: usize,
    memory: Option<&'a mut [u8]>,
    /// Nothing is read but what shows where the reader begins.
    only_locates: bool,
}

/// Reads from one position to another; blocking.
pub struct Reader {
    plain: PlainReader,
    /// Set for a reader that goes on after damage.
    salvage: Option<DamageSkipper>,
}

impl Reader {
    /// Creates a reader. No I/O happens before its first block.
    pub fn new(storage: Arc<dyn Storage>, catalog: Arc<Catalog>, plan: impl Into<ReadPlan>) -> Reader {
        let plan = plan.into();
        let storage = if plan.past_damage { Arc::new(ZeroOnReadError::new(storage)) } else { storage };
        let salvage = plan.past_damage.then(DamageSkipper::default);
        Reader { plain: PlainReader::new(storage, catalog, plan), salvage }
    }

    /// Returns the next verified records, with the holes before them: about `max_bytes` of frames, unpacked, or one frame if that is
    /// larger. Returns holes alone at the end, or if no record can be read yet, and `None` at the end and when a follower has caught up.
    ///
    /// # Errors
    /// `Truncated` if the next record was removed meanwhile, `Corrupt` if an acknowledged frame does not match its checksum, `Io` if the
    /// disk fails to read. A follower also ends with `Closed` or `Poisoned` after the last record that can be read. A salvaging reader
    /// reports neither damage nor a failure to read an existing file.
    pub fn next_block(&mut self, max_bytes: usize) -> Result<Option<Block>> {
        self.next_block_in(max_bytes, None)
    }

    /// Like [`Reader::next_block`]. If `memory` has room for `max_bytes`, and frames are stored as they are, they are read into it: see
    /// [`Block::lent`]. The content of the rest of the memory is then undefined.
    ///
    /// # Errors
    /// As for [`Reader::next_block`].
    pub fn next_block_in(&mut self, max_bytes: usize, memory: Option<&mut [u8]>) -> Result<Option<Block>> {
        let space = &mut Space { max_bytes, memory, only_locates: false };
        match &mut self.salvage {
            Some(salvage) => salvage.next_block(&mut self.plain, space),
            None => self.plain.next_block(space),
        }
    }

    /// Returns the position of the next record, unless the reader first moves to begin elsewhere.
    pub fn next_position(&self) -> u64 {
        self.plain.next
    }

    /// Returns the last position that the reader is to return, which truncation may lower.
    pub fn last_position(&self) -> u64 {
        self.plain.to
    }

    /// Returns the reader's position, which outlives the reader because its blocks are still in use.
    pub fn position(&self) -> &Arc<ReaderPosition> {
        &self.plain.position
    }

    /// Moves to the time at which the reader begins, and returns the position of the next record. That is the one after the last record if all
    /// of them were committed before that time.
    ///
    /// # Errors
    /// As for [`Reader::next_block`].
    pub fn locate(&mut self) -> Result<u64> {
        if self.plain.has_to_locate() {
            let read = self.plain.next_verified(&mut Space { max_bytes: 0, memory: None, only_locates: true });
            read.map_err(|error| self.plain.judged(error))?;
        }
        Ok(self.plain.next)
    }

    /// Whether everything that was asked for has been returned.
    pub fn is_done(&self) -> bool {
        self.plain.is_done()
    }

    /// Whether the reader goes on as the log grows.
    pub fn follows(&self) -> bool {
        self.plain.follows
    }

    /// Whether a follower has returned everything that it could at its last block.
    pub fn has_caught_up(&self) -> bool {
        self.plain.has_caught_up()
    }

    /// Returns the means with which a follower that has caught up waits; `None` if the reader does not follow or is done.
    pub fn follow_wait(&self) -> Option<FollowWait> {
        let plain = &self.plain;
        let tail = plain.tail.clone().filter(|_| plain.follows && !plain.is_done())?;
        Some(FollowWait { log: tail, next: plain.next, position: plain.position.clone(), truncations: plain.truncations })
    }
}
