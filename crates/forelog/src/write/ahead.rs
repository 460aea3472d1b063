//! Commits that are submitted and completed later. Up to two of them are under way, and they are completed in the order of their frames.
//!
//! Nothing here blocks but [`Writer::finish_ahead`]. A commit that needs more than a write past the page cache (a roll, CONTROL, a longer
//! file) is left to [`Writer::commit`], for which every commit under way has to be finished first.

use crate::error::{Code, Error};
use crate::format::frame_boundary::FrameBoundary;
use crate::storage::write_queue::{Completed, NotSubmitted, Outcome, Refusal, SubmittedWrite, WriteQueue};
use crate::storage::ShortWrite;
use crate::util::limits::PAGE;
use crate::write::group::{Group, OperationRun};
use crate::write::segment_writer::{Layout, PendingWrite};
use crate::write::writer::Writer;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Number of commits that may be under way. In a prototype with a thousand records in flight, a third one changed the rate by 1.09 × at 100 B and
/// by 0.85 × at 1 KiB.
const DEPTH: usize = 2;

/// A larger group is committed by a commit thread, because sealing and submitting it would hold the client's thread up for long.
const MOST_BYTES: usize = 48 << 10;

/// A commit between its submission and its completion.
struct Submitted {
    io: Box<dyn SubmittedWrite>,
    write: PendingWrite,
    /// Place of the bytes in the memory of the group.
    bytes: Range<usize>,
    /// The group. Its memory is in `io` until the write is complete.
    group: Group,
    /// What became of the write, once it is complete.
    outcome: Option<Outcome>,
    /// When it was submitted, in nanoseconds of the meter's clock.
    began: u64,
}

impl Submitted {
    fn note(&mut self, completed: Option<Completed>) {
        if let Some(Completed { bytes, outcome }) = completed {
            *self.group.bytes = bytes;
            self.outcome = Some(outcome);
        }
    }
}

/// The commits of a log that are under way, oldest first.
#[derive(Default)]
pub struct Ahead {
    submitted: VecDeque<Submitted>,
    /// The file system has refused a write that completes later. No other one is submitted.
    is_unsupported: bool,
}

impl Ahead {
    /// Whether no commit is under way.
    pub fn is_empty(&self) -> bool {
        self.submitted.is_empty()
    }
}

/// A commit that is complete: its frames are part of the log and durable.
pub struct Done {
    pub group: Group,
    /// How long its write took, in nanoseconds.
    pub took: u64,
}

/// Commits that have failed, with all that were under way after them.
pub struct Lost {
    pub error: Error,
    /// Their operations.
    pub runs: Vec<OperationRun>,
}

/// What has become of the oldest commit under way.
pub enum Polled {
    /// There is none, or it is still under way.
    Nothing,
    Done(Done),
    /// It needs a thread that may block: [`Writer::finish_ahead`].
    Stuck,
}

impl Writer {
    /// Whether commits are under way.
    pub fn is_ahead(&self) -> bool {
        !self.ahead.submitted.is_empty()
    }

    /// Whether another commit has to wait until one that is under way is complete: there are enough of them, or the last one did not end on
    /// a page, which the next one would write again.
    pub fn must_wait(&self) -> bool {
        let last = self.ahead.submitted.back();
        last.is_some_and(|last| self.ahead.submitted.len() >= DEPTH || !last.write.end.offset.is_multiple_of(PAGE))
    }

    /// Whether commits of this log may be submitted at all, as far as its file system and its options are concerned.
    pub fn supports_ahead(&self) -> bool {
        let has_direct = self.active.as_ref().is_some_and(|active| active.placement.direct.is_some());
        has_direct && self.placement.direct_works && self.packer.is_none() && !self.ahead.is_unsupported
    }

    /// Returns how the frames of a durable group would be laid out if they were submitted now, and where. `None` if that is not possible
    /// without blocking.
    fn layout_ahead(&self, group: &Group) -> Option<(FrameBoundary, u64, Layout)> {
        let is_ready = self.plan.is_none() && self.naming.is_none() && !self.unproven && self.health.ended().is_none();
        let active = self.active.as_ref().filter(|active| is_ready && !active.may_be_torn && active.header.stamped)?;
        let is_small = group.bytes.len() <= MOST_BYTES;
        if !self.supports_ahead() || self.must_wait() || group.frames.is_empty() || !is_small {
            return None;
        }
        let (at, limit) = (self.ahead.submitted.back().map_or(active.end, |last| last.write.end), active.placement.capacity);
        let layout = active.layout(group, 0, at, limit, self.terms(true));
        matches!(layout, Layout::Direct { .. }).then_some((at, limit, layout))
    }

    /// Whether [`Writer::submit_ahead`] would submit a durable `group` now.
    pub fn can_submit(&self, group: &Group) -> bool {
        self.layout_ahead(group).is_some()
    }

    /// Seals the frames of a durable group and submits their write. `token` tells the owner of `queue` whose write completes.
    ///
    /// # Errors
    /// The group cannot be submitted now, and comes back as it was.
    // Only one caller, on a path that is rarely taken, gets the group back.
    #[allow(clippy::result_large_err)]
    pub fn submit_ahead(&mut self, mut group: Group, queue: &Arc<dyn WriteQueue>, token: u64) -> std::result::Result<(), Group> {
        group.pad();
        let (layout, began) = (self.layout_ahead(&group), (self.meter.clock)());
        let (Some((at, limit, layout)), Some(active)) = (layout, &mut self.active) else { return Err(group) };
        let sealed = active.seal(&mut group, 0, at, limit, layout, self.storage.wall_clock());
        let write = active.submit(&sealed, &group.bytes[sealed.bytes.clone()]);
        let memory = std::mem::take(&mut *group.bytes);
        let submitted = write.submit(queue, memory, sealed.bytes.clone(), token);
        let (io, outcome) = match submitted {
            Ok(io) => (io, None),
            Err((memory, refusal)) => {
                self.ahead.is_unsupported |= refusal == Refusal::Unsupported;
                *group.bytes = memory;
                (Box::new(NotSubmitted) as Box<dyn SubmittedWrite>, Some(Outcome::Unfinished))
            }
        };
        self.ahead.submitted.push_back(Submitted { io, write, bytes: sealed.bytes, group, outcome, began });
        // The log is in use from now on, so the next segment is created at full size.
        self.spares.wake();
        Ok(())
    }

    /// Whether a commit under way needs a thread that may block, and no completion of the disk will say so: its submission was refused.
    pub fn is_stuck(&self) -> bool {
        self.ahead.submitted.iter().any(|submitted| matches!(submitted.outcome, Some(Outcome::Unfinished | Outcome::Failed(_))))
    }

    /// Waits for the writes under way of a log that has ended. None of their commits is completed.
    pub fn abandon_ahead(&mut self) {
        self.ahead.submitted.clear();
    }

    /// Completes the oldest commit under way if its write is complete. Never blocks.
    pub fn poll_ahead(&mut self) -> Polled {
        let Some(oldest) = self.ahead.submitted.front_mut() else { return Polled::Nothing };
        if oldest.outcome.is_none() {
            let completed = oldest.io.poll();
            oldest.note(completed);
        }
        match &oldest.outcome {
            None => Polled::Nothing,
            Some(Outcome::Written) => match self.finish_ahead() {
                Some(Ok(done)) => Polled::Done(done),
                _ => Polled::Stuck,
            },
            Some(Outcome::Unfinished | Outcome::Failed(_)) => Polled::Stuck,
        }
    }

    /// Completes the oldest commit under way, and waits for that; `None` if there is none. What could not be written without blocking is
    /// written here.
    ///
    /// # Errors
    /// None of the commits under way is part of the log, and none of them is under way any more.
    pub fn finish_ahead(&mut self) -> Option<std::result::Result<Done, Lost>> {
        let mut oldest = self.ahead.submitted.pop_front()?;
        if oldest.outcome.is_none() {
            let completed = oldest.io.wait();
            oldest.note(completed);
        }
        let Submitted { write, bytes, group, outcome, began, .. } = oldest;
        let completed = match outcome {
            Some(Outcome::Written) => self.complete(write, began, Ok(()), &group.sealed).map(drop),
            Some(Outcome::Failed(fault)) => self.complete(write, began, Err(ShortWrite { written: 0, fault }), &group.sealed).map(drop),
            Some(Outcome::Unfinished) => self.perform(write.repeated(), &group.bytes[bytes], &group.sealed),
            None => Err(self.health.end(Error::new(Code::Poisoned, "a write was lost"))),
        };
        match self.health.poison_unless_it_heals(completed) {
            Ok(()) => Some(Ok(Done { group, took: (self.meter.clock)().saturating_sub(began) })),
            Err(error) => {
                // Frames after these continue a chain that is broken now. Dropping their writes waits for them.
                let later = std::mem::take(&mut self.ahead.submitted);
                let runs = std::iter::once(group).chain(later.into_iter().map(|later| later.group)).flat_map(|group| group.runs).collect();
                Some(Err(Lost { error, runs }))
            }
        }
    }
}
