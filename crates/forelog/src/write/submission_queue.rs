//! The queue of a log's operations: the group being gathered, the positions assigned, the clients and the operations they wait for.
//! In memory only. One lock guards all of it; the lock is held for a copy and never for I/O.

use crate::error::{closed, out_of_range, read_only, truncated, Code, Error, Result};
use crate::format::record::RecordRef;
use crate::options::Options;
use crate::util::limits::MAX_POSITION;
use crate::util::notify::Notify;
use crate::write::encoded_records::EncodedRecords;
use crate::write::group::{Batch, Group, OperationRun};
use std::collections::VecDeque;
use std::sync::Arc;

mod client;
#[cfg(test)]
mod tests;

pub use client::{Client, Settled, WriteRoute};

/// Whether the log accepts operations.
pub enum LogPhase {
    Open,
    /// The last handle is closing: everything accepted is committed, and nothing more is accepted.
    Closing,
    Poisoned(Error),
    /// The log's directory is no longer at its path: acknowledged records can be read, and nothing more is accepted.
    Detached(Error),
    /// The log is open for reading only.
    ReadOnly,
}

impl LogPhase {
    /// Returns the phase of a log that `error` has ended.
    pub fn ended(error: &Error) -> LogPhase {
        match error.code {
            Code::Detached => LogPhase::Detached(error.clone()),
            _ => LogPhase::Poisoned(error.clone()),
        }
    }

    /// Returns the error that ended the log, `None` if the log is open, closing or read-only.
    pub fn failure(&self) -> Option<&Error> {
        match self {
            LogPhase::Poisoned(error) | LogPhase::Detached(error) => Some(error),
            LogPhase::Open | LogPhase::Closing | LogPhase::ReadOnly => None,
        }
    }
}

/// Per-append options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendTerms {
    /// Acknowledge the append only once it is durable, whatever the log's policy.
    pub durable: bool,
    /// Refuse the append with `Conflict` unless this is the next position.
    pub expect: Option<u64>,
}

impl AppendTerms {
    /// Returns the terms of an append that is acknowledged only once it is durable.
    pub fn durable() -> AppendTerms {
        AppendTerms { durable: true, expect: None }
    }

    /// Returns the terms of an append that is refused unless its record gets this position.
    pub fn expecting(position: u64) -> AppendTerms {
        AppendTerms { durable: false, expect: Some(position) }
    }
}

impl From<bool> for AppendTerms {
    fn from(durable: bool) -> AppendTerms {
        AppendTerms { durable, expect: None }
    }
}

/// An operation that the commit thread performs between two groups, in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    TruncateBefore(u64),
    TruncateAfter(u64),
    Reset(u64),
}

/// A group that is closed because a command follows it.
pub struct QueuedCommand {
    pub group: Group,
    /// The command and the client whose operation it is; `None` once it has been rejected.
    pub command: Option<(usize, Command)>,
}

/// Resumes parked logs. The commit threads, which are in a room further up, implement it.
pub trait Resume: Sync {
    /// Gives the log with this identity to a thread. Call it under the lock of the log's queue.
    fn resume(&'static self, identity: u64);
    /// Takes the log with this identity a step further on the calling thread, without blocking, and gives it to a commit thread if that is
    /// not enough. Call it without any lock, after the log's state was set to `Awake`.
    fn go_ahead(&'static self, identity: u64);
    /// Takes the log with this identity a step further on the calling thread, which may block. If there is more to do then, a commit thread
    /// does it. Call it as `go_ahead`.
    fn lead(&'static self, identity: u64);
}

/// Whether a commit thread serves the log.
pub enum CommitThreadState {
    /// A thread is at work or will be: it checks the queue before it sleeps.
    Awake,
    /// The thread sleeps and has to be woken.
    Asleep,
    /// The log has no thread. [`Resume::resume`] gives it to one.
    Parked(&'static dyn Resume),
}

/// Size in bytes at which the gathering group is committed without waiting for the end of the caller's turn.
const EAGER_BYTES: usize = 512 << 10;

pub struct SubmissionQueue {
    pub group: Group,
    /// Closed groups, each followed by a command, oldest first. They commit before `group`.
    pub queue: VecDeque<QueuedCommand>,
    /// Low mark of the log once everything queued is done.
    pub low_mark: u64,
    /// Position of the next record to be accepted.
    pub next: u64,
    /// Bytes accepted and not settled, including the group that is being committed.
    pub pending_bytes: u64,
    pub phase: LogPhase,
    /// Whether the group is to be committed now.
    pub kicked: bool,
    /// The group was kicked, and waits until a commit under way is complete.
    pub waits: bool,
    pub thread_state: CommitThreadState,
    /// A background job that wrote a mark or a spare has failed its fsync.
    pub fault: Option<crate::error::Fault>,
    /// Another thread has found that the log is detached.
    pub detached: Option<Error>,
    /// A thread has taken a truncation of the end, or a reset, and has not settled it.
    pub is_cutting: bool,
    pub clients: Vec<Option<Client>>,
    /// Callers that were refused because too much is pending, to be woken at the next settlement.
    pub wants_room: Vec<Arc<dyn Notify>>,
    pub appends: u64,
    pub batches: u64,
    pub bytes: u64,
}

impl SubmissionQueue {
    pub fn new(low_mark: u64, next: u64) -> SubmissionQueue {
        SubmissionQueue {
            group: Group::default(),
            queue: VecDeque::new(),
            low_mark,
            next,
            pending_bytes: 0,
            phase: LogPhase::Open,
            kicked: false,
            waits: false,
            thread_state: CommitThreadState::Awake,
            fault: None,
            detached: None,
            is_cutting: false,
            clients: Vec::new(),
            wants_room: Vec::new(),
            appends: 0,
            batches: 0,
            bytes: 0,
        }
    }

    pub fn join(&mut self, client: Client) -> usize {
        match self.clients.iter().position(Option::is_none) {
            // A slot is freed only after everything that its client submitted has settled.
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

    /// Returns where the completions of this log's writes arrive. `None` if commit threads write: a client asks for it, or there are several
    /// clients, and none of them should depend on the thread of another.
    pub fn route(&self) -> Option<WriteRoute> {
        let mut clients = self.clients.iter().flatten();
        match (clients.next(), clients.next()) {
            (Some(only), None) => only.route.clone(),
            _ => None,
        }
    }

    fn check_capacity(&mut self, client: usize, records: u64, bytes: u64, options: &Options) -> Result<&mut Client> {
        match &self.phase {
            LogPhase::Open => {}
            LogPhase::Closing => return Err(closed()),
            LogPhase::Poisoned(error) | LogPhase::Detached(error) => return Err(error.clone()),
            LogPhase::ReadOnly => return Err(read_only()),
        }
        if let Some((_, error)) = self.failing(client).filter(|_| records > 0) {
            return Err(error.clone());
        }
        // One record above the bound is accepted if nothing else is pending, because it could never be appended otherwise.
        if records > 0 && self.pending_bytes > 0 && self.pending_bytes + bytes > options.max_pending_bytes {
            let text =
                format!("{} bytes are pending, and more would exceed maxPendingBytes ({})", self.pending_bytes, options.max_pending_bytes);
            return Err(Error::new(Code::Backpressure, text));
        }
        if self.next + records > MAX_POSITION + 1 {
            return Err(Error::new(Code::OutOfRange, "the highest position is 2^53 - 1"));
        }
        self.clients.get_mut(client).and_then(Option::as_mut).ok_or_else(closed)
    }

    /// Wakes `notify` once when operations settle, so that a refused caller can try again. A caller is refused for want of room only while
    /// operations wait, so it is woken.
    pub fn await_room(&mut self, notify: Arc<dyn Notify>) {
        self.wants_room.push(notify);
    }

    pub fn failing(&self, client: usize) -> Option<&(u64, Error)> {
        self.clients.get(client)?.as_ref()?.failing.as_ref()
    }

    /// Checks `terms.expect` under the lock that assigns positions (optimistic concurrency). Passes while the client is failing, so that
    /// the append is refused with the error of the earlier rejection instead.
    pub fn check_expected_position(&self, client: usize, terms: AppendTerms) -> Result<()> {
        match (&self.phase, terms.expect) {
            (LogPhase::Open, Some(expected)) if expected != self.next && self.failing(client).is_none() => {
                let text = format!("the next position is {}, not {expected}", self.next);
                let mut error = Error::new(Code::Conflict, text).at_position(expected);
                error.actual = Some(self.next);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    pub fn append(
        &mut self,
        client: usize,
        record: &RecordRef,
        len: usize,
        terms: impl Into<AppendTerms>,
        options: &Options,
    ) -> Result<u64> {
        let terms = terms.into();
        self.check_expected_position(client, terms)?;
        self.check_capacity(client, 1, len as u64, options)?.submitted += 1;
        let position = self.next;
        self.group.push(client, position, record, len);
        self.accept(1, len as u64, terms.durable);
        self.appends += 1;
        Ok(position)
    }

    /// Appends all of `records` or none of them. `count` and `bytes` are their number and their encoded size.
    pub fn append_all<'r>(
        &mut self,
        client: usize,
        records: impl Iterator<Item = RecordRef<'r>>,
        (count, bytes): (u64, u64),
        durable: bool,
        options: &Options,
    ) -> Result<u64> {
        self.check_capacity(client, count, bytes, options)?.submitted += count;
        let first = self.next;
        for (position, record) in (first..).zip(records) {
            self.group.push(client, position, &record, record.encoded_len());
        }
        self.accept(count, bytes, durable);
        self.appends += count;
        Ok(first)
    }

    /// Appends all of `records` or none of them, and takes their memory if it can.
    pub fn append_encoded(&mut self, client: usize, records: &mut EncodedRecords<'_>, durable: bool, options: &Options) -> Result<u64> {
        let (count, bytes) = (records.count(), records.bytes());
        self.check_capacity(client, count, bytes, options)?.submitted += count;
        let first = self.next;
        self.group.push_encoded(client, first, records);
        self.accept(count, bytes, durable);
        self.appends += count;
        Ok(first)
    }

    /// Appends a batch, and takes its memory if it can.
    pub fn append_batch(
        &mut self,
        client: usize,
        batch: &mut Batch,
        terms: impl Into<AppendTerms>,
        options: &Options,
    ) -> Result<(u64, u64)> {
        let (count, terms) = (u64::from(batch.len()), terms.into());
        self.check_expected_position(client, terms)?;
        let bytes = batch.bytes();
        self.check_capacity(client, count, bytes, options)?.submitted += 1;
        let first = self.next;
        self.group.push_batch(client, first, batch);
        self.accept(count, bytes, terms.durable);
        self.batches += 1;
        Ok((first, first + count - 1))
    }

    pub fn sync(&mut self, client: usize, options: &Options) -> Result<()> {
        self.check_capacity(client, 0, 0, options)?.submitted += 1;
        self.group.push_sync(client);
        Ok(())
    }

    /// Queues a command after everything accepted so far.
    pub fn command(&mut self, client: usize, command: Command, options: &Options) -> Result<()> {
        self.check_capacity(client, 0, 0, options)?;
        // Positions change at the call: records accepted after it get the positions that follow from it.
        (self.low_mark, self.next) = match command {
            Command::TruncateBefore(first) if first > self.next => return Err(out_of_range(first, self.next)),
            Command::TruncateBefore(first) => (self.low_mark.max(first), self.next),
            Command::TruncateAfter(last) if last >= self.next => {
                let text = format!("position {last} is not below the next position, {}", self.next);
                return Err(Error::new(Code::OutOfRange, text).at_position(last));
            }
            Command::TruncateAfter(last) if last + 1 < self.low_mark => return Err(truncated(last, self.low_mark)),
            Command::TruncateAfter(last) => (self.low_mark, last + 1),
            Command::Reset(first) if !(1..=MAX_POSITION).contains(&first) => {
                return Err(Error::new(Code::InvalidArg, format!("position must be from 1 to 2^53 - 1, got {first}")));
            }
            Command::Reset(first) => (first, first),
        };
        self.check_capacity(client, 0, 0, options)?.submitted += 1;
        let group = std::mem::take(&mut self.group);
        self.queue.push_back(QueuedCommand { group, command: Some((client, command)) });
        Ok(())
    }

    /// Moves the next group to commit into `group`. That is the oldest queued group, which is returned with its command, or else the
    /// gathering group.
    pub fn take(&mut self, group: &mut Group) -> Option<QueuedCommand> {
        self.kicked = !self.queue.is_empty();
        self.waits = false;
        group.clear();
        match self.queue.pop_front() {
            Some(mut step) => {
                std::mem::swap(group, &mut step.group);
                self.is_cutting = is_cut(&step);
                Some(step)
            }
            None => {
                std::mem::swap(group, &mut self.group);
                None
            }
        }
    }

    /// Whether a truncation of the end or a reset was accepted that has not settled. Until then positions may have been assigned again that
    /// the ends of the log still count as acknowledged.
    pub fn has_cut(&self) -> bool {
        self.is_cutting || self.queue.iter().any(is_cut)
    }

    /// Recomputes the first position once everything queued is done, for a log that starts at `low` now. Commands that counted before may
    /// have been rejected since.
    pub fn recompute_low_mark(&mut self, low: u64) {
        let commands = self.queue.iter().filter_map(|step| step.command);
        self.low_mark = commands.fold(low, |first, (_, command)| match command {
            Command::TruncateBefore(above) if above <= self.next => first.max(above),
            Command::Reset(anew) => anew,
            Command::TruncateBefore(_) | Command::TruncateAfter(_) => first,
        });
    }

    fn accept(&mut self, records: u64, bytes: u64, durable: bool) {
        self.next += records;
        self.pending_bytes += bytes;
        self.bytes += bytes;
        self.group.durable |= durable;
    }

    /// Whether the group has to be committed now rather than at the end of the caller's turn.
    pub fn is_eager(&self) -> bool {
        !self.kicked && !self.waits && self.group.bytes.len() >= EAGER_BYTES
    }

    /// Settles `runs` as succeeded and adds the clients to notify to `wake`.
    pub fn succeed(&mut self, runs: &[OperationRun], wake: &mut Vec<Arc<dyn Notify>>) {
        wake.append(&mut self.wants_room);
        for run in runs {
            if let Some(client) = self.clients.get_mut(run.client).and_then(Option::as_mut) {
                client.succeed(run.ops);
                wake.push(client.notify.clone());
            }
        }
    }

    /// Settles `runs` as failed and adds the clients to notify to `wake`.
    pub fn reject(&mut self, runs: &[OperationRun], error: &Error, wake: &mut Vec<Arc<dyn Notify>>) {
        wake.append(&mut self.wants_room);
        for run in runs {
            if let Some(client) = self.clients.get_mut(run.client).and_then(Option::as_mut) {
                client.fail(run.ops, error);
                wake.push(client.notify.clone());
            }
        }
    }

    /// Rejects every operation that is accepted and not settled, including the gathering group, and sets the next position to `next`.
    pub fn fail(&mut self, error: &Error, next: u64, wake: &mut Vec<Arc<dyn Notify>>) {
        wake.append(&mut self.wants_room);
        for client in self.clients.iter_mut().flatten() {
            client.fail(client.submitted - client.settled, error);
            wake.push(client.notify.clone());
        }
        self.queue.clear();
        self.group.clear();
        self.pending_bytes = 0;
        self.next = next;
        self.kicked = false;
        self.waits = false;
        self.is_cutting = false;
    }

    /// Marks every client that has operations in flight as failing. Their rejections are delivered later, in order.
    fn mark_failing(&mut self, error: &Error) {
        let mut why = error.clone();
        // `operation` and `position` describe the operation that caused the failure, not the ones rejected because of it.
        (why.operation, why.position) = (None, None);
        let (queue, group) = (&self.queue, &self.group);
        for (number, client) in self.clients.iter_mut().enumerate() {
            let Some(client) = client.as_mut().filter(|client| client.submitted > client.settled) else { continue };
            let upto = client.submitted - spared(queue, group, number);
            if upto > client.settled {
                client.failing = Some((upto, why.clone()));
            }
        }
    }

    /// Rejects every record that is accepted and not settled and sets the next position to `next`, but keeps the queued `TruncateBefore`
    /// commands, which make room.
    ///
    /// `runs`, the rest of the group being committed, are rejected first. A client's operations settle in order, so a record after such a
    /// command is rejected only after the command has settled.
    pub fn fail_records(&mut self, runs: &[OperationRun], error: &Error, next: u64, wake: &mut Vec<Arc<dyn Notify>>) {
        self.mark_failing(error);
        self.reject(runs, error, wake);
        if self.queue.is_empty() {
            return self.fail(error, next, wake);
        }
        let group = std::mem::take(&mut self.group);
        self.queue.push_back(QueuedCommand { group, command: None });
        for step in &mut self.queue {
            step.group.reject(error);
            // The other commands refer to positions that are taken back.
            if let Some((client, _)) = step.command.take_if(|(_, command)| !matches!(command, Command::TruncateBefore(_))) {
                step.group.runs.push(OperationRun { client, ops: 1 });
            }
        }
        self.pending_bytes = 0;
        self.next = next;
        self.kicked = true;
    }
}

/// Whether the command of a step takes positions back.
fn is_cut(step: &QueuedCommand) -> bool {
    matches!(step.command, Some((_, Command::TruncateAfter(_) | Command::Reset(_))))
}

/// Returns how many trailing `TruncateBefore` commands of `client` stay queued when its records are rejected.
fn spared(queue: &VecDeque<QueuedCommand>, group: &Group, client: usize) -> u64 {
    let waits = |group: &Group| group.runs.iter().any(|run| run.client == client);
    let mut spared = 0;
    if waits(group) {
        return spared;
    }
    for step in queue.iter().rev() {
        match step.command {
            Some((of, Command::TruncateBefore(_))) if of == client => spared += 1,
            Some((of, _)) if of == client => break,
            _ => {}
        }
        if waits(&step.group) {
            break;
        }
    }
    spared
}
