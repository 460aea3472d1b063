//! What a commit thread does for a log: steps the writer, settles what it returns, and keeps the deadlines of the policy.

use crate::error::{Code, Error, Result};
use crate::log::state::LogState;
use crate::observe::events::Event;
use crate::options::Fsync;
use crate::storage::lock::Lock;
use crate::util::healing::On;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::util::runtime::Runtime;
use crate::write::group::{Group, OperationRun};
use crate::write::retention::{Due, Floors};
use crate::write::submission_queue::{Command, CommitThreadState, LogPhase, QueuedCommand, SubmissionQueue};
use crate::write::writer::{CommitProgress, Writer};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The durable mark in CONTROL is at most this old while the durable horizon moves.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// The horizon that other processes follow is at most this old while it moves.
const TELL_EVERY: Duration = Duration::from_millis(4);

/// Under a policy that acknowledges without an fsync, a log at work looks this often whether it is still at its path. What
/// waits for an fsync is looked after each time: the look at the directory takes a microsecond.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Retention looks again no sooner, and by its age no later than this.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Steps the writer: takes what has gathered, commits it, settles it, and keeps the deadlines of the policy.
pub struct CommitThread {
    pub shared: Arc<LogState>,
    host: Arc<dyn Runtime>,
    pub writer: Writer,
    group: Group,
    /// What follows the group.
    command: Option<(usize, Command)>,
    wake: Vec<Arc<dyn Notify>>,
    /// When the oldest write that no fsync has covered began.
    behind_since: Option<Duration>,
    marked_at: Duration,
    /// Durable position of the last mark handed out.
    marked: u64,
    told_at: Duration,
    /// When all that ties the log to its path was last looked at.
    checked_at: Duration,
    /// The page that other processes follow is behind the horizons.
    untold: bool,
    /// Rolls when retention was last looked at, and when to look again all the same.
    retained: Option<u64>,
    retain_at: Option<Duration>,
    /// The last step found nothing to do, for as long as it was to wait.
    idle: bool,
    /// A step panicked: there are no more of them.
    broken: Option<Error>,
}

impl CommitThread {
    pub fn new(shared: Arc<LogState>, writer: Writer, host: Arc<dyn Runtime>) -> CommitThread {
        let (marked, now) = (writer.durable_position(), host.now());
        let retain_at = (!shared.options.retention.is_off()).then_some(now);
        CommitThread {
            shared,
            host,
            writer,
            group: Group::default(),
            command: None,
            wake: Vec::new(),
            behind_since: None,
            marked_at: now,
            marked,
            told_at: now,
            checked_at: now,
            untold: false,
            retained: None,
            retain_at,
            idle: false,
            broken: None,
        }
    }

    /// A step whose panic ends this log and nothing else.
    pub fn attend(&mut self) -> Option<Result<()>> {
        if let Some(error) = self.broken.clone() {
            return self.await_stop(error);
        }
        catch_unwind(AssertUnwindSafe(|| self.step())).unwrap_or_else(|_| {
            let error = Error::new(Code::Poisoned, "the log is poisoned: its commit thread failed unexpectedly");
            self.broken = Some(error.clone());
            // Who is told may be what panicked.
            let _ = catch_unwind(AssertUnwindSafe(|| self.fail(&error)));
            None
        })
    }

    /// A log that failed stays until it is told to end, so that the directory remains locked while handles are open.
    fn await_stop(&mut self, error: Error) -> Option<Result<()>> {
        locked(&self.shared.submissions).kicked = false;
        let stop = self.shared.stop.load(Ordering::Acquire);
        self.idle = !stop;
        stop.then_some(Err(error))
    }

    /// The end, once `attend` has given how closing went.
    pub fn leave(mut self, closed: Result<()>, lock: Arc<Lock>) {
        let shared = self.shared.clone();
        let left = catch_unwind(AssertUnwindSafe(move || {
            // No background job may touch the directory once it is given up.
            self.writer.retire();
            self.writer.spares().close();
            drop(lock);
        }));
        let panicked = || Error::new(Code::Poisoned, "the commit thread ended in a panic");
        shared.has_ended(left.map_err(|_| panicked()).and(closed));
    }

    /// The last step had nothing to do.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether a step would have something to do now.
    pub fn is_wanted(&self, submissions: &SubmissionQueue) -> bool {
        let due = || self.deadline().is_some_and(|due| due <= self.host.now());
        submissions.kicked || self.shared.stop.load(Ordering::Acquire) || due()
    }

    /// Does what there is to do, and sleeps before it if there is nothing yet, as long as the host has patience; gives how
    /// closing went, in the end.
    pub fn step(&mut self) -> Option<Result<()>> {
        if self.writer.sealer.is_due() {
            let (shared, sealer) = (self.shared.clone(), self.writer.sealer.clone());
            self.host.spawn(Box::new(move || {
                if let Err(fault) = sealer.run() {
                    shared.report(fault);
                }
            }));
        }
        let stop = self.take()?;
        if let Some(error) = self.group.rejected.take() {
            self.reject_group(&error);
        } else if !self.group.is_empty() {
            self.commit();
        }
        if let Some((client, command)) = self.command.take() {
            self.execute(client, command);
        }
        self.keep_deadlines();
        self.retain();
        stop.then(|| {
            let closed = self.writer.close();
            self.collect_counters(None);
            if let Some(error) = self.writer.poisoned() {
                self.shared.events.end(error);
            }
            self.shared.publish(&self.writer, closed.is_ok());
            self.shared.tell(&mut self.writer);
            closed
        })
    }

    /// Sleeps until there is something to do, and takes what comes next. True when this is the last time; `None` when nothing
    /// came.
    fn take(&mut self) -> Option<bool> {
        let shared = self.shared.clone();
        let mut idle_since = None;
        self.idle = false;
        let mut submissions = locked(&shared.submissions);
        loop {
            let stop = shared.stop.load(Ordering::Acquire);
            let due = self.deadline();
            let wait = due.map(|due| due.saturating_sub(self.host.now()));
            if stop || submissions.kicked || wait == Some(Duration::ZERO) {
                break;
            }
            let patience = self.host.patience().map(|patience| {
                let now = self.host.now();
                (*idle_since.get_or_insert(now) + patience).saturating_sub(now)
            });
            self.idle = patience == Some(Duration::ZERO);
            if self.idle {
                return None;
            }
            submissions.attendance = CommitThreadState::Asleep;
            submissions = match [wait, patience].into_iter().flatten().min() {
                Some(wait) => self.shared.work.wait_timeout(submissions, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.work.wait(submissions).unwrap_or_else(PoisonError::into_inner),
            };
            submissions.attendance = CommitThreadState::Awake;
        }
        let (fault, detached) = (submissions.fault.take(), submissions.detached.take());
        if fault.is_some() || detached.is_some() {
            drop(submissions);
            let detached = detached.map(|error| self.writer.give_up(error));
            let error = fault.map(|fault| self.writer.poison(fault)).or(detached)?;
            self.fail(&error);
            return Some(shared.stop.load(Ordering::Acquire));
        }
        let step = submissions.take(&mut self.group);
        // With a step taken, the gathering group is still to come.
        let last = step.is_none() && shared.stop.load(Ordering::Acquire);
        self.command = step.and_then(|step| step.command);
        Some(last)
    }

    /// When there will be something to do all the same.
    pub fn deadline(&self) -> Option<Duration> {
        if self.writer.poisoned().is_some() || self.broken.is_some() {
            return None;
        }
        let sync = match self.shared.options.fsync {
            Fsync::Every(period) => self.behind_since.map(|since| since + period),
            Fsync::Always | Fsync::Os => None,
        };
        let is_unmarked = self.writer.durable_position() != self.marked || self.shared.unmarked.load(Ordering::Acquire);
        let mark = is_unmarked.then(|| self.marked_at + MARK_EVERY);
        let tell = self.untold.then(|| self.told_at + TELL_EVERY);
        // A follower of a log that is idle waits for an append here: where the path leads elsewhere, appends are made elsewhere.
        let check = self.shared.followers.is_anybody().then(|| self.checked_at + CHECK_EVERY);
        // A log that could not roll at opening lets go of nothing until it has.
        let retain = self.retain_at.filter(|_| !self.writer.unproven);
        [sync, mark, tell, check, retain].into_iter().flatten().min()
    }

    fn commit(&mut self) {
        self.writer.followed = self.shared.followers.is_anybody();
        let began = self.host.now();
        let durable = self.group.durable || self.shared.options.fsync == Fsync::Always;
        let progress = match self.check(durable) {
            Ok(()) => self.writer.commit(&mut self.group, durable),
            Err(error) => CommitProgress { frames: 0, failure: Some(error) },
        };
        let took = self.host.now().saturating_sub(began);
        // Before anybody is told: who has awaited an append finds its commit in `stats`.
        self.collect_counters(Some((&progress, took)));
        self.settle(progress);
        self.behind_since = self.writer.is_behind().then(|| self.behind_since.unwrap_or(began));
        self.prepare_spare();
        let spares = self.writer.spares();
        if self.writer.poisoned().is_none() && spares.wants_reserve() {
            self.host.spawn(Box::new(move || spares.prepare_reserve()));
        }
        if let Some(growth) = self.writer.due_growth() {
            self.host.spawn(Box::new(move || growth.run()));
        }
        if let Some(ahead) = self.writer.due_filling() {
            let shared = self.shared.clone();
            self.host.spawn(Box::new(move || {
                if let Err(fault) = ahead.fill() {
                    shared.report(fault);
                }
            }));
        }
    }

    /// Whether the log is at its path still, before anything of a group is written: what is rejected is in no log.
    fn check(&mut self, durable: bool) -> Result<()> {
        if self.host.now().saturating_sub(self.checked_at) >= CHECK_EVERY {
            self.check_all()
        } else if durable {
            self.writer.check_directory()
        } else {
            Ok(())
        }
    }

    fn check_all(&mut self) -> Result<()> {
        self.checked_at = self.host.now();
        self.writer.check_attached()
    }

    fn prepare_spare(&mut self) {
        if self.writer.poisoned().is_none() && self.writer.wants_spare() {
            let spares = self.writer.spares();
            let fill = self.writer.wants_prefill();
            self.host.spawn(Box::new(move || spares.prepare(fill)));
        }
    }

    /// Tells the clients how their operations ended.
    fn settle(&mut self, progress: CommitProgress) {
        let CommitProgress { frames, failure } = progress;
        if let Some(error) = failure.as_ref().filter(|error| !error.heals()) {
            return self.fail(error);
        }
        // Frames that were written are acknowledged: the writer has synced them, or nobody asked for that.
        self.shared.publish(&self.writer, true);
        let shared = self.shared.clone();
        let mut submissions = locked(&shared.submissions);
        if failure.is_none() || frames > 0 {
            submissions.succeed(self.group.runs_of_frames(0, frames), &mut self.wake);
        }
        match failure {
            None => submissions.pending_bytes -= self.group.record_bytes,
            Some(error) => {
                if let Some(command) = self.command.take() {
                    submissions.queue.push_front(QueuedCommand { group: Group::default(), command: Some(command) });
                }
                let runs = self.group.runs_of_frames(frames, self.group.frames.len());
                submissions.fail_records(runs, &error, self.writer.next_position(), &mut self.wake);
                submissions.recompute_low_mark(self.writer.low);
            }
        }
        drop(submissions);
        self.notify();
    }

    fn reject_group(&mut self, error: &Error) {
        let shared = self.shared.clone();
        locked(&shared.submissions).reject(&self.group.runs, error, &mut self.wake);
        self.notify();
    }

    /// Does what follows a group, and tells its client.
    fn execute(&mut self, client: usize, command: Command) {
        if let Err(error) = self.writer.check_attached() {
            return self.fail(&error);
        }
        let cuts = self.shared.catalog.cuts();
        let acknowledged = self.shared.horizons.acknowledged.load(Ordering::Acquire);
        let (low, removed) = (self.writer.low, self.writer.counters.removed);
        let (operation, outcome) = match command {
            Command::TruncateBefore(first) => ("truncateBefore", self.writer.truncate_before(first)),
            Command::TruncateAfter(last) => {
                // A reader made from now on is not to look further; one made before is told.
                self.shared.horizons.acknowledged.fetch_min(last, Ordering::AcqRel);
                ("truncateAfter", self.writer.truncate_after(last))
            }
            Command::Reset(first) => {
                self.shared.horizons.acknowledged.store(0, Ordering::Release);
                ("reset", self.writer.reset(first))
            }
        };
        self.behind_since = self.behind_since.filter(|_| self.writer.is_behind());
        if low != self.writer.low || cuts != self.shared.catalog.cuts() {
            self.tell_truncation(operation, removed);
        }
        self.move_cursors(cuts != self.shared.catalog.cuts());
        self.collect_counters(None);
        if let Some(error) = self.writer.poisoned().cloned() {
            if error.code == Code::Detached && cuts == self.shared.catalog.cuts() {
                // Nothing was taken back.
                self.shared.horizons.acknowledged.store(acknowledged, Ordering::Release);
            }
            return self.fail(&error);
        }
        self.shared.publish(&self.writer, true);
        let run = [OperationRun { client, ops: 1 }];
        let shared = self.shared.clone();
        let mut submissions = locked(&shared.submissions);
        match outcome {
            Ok(()) => submissions.succeed(&run, &mut self.wake),
            Err(error) => {
                let error = error.during(operation);
                match command {
                    Command::TruncateBefore(_) => submissions.reject(&run, &error, &mut self.wake),
                    // What was accepted since then has positions that rest on it.
                    _ => submissions.fail_records(&run, &error, self.writer.next_position(), &mut self.wake),
                }
            }
        }
        submissions.recompute_low_mark(self.writer.low);
        let cut = cuts != self.shared.catalog.cuts();
        if cut {
            // Their readers may hold what is not in the log any more.
            self.wake.extend(submissions.clients.iter().flatten().map(|client| client.notify.clone()));
        }
        drop(submissions);
        if cut {
            self.shared.followers.wake_all();
        }
        self.notify();
        // What was truncated gives back what it has to, though nothing more is appended.
        self.prepare_spare();
    }

    /// Cursors go with the ends of the log, before anybody is told that these have moved.
    fn move_cursors(&mut self, cut: bool) {
        if self.writer.poisoned().is_some() {
            return;
        }
        let low = self.writer.low;
        if cut {
            if let Err(fault) = self.shared.cursors.cut(low, self.writer.next_position() - 1) {
                self.writer.poison(fault);
            }
        }
        self.shared.cursors.raise(low);
    }

    /// Rejects everything that waits, and all that comes.
    fn fail(&mut self, error: &Error) {
        let shared = self.shared.clone();
        self.shared.publish(&self.writer, false);
        self.shared.events.end(error);
        let mut submissions = locked(&shared.submissions);
        submissions.phase = LogPhase::ended(error);
        let is_detached = matches!(submissions.phase, LogPhase::Detached(_));
        // Poisoned, nobody knows what is in the log; detached, that is what was acknowledged.
        let next = if is_detached { self.acknowledged_end() } else { submissions.next };
        submissions.fail(error, next, &mut self.wake);
        if is_detached {
            submissions.recompute_low_mark(self.writer.low);
        }
        drop(submissions);
        self.group.clear();
        self.command = None;
        self.behind_since = None;
        self.shared.followers.wake_all();
        self.notify();
    }

    /// Position after the last one acknowledged.
    fn acknowledged_end(&self) -> u64 {
        self.shared.horizons.acknowledged.load(Ordering::Acquire).max(self.writer.low - 1) + 1
    }

    fn notify(&mut self) {
        self.wake.dedup_by(|a, b| Arc::ptr_eq(a, b));
        for client in self.wake.drain(..) {
            client.wake();
        }
    }

    fn keep_deadlines(&mut self) {
        if self.writer.poisoned().is_some() {
            return;
        }
        if let (Fsync::Every(period), Some(since)) = (self.shared.options.fsync, self.behind_since) {
            if self.host.now().saturating_sub(since) >= period {
                match self.writer.sync() {
                    Ok(()) => self.shared.publish(&self.writer, true),
                    // A log that could not roll at opening cannot do it yet; its next write tries again.
                    Err(error) if error.heals() => {}
                    Err(error) => return self.fail(&error),
                }
                self.behind_since = None;
                self.collect_counters(None);
                self.notify();
            }
        }
        if self.shared.followers.is_anybody() && self.host.now().saturating_sub(self.checked_at) >= CHECK_EVERY {
            if let Err(error) = self.check_all() {
                return self.fail(&error);
            }
        }
        // After the acknowledgements, so that none of them waits for it.
        self.untold = self.shared.is_untold(&self.writer);
        if self.untold && self.host.now().saturating_sub(self.told_at) >= TELL_EVERY {
            self.told_at = self.host.now();
            self.shared.tell(&mut self.writer);
            self.untold = self.shared.is_untold(&self.writer);
        }
        let durable = self.writer.durable_position();
        let is_unmarked = durable != self.marked || self.shared.unmarked.load(Ordering::Acquire);
        if is_unmarked && self.host.now().saturating_sub(self.marked_at) >= MARK_EVERY {
            self.marked = durable;
            self.marked_at = self.host.now();
            if let Err(error) = self.check_all() {
                return self.fail(&error);
            }
            self.shared.unmarked.store(false, Ordering::Release);
            if let Some(job) = self.writer.mark() {
                let shared = self.shared.clone();
                self.host.spawn(Box::new(move || match job.run() {
                    Ok(()) => {}
                    Err(fault) if fault.heals(On::Named) => shared.mark_again(),
                    Err(fault) => shared.report(fault),
                }));
            }
        }
    }

    /// Lets go of what retention does not keep: after a roll, and in time.
    fn retain(&mut self) {
        let retention = self.shared.options.retention;
        let rolls = self.writer.counters.rolls;
        let due = self.retained != Some(rolls) || self.retain_at.is_some_and(|at| at <= self.host.now());
        if retention.is_off() || !due || self.writer.poisoned().is_some() || self.writer.unproven {
            return;
        }
        let floors = Floors { readers: self.shared.catalog.places.floor(), cursors: self.shared.cursors.floor() };
        // What does not read now may read later: nothing of the log depends on it.
        let due = self.writer.due(&retention, floors).unwrap_or(Due { again: Some(RETRY), ..Due::default() });
        self.tell_ahead(&due);
        self.retained = Some(rolls);
        self.retain_at = due.again.map(|again| self.host.now() + again.clamp(RETRY, LONGEST));
        if due.renew {
            self.renew();
        }
        let Some(first) = due.first.filter(|_| self.writer.poisoned().is_none()) else { return };
        let removed = self.writer.counters.removed;
        let truncated = self.writer.truncate_before(first);
        self.tell_truncation("retention", removed);
        self.move_cursors(false);
        self.collect_counters(None);
        if let (Err(_), Some(error)) = (truncated, self.writer.poisoned().cloned()) {
            return self.fail(&error);
        }
        self.shared.publish(&self.writer, true);
        locked(&self.shared.submissions).recompute_low_mark(self.writer.low);
        self.notify();
        self.prepare_spare();
    }

    /// Segments from the future are told once, and counted.
    fn tell_ahead(&mut self, due: &Due) {
        if due.ahead.is_empty() {
            return;
        }
        locked(&self.shared.measures).ahead += due.ahead.len() as u64;
        self.shared.events.ahead(&due.ahead);
        self.shared.events.wake(&mut self.wake);
        self.notify();
    }

    /// Begins a segment by itself. On a full disk a later write does.
    fn renew(&mut self) {
        let renewed = self.writer.renew();
        self.collect_counters(None);
        match (renewed, self.writer.poisoned().cloned()) {
            (Err(_), Some(error)) => self.fail(&error),
            _ => self.shared.publish(&self.writer, true),
        }
    }

    /// `commit` is how far the group got, and how long that took.
    fn collect_counters(&mut self, commit: Option<(&CommitProgress, Duration)>) {
        self.writer.note_len();
        let mut measures = locked(&self.shared.measures);
        measures.counters = self.writer.counters;
        measures.active = self.writer.fill_level();
        let (mut fsyncs, mut syncing) = (0, 0);
        for nanos in self.writer.fsync_times.drain(..) {
            measures.fsync.record(nanos);
            fsyncs += 1;
            syncing += nanos;
        }
        if let Some((_, took)) = commit.filter(|_| self.group.records > 0) {
            measures.commits += 1;
            measures.commit.record(took.as_nanos() as u64);
            measures.group.record(self.group.records);
            measures.wait.record((self.writer.clock)().saturating_sub(self.group.since));
        }
        drop(measures);
        if self.shared.events.has_listeners() {
            self.tell_step(commit, fsyncs, Duration::from_nanos(syncing));
        }
    }

    /// What has just been done, for those who listen. They are woken with the clients that it settles.
    fn tell_step(&mut self, commit: Option<(&CommitProgress, Duration)>, fsyncs: u64, syncing: Duration) {
        let events = &self.shared.events;
        if let Some((progress, took)) = commit.filter(|(progress, _)| progress.frames > 0) {
            let (all, frames) = (self.group.frames.len(), &self.group.frames[..progress.frames]);
            let records = frames.iter().map(|frame| u64::from(frame.count)).sum::<u64>();
            // Of a group that a full disk cut short, as they were written.
            let written = || frames.iter().map(|frame| frame.body_len as u64).sum();
            let bytes = if frames.len() == all { self.group.record_bytes } else { written() };
            let (first, waited) = (frames[0].first, Duration::from_nanos((self.writer.clock)().saturating_sub(self.group.since)));
            events.record(Event::APPEND, || Event::Append { first, last: first + records - 1, records, bytes, took, waited });
        }
        if fsyncs > 0 && self.writer.poisoned().is_none() {
            let durable = self.writer.durable_position();
            events.record(Event::SYNC, || Event::Sync { durable, fsyncs, took: syncing });
        }
        events.wake(&mut self.wake);
    }

    /// The log starts or ends elsewhere; `removed` segments were gone before.
    fn tell_truncation(&self, operation: &'static str, removed: u64) {
        let (first, next) = (self.writer.low, self.writer.next_position());
        let removed = self.writer.counters.removed - removed;
        self.shared.events.record(Event::TRUNCATE, || Event::Truncate { operation, first, next, removed });
    }
}
