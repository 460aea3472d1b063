//! What the steps of a commit thread add to the statistics and the events of its log.

use super::CommitLoop;
use crate::observe::events::Event;
use crate::util::locks::locked;
use crate::write::group::Group;
use crate::write::writer::CommitProgress;
use std::time::Duration;

impl CommitLoop {
    /// Publishes counters and durations. `commit` is a group, the result of its commit and the time it took.
    pub(super) fn collect_counters(&mut self, commit: Option<(&Group, &CommitProgress, Duration)>) {
        self.writer.note_len();
        let mut measures = locked(&self.shared.measures);
        measures.counters = self.writer.meter.counters;
        measures.active = self.writer.fill_level();
        let (mut fsyncs, mut syncing) = (0, 0);
        for nanos in self.writer.meter.fsync_times.drain(..) {
            measures.fsync.record(nanos);
            fsyncs += 1;
            syncing += nanos;
        }
        if let Some((group, _, took)) = commit.filter(|(group, ..)| group.records > 0) {
            measures.commits += 1;
            measures.commit.record(took.as_nanos() as u64);
            measures.group.record(group.records);
            measures.wait.record((self.writer.meter.clock)().saturating_sub(group.since));
        }
        drop(measures);
        if self.shared.events.has_listeners() {
            self.record_step(commit, fsyncs, Duration::from_nanos(syncing));
        }
    }

    /// Records events of the step for the handles that listen. They are woken together with the clients that the step settles.
    fn record_step(&mut self, commit: Option<(&Group, &CommitProgress, Duration)>, fsyncs: u64, syncing: Duration) {
        let events = &self.shared.events;
        if let Some((group, progress, took)) = commit.filter(|(_, progress, _)| progress.frames > 0) {
            let (all, frames) = (group.frames.len(), &group.frames[..progress.frames]);
            let records = frames.iter().map(|frame| u64::from(frame.count)).sum::<u64>();
            // If a full disk cut the group short, count its frames as they were written.
            let written = || frames.iter().map(|frame| frame.body_len as u64).sum();
            let bytes = if frames.len() == all { group.record_bytes } else { written() };
            let (first, waited) = (frames[0].first, Duration::from_nanos((self.writer.meter.clock)().saturating_sub(group.since)));
            events.record(Event::APPEND, || Event::Append { first, last: first + records - 1, records, bytes, took, waited });
        }
        if fsyncs > 0 && self.writer.health.ended().is_none() {
            let durable = self.writer.durable_position();
            events.record(Event::SYNC, || Event::Sync { durable, fsyncs, took: syncing });
        }
        events.wake(&mut self.wake);
    }
}
