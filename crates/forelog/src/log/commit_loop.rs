//! The work of the thread that has a log: it steps the writer, settles operations by the results, and keeps the deadlines of the policy. That is
//! a commit thread, or for one step a client's own thread (`ahead`, `lead`).

use crate::error::{Code, Error, Result};
use crate::log::state::LogState;
use crate::options::Fsync;
use crate::storage::lock::Lock;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::util::runtime::Runtime;
use crate::write::group::Group;
use crate::write::submission_queue::{Command, CommitThreadState, LogPhase, QueuedCommand, SubmissionQueue};
use crate::write::writer::{CommitProgress, Writer};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

mod ahead;
mod commands;
mod lead;
mod measure;
mod upkeep;

use lead::Company;
pub use lead::Led;

/// How often a log at work checks that it is still at its path, under a policy that acknowledges without an fsync. A commit that waits for
/// an fsync checks the directory each time, which takes a microsecond.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Steps the writer of a log: takes the group that has gathered, commits it, settles it, and keeps the deadlines of the policy.
pub struct CommitLoop {
    pub shared: Arc<LogState>,
    runtime: Arc<dyn Runtime>,
    pub writer: Writer,
    group: Group,
    /// The group was taken to be submitted, which was not possible. It is committed before anything else.
    is_taken: bool,
    /// Groups whose memory is used again.
    spare_groups: Vec<Group>,
    /// When the oldest commit under way was submitted.
    ahead_since: Option<Duration>,
    /// The command that follows the group, with its client.
    command: Option<(usize, Command)>,
    wake: Vec<Arc<dyn Notify>>,
    /// When the oldest write that no fsync has covered began.
    behind_since: Option<Duration>,
    marked_at: Duration,
    /// Durable position at the last mark that was handed out.
    marked: u64,
    published_at: Duration,
    /// When everything that ties the log to its path was last checked.
    checked_at: Duration,
    /// The horizon page, which other processes follow, is older than the horizons.
    page_is_stale: bool,
    /// Number of rolls at the last check of retention.
    retained: Option<u64>,
    /// When to check retention again even without a roll.
    retain_at: Option<Duration>,
    /// The last step found nothing to do for as long as it was to wait.
    idle: bool,
    /// A step panicked, so no further step is made.
    broken: Option<Error>,
    /// This step is made by a thread that waits for its own operation.
    leads: bool,
    company: Company,
}

impl CommitLoop {
    pub fn new(shared: Arc<LogState>, writer: Writer, runtime: Arc<dyn Runtime>) -> CommitLoop {
        let (marked, now) = (writer.durable_position(), runtime.now());
        let retain_at = (!shared.options.retention.is_off()).then_some(now);
        CommitLoop {
            shared,
            runtime,
            writer,
            group: Group::default(),
            is_taken: false,
            spare_groups: Vec::new(),
            ahead_since: None,
            command: None,
            wake: Vec::new(),
            behind_since: None,
            marked_at: now,
            marked,
            published_at: now,
            checked_at: now,
            page_is_stale: false,
            retained: None,
            retain_at,
            idle: false,
            broken: None,
            leads: false,
            company: Company::default(),
        }
    }

    /// Makes one step. A panic in it ends this log and nothing else.
    pub fn try_step(&mut self) -> Option<Result<()>> {
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

    /// Releases everything once `try_step` has returned the result of closing.
    pub fn leave(mut self, closed: Result<()>, lock: Arc<Lock>) {
        let shared = self.shared.clone();
        let left = catch_unwind(AssertUnwindSafe(move || {
            // Neither a write nor a background job may touch the directory once it is released.
            self.writer.abandon_ahead();
            self.writer.retire();
            self.writer.spares().close();
            drop(lock);
        }));
        let panicked = || Error::new(Code::Poisoned, "the commit thread panicked");
        shared.has_ended(left.map_err(|_| panicked()).and(closed));
    }

    /// Whether a group was taken that is not committed.
    #[cfg(any(test, feature = "sim"))]
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Whether the last step had nothing to do.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether a step would have something to do now.
    pub fn is_wanted(&self, submissions: &SubmissionQueue) -> bool {
        let due = || self.deadline().is_some_and(|due| due <= self.runtime.now());
        self.is_taken || submissions.kicked || self.shared.stop.load(Ordering::Acquire) || due()
    }

    /// Whether there is something to do that no deadline has brought.
    fn has_work(&self) -> bool {
        let submissions = locked(&self.shared.submissions);
        let has_failed = submissions.fault.is_some() || submissions.detached.is_some();
        submissions.kicked || has_failed || self.shared.stop.load(Ordering::Acquire)
    }

    /// Waits for work (at most `runtime.idle_timeout()`), does one step, and returns the result of closing once the log has been told to stop.
    pub fn step(&mut self) -> Option<Result<()>> {
        self.spawn_due_footer();
        if self.goes_ahead() {
            if self.go_ahead() || self.is_overdue() || self.is_check_due() || self.is_retention_due() {
                self.finish_ahead();
                self.kick_what_waited();
            } else if self.has_work() {
                // It has come since. It goes ahead like the rest.
                return None;
            }
            if !self.is_taken && !self.has_work() {
                self.idle = true;
                self.keep_deadlines();
                self.retain();
                return None;
            }
        }
        // Whatever follows may change the segment that writes are under way to.
        self.finish_ahead();
        if std::mem::take(&mut self.is_taken) {
            self.commit();
            return None;
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
        if !self.leads {
            self.retain();
        }
        stop.then(|| {
            let closed = self.writer.close();
            self.collect_counters(None);
            if let Some(error) = self.writer.health.ended() {
                self.shared.events.end(error);
            }
            self.shared.publish(&self.writer, closed.is_ok());
            self.shared.publish_page(&mut self.writer);
            closed
        })
    }

    /// Sleeps until there is work, and takes the next group. Returns true if this step is the last one, and `None` if no work came.
    fn take(&mut self) -> Option<bool> {
        let shared = self.shared.clone();
        let mut idle_since = None;
        self.idle = false;
        let stays = self.idle_timeout();
        let mut submissions = locked(&shared.submissions);
        loop {
            let stop = shared.stop.load(Ordering::Acquire);
            let due = self.deadline();
            let wait = due.map(|due| due.saturating_sub(self.runtime.now()));
            if stop || submissions.kicked || wait == Some(Duration::ZERO) {
                break;
            }
            let idle_timeout = stays.map(|idle_timeout| {
                let now = self.runtime.now();
                (*idle_since.get_or_insert(now) + idle_timeout).saturating_sub(now)
            });
            self.idle = idle_timeout == Some(Duration::ZERO);
            if self.idle {
                return None;
            }
            submissions.thread_state = CommitThreadState::Asleep;
            submissions = match [wait, idle_timeout].into_iter().flatten().min() {
                Some(wait) => self.shared.work.wait_timeout(submissions, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.work.wait(submissions).unwrap_or_else(PoisonError::into_inner),
            };
            submissions.thread_state = CommitThreadState::Awake;
        }
        let (fault, detached) = (submissions.fault.take(), submissions.detached.take());
        if fault.is_some() || detached.is_some() {
            drop(submissions);
            let detached = detached.map(|error| self.writer.health.end(error));
            let error = fault.map(|fault| self.writer.health.poison(fault)).or(detached)?;
            self.fail(&error);
            return Some(shared.stop.load(Ordering::Acquire));
        }
        let step = submissions.take(&mut self.group);
        // If a queued group was taken, the gathering group is still to come.
        let last = step.is_none() && shared.stop.load(Ordering::Acquire);
        self.command = step.and_then(|step| step.command);
        Some(last)
    }

    fn commit(&mut self) {
        self.writer.placement.readers_wait = self.shared.followers.has_waiting();
        let began = self.runtime.now();
        let durable = self.is_durable(&self.group);
        let progress = match self.check(durable) {
            Ok(()) => self.writer.commit(&mut self.group, durable),
            Err(error) => CommitProgress { frames: 0, failure: Some(error) },
        };
        let took = self.runtime.now().saturating_sub(began);
        let mut group = std::mem::take(&mut self.group);
        self.company.note(&group.runs);
        self.settle_commit(&group, progress, took);
        // Memory that was lent goes back to its client.
        group.clear();
        self.group = group;
        self.behind_since = self.writer.is_behind().then(|| self.behind_since.unwrap_or(began));
        self.hand_out_jobs();
    }

    /// Whether a group has to be durable before it is acknowledged.
    fn is_durable(&self, group: &Group) -> bool {
        group.durable || self.shared.options.fsync == Fsync::Always
    }

    /// Settles the operations of a group by the result of its commit, which took this long.
    fn settle_commit(&mut self, group: &Group, progress: CommitProgress, took: Duration) {
        // Before anything is settled: a caller that has awaited an append finds its commit in `stats`.
        self.collect_counters(Some((group, &progress, took)));
        self.settle(group, progress);
    }

    /// Hands out the jobs that prepare files for the next commits.
    fn hand_out_jobs(&mut self) {
        self.prepare_spare();
        let spares = self.writer.spares();
        if self.writer.health.ended().is_none() && spares.wants_reserve() {
            self.runtime.spawn(Box::new(move || spares.prepare_reserve()));
        }
        if let Some(growth) = self.writer.due_growth() {
            self.runtime.spawn(Box::new(move || growth.run()));
        }
        if let Some(prefill) = self.writer.due_prefill() {
            let shared = self.shared.clone();
            self.runtime.spawn(Box::new(move || {
                if let Err(fault) = prefill.fill() {
                    shared.report(fault);
                }
            }));
        }
    }

    /// Checks that the log is still at its path before anything of a group is written, so that no rejected record is in a log.
    fn check(&mut self, durable: bool) -> Result<()> {
        if self.runtime.now().saturating_sub(self.checked_at) >= CHECK_EVERY {
            self.check_all()
        } else if durable {
            self.writer.health.check_directory()
        } else {
            Ok(())
        }
    }

    fn check_all(&mut self) -> Result<()> {
        self.checked_at = self.runtime.now();
        self.writer.health.check_attached()
    }

    fn settle(&mut self, group: &Group, progress: CommitProgress) {
        let CommitProgress { frames, failure } = progress;
        if let Some(error) = failure.as_ref().filter(|error| !error.heals()) {
            return self.fail(error);
        }
        // Frames that were written are acknowledged: the writer has synced them, or no fsync was asked for.
        self.shared.publish(&self.writer, true);
        let shared = self.shared.clone();
        let mut submissions = locked(&shared.submissions);
        if failure.is_none() || frames > 0 {
            submissions.succeed(group.runs_of_frames(0, frames), &mut self.wake);
        }
        match failure {
            None => submissions.pending_bytes -= group.record_bytes,
            Some(error) => {
                submissions.is_cutting = false;
                if let Some(command) = self.command.take() {
                    submissions.queue.push_front(QueuedCommand { group: Group::default(), command: Some(command) });
                }
                let runs = group.runs_of_frames(frames, group.frames.len());
                submissions.fail_records(runs, &error, self.writer.next_position(), &mut self.wake);
                submissions.recompute_low_mark(self.writer.low_mark());
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
            submissions.recompute_low_mark(self.writer.low_mark());
        }
        drop(submissions);
        self.group.clear();
        self.is_taken = false;
        self.command = None;
        self.behind_since = None;
        self.shared.followers.wake_all();
        self.notify();
    }

    /// Returns the position after the last acknowledged one.
    fn acknowledged_end(&self) -> u64 {
        self.shared.catalog.ends.acknowledged().max(self.writer.low_mark() - 1) + 1
    }

    fn notify(&mut self) {
        self.wake.dedup_by(|a, b| Arc::ptr_eq(a, b));
        for client in self.wake.drain(..) {
            client.wake();
        }
    }
}
