//! An open log as its followers, its cursors and its backups use it.

use super::LogState;
use crate::cursors::CursorLog;
use crate::error::{closed, truncated, Code, Error, Fault, Result};
use crate::format::file_names::Name;
use crate::log::remote_writer;
use crate::log::remote_writer::RemoteWriter;
use crate::maintenance::backup::Origin;
use crate::read::follow::{FollowedLog, WaitHandle, Wake};
use crate::segments::attachment::lost;
use crate::segments::log_ends::DurableEnd;
use crate::segments::reader_positions::ReaderPosition;
use crate::storage::Storage;
use crate::util::locks::locked;
use crate::write::submission_queue::LogPhase;
use std::sync::atomic::Ordering;
use std::sync::Arc;

impl FollowedLog for LogState {
    fn limit(&self, next: u64) -> Result<u64> {
        if let Some(remote) = &self.remote {
            if self.ended.load(Ordering::Acquire) {
                return Err(closed().during("read"));
            }
            self.refresh(remote)?;
            let first = self.catalog.low_mark();
            let limit = self.catalog.ends.acknowledged();
            // The position is after the last record that can be read.
            if let Some(error) = remote.bond.broken().filter(|_| next > limit) {
                return Err(error.clone().during("read"));
            }
            return if next < first { Err(truncated(next, first).during("read")) } else { Ok(limit) };
        }
        let submissions = locked(&self.submissions);
        let at = self.positions(submissions.next);
        // Not the horizon, which follows a truncation only once that is done.
        let first = self.catalog.low_mark();
        if next < first {
            return Err(truncated(next, first).during("read"));
        }
        match &submissions.phase {
            // Records that were acknowledged without being durable may be gone once an fsync has failed.
            LogPhase::Poisoned(error) if next > at.durable => Err(error.clone().during("read")),
            LogPhase::Poisoned(_) => Ok(at.durable),
            LogPhase::Detached(error) if next > at.acknowledged => Err(error.clone().during("read")),
            LogPhase::Closing if next > at.acknowledged && self.ended.load(Ordering::Acquire) => Err(closed().during("read")),
            _ => Ok(at.acknowledged),
        }
    }

    fn ends(&self) -> Result<(u64, u64)> {
        if self.ended.load(Ordering::Acquire) {
            return Err(closed().during("read"));
        }
        if let Some(remote) = &self.remote {
            self.refresh(remote)?;
        }
        let last = self.readable(&locked(&self.submissions));
        let first = self.catalog.low_mark();
        Ok((first, last.max(first - 1)))
    }

    fn refresh_for(&self, next: u64) {
        // If the directory cannot be read, the caller reports its own error as it is.
        if let Some(Ok(change)) = self.remote.as_ref().map(|remote| remote.refresh_for(self, next)) {
            self.wake_for(change);
        }
    }

    fn catch_up(&self) -> bool {
        self.remote.as_ref().map(RemoteWriter::wait_for_page).is_some()
    }

    fn wait(self: Arc<Self>, next: u64, wake: Wake) -> WaitHandle {
        let followers = self.followers.clone();
        let ticket = followers.enter(next, wake, || {
            let failed = locked(&self.submissions).phase.failure().is_some();
            failed || self.ended.load(Ordering::Acquire) || self.catalog.ends.acknowledged() >= next
        });
        if self.remote.is_some() {
            remote_writer::watch_page(&self);
        } else {
            self.look_after_followers();
        }
        ticket
    }
}

impl CursorLog for LogState {
    fn acknowledged(&self) -> u64 {
        self.catalog.ends.acknowledged()
    }

    fn durable(&self) -> u64 {
        self.catalog.ends.durable()
    }

    fn flush(&self) -> Result<()> {
        LogState::flush(self)
    }

    fn alive(&self) -> Result<()> {
        let failure = locked(&self.submissions).phase.failure().cloned();
        match failure.or_else(|| lost(&*self.storage, self.control).map(|what| self.detach(&what))) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn report(&self, fault: Fault) {
        LogState::report(self, fault);
    }
}

impl Origin for LogState {
    fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    fn durable_end(&self) -> Result<DurableEnd> {
        if let Some(remote) = &self.remote {
            self.refresh(remote)?;
            return remote.durable_end().ok_or_else(|| match &self.recovery.damage {
                Some(damage) => {
                    let text = format!("the log is damaged, and a backup of it would be damaged as well: {}", damage.text);
                    let mut error = Error::new(Code::Corrupt, text).at(damage.segment.clone(), damage.offset).judged(self.recovery.verdict);
                    (error.lost, error.flipped) = (damage.lost, damage.flipped);
                    error
                }
                None => Error::new(Code::Locked, "the log is still being opened by its writer"),
            });
        }
        self.catalog.durable_end().ok_or_else(|| {
            Error::new(
                Code::NoSpace,
                "the records in the last segment are not proven durable yet: the log first needs free disk space to roll",
            )
        })
    }

    fn low_mark(&self) -> Result<u64> {
        if self.ended.load(Ordering::Acquire) {
            return Err(closed());
        }
        if let Some(remote) = &self.remote {
            self.refresh(remote)?;
        }
        // Not the horizon, which follows only once the files below the low mark are gone.
        Ok(self.catalog.low_mark())
    }

    fn truncation_count(&self) -> u64 {
        self.catalog.truncation_count()
    }

    fn hold_retention(&self, first: u64) -> Arc<ReaderPosition> {
        self.catalog.reader_positions.enter(first)
    }

    fn segments(&self) -> Vec<Name> {
        self.catalog.names()
    }

    fn is_past(&self, cut: DurableEnd) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.names_one_after(cut.segment))
    }

    fn catch_up(&self) -> bool {
        self.remote.as_ref().map(RemoteWriter::wait_for_page).is_some()
    }
}
