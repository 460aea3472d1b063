//! Commits on the threads that wait for them. A thread that waits takes a parked log for one step: it commits what has gathered, its own
//! operation among it. What has gathered meanwhile is left to a commit thread, so no caller works for others for long.
//!
//! While several threads append at the same time, a commit thread stays with the log: it takes the next group at once, and a thread that
//! were to take its place would have to be woken first. While one thread appends, a commit thread parks the log as soon as it can.

use super::CommitLoop;
use crate::error::Result;
use crate::write::group::OperationRun;
use std::sync::atomic::Ordering;

/// For how many commits after the last one that followed another thread's a log counts as used by several.
const COMPANY: u32 = 16;

/// What has become of a log that a waiting thread took a step further.
pub struct Led {
    /// The result of closing, if that was the last step.
    pub closed: Option<Result<()>>,
    /// A commit thread has to go on.
    pub needs_thread: bool,
}

/// Whether several clients have appended of late.
#[derive(Default)]
pub(super) struct Company {
    last: Option<usize>,
    left: u32,
}

impl Company {
    /// Notes the operations of one commit.
    pub(super) fn note(&mut self, runs: &[OperationRun]) {
        self.left = self.left.saturating_sub(1);
        for run in runs {
            if self.last.replace(run.client).is_some_and(|last| last != run.client) {
                self.left = COMPANY;
            }
        }
    }
}

impl CommitLoop {
    /// Makes a step for a thread that waits for its own operation. It may block as that operation needs, and never sleeps for want of work.
    pub fn try_lead(&mut self) -> Led {
        if self.shared.stop.load(Ordering::Acquire) {
            return Led { closed: None, needs_thread: true };
        }
        self.leads = true;
        let closed = self.try_step();
        self.leads = false;
        Led { closed, needs_thread: self.is_retention_due() }
    }

    /// Whether a log without work is better left to its clients than kept.
    pub(super) fn is_led(&self) -> bool {
        self.company.left == 0 && self.shared.is_led.load(Ordering::Relaxed)
    }
}
