//! Iterators over the records of a log.

use crate::blocking::log::LogInner;
use crate::error::{truncated, Result};
use crate::format::record::RecordRef;
use crate::log::wal::ReadOptions;
use crate::read::block::{Block, Record};
use crate::read::reader::Reader;
use crate::segments::reader_positions::StartPosition;
use crate::util::locks::locked;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Size in bytes of the blocks that an iterator reads.
const BLOCK_BYTES: usize = 256 << 10;

/// A record that was read from a log.
///
/// It shares the verified block of about 256 KiB that it was read with. So iterating neither copies nor allocates anything per record, and
/// a record can still be kept, collected or sent to another thread. The block stays in memory as long as the record, so copy the fields of
/// a record that is kept long.
#[derive(Clone)]
pub struct StoredRecord {
    block: Arc<Block>,
    /// Its index in the block. The block has a record there.
    index: usize,
}

impl StoredRecord {
    pub(super) fn of(block: Arc<Block>, index: usize) -> Option<StoredRecord> {
        (index < block.len()).then_some(StoredRecord { block, index })
    }

    /// Returns the record, borrowed.
    pub fn record(&self) -> Record<'_> {
        // The index was checked when the record was made.
        self.block.get(self.index).unwrap_or_default()
    }

    /// Returns the position of the record in the log.
    pub fn position(&self) -> u64 {
        self.record().position
    }

    /// Returns the key, if the record has one.
    pub fn key(&self) -> Option<&[u8]> {
        self.record().key
    }

    /// Returns the value, if the record has one.
    pub fn value(&self) -> Option<&[u8]> {
        self.record().value
    }

    /// Whether the record is a tombstone: its key has been deleted.
    pub fn is_tombstone(&self) -> bool {
        self.record().tombstone
    }

    /// Returns when the record expires, in milliseconds since 1970. Expired records are returned like others.
    pub fn expires_at(&self) -> Option<u64> {
        self.record().expires_at
    }

    /// Returns when the record was committed, by the writer's wall clock, in milliseconds since 1970. `None` if the record is older than the
    /// first version that recorded it. Clocks are set back now and then, so times need not rise from record to record.
    pub fn committed_at(&self) -> Option<u64> {
        self.block.committed_at(self.index)
    }

    /// Returns the Raft term and index of the record.
    pub fn version(&self) -> Option<(u64, u64)> {
        self.record().version
    }
}

impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record().fmt(f)
    }
}

impl PartialEq for StoredRecord {
    /// Compares positions and fields.
    fn eq(&self, other: &StoredRecord) -> bool {
        self.record() == other.record()
    }
}

impl Eq for StoredRecord {}

impl<'a> From<&'a StoredRecord> for RecordRef<'a> {
    fn from(stored: &'a StoredRecord) -> RecordRef<'a> {
        stored.record().into()
    }
}

/// A reader, and the block at hand, whose records are returned one by one.
struct Source {
    /// The reader, or the error with which making it failed. `None` once the iterator has ended.
    reader: Option<Result<Reader>>,
    block: Arc<Block>,
    index: usize,
}

impl Source {
    fn new(reader: Result<Reader>) -> Source {
        Source { reader: Some(reader), block: Arc::default(), index: 0 }
    }

    /// Returns the next record. If the block at hand has none left, `read` gets the next block with a record, or `None` at the end.
    fn next(&mut self, mut read: impl FnMut(&mut Reader) -> Result<Option<Block>>) -> Option<Result<StoredRecord>> {
        loop {
            if let Some(record) = StoredRecord::of(self.block.clone(), self.index) {
                self.index += 1;
                return Some(Ok(record));
            }
            let mut reader = match self.reader.take()? {
                Ok(reader) => reader,
                Err(error) => return Some(Err(error)),
            };
            match read(&mut reader) {
                Ok(block) => {
                    (self.block, self.index) = (Arc::new(block?), 0);
                    self.reader = Some(Ok(reader));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// An iterator over the records of a log up to an end that is fixed when it begins, made by [`Log::iter`], [`Log::read_from`] and
/// [`Log::range`].
///
/// Positions ascend without gaps, except where a salvage has recorded a hole, see [`Recovery::holes`].
///
/// # Errors
/// After an error the iterator ends. It never ends early without one.
///
/// - [`Code::Truncated`]: the next record is no longer in the log, or a record before the end was removed meanwhile.
/// - [`Code::OutOfRange`]: the start is above the next position.
/// - [`Code::Corrupt`]: the next record is damaged. All records before it have been returned.
/// - [`Code::Io`]: the disk fails to read.
/// - [`Code::Closed`]: the log was closed.
///
/// [`Log::iter`]: crate::Log::iter
/// [`Log::read_from`]: crate::Log::read_from
/// [`Log::range`]: crate::Log::range
/// [`Recovery::holes`]: crate::Recovery::holes
/// [`Code::Truncated`]: crate::Code::Truncated
/// [`Code::OutOfRange`]: crate::Code::OutOfRange
/// [`Code::Corrupt`]: crate::Code::Corrupt
/// [`Code::Io`]: crate::Code::Io
/// [`Code::Closed`]: crate::Code::Closed
pub struct Records {
    log: Arc<LogInner>,
    /// Last position that the iterator is to return; `None` until its reader knows where it begins.
    last: Option<u64>,
    source: Source,
}

impl Records {
    pub(super) fn new(log: Arc<LogInner>, start: StartPosition, to: u64) -> Records {
        let reader = log.wal.reader(start, to);
        // The end is fixed now. A reader that begins at the first record may still move, and one of a log that another process writes finds
        // its end with its first block.
        let fixed = matches!(start, StartPosition::At(_)) && !log.wal.is_view();
        let last = reader.as_ref().ok().filter(|_| fixed).map(Reader::last_position);
        Records { log, last, source: Source::new(reader) }
    }

    /// Reads the next block with a record, or `None` after position `last`.
    fn read(log: &LogInner, last: &mut Option<u64>, reader: &mut Reader) -> Result<Option<Block>> {
        loop {
            if last.is_some_and(|last| reader.next_position() > last) {
                return Ok(None);
            }
            log.check_open()?;
            let read = reader.next_block(BLOCK_BYTES)?;
            let last = *last.get_or_insert(reader.last_position());
            match read {
                Some(block) if block.is_empty() => {}
                Some(block) => return Ok(Some(block)),
                None => {
                    // The end has come closer, because records before it were removed.
                    if let Some(kept) = reader.position().kept().filter(|kept| *kept < last) {
                        return Err(truncated(kept + 1, log.wal.positions().first).during("read"));
                    }
                    return Ok(None);
                }
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<StoredRecord>;

    fn next(&mut self) -> Option<Result<StoredRecord>> {
        let Records { log, last, source } = self;
        source.next(|reader| Records::read(log, last, reader))
    }
}

impl FusedIterator for Records {}

/// The state of a follower that may wait.
#[derive(Default)]
struct Wait {
    state: Mutex<WaitState>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitState {
    woken: bool,
    stopped: bool,
}

impl Wait {
    fn change(&self, change: impl FnOnce(&mut WaitState)) {
        change(&mut locked(&self.state));
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        locked(&self.state).stopped
    }

    /// Blocks until the follower is woken or stopped.
    fn wait(&self) {
        let mut state = locked(&self.state);
        while !state.woken && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.woken = false;
    }
}

/// An iterator over the records of a log that waits at its end for more, made by [`Log::follow`]. It returns acknowledged records only.
///
/// It ends after [`Stopper::stop`], and after an error. It never ends for another reason.
///
/// # Errors
/// - [`Code::Closed`], [`Code::Poisoned`], [`Code::Detached`]: every record that can be read was returned, and there will be no more.
/// - [`Code::Truncated`]: a record that the follower has returned, or the next one, was removed.
/// - [`Code::OutOfRange`], [`Code::Corrupt`], [`Code::Io`]: like those of [`Records`].
///
/// [`Log::follow`]: crate::Log::follow
/// [`Code::Closed`]: crate::Code::Closed
/// [`Code::Poisoned`]: crate::Code::Poisoned
/// [`Code::Detached`]: crate::Code::Detached
/// [`Code::Truncated`]: crate::Code::Truncated
/// [`Code::OutOfRange`]: crate::Code::OutOfRange
/// [`Code::Corrupt`]: crate::Code::Corrupt
/// [`Code::Io`]: crate::Code::Io
pub struct Follower {
    log: Arc<LogInner>,
    wait: Arc<Wait>,
    source: Source,
}

impl Follower {
    pub(super) fn new(log: Arc<LogInner>, start: StartPosition) -> Follower {
        let reader = log.wal.read(ReadOptions::range(start, u64::MAX).follow());
        Follower { log, wait: Arc::default(), source: Source::new(reader) }
    }

    /// Returns the means to end the follower from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.wait.clone())
    }

    /// Reads the next block with a record, waiting for it; `None` once the follower is stopped.
    fn read(log: &LogInner, stop: &Arc<Wait>, reader: &mut Reader) -> Result<Option<Block>> {
        while !stop.is_stopped() {
            // Asked before the block is read, so that everything acknowledged before the log was closed is returned.
            let open = log.check_open();
            match reader.next_block(BLOCK_BYTES)? {
                Some(block) if block.is_empty() => {}
                Some(block) => return Ok(Some(block)),
                None => {
                    open?;
                    let Some(end) = reader.follow_wait() else { return Ok(None) };
                    let wait = stop.clone();
                    let ticket = end.wait(Box::new(move || wait.change(|state| state.woken = true)));
                    // Asked again once the wait is registered: closing wakes those that are.
                    if log.check_open().is_ok() {
                        stop.wait();
                    }
                    // Takes a stopped follower off the list of those that wait.
                    ticket.wake();
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Follower {
    type Item = Result<StoredRecord>;

    fn next(&mut self) -> Option<Result<StoredRecord>> {
        let Follower { log, wait, source } = self;
        if wait.is_stopped() {
            return None;
        }
        source.next(|reader| Follower::read(log, wait, reader))
    }
}

impl FusedIterator for Follower {}

/// Ends a [`Follower`] from another thread, made by [`Follower::stopper`].
#[derive(Clone)]
pub struct Stopper(Arc<Wait>);

impl Stopper {
    /// Makes the follower return no more records. If it waits, it wakes and ends.
    pub fn stop(&self) {
        self.0.change(|state| state.stopped = true);
    }
}
