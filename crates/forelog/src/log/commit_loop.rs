//! The work of a commit thread on one log: it steps the writer, settles operations by the results, and keeps the deadlines of the policy.

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

/// Maximum age of the durable mark in CONTROL while the durable horizon moves.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Maximum age of the horizon page, which other processes follow, while the horizons move.
const TELL_EVERY: Duration = Duration::from_millis(4);

/// How often a log at work checks that it is still at its path, under a policy that acknowledges without an fsync. A commit that waits for
/// an fsync checks the directory each time, which takes a microsecond.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Shortest time between two checks of retention.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time until retention checks again by age.
const LONGEST: Duration = Duration::from_secs(3600);

/// Steps the writer of a log: takes the group that has gathered, commits it, settles it, and keeps the deadlines of the policy.
pub struct CommitThread {
    pub shared: Arc<LogState>,
    host: Arc<dyn Runtime>,
    pub writer: Writer,
    group: Group,
    /// The command that follows the group, with its client.
    command: Option<(usize, Command)>,
    wake: Vec<Arc<dyn Notify>>,
    /// When the oldest write that no fsync has covered began.
    behind_since: Option<Duration>,
    marked_at: Duration,
    /// Durable position at the last mark that was handed out.
    marked: u64,
    told_at: Duration,
    /// When everything that ties the log to its path was last checked.
    checked_at: Duration,
    /// The horizon page, which other processes follow, is older than the horizons.
    untold: bool,
    /// Number of rolls at the last check of retention.
    retained: Option<u64>,
    /// When to check retention again even without a roll.
    retain_at: Option<Duration>,
    /// The last step found nothing to do for as long as it was to wait.
    idle: bool,
    /// A step panicked, so no further step is made.
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

    /// Makes one step. A panic in it ends this log and nothing else.
    pub fn attend(&mut self) -> Option<Result<()>> {
        if let Some(error) = self.broken.clone() {
            return self.await_stop(error);
        }
        catch_unwind(AssertUnwindSafe(|| self.step())).unwrap_or_else(|_| {
            let error = Error::new(Code::Poisoned, "the log is poisoned: its commit thread failed unexpectedly");
            self.broken = Some(error.clone());
            // The `Notify` callback itself may be what panicked.
            let _ = catch_unwind(AssertUnwindSafe(|| self.fail(&error)));
            None
        })
    }

    /// Keeps a failed log until it is told to stop, so that the directory remains locked while handles are open.
    fn await_stop(&mut self, error: Error) -> Option<Result<()>> {
        locked(&self.shared.submissions).kicked = false;
        let stop = self.shared.stop.load(Ordering::Acquire);
        self.idle = !stop;
        stop.then_some(Err(error))
    }

    /// Releases everything once `attend` has returned the result of closing.
    pub fn leave(mut self, closed: Result<()>, lock: Arc<Lock>) {
        let shared = self.shared.clone();
        let left = catch_unwind(AssertUnwindSafe(move || {
            // No background job may touch the directory once it is released.
            self.writer.retire();
            self.writer.spares().close();
            drop(lock);
        }));
        let panicked = || Error::new(Code::Poisoned, "the commit thread ended in a panic");
        shared.has_ended(left.map_err(|_| panicked()).and(closed));
    }

    /// Whether the last step had nothing to do.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether a step would have something to do now.
    pub fn is_wanted(&self, submissions: &SubmissionQueue) -> bool {
        let due = || self.deadline().is_some_and(|due| due <= self.host.now());
        submissions.kicked || self.shared.stop.load(Ordering::Acquire) || due()
    }

    /// Waits for work (at most `host.patience()`), does one step, and returns the result of closing once the log has been told to stop.
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

    /// Sleeps until there is work, and takes the next group. Returns true if this step is the last one, and `None` if no work came.
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
        // If a queued group was taken, the gathering group is still to come.
        let last = step.is_none() && shared.stop.load(Ordering::Acquire);
        self.command = step.and_then(|step| step.command);
        Some(last)
    }

    /// Returns when the next timer (fsync, mark, horizon page, check of the path, retention) is due.
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
        // A follower of an idle log waits for an append here. If the path leads elsewhere, appends are made elsewhere.
        let check = self.shared.followers.has_waiting().then(|| self.checked_at + CHECK_EVERY);
        // A log that could not roll at opening removes nothing until it has rolled.
        let retain = self.retain_at.filter(|_| !self.writer.unproven);
        [sync, mark, tell, check, retain].into_iter().flatten().min()
    }

    fn commit(&mut self) {
        self.writer.followed = self.shared.followers.has_waiting();
        let began = self.host.now();
        let durable = self.group.durable || self.shared.options.fsync == Fsync::Always;
        let progress = match self.check(durable) {
            Ok(()) => self.writer.commit(&mut self.group, durable),
            Err(error) => CommitProgress { frames: 0, failure: Some(error) },
        };
        let took = self.host.now().saturating_sub(began);
        // Before anything is settled: a caller that has awaited an append finds its commit in `stats`.
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

    /// Checks that the log is still at its path before anything of a group is written, so that no rejected record is in a log.
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

    /// Settles the operations of the group by the result of its commit.
    fn settle(&mut self, progress: CommitProgress) {
        let CommitProgress { frames, failure } = progress;
        if let Some(error) = failure.as_ref().filter(|error| !error.heals()) {
            return self.fail(error);
        }
        // Frames that were written are acknowledged: the writer has synced them, or no fsync was asked for.
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

    /// Performs the command that follows a group, and settles it.
    fn execute(&mut self, client: usize, command: Command) {
        if let Err(error) = self.writer.check_attached() {
            return self.fail(&error);
        }
        let cuts = self.shared.catalog.truncation_count();
        let acknowledged = self.shared.horizons.acknowledged.load(Ordering::Acquire);
        let (low, removed) = (self.writer.low, self.writer.counters.removed);
        let (operation, outcome) = match command {
            Command::TruncateBefore(first) => ("truncateBefore", self.writer.truncate_before(first)),
            Command::TruncateAfter(last) => {
                // A reader made from now on must not read further. A reader made before learns of the truncation.
                self.shared.horizons.acknowledged.fetch_min(last, Ordering::AcqRel);
                ("truncateAfter", self.writer.truncate_after(last))
            }
            Command::Reset(first) => {
                self.shared.horizons.acknowledged.store(0, Ordering::Release);
                ("reset", self.writer.reset(first))
            }
        };
        self.behind_since = self.behind_since.filter(|_| self.writer.is_behind());
        if low != self.writer.low || cuts != self.shared.catalog.truncation_count() {
            self.tell_truncation(operation, removed);
        }
        self.move_cursors(cuts != self.shared.catalog.truncation_count());
        self.collect_counters(None);
        if let Some(error) = self.writer.poisoned().cloned() {
            if error.code == Code::Detached && cuts == self.shared.catalog.truncation_count() {
                // No position was taken back.
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
                    // Records accepted since the call have positions that depend on it.
                    _ => submissions.fail_records(&run, &error, self.writer.next_position(), &mut self.wake),
                }
            }
        }
        submissions.recompute_low_mark(self.writer.low);
        let cut = cuts != self.shared.catalog.truncation_count();
        if cut {
            // Their readers may hold records that are no longer in the log.
            self.wake.extend(submissions.clients.iter().flatten().map(|client| client.notify.clone()));
        }
        drop(submissions);
        if cut {
            self.shared.followers.wake_all();
        }
        self.notify();
        // Files of truncated segments are prepared as spares now, even if nothing more is appended.
        self.prepare_spare();
    }

    /// Moves cursors along with the ends of the log, before the change is published.
    fn move_cursors(&mut self, cut: bool) {
        if self.writer.poisoned().is_some() {
            return;
        }
        let low = self.writer.low;
        if cut {
            if let Err(fault) = self.shared.cursors.truncate(low, self.writer.next_position() - 1) {
                self.writer.poison(fault);
            }
        }
        self.shared.cursors.raise_low_mark(low);
    }

    /// Rejects every operation that waits, and every later one.
    fn fail(&mut self, error: &Error) {
        let shared = self.shared.clone();
        self.shared.publish(&self.writer, false);
        self.shared.events.end(error);
        let mut submissions = locked(&shared.submissions);
        submissions.phase = LogPhase::ended(error);
        let is_detached = matches!(submissions.phase, LogPhase::Detached(_));
        // The contents of a poisoned log are unknown. A detached log holds what was acknowledged.
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

    /// Returns the position after the last acknowledged one.
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
                    // A log that could not roll at opening still cannot, and its next write tries again.
                    Err(error) if error.heals() => {}
                    Err(error) => return self.fail(&error),
                }
                self.behind_since = None;
                self.collect_counters(None);
                self.notify();
            }
        }
        if self.shared.followers.has_waiting() && self.host.now().saturating_sub(self.checked_at) >= CHECK_EVERY {
            if let Err(error) = self.check_all() {
                return self.fail(&error);
            }
        }
        // After the acknowledgements, so that none of them waits for this.
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

    /// Removes segments that retention does not keep. Checks after each roll and at set times.
    fn retain(&mut self) {
        let retention = self.shared.options.retention;
        let rolls = self.writer.counters.rolls;
        let due = self.retained != Some(rolls) || self.retain_at.is_some_and(|at| at <= self.host.now());
        if retention.is_off() || !due || self.writer.poisoned().is_some() || self.writer.unproven {
            return;
        }
        let floors = Floors { readers: self.shared.catalog.reader_positions.floor(), cursors: self.shared.cursors.floor() };
        // A read error here is not fatal: retention tries again later.
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

    /// Counts segments whose creation time is in the future, and emits an event for them.
    fn tell_ahead(&mut self, due: &Due) {
        if due.ahead.is_empty() {
            return;
        }
        locked(&self.shared.measures).ahead += due.ahead.len() as u64;
        self.shared.events.record_from_future(&due.ahead);
        self.shared.events.wake(&mut self.wake);
        self.notify();
    }

    /// Begins a segment without waiting for a write. On a full disk a later write does it.
    fn renew(&mut self) {
        let renewed = self.writer.renew();
        self.collect_counters(None);
        match (renewed, self.writer.poisoned().cloned()) {
            (Err(_), Some(error)) => self.fail(&error),
            _ => self.shared.publish(&self.writer, true),
        }
    }

    /// Publishes counters and durations. `commit` is the result of a commit and the time it took.
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

    /// Records events of the step for the handles that listen. They are woken together with the clients that the step settles.
    fn tell_step(&mut self, commit: Option<(&CommitProgress, Duration)>, fsyncs: u64, syncing: Duration) {
        let events = &self.shared.events;
        if let Some((progress, took)) = commit.filter(|(progress, _)| progress.frames > 0) {
            let (all, frames) = (self.group.frames.len(), &self.group.frames[..progress.frames]);
            let records = frames.iter().map(|frame| u64::from(frame.count)).sum::<u64>();
            // If a full disk cut the group short, count its frames as they were written.
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

    /// Records the event of a truncation. `removed` is the number of segments that had been removed before it.
    fn tell_truncation(&self, operation: &'static str, removed: u64) {
        let (first, next) = (self.writer.low, self.writer.next_position());
        let removed = self.writer.counters.removed - removed;
        self.shared.events.record(Event::TRUNCATE, || Event::Truncate { operation, first, next, removed });
    }
}
