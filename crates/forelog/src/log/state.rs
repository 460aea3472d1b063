//! The state of an open log, shared by its handles, its commit thread and its background jobs.

use crate::cursors::Cursors;
use crate::error::{read_only, Error, Fault, Result};
use crate::format::file_names::CONTROL;
use crate::log::commit_loop::CommitLoop;
use crate::log::commit_threads::{AttachedLog, CommitThreads};
use crate::log::open::Opened;
use crate::log::read_only::ReadOnlyLog;
use crate::log::remote_writer::RemoteWriter;
use crate::observe::events::Events;
use crate::options::{Fsync, Options};
use crate::read::follow::Followers;
use crate::recovery::report::Recovery;
use crate::segments::attachment::{detached, lost};
use crate::segments::catalog::Catalog;
use crate::segments::log_ends::Ends;
use crate::storage::dir_handle::Identity;
use crate::storage::lock::Lock;
use crate::storage::Storage;
use crate::util::locks::locked;
use crate::write::meter::Counters;
use crate::write::submission_queue::{CommitThreadState, LogPhase, Resume, SubmissionQueue};
use crate::write::writer::Writer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

mod adaptors;
mod lifecycle;
mod measures;
mod refresh;

pub use measures::Measures;

/// Positions of a log. All but `first` and `next` are inclusive, and 0 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// First position that can be read; equal to `next` in an empty log.
    pub first: u64,
    /// Position of the next record to be accepted.
    pub next: u64,
    /// Last position that was handed to the operating system.
    pub written: u64,
    /// Last position that readers can see.
    pub acknowledged: u64,
    /// Last position that survives power loss.
    pub durable: u64,
}

/// An open log, shared by all handles on it in this process.
pub struct LogState {
    pub identity: u64,
    pub options: Options,
    pub storage: Arc<dyn Storage>,
    /// Identity of CONTROL when the log was opened.
    control: Option<Identity>,
    pub catalog: Arc<Catalog>,
    pub recovery: Recovery,
    pub submissions: Mutex<SubmissionQueue>,
    pub work: Condvar,
    pub followers: Arc<Followers>,
    pub cursors: Cursors,
    /// Follows the writer in another process, in a log that is opened read-only.
    pub remote: Option<RemoteWriter>,
    pub measures: Mutex<Measures>,
    pub events: Arc<Events>,
    /// A measurement of the log's files is running.
    measuring: AtomicBool,
    /// Threads that wait for their operations commit them themselves if they can.
    pub is_led: AtomicBool,
    /// The last mark was not written, for a reason that will pass.
    pub unmarked: AtomicBool,
    /// Disk space in bytes that the files took when they were last measured, and the time of that measurement.
    allocated: Mutex<(u64, Option<Instant>)>,
    /// Makes the commit thread finish what is accepted, and end.
    pub stop: AtomicBool,
    /// The commit thread has ended: nothing more will be acknowledged.
    pub ended: AtomicBool,
    /// The result of closing; `None` from the start of the commit thread until its end.
    left: Mutex<Option<Result<()>>>,
    has_left: Condvar,
}

impl LogState {
    /// Creates the state of a log that this process writes, without its commit thread, and publishes its horizons.
    pub fn writable(storage: Arc<dyn Storage>, options: Options, opened: Opened) -> (Arc<LogState>, Writer) {
        let Opened { mut writer, catalog, recovery, cursors } = opened;
        let submissions = SubmissionQueue::new(writer.low_mark(), writer.next_position());
        let mut shared = LogState { cursors, ..LogState::new(storage, options, catalog, recovery, submissions, writer.meter.counters) };
        shared.events = writer.events.clone();
        shared.measures.get_mut().unwrap_or_else(PoisonError::into_inner).active = writer.fill_level();
        let shared = Arc::new(shared);
        shared.publish(&writer, true);
        shared.publish_page(&mut writer);
        (shared, writer)
    }

    pub fn start(
        storage: Arc<dyn Storage>,
        options: Options,
        opened: Opened,
        lock: Lock,
        threads: &'static CommitThreads,
    ) -> Result<Arc<LogState>> {
        let (shared, mut writer) = LogState::writable(storage, options, opened);
        let lock = Arc::new(lock);
        writer.health.attachment.lock = Some(lock.clone());
        *locked(&shared.left) = None;
        threads.adopt(AttachedLog { commit_loop: CommitLoop::new(shared.clone(), writer, threads.host()), lock })?;
        shared.measure();
        Ok(shared)
    }

    /// Creates the state of a log that is opened read-only. It has no commit thread, and changes as the writer in another process changes
    /// the log.
    pub fn read_only(storage: Arc<dyn Storage>, options: Options, view: ReadOnlyLog) -> Arc<LogState> {
        let ReadOnlyLog { catalog, recovery, positions, remote, .. } = view;
        let submissions = SubmissionQueue { phase: LogPhase::ReadOnly, ..SubmissionQueue::new(positions.first, positions.next) };
        let shared = LogState { remote, ..LogState::new(storage, options, catalog, recovery, submissions, Counters::default()) };
        shared.catalog.ends.change(|ends| {
            ends.low_mark = positions.first;
            ends.written = positions.written;
            ends.acknowledged = positions.acknowledged;
            ends.durable = positions.durable;
        });
        Arc::new(shared)
    }

    fn new(
        storage: Arc<dyn Storage>,
        options: Options,
        catalog: Arc<Catalog>,
        recovery: Recovery,
        submissions: SubmissionQueue,
        counters: Counters,
    ) -> LogState {
        static IDENTITIES: AtomicU64 = AtomicU64::new(1);
        LogState {
            identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
            options,
            control: storage.find(CONTROL).ok().flatten(),
            storage,
            catalog,
            recovery,
            submissions: Mutex::new(submissions),
            work: Condvar::new(),
            followers: Arc::default(),
            cursors: Cursors::unknown(read_only()),
            remote: None,
            measures: Mutex::new(Measures::new(counters)),
            events: Arc::default(),
            measuring: AtomicBool::new(false),
            is_led: AtomicBool::new(false),
            unmarked: AtomicBool::new(false),
            allocated: Mutex::default(),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            left: Mutex::new(Some(Ok(()))),
            has_left: Condvar::new(),
        }
    }

    pub fn positions(&self, next: u64) -> Positions {
        let Ends { low_mark, written, acknowledged, durable, .. } = self.catalog.ends.get();
        // A reset to a lower position lowers `next` at the call, before it has been performed.
        Positions { first: low_mark.min(next), next, written, acknowledged, durable }
    }

    /// Returns the last position that readers may see. In a poisoned log that is the durable horizon: records that were acknowledged
    /// without being durable may be gone once an fsync has failed.
    pub fn readable(&self, submissions: &SubmissionQueue) -> u64 {
        let ends = self.catalog.ends.get();
        if matches!(submissions.phase, LogPhase::Poisoned(_)) {
            ends.durable
        } else {
            ends.acknowledged
        }
    }

    /// Publishes the ends of the log as the writer stands. Everything written counts as acknowledged if `acknowledged`, which is false
    /// after a failure.
    pub fn publish(&self, writer: &Writer, acknowledged: bool) {
        let written = writer.next_position() - 1;
        self.catalog.ends.change(|ends| {
            ends.durable_end = writer.durable_end();
            ends.durable = writer.durable_position();
            ends.written = written;
            if acknowledged {
                ends.acknowledged = written;
            }
        });
        if acknowledged {
            self.followers.wake_reached(written);
        }
    }

    /// Returns the first and the last position that other processes may read.
    fn acknowledged(&self) -> (u64, u64) {
        let ends = self.catalog.ends.get();
        (ends.low_mark, ends.acknowledged)
    }

    /// Whether acknowledged positions have still to be published to other processes.
    pub fn page_is_stale(&self, writer: &Writer) -> bool {
        let (first, last) = self.acknowledged();
        writer.page_is_stale(first, last)
    }

    /// Publishes the acknowledged positions to other processes. Nothing else is ever published.
    pub fn publish_page(&self, writer: &mut Writer) {
        let (first, last) = self.acknowledged();
        writer.publish_page(first, last);
    }

    /// Makes the commit thread take what is queued. A sleeping thread is woken after the lock is released: on the same core it would run at
    /// once and block on the lock.
    pub fn rouse(&self, mut submissions: MutexGuard<'_, SubmissionQueue>) {
        submissions.kicked = true;
        match std::mem::replace(&mut submissions.thread_state, CommitThreadState::Awake) {
            CommitThreadState::Awake => {}
            CommitThreadState::Asleep => {
                drop(submissions);
                self.work.notify_one();
            }
            CommitThreadState::Parked(threads) => threads.resume(self.identity),
        }
    }

    /// Commits what is queued on the calling thread, as far as that does not block it. A commit thread goes on from there. If one has the
    /// log already, it is made to take what is queued.
    pub fn go_ahead(&self, mut submissions: MutexGuard<'_, SubmissionQueue>) {
        match submissions.thread_state {
            CommitThreadState::Parked(threads) if submissions.route().is_some() => {
                submissions.kicked = true;
                submissions.thread_state = CommitThreadState::Awake;
                drop(submissions);
                threads.go_ahead(self.identity);
            }
            _ => self.rouse(submissions),
        }
    }

    /// Makes what is queued be taken: by the calling thread if the log is parked, and otherwise by the thread that has it. In the first case
    /// the caller has to call [`Resume::lead`] on what is returned, without any lock. A log that syncs by the clock is left to its commit
    /// thread.
    pub fn claim(&self, mut submissions: MutexGuard<'_, SubmissionQueue>) -> Option<&'static dyn Resume> {
        self.is_led.store(true, Ordering::Relaxed);
        match submissions.thread_state {
            CommitThreadState::Parked(threads) if !matches!(self.options.fsync, Fsync::Every(_)) => {
                submissions.kicked = true;
                submissions.thread_state = CommitThreadState::Awake;
                Some(threads)
            }
            _ => {
                self.rouse(submissions);
                None
            }
        }
    }

    /// Reports a failed background write to CONTROL. The commit thread learns of it before it acknowledges anything more.
    pub fn report(&self, fault: Fault) {
        let mut submissions = locked(&self.submissions);
        submissions.fault = Some(fault);
        self.rouse(submissions);
    }

    /// Ends the log because its directory is no longer at its path. The commit thread learns of it before it acknowledges anything more.
    fn detach(&self, what: &str) -> Error {
        let error = detached(what);
        let mut submissions = locked(&self.submissions);
        if matches!(submissions.phase, LogPhase::Open) {
            // Nothing more is accepted from here on, and the commit thread rejects what was accepted.
            submissions.phase = LogPhase::ended(&error);
        }
        submissions.detached = Some(error.clone());
        self.rouse(submissions);
        error
    }

    /// Returns why this log must not be opened once more in this process: its path no longer leads to the directory that is open.
    pub fn detachment(&self) -> Option<Error> {
        let noticed = match &locked(&self.submissions).phase {
            LogPhase::Detached(error) => Some(error.clone()),
            _ => None,
        };
        noticed.or_else(|| lost(&*self.storage, self.control).map(|what| self.detach(&what)))
    }

    /// Resumes a parked log because a follower waits for it now: the log has to check regularly whether it is still at its path.
    fn look_after_followers(&self) {
        let submissions = locked(&self.submissions);
        if matches!(submissions.thread_state, CommitThreadState::Parked(_)) {
            self.rouse(submissions);
        }
    }

    /// Asks the commit thread for another mark in due time, because the last one was not written and changed nothing.
    pub fn mark_again(&self) {
        self.unmarked.store(true, Ordering::Release);
        self.rouse(locked(&self.submissions));
    }
}
