//! Where appends arrive: the group being gathered, the positions given out, the clients and what they wait for.
//! Memory only; one lock around all of it, held for a copy and never for I/O.

use crate::error::{Code, Error, Result};
use crate::frame::MAX_POSITION;
use crate::group::{Batch, Group, Run};
use crate::notify::Notify;
use crate::options::Options;
use crate::record::RecordRef;
use std::collections::VecDeque;
use std::sync::Arc;

/// What has settled, in the order of a client's operations.
#[derive(Clone, Debug)]
pub enum Settled {
    /// Every operation up to and including this count has succeeded, but for those already reported as failed.
    Done(u64),
    /// Operations after the last count reported, up to and including this one, have failed.
    Failed(u64, Error),
}

/// One handle's queue of operations, counted 1, 2, 3 … in the order of its calls.
pub struct Client {
    pub notify: Arc<dyn Notify>,
    /// Operations accepted.
    pub entered: u64,
    /// Operations settled, one way or the other.
    pub settled: u64,
    /// Settlements that have not been collected, failures apart from what succeeded around them.
    news: VecDeque<Settled>,
}

impl Client {
    pub fn new(notify: Arc<dyn Notify>) -> Client {
        Client { notify, entered: 0, settled: 0, news: VecDeque::new() }
    }

    fn succeed(&mut self, ops: u64) {
        self.settled += ops;
        match self.news.back_mut() {
            Some(Settled::Done(upto)) => *upto = self.settled,
            _ => self.news.push_back(Settled::Done(self.settled)),
        }
    }

    /// Everything entered and not settled has failed.
    fn fail(&mut self, error: &Error) {
        if self.settled < self.entered {
            self.settled = self.entered;
            self.news.push_back(Settled::Failed(self.settled, error.clone()));
        }
    }

    /// The oldest settlement not collected yet, or how things stood at the last.
    pub fn collect(&mut self) -> Settled {
        self.news.pop_front().unwrap_or(Settled::Done(self.settled))
    }
}

/// Whether appends are taken.
pub enum Phase {
    Open,
    /// The last handle is closing: what is there is committed, nothing more is taken.
    Closing,
    Poisoned(Error),
    /// Opened for reading alone.
    ReadOnly,
}

/// The gathering group is given to the commit thread at this size without waiting for the end of the turn.
const EAGER_BYTES: usize = 256 << 10;

pub struct Intake {
    pub group: Group,
    /// Position of the next record accepted.
    pub next: u64,
    /// Bytes accepted and not settled, the group under way included.
    pub pending_bytes: u64,
    pub phase: Phase,
    /// The commit thread should take the group.
    pub kicked: bool,
    /// The commit thread sleeps and has to be woken.
    pub asleep: bool,
    /// A mark or spare of the background failed its fsync.
    pub fault: Option<crate::storage::Fault>,
    pub clients: Vec<Option<Client>>,
    pub appends: u64,
    pub batches: u64,
    pub bytes: u64,
}

impl Intake {
    pub fn new(next: u64) -> Intake {
        Intake {
            group: Group::default(),
            next,
            pending_bytes: 0,
            phase: Phase::Open,
            kicked: false,
            asleep: false,
            fault: None,
            clients: Vec::new(),
            appends: 0,
            batches: 0,
            bytes: 0,
        }
    }

    pub fn join(&mut self, client: Client) -> usize {
        match self.clients.iter().position(Option::is_none) {
            // A slot is free again only once everything its client entered has settled.
            Some(free) => {
                self.clients[free] = Some(client);
                free
            }
            None => {
                self.clients.push(Some(client));
                self.clients.len() - 1
            }
        }
    }

    fn admit(&mut self, client: usize, records: u64, bytes: u64, options: &Options) -> Result<&mut Client> {
        match &self.phase {
            Phase::Open => {}
            Phase::Closing => return Err(closed()),
            Phase::Poisoned(error) => return Err(error.clone()),
            Phase::ReadOnly => return Err(Error::new(Code::ReadOnly, "the log is open in mode 'readOnly'")),
        }
        // One record above the bound is taken when nothing else is pending: it could never be appended otherwise.
        if records > 0 && self.pending_bytes > 0 && self.pending_bytes + bytes > options.max_pending_bytes {
            let text = format!(
                "{} bytes are waiting for their commit, more would exceed maxPendingBytes ({})",
                self.pending_bytes, options.max_pending_bytes
            );
            return Err(Error::new(Code::Backpressure, text));
        }
        if self.next + records > MAX_POSITION + 1 {
            return Err(Error::new(Code::OutOfRange, "positions above 2^53 - 1 do not exist"));
        }
        self.clients.get_mut(client).and_then(Option::as_mut).ok_or_else(closed)
    }

    pub fn append(&mut self, client: usize, record: &RecordRef, len: usize, durable: bool, options: &Options) -> Result<u64> {
        self.admit(client, 1, len as u64, options)?.entered += 1;
        let position = self.next;
        self.group.push(client, position, record, len);
        self.accept(1, len as u64, durable);
        self.appends += 1;
        Ok(position)
    }

    pub fn append_batch(&mut self, client: usize, batch: &Batch, durable: bool, options: &Options) -> Result<(u64, u64)> {
        let count = u64::from(batch.len());
        self.admit(client, count, batch.bytes(), options)?.entered += 1;
        let first = self.next;
        self.group.push_batch(client, first, batch);
        self.accept(count, batch.bytes(), durable);
        self.batches += 1;
        Ok((first, first + count - 1))
    }

    pub fn sync(&mut self, client: usize, options: &Options) -> Result<()> {
        self.admit(client, 0, 0, options)?.entered += 1;
        self.group.push_sync(client);
        Ok(())
    }

    fn accept(&mut self, records: u64, bytes: u64, durable: bool) {
        self.next += records;
        self.pending_bytes += bytes;
        self.bytes += bytes;
        self.group.durable |= durable;
    }

    /// Whether the commit thread has to be told now rather than at the end of the caller's turn.
    pub fn is_eager(&self) -> bool {
        !self.kicked && self.group.bytes.len() >= EAGER_BYTES
    }

    /// Settles `runs` as done; gives whom to wake.
    pub fn succeed(&mut self, runs: &[Run], wake: &mut Vec<Arc<dyn Notify>>) {
        for run in runs {
            if let Some(client) = self.clients.get_mut(run.client).and_then(Option::as_mut) {
                client.succeed(run.ops);
                wake.push(client.notify.clone());
            }
        }
    }

    /// Rejects everything accepted and not settled, the gathering group included, and takes the positions back.
    pub fn fail(&mut self, error: &Error, next: u64, wake: &mut Vec<Arc<dyn Notify>>) {
        for client in self.clients.iter_mut().flatten() {
            client.fail(error);
            wake.push(client.notify.clone());
        }
        self.group.clear();
        self.pending_bytes = 0;
        self.next = next;
        self.kicked = false;
    }
}

pub fn closed() -> Error {
    Error::new(Code::Closed, "the log is closed")
}
