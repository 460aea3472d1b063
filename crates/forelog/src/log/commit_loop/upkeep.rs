//! What a commit thread does for a log by the clock or in the background: it keeps the deadlines of the policy, removes segments that
//! retention does not keep, and hands out jobs that prepare files.

use super::{CommitLoop, CHECK_EVERY};
use crate::error::Result;
use crate::options::Fsync;
use crate::util::healing::On;
use crate::util::locks::locked;
use crate::write::retention::{Due, Floors};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Maximum age of the durable mark in CONTROL while the durable horizon moves.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Maximum age of the horizon page, which other processes follow, while the horizons move.
const PUBLISH_EVERY: Duration = Duration::from_millis(4);

/// How long a commit may be under way before a commit thread completes it, because the thread that submitted it is busy elsewhere.
const OVERDUE: Duration = Duration::from_millis(20);

/// Shortest time between two checks of retention.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time until retention checks again by age.
const LONGEST: Duration = Duration::from_secs(3600);

impl CommitLoop {
    /// Returns when the next timer (fsync, mark, horizon page, check of the path, retention) is due.
    pub fn deadline(&self) -> Option<Duration> {
        if self.writer.health.ended().is_some() || self.broken.is_some() {
            return None;
        }
        let sync = match self.shared.options.fsync {
            Fsync::Every(period) => self.behind_since.map(|since| since + period),
            Fsync::Always | Fsync::Os => None,
        };
        let mark = self.needs_mark(self.writer.durable_position()).then(|| self.marked_at + MARK_EVERY);
        let page = self.page_is_stale.then(|| self.published_at + PUBLISH_EVERY);
        // A follower of an idle log waits for an append here. If the path leads elsewhere, appends are made elsewhere.
        let check = self.shared.followers.has_waiting().then(|| self.checked_at + CHECK_EVERY);
        // A log that could not roll at opening removes nothing until it has rolled.
        let retain = self.retain_at.filter(|_| !self.writer.unproven);
        let overdue = self.ahead_since.map(|since| since + OVERDUE);
        [sync, mark, page, check, retain, overdue].into_iter().flatten().min()
    }

    /// Does what is due by the clock: an fsync by the policy, the check of the path, the horizon page and the mark in CONTROL.
    pub(super) fn keep_deadlines(&mut self) {
        if self.writer.health.ended().is_some() {
            return;
        }
        let kept = self.sync_by_policy().and_then(|()| self.check_for_followers());
        let kept = kept.and_then(|()| {
            // After the acknowledgements, so that none of them waits for this.
            self.publish_page();
            self.leave_mark()
        });
        if let Err(error) = kept {
            self.fail(&error);
        }
    }

    /// Whether `period` has passed since `then`.
    fn is_past(&self, then: Duration, period: Duration) -> bool {
        self.runtime.now().saturating_sub(then) >= period
    }

    fn sync_by_policy(&mut self) -> Result<()> {
        let (Fsync::Every(period), Some(since)) = (self.shared.options.fsync, self.behind_since) else { return Ok(()) };
        if !self.is_past(since, period) {
            return Ok(());
        }
        match self.writer.sync() {
            Ok(()) => self.shared.publish(&self.writer, true),
            // A log that could not roll at opening still cannot, and its next write tries again.
            Err(error) if error.heals() => {}
            Err(error) => return Err(error),
        }
        self.behind_since = None;
        self.collect_counters(None);
        self.notify();
        Ok(())
    }

    fn check_for_followers(&mut self) -> Result<()> {
        // If it has come due since `is_check_due`, the next step makes it. A check may end the log, and with it what is under way.
        if self.is_check_for_followers_due() && !self.writer.is_ahead() {
            self.check_all()?;
        }
        Ok(())
    }

    fn is_check_for_followers_due(&self) -> bool {
        self.shared.followers.has_waiting() && self.is_past(self.checked_at, CHECK_EVERY)
    }

    fn is_mark_due(&self) -> bool {
        self.needs_mark(self.writer.durable_position()) && self.is_past(self.marked_at, MARK_EVERY)
    }

    /// Whether [`CommitLoop::keep_deadlines`] is about to check that the log is still at its path. If it is not, the log ends. What is under
    /// way then was submitted at its path, so it is completed before.
    pub(super) fn is_check_due(&self) -> bool {
        self.writer.health.ended().is_none() && (self.is_check_for_followers_due() || self.is_mark_due())
    }

    /// Whether a commit has been under way for long.
    pub(super) fn is_overdue(&self) -> bool {
        self.ahead_since.is_some_and(|since| self.is_past(since, OVERDUE))
    }

    fn publish_page(&mut self) {
        self.page_is_stale = self.shared.page_is_stale(&self.writer);
        if self.page_is_stale && self.is_past(self.published_at, PUBLISH_EVERY) {
            self.published_at = self.runtime.now();
            self.shared.publish_page(&mut self.writer);
            self.page_is_stale = self.shared.page_is_stale(&self.writer);
        }
    }

    /// Hands out a job that writes the durable mark to CONTROL, if the durable horizon has moved since the last one.
    fn leave_mark(&mut self) -> Result<()> {
        if !self.is_mark_due() || self.writer.is_ahead() {
            return Ok(());
        }
        self.marked = self.writer.durable_position();
        self.marked_at = self.runtime.now();
        self.check_all()?;
        self.shared.unmarked.store(false, Ordering::Release);
        if let Some(job) = self.writer.mark() {
            let shared = self.shared.clone();
            self.runtime.spawn(Box::new(move || match job.run() {
                Ok(()) => {}
                Err(fault) if fault.heals(On::Named) => shared.mark_again(),
                Err(fault) => shared.report(fault),
            }));
        }
        Ok(())
    }

    fn needs_mark(&self, durable: u64) -> bool {
        durable != self.marked || self.shared.unmarked.load(Ordering::Acquire)
    }

    /// Whether [`CommitLoop::retain`] has something to check.
    pub(super) fn is_retention_due(&self) -> bool {
        let due = || {
            let rolled = self.retained != Some(self.writer.meter.counters.rolls);
            rolled || self.retain_at.is_some_and(|at| at <= self.runtime.now())
        };
        !self.shared.options.retention.is_off() && self.writer.health.ended().is_none() && !self.writer.unproven && due()
    }

    /// Removes segments that retention does not keep. Checks after each roll and at set times.
    pub(super) fn retain(&mut self) {
        // A roll or a truncation changes what writes are under way to. If retention has come due in this step, the next one checks it.
        if !self.is_retention_due() || self.writer.is_ahead() {
            return;
        }
        let retention = self.shared.options.retention;
        let rolls = self.writer.meter.counters.rolls;
        let floors = Floors { readers: self.shared.catalog.reader_positions.floor(), cursors: self.shared.cursors.floor() };
        // A read error here is not fatal: retention tries again later.
        let due = self.writer.due(&retention, floors).unwrap_or(Due { again: Some(RETRY), ..Due::default() });
        self.record_future_segments(&due);
        self.retained = Some(rolls);
        self.retain_at = due.again.map(|again| self.runtime.now() + again.clamp(RETRY, LONGEST));
        if due.renew {
            self.renew();
        }
        let Some(first) = due.first.filter(|_| self.writer.health.ended().is_none()) else { return };
        let removed = self.writer.meter.counters.removed;
        let truncated = self.writer.truncate_before(first);
        self.record_truncation("retention", removed);
        self.move_cursors(false);
        self.collect_counters(None);
        if let (Err(_), Some(error)) = (truncated, self.writer.health.ended().cloned()) {
            return self.fail(&error);
        }
        self.shared.publish(&self.writer, true);
        locked(&self.shared.submissions).recompute_low_mark(self.writer.low_mark());
        self.notify();
        self.prepare_spare();
    }

    /// Counts segments whose creation time is in the future, and emits an event for them.
    fn record_future_segments(&mut self, due: &Due) {
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
        match (renewed, self.writer.health.ended().cloned()) {
            (Err(_), Some(error)) => self.fail(&error),
            _ => self.shared.publish(&self.writer, true),
        }
    }

    /// Hands out a footer that is due.
    pub(super) fn spawn_due_footer(&mut self) {
        if self.writer.sealer.is_due() {
            let (shared, sealer) = (self.shared.clone(), self.writer.sealer.clone());
            self.runtime.spawn(Box::new(move || {
                if let Err(fault) = sealer.run() {
                    shared.report(fault);
                }
            }));
        }
    }

    pub(super) fn prepare_spare(&mut self) {
        if self.writer.health.ended().is_none() && self.writer.wants_spare() {
            let spares = self.writer.spares();
            let fill = self.writer.placement.wants_prefill();
            self.runtime.spawn(Box::new(move || spares.prepare(fill)));
        }
    }
}
