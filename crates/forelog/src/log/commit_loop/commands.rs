//! Commands of a log: the commit thread truncates or resets it between two groups, moves the cursors along, and publishes the new ends.

use super::CommitLoop;
use crate::error::Code;
use crate::observe::events::Event;
use crate::util::locks::locked;
use crate::write::group::OperationRun;
use crate::write::submission_queue::Command;

impl CommitLoop {
    /// Performs the command that follows a group, and settles it.
    pub(super) fn execute(&mut self, client: usize, command: Command) {
        if let Err(error) = self.writer.health.check_attached() {
            return self.fail(&error);
        }
        let ends = &self.shared.catalog.ends;
        let (before, removed) = (ends.get(), self.writer.meter.counters.removed);
        let (operation, outcome) = match command {
            Command::TruncateBefore(first) => ("truncateBefore", self.writer.truncate_before(first)),
            Command::TruncateAfter(last) => {
                // A reader made from now on must not read further. A reader made before learns of the truncation.
                ends.change(|ends| ends.acknowledged = ends.acknowledged.min(last));
                ("truncateAfter", self.writer.truncate_after(last))
            }
            Command::Reset(first) => {
                ends.change(|ends| ends.acknowledged = 0);
                ("reset", self.writer.reset(first))
            }
        };
        self.behind_since = self.behind_since.filter(|_| self.writer.is_behind());
        let after = self.shared.catalog.ends.get();
        let is_truncated = before.truncations != after.truncations;
        if before.low_mark != after.low_mark || is_truncated {
            self.record_truncation(operation, removed);
        }
        self.move_cursors(is_truncated);
        self.collect_counters(None);
        if let Some(error) = self.writer.health.ended().cloned() {
            if error.code == Code::Detached && !is_truncated {
                // No position was taken back.
                self.shared.catalog.ends.change(|ends| ends.acknowledged = before.acknowledged);
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
        submissions.recompute_low_mark(self.writer.low_mark());
        submissions.is_cutting = false;
        if is_truncated {
            // Their readers may hold records that are no longer in the log.
            self.wake.extend(submissions.clients.iter().flatten().map(|client| client.notify.clone()));
        }
        drop(submissions);
        if is_truncated {
            self.shared.followers.wake_all();
        }
        self.notify();
        // Files of truncated segments are prepared as spares now, even if nothing more is appended.
        self.prepare_spare();
    }

    /// Moves cursors along with the ends of the log, before the change is settled.
    pub(super) fn move_cursors(&mut self, is_truncated: bool) {
        if self.writer.health.ended().is_some() {
            return;
        }
        let low_mark = self.writer.low_mark();
        if is_truncated {
            if let Err(fault) = self.shared.cursors.truncate(low_mark, self.writer.next_position() - 1) {
                self.writer.health.poison(fault);
            }
        }
        self.shared.cursors.raise_low_mark(low_mark);
    }

    /// Records the event of a truncation. `removed` is the number of segments that had been removed before it.
    pub(super) fn record_truncation(&self, operation: &'static str, removed: u64) {
        let (first, next) = (self.writer.low_mark(), self.writer.next_position());
        let removed = self.writer.meter.counters.removed - removed;
        self.shared.events.record(Event::TRUNCATE, || Event::Truncate { operation, first, next, removed });
    }
}
