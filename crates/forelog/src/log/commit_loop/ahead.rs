//! Commits without a commit thread: whoever submits operations also submits the write of their group, and completes it when the disk is
//! done. A commit thread takes over what may block.

use super::CommitLoop;
use crate::error::{Code, Error};
use crate::options::Fsync;
use crate::util::locks::locked;
use crate::write::ahead::{Done, Lost, Polled};
use crate::write::group::Group;
use crate::write::writer::CommitProgress;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Number of groups that are kept for their memory, beside the one that gathers: as many as can be under way.
const KEPT_GROUPS: usize = 2;

impl CommitLoop {
    /// Whether the log's commits may be submitted and completed later, now or in a while.
    pub(super) fn goes_ahead(&self) -> bool {
        let is_possible = self.broken.is_none() && self.shared.options.fsync == Fsync::Always && self.writer.supports_ahead();
        self.writer.is_ahead() || is_possible && locked(&self.shared.submissions).route().is_some()
    }

    /// Returns how long a thread stays with the log when there is nothing to do. A log whose clients commit themselves needs no thread.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        let stays = self.runtime.idle_timeout();
        if self.leads || stays.is_some() && (self.goes_ahead() || self.is_led()) {
            Some(Duration::ZERO)
        } else {
            stays
        }
    }

    /// Makes a step that never blocks, for a thread that must not. A panic in it ends this log and nothing else. Returns whether a commit
    /// thread has to go on.
    pub fn try_ahead(&mut self) -> bool {
        if self.broken.is_some() {
            return true;
        }
        catch_unwind(AssertUnwindSafe(|| self.go_ahead())).unwrap_or_else(|_| {
            let error = Error::new(Code::Poisoned, "the log is poisoned: a commit failed unexpectedly");
            self.broken = Some(error.clone());
            // The `Notify` callback itself may be what panicked.
            let _ = catch_unwind(AssertUnwindSafe(|| self.fail(&error)));
            true
        })
    }

    /// Completes and settles the commits that the disk is done with, and submits what has gathered. Never blocks. Returns whether a thread
    /// that may block has to go on.
    pub(super) fn go_ahead(&mut self) -> bool {
        loop {
            let submissions = locked(&self.shared.submissions);
            if self.shared.stop.load(Ordering::Acquire) || submissions.fault.is_some() || submissions.detached.is_some() || self.is_taken {
                return true;
            }
            drop(submissions);
            match self.writer.poll_ahead() {
                Polled::Done(done) => self.settle_done(done),
                Polled::Stuck => return true,
                Polled::Nothing => break,
            }
        }
        loop {
            let shared = self.shared.clone();
            let mut submissions = locked(&shared.submissions);
            if !submissions.queue.is_empty() {
                return true;
            }
            // A group that waits is submitted when a commit that is under way is complete. That is told to the thread of a client that is
            // alone; one of several does not depend on it.
            if submissions.group.is_empty() || self.writer.must_wait() && submissions.route().is_some() {
                submissions.kicked = false;
                submissions.waits = !submissions.group.is_empty();
                return self.writer.is_stuck();
            }
            let is_followed = self.shared.followers.has_waiting();
            let can_submit = !is_followed && self.is_durable(&submissions.group) && self.writer.can_submit(&submissions.group);
            let Some(route) = submissions.route().filter(|_| can_submit) else { return true };
            // The last one is under way, or its memory serves again.
            if self.group.bytes.capacity() == 0 {
                self.group = self.spare_groups.pop().unwrap_or_default();
            }
            submissions.take(&mut self.group);
            drop(submissions);
            // One system call, for names that the open directory keeps in memory. A failure is found again by the thread.
            let submitted = match self.writer.health.attachment.directory() {
                None => self.writer.submit_ahead(std::mem::take(&mut self.group), &route.queue, route.token),
                Some(_) => Err(std::mem::take(&mut self.group)),
            };
            if let Err(group) = submitted {
                (self.group, self.is_taken) = (group, true);
                return true;
            }
            self.ahead_since.get_or_insert_with(|| self.runtime.now());
            if self.writer.is_stuck() {
                return true;
            }
        }
    }

    /// Waits for all commits under way, and settles them.
    pub(super) fn finish_ahead(&mut self) {
        while let Some(finished) = self.writer.finish_ahead() {
            match finished {
                Ok(done) => self.settle_done(done),
                Err(lost) => self.settle_lost(&lost),
            }
        }
    }

    /// Kicks a group that waited for commits under way. Their completion may be told to a thread that is busy elsewhere for long.
    pub(super) fn kick_what_waited(&self) {
        let mut submissions = locked(&self.shared.submissions);
        submissions.kicked |= !submissions.group.is_empty();
    }

    fn settle_lost(&mut self, Lost { error, runs }: &Lost) {
        self.ahead_since = None;
        self.collect_counters(None);
        if !error.heals() {
            return self.fail(error);
        }
        // A group that was taken to follow them.
        let taken = if self.is_taken { &self.group.runs[..] } else { &[] };
        let runs = [runs, taken].concat();
        let shared = self.shared.clone();
        let mut submissions = locked(&shared.submissions);
        submissions.fail_records(&runs, error, self.writer.next_position(), &mut self.wake);
        submissions.recompute_low_mark(self.writer.low_mark());
        drop(submissions);
        self.group.clear();
        self.is_taken = false;
        self.notify();
    }

    fn settle_done(&mut self, Done { mut group, took }: Done) {
        let progress = CommitProgress { frames: group.frames.len(), failure: None };
        self.settle_commit(&group, progress, Duration::from_nanos(took));
        self.ahead_since = self.writer.is_ahead().then(|| self.runtime.now());
        self.page_is_stale = self.shared.page_is_stale(&self.writer);
        group.clear();
        self.keep_group(group);
        self.hand_out_jobs();
    }

    fn keep_group(&mut self, group: Group) {
        if self.spare_groups.len() < KEPT_GROUPS {
            self.spare_groups.push(group);
        }
    }
}
