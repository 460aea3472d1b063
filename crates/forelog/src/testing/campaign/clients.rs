//! Clients: histories that go through the submission queue and the commit thread, with the settlements that each client gets. What a
//! settlement says is a promise from the moment it is delivered.

use super::appends::Part;
use super::backups::Copying;
use super::followers::Follower;
use super::history::{broken, Act, End, Held, History, Policy};
use super::oracle::Made;
use crate::error::Code;
use crate::format::record::RecordRef;
use crate::log::commit_loop::CommitLoop;
use crate::log::open::Opened;
use crate::log::state::LogState;
use crate::options::Fsync;
use crate::testing::sim::{SimDisk, SimQueue};
use crate::util::arena::Arena;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::util::page_buffer::PageBuffer;
use crate::util::runtime::{Job, Runtime};
use crate::write::encoded_records::{BodyLayout, EncodedRecords};
use crate::write::group::Batch;
use crate::write::submission_queue::{AppendTerms, Client, LogPhase, Settled, WriteRoute};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that is set by the test, and jobs that wait until the test runs them.
#[derive(Default)]
pub struct Scheduler {
    pub now: Mutex<Duration>,
    pub jobs: Mutex<Vec<Job>>,
}

impl Runtime for Scheduler {
    fn now(&self) -> Duration {
        *locked(&self.now)
    }

    fn spawn(&self, job: Job) {
        locked(&self.jobs).push(job);
    }
}

/// An operation of a client. Everything up to `last` settles with it.
pub struct Operation {
    pub last: u64,
    pub durable: bool,
    pub command: bool,
}

/// Settlements that a client got, and when.
#[derive(Clone, Copy, Default)]
struct Told {
    /// Number of changes to the disk by then.
    changes: u64,
    written: u64,
    durable: u64,
    /// Positions above this one were taken back.
    end: Option<u64>,
    failed: Option<Code>,
    /// Number of operations that are not commands.
    operations: usize,
    /// Whether a command was done or rejected.
    command: Option<bool>,
}

/// All settlements that clients got, oldest first, and the first rule that was broken in delivering them.
#[derive(Default)]
struct News {
    told: Vec<Told>,
    violation: Option<String>,
}

/// A client, which collects its settlements as soon as it is woken.
pub struct Inbox {
    shared: Arc<LogState>,
    disk: SimDisk,
    pub client: usize,
    pub waiting: Mutex<(u64, VecDeque<Operation>)>,
    news: Arc<Mutex<News>>,
}

impl Inbox {
    fn collect(&self) {
        let Ok(mut submissions) = self.shared.submissions.try_lock() else {
            locked(&self.news).violation = Some("a client is woken under the lock of the submission queue".into());
            return;
        };
        let (next, poisoned) = (submissions.next, matches!(submissions.phase, LogPhase::Poisoned(_)));
        let Some(client) = submissions.clients.get_mut(self.client).and_then(Option::as_mut) else { return };
        let mut waiting = locked(&self.waiting);
        let mut told = Told { changes: self.disk.changes(), ..Told::default() };
        loop {
            let (upto, error) = match client.collect() {
                Settled::Done(upto) => (upto, None),
                Settled::Failed(upto, error) => (upto, Some(error)),
            };
            if upto == waiting.0 && error.is_none() {
                break;
            }
            for _ in waiting.0..upto {
                match (waiting.1.pop_front(), &error) {
                    (None, _) => locked(&self.news).violation = Some("an operation settles that was never submitted".into()),
                    (Some(operation), error) if operation.command => {
                        let (failed, changes) = (error.as_ref().map(|error| error.code), told.changes);
                        // After a poisoning it is unknown whether the command was done.
                        let command = (!poisoned).then_some(failed.is_none());
                        let before = std::mem::replace(&mut told, Told { changes, ..Told::default() });
                        locked(&self.news).told.extend([before, Told { changes, failed, command, ..Told::default() }]);
                    }
                    (Some(operation), None) => {
                        told.operations += 1;
                        told.written = told.written.max(operation.last);
                        told.durable = told.durable.max(if operation.durable { operation.last } else { 0 });
                    }
                    (Some(_), Some(error)) => {
                        told.operations += 1;
                        told.failed = Some(error.code);
                        told.end = error.heals().then(|| next - 1);
                    }
                }
            }
            waiting.0 = upto;
        }
        locked(&self.news).told.push(told);
    }
}

/// The `Notify` of a client. Cleared with the log, so that it keeps none alive.
struct Wake(Mutex<Option<Arc<Inbox>>>);

impl Notify for Wake {
    fn wake(&self) {
        let inbox = locked(&self.0).clone();
        if let Some(inbox) = inbox {
            inbox.collect();
        }
    }
}

/// A log with its commit thread and its clients.
pub struct Served {
    pub shared: Arc<LogState>,
    pub thread: CommitLoop,
    pub copying: Option<Copying>,
    pub follower: Option<Follower>,
    scheduler: Arc<Scheduler>,
    wakes: Vec<Arc<Wake>>,
    pub inboxes: Vec<Arc<Inbox>>,
    news: Arc<Mutex<News>>,
    /// Memory that the clients fill with records in their final form.
    arenas: Vec<Arc<Arena>>,
    /// Number of faults before the oldest write under way was submitted.
    injected: Option<u64>,
}

impl Served {
    /// Returns memory that no log has, whose bytes are no record's. `None` if there is none, or not as much.
    fn memory(&self, len: usize) -> Option<PageBuffer> {
        // SAFETY: nothing else accesses the memory of an arena.
        let mut memory = self.arenas.iter().find_map(|arena| unsafe { arena.lend(len) })?;
        memory.fill(0xee);
        Some(memory)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The log and its inboxes refer to each other.
        self.wakes.iter().for_each(|wake| drop(locked(&wake.0).take()));
    }
}

impl History {
    /// Runs operations as clients make them, until the log dies, fails or closes.
    pub fn serve(&mut self, opened: Opened, operations: u64) -> Held<End> {
        let fsync = match self.policy {
            Policy::Always => Fsync::Always,
            Policy::Mixed if self.rng.chance(0.5) => Fsync::Every(Duration::from_millis(5)),
            Policy::Mixed | Policy::Os => Fsync::Os,
        };
        self.options.fsync = fsync;
        let (shared, writer) = LogState::writable(Arc::new(self.disk.clone()), self.options.clone(), opened);
        if self.disk.crashed() {
            return Ok(End::Died);
        }
        let scheduler = Arc::new(Scheduler::default());
        let thread = CommitLoop::new(shared.clone(), writer, scheduler.clone());
        let (wakes, inboxes) = (Vec::new(), Vec::new());
        let (copying, follower) = (None, None);
        let mut log = Served {
            shared,
            thread,
            copying,
            follower,
            scheduler,
            wakes,
            inboxes,
            news: Arc::default(),
            arenas: Arena::region(4, 128 << 10),
            injected: None,
        };
        // Only a client that is alone submits writes itself.
        let clients = 1 + self.rng.below(3);
        for _ in 0..if self.goes_ahead { 1 } else { clients } {
            let wake = Arc::new(Wake(Mutex::default()));
            let mut client = Client::new(wake.clone());
            client.route = self.goes_ahead.then(|| WriteRoute { queue: Arc::new(SimQueue), token: 0 });
            let client = locked(&log.shared.submissions).join(client);
            let (shared, disk, news) = (log.shared.clone(), self.disk.clone(), log.news.clone());
            let inbox = Arc::new(Inbox { shared, disk, client, waiting: Mutex::default(), news });
            *locked(&wake.0) = Some(inbox.clone());
            log.wakes.push(wake);
            log.inboxes.push(inbox);
        }
        self.kept = u64::MAX;
        let end = self.lead(&mut log, operations)?;
        self.give_up(&mut log)?;
        Ok(end)
    }

    fn lead(&mut self, log: &mut Served, operations: u64) -> Held<End> {
        for _ in 0..operations {
            if self.disk.crashed() {
                return Ok(End::Died);
            }
            self.change_space();
            let end = match self.rng.below(100) {
                0..52 if self.goes_ahead && self.rng.chance(0.8) => self.go_ahead(log)?,
                0..52 => {
                    for _ in 0..1 + self.rng.below(4) {
                        self.enter(log)?;
                    }
                    self.step(log, Act::Commit)?
                }
                52..60 => {
                    for _ in 0..self.rng.below(3) {
                        self.enter(log)?;
                    }
                    self.command(log);
                    for _ in 0..self.rng.below(3) {
                        self.enter(log)?;
                    }
                    self.step(log, Act::Commit)?
                }
                60..74 => {
                    let passed = Duration::from_millis(self.rng.below(1500));
                    *locked(&log.scheduler.now) += passed;
                    self.disk.say(|| "time passes".into());
                    let end = self.step(log, Act::Sync)?;
                    let overdue = matches!(self.options.fsync, Fsync::Every(period) if period <= passed);
                    if overdue
                        && end.is_none()
                        && !self.disk.crashed()
                        && !log.thread.writer.unproven
                        && self.expected.durable < self.expected.end
                    {
                        return broken(format!("no fsync in time: {}", self.expected.bounds()));
                    }
                    end
                }
                74..86 => self.background(log)?,
                86..90 => {
                    self.copy(log)?;
                    None
                }
                90..97 => {
                    let acknowledged = log.shared.positions(0).acknowledged;
                    let (low, block) = (self.expected.low, 1 << self.rng.below(18));
                    let from = low + self.rng.below(acknowledged + 2 - low);
                    self.check_read(&log.shared.catalog, from, acknowledged, block)?;
                    None
                }
                _ => return self.shut_down(log),
            };
            if let Some(end) = end.filter(|_| !self.disk.crashed()) {
                return Ok(end);
            }
            // With operations that wait, the ends are not those that a follower is checked against.
            if !self.disk.crashed() && log.injected.is_none() && self.rng.chance(0.4) {
                self.follow(log)?;
            }
        }
        Ok(End::Died)
    }

    /// Submits a record, a batch or a sync for one of the clients.
    fn enter(&mut self, log: &Served) -> Held<()> {
        let inbox = &log.inboxes[self.rng.below(log.inboxes.len() as u64) as usize];
        let durable = self.policy == Policy::Mixed && self.rng.chance(0.3);
        let mut submissions = locked(&log.shared.submissions);
        let next = submissions.next;
        let submitted = if self.rng.chance(0.15) {
            self.disk.say(|| format!("client {}: sync", inbox.client));
            submissions.sync(inbox.client, &self.options).map(|()| Operation { last: next - 1, durable: true, command: false })
        } else {
            let expect = self.rng.chance(0.2).then_some(next);
            if expect.is_some() && self.rng.chance(0.5) {
                // Fails because another client has taken the position.
                let terms = AppendTerms { durable, expect: Some(next + 1) };
                let refused = submissions.append(inbox.client, &RecordRef::default(), 1, terms, &self.options);
                let conflict = refused.is_err_and(|error| error.code == Code::Conflict && error.actual == Some(next));
                return if conflict && submissions.next == next {
                    Ok(())
                } else {
                    broken("an append that expects another position is accepted")
                };
            }
            let terms = AppendTerms { durable, expect };
            let Part { tags, batch } = self.part(next);
            let made: Vec<Made> = tags.iter().enumerate().map(|(i, tag)| Made::new(next + i as u64, *tag)).collect();
            let accepted = self.accepted();
            for (i, tag) in tags.iter().enumerate() {
                accepted.push(*tag, !batch || i + 1 == tags.len());
            }
            let end = accepted.end;
            self.disk.say(|| format!("client {}: append up to {end}{}", inbox.client, if durable { ", durable" } else { "" }));
            let last = if batch {
                let mut gathered = Batch::new();
                made.iter().for_each(|made| gathered.push(made.record(), 1 << 30).unwrap());
                submissions.append_batch(inbox.client, &mut gathered, terms, &self.options).map(|(_, last)| last)
            } else {
                let record = made[0].record();
                let len = record.check(1 << 30).unwrap();
                let memory = log.memory(BodyLayout::FIRST + len).filter(|_| expect.is_none() && self.rng.chance(0.5));
                match memory {
                    Some(mut memory) => {
                        memory.truncate(BodyLayout::FIRST);
                        record.encode(&mut memory);
                        let body = std::iter::once(BodyLayout::FIRST..memory.len());
                        let mut records = EncodedRecords::check(&mut memory, body, self.rng.chance(0.8), 1 << 30).unwrap();
                        submissions.append_encoded(inbox.client, &mut records, durable, &self.options)
                    }
                    None => submissions.append(inbox.client, &record, len, terms, &self.options),
                }
            };
            last.map(|last| Operation { last, durable: durable || self.options.fsync == Fsync::Always, command: false })
        };
        locked(&inbox.waiting).1.push_back(submitted.unwrap());
        Ok(())
    }

    /// Steps the commit thread until everything is done, and checks it against its settlements.
    fn step(&mut self, log: &mut Served, act: Act) -> Held<Option<End>> {
        let injected = self.disk.injected();
        self.step_since(log, act, injected)
    }

    /// Like `step`, if the cause of a failure may be a fault after the first `injected` ones.
    fn step_since(&mut self, log: &mut Served, act: Act, injected: u64) -> Held<Option<End>> {
        let injected = log.injected.take().map_or(injected, |earlier| earlier.min(injected));
        let (mut failed, mut stopped) = (Vec::new(), None);
        loop {
            let commanded = {
                log.shared.rouse(locked(&log.shared.submissions));
                locked(&log.shared.submissions).queue.front().is_some_and(|step| step.command.is_some())
            };
            let act = if commanded { Act::Truncate } else { act };
            stopped = stopped.or(self.listen(log, act, &mut failed, CommitLoop::step)?);
            if self.disk.crashed() {
                self.may_be_ahead();
                return Ok(None);
            }
            let submissions = locked(&log.shared.submissions);
            let is_done = submissions.queue.is_empty() && submissions.group.is_empty() && !log.thread.writer.is_ahead();
            if matches!(submissions.phase, LogPhase::Poisoned(_)) || is_done && !log.thread.is_taken() {
                break;
            }
        }
        for inbox in &log.inboxes {
            let (told, waiting) = {
                let waiting = locked(&inbox.waiting);
                (waiting.0, waiting.1.len())
            };
            let settled = locked(&log.shared.submissions).clients[inbox.client].as_ref().map(|client| client.settled);
            if waiting > 0 || settled != Some(told) {
                return broken(format!(
                    "client {} has collected {told} operations, {settled:?} are settled, {waiting} are pending",
                    inbox.client
                ));
            }
        }
        let cause = self.disk.injected() > injected;
        let (full, poisoned) = (self.disk.faults().full, matches!(locked(&log.shared.submissions).phase, LogPhase::Poisoned(_)));
        let first = failed.first().copied();
        self.fenced |= !poisoned && failed.iter().any(|(_, command)| !command);
        match first {
            Some((Code::NoSpace, _)) if cause || full => {}
            Some((Code::Poisoned, _)) if cause && poisoned => {}
            Some((Code::Io | Code::ReadOnly, _)) if cause => {}
            None if !poisoned || cause => {}
            failed => return broken(format!("clients collect {failed:?} without a fault")),
        }
        self.may_be_ahead();
        if poisoned {
            return self.stays_poisoned(log).map(|()| Some(End::Failed));
        }
        if stopped.is_some() {
            return Ok(Some(End::Closed));
        }
        if !log.thread.writer.unproven {
            self.others.clear();
        }
        self.settled_all(log)
    }

    /// Runs a step, and hears what clients are told in it. Failures go to `failed`, each with whether it is that of a command.
    fn listen<T>(
        &mut self,
        log: &mut Served,
        act: Act,
        failed: &mut Vec<(Code, bool)>,
        step: impl FnOnce(&mut CommitLoop) -> T,
    ) -> Held<T> {
        locked(&log.news).told.clear();
        let (thread, news) = (&mut log.thread, log.news.clone());
        // Settlements delivered before a moment are promises from that moment on.
        let told = |history: &mut History, changes: u64| {
            for told in locked(&news).told.iter().filter(|told| told.changes <= changes) {
                history.hear(told);
            }
            history.may_be_ahead();
        };
        let result = self.watched_with(act, || step(thread), told);
        let news = locked(&log.news).told.clone();
        for told in &news {
            self.hear(told);
            failed.extend(told.failed.map(|code| (code, told.command.is_some())));
        }
        self.disk.say(|| format!("  collected: {}", self.expected.bounds()));
        match locked(&log.news).violation.take() {
            Some(rule) => broken(rule),
            None => Ok(result),
        }
    }

    /// Runs turns of the client's own thread, each of which submits what it has appended and completes what the disk is done with. Often
    /// leaves writes under way.
    fn go_ahead(&mut self, log: &mut Served) -> Held<Option<End>> {
        let injected = self.disk.injected();
        for _ in 0..1 + self.rng.below(6) {
            for _ in 0..1 + self.rng.below(3) {
                self.enter(log)?;
            }
            log.injected.get_or_insert(injected);
            locked(&log.shared.submissions).kicked = true;
            let mut failed = Vec::new();
            let needs_thread = self.listen(log, Act::Commit, &mut failed, CommitLoop::try_ahead)?;
            if self.disk.crashed() {
                self.may_be_ahead();
                return Ok(None);
            }
            if let Some((code, _)) = failed.first() {
                return broken(format!("a thread that never blocks rejects operations: {code:?}"));
            }
            if needs_thread {
                return self.step(log, Act::Commit);
            }
        }
        if self.rng.chance(0.4) {
            return self.step(log, Act::Commit);
        }
        Ok(None)
    }

    /// Checks that the horizons agree, with nothing waiting and nothing failed.
    fn settled_all(&mut self, log: &Served) -> Held<Option<End>> {
        let (next, pending) = {
            let submissions = locked(&log.shared.submissions);
            (submissions.next, submissions.pending_bytes)
        };
        let at = log.shared.positions(next);
        let end = self.expected.end;
        // A log opened without space to roll proves less durable than was durable before.
        let behind = at.durable < self.expected.durable && !log.thread.writer.unproven;
        let low = self.expected.low;
        if (at.first, at.next, at.acknowledged, at.written, pending) != (low, end + 1, end, end, 0) || behind || at.durable > end {
            return broken(format!(
                "the log ends at {end} and reports {at:?} with {pending} bytes pending, expected {}",
                self.expected.bounds()
            ));
        }
        self.expected.written = at.acknowledged;
        self.expected.durable = self.expected.durable.max(at.durable);
        Ok(None)
    }

    fn hear(&mut self, told: &Told) {
        self.settled_before(told.operations, told.failed);
        self.expected.written = self.expected.written.max(told.written);
        self.expected.durable = self.expected.durable.max(told.durable);
        if let Some(end) = told.end {
            self.given_back(end);
        }
        if let Some(done) = told.command {
            self.commanded(done);
        }
    }

    /// Runs one of the waiting jobs, at random.
    fn background(&mut self, log: &mut Served) -> Held<Option<End>> {
        let mut jobs = locked(&log.scheduler.jobs);
        if jobs.is_empty() {
            return Ok(None);
        }
        let job = self.rng.below(jobs.len() as u64) as usize;
        let job = jobs.swap_remove(job);
        drop(jobs);
        let (injected, grave) = (self.disk.injected(), self.disk.grave_failures());
        self.disk.say(|| "a job in the background".into());
        self.watched(Act::Background, job);
        if self.disk.crashed() || self.disk.injected() == injected {
            return Ok(None);
        }
        // A failure there is reported at the next step, before anything else is acknowledged.
        let end = self.step_since(log, Act::Background, injected)?;
        if self.disk.grave_failures() > grave && end != Some(End::Failed) && !self.disk.crashed() {
            return broken("a failed fsync in the background does not poison the log");
        }
        Ok(end)
    }

    /// Checks that a poisoned log refuses appends, writes nothing, and fails to close with that error.
    fn stays_poisoned(&mut self, log: &mut Served) -> Held<()> {
        let changes = self.disk.changes();
        let client = log.inboxes[0].client;
        let refused = locked(&log.shared.submissions).sync(client, &self.options).is_err_and(|error| error.code == Code::Poisoned);
        log.shared.stop.store(true, Ordering::Release);
        log.shared.rouse(locked(&log.shared.submissions));
        let closed = log.thread.step();
        if !refused || !closed.is_some_and(|closed| closed.is_err_and(|error| error.code == Code::Poisoned)) {
            return broken("a poisoned log accepts operations");
        }
        self.retire(log, changes, "a poisoned log")
    }

    fn shut_down(&mut self, log: &mut Served) -> Held<End> {
        let injected = log.injected.take().unwrap_or(u64::MAX).min(self.disk.injected());
        let provable = log.thread.writer.mark().is_some();
        locked(&log.shared.submissions).phase = LogPhase::Closing;
        log.shared.stop.store(true, Ordering::Release);
        log.shared.rouse(locked(&log.shared.submissions));
        // Commits under way may fail now, and are rejected before the log is closed.
        let mut failed = Vec::new();
        let closed = self.listen(log, Act::Close, &mut failed, CommitLoop::step)?;
        self.fenced |= !failed.is_empty();
        self.disk.say(|| format!("close: {:?}", closed.as_ref().map(|closed| closed.as_ref().map_err(|e| e.code))));
        if self.disk.crashed() {
            self.may_be_ahead();
            return Ok(End::Died);
        }
        match closed {
            Some(Ok(())) if provable => {
                self.closes(self.disk.injected() == injected);
            }
            Some(Ok(())) => {}
            Some(Err(_)) if self.disk.injected() > injected => return Ok(End::Failed),
            other => return broken(format!("closing: {other:?}")),
        }
        log.thread.writer.retire();
        log.thread.writer.spares().close();
        let changes = self.disk.changes();
        self.retire(log, changes, "a closed log")?;
        Ok(End::Closed)
    }

    /// Checks that jobs that come too late change nothing.
    fn retire(&mut self, log: &mut Served, changes: u64, what: &str) -> Held<()> {
        if self.disk.changes() != changes {
            return broken(format!("{what} writes"));
        }
        log.thread.writer.retire();
        log.thread.writer.spares().close();
        let changes = self.disk.changes();
        let jobs = std::mem::take(&mut *locked(&log.scheduler.jobs));
        jobs.into_iter().for_each(|job| job());
        if self.disk.changes() != changes {
            return broken(format!("a late job writes to {what}"));
        }
        Ok(())
    }
}
