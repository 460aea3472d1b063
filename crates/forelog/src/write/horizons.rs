//! How far a writer's log is durable, and how far readers in other processes may read it.

use crate::format::control::Mark;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::horizon::{Horizon, LogEnd};
use crate::segments::control_file::MarkJob;
use crate::segments::log_ends::DurableEnd;
use crate::write::writer::Writer;

impl Writer {
    /// Returns the last position that survives power loss, 0 if there is none.
    pub fn durable_position(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.synced.next - 1)
    }

    /// Returns the durable end of the log, up to which a backup may copy; `None` until at least the frames that the active segment began
    /// with are proven durable.
    pub fn durable_end(&self) -> Option<DurableEnd> {
        let active = self.active.as_ref().filter(|a| a.synced.offset >= a.header.carried_end)?;
        let durable = LogEnd { offset: active.synced.offset, position: active.synced.next - 1 };
        Some(DurableEnd { segment: active.header.id, durable })
    }

    /// Returns a job that writes the durable mark to CONTROL off the commit path; `None` if [`Writer::current_mark`] is.
    pub fn mark(&self) -> Option<MarkJob> {
        Some(MarkJob { control: self.control.clone(), mark: self.current_mark()? })
    }

    /// Returns how much of the active segment is proven durable; `None` while the log is poisoned or the segment is unproven.
    pub fn current_mark(&self) -> Option<Mark> {
        let active = self.active.as_ref().filter(|_| self.health.ended().is_none() && !self.unproven)?;
        Some(Mark { segment: active.header.id, offset: active.synced.offset, position: active.synced.next - 1 })
    }

    /// Returns the log as readers in other processes may see it; `None` while more is written than acknowledged, while CONTROL does not
    /// name the active segment, and after the log was poisoned.
    fn horizon(&self, low: u64, acknowledged: u64) -> Option<Horizon> {
        let is_published = self.health.ended().is_none() && self.naming.is_none();
        let active = self.active.as_ref().filter(|a| is_published && a.end.next - 1 == acknowledged)?;
        let end = |joint: FrameBoundary| LogEnd { offset: joint.offset, position: joint.next - 1 };
        Some(Horizon {
            uuid: self.uuid,
            sequence: 0,
            active: active.header.id,
            low_mark: low,
            acknowledged: end(active.end),
            durable: end(active.synced),
            generation: 0,
            kept: 0,
        })
    }

    /// Whether [`Writer::publish_page`] has anything new to publish.
    pub fn page_is_stale(&self, low: u64, acknowledged: u64) -> bool {
        self.horizon(low, acknowledged).is_some_and(|now| self.publisher.is_behind(&now))
    }

    /// Publishes to other processes that positions from `low` to `acknowledged` can be read.
    pub fn publish_page(&mut self, low: u64, acknowledged: u64) {
        if let Some(now) = self.horizon(low, acknowledged) {
            self.publisher.publish(&self.control, &now);
        }
    }
}
