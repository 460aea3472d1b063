//! The commit threads of this process: a few threads that serve all of its logs.
//!
//! A thread takes a log from the queue and keeps it while there is work, sleeping on the log's own condition variable in between. A log
//! that has had no work for a moment is parked and holds no thread. It is queued again when it is resumed or when one of its deadlines is
//! due. While logs wait for a thread, each thread does one step of its log and then takes the next log.
//!
//! Other threads may take a parked log for one step: a JavaScript thread for what does not block, a thread of a Rust program for the commit
//! that it waits for. None of them counts as one of these threads, so none of them holds up another log.

use crate::error::{Error, Fault, Result};
use crate::log::commit_loop::{CommitLoop, Led};
use crate::storage::lock::Lock;
use crate::util::locks::locked;
use crate::util::runtime::{Job, Runtime, SystemRuntime};
use crate::write::submission_queue::{CommitThreadState, Resume};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum number of logs at work at a time. The flushes of concurrent fsyncs merge: with a quarter of this, thousands of logs lose a third
/// of their rate.
const AT_WORK: usize = 64;

/// While at most this many logs are at work, a thread stays with a log that has no work, so the wakes of a log in use are its own. With
/// more of them, threads change hands.
const LINGERING: usize = 4;
/// How long a thread stays with a log that has no work.
const LINGER: Duration = Duration::from_millis(50);

/// If no thread has come for the next log for this long, the logs at work are assumed to hang with their disks, and as many again may work
/// beside them.
const STUCK: Duration = Duration::from_secs(1);

/// Number of threads that stay.
const KEPT: usize = 2;
/// How long a thread beyond those is idle before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// The threads that serve every log of the process.
pub static COMMON: CommitThreads = CommitThreads::new(AT_WORK);

pub struct CommitThreads {
    at_work: usize,
    start: fn(&'static CommitThreads) -> io::Result<()>,
    queue: Mutex<Queue>,
    work: Condvar,
    /// Logs wait and no thread is free for them, or no thread could be started to watch the queue.
    logs_wait: AtomicBool,
    /// Few enough logs are at work for threads to stay with theirs.
    may_linger: AtomicBool,
}

/// A log with everything that a thread needs to serve it.
pub struct AttachedLog {
    pub commit_loop: CommitLoop,
    /// Released last, after every background job has stopped touching the directory.
    pub lock: Arc<Lock>,
}

struct Queue {
    ready: VecDeque<Box<AttachedLog>>,
    /// Parked logs by identity, each with its next deadline.
    parked: BTreeMap<u64, (Box<AttachedLog>, Option<Duration>)>,
    deadlines: BTreeSet<(Duration, u64)>,
    threads: usize,
    /// Number of threads that sleep until there is a log.
    idle: usize,
    /// Number of threads that have a log.
    busy: usize,
    /// Number of threads that have a log and are not assumed to hang.
    working: usize,
    /// Changes when the threads at work are assumed to hang.
    hang_epoch: u64,
    /// When the next log came to the head of the queue.
    moved: Duration,
    /// No thread could be started to watch the queue.
    spawn_failed: bool,
    /// When an idle thread will check the deadlines and whether threads hang.
    watched_until: Option<Duration>,
}

impl Queue {
    fn push(&mut self, log: Box<AttachedLog>) {
        if self.ready.is_empty() {
            self.moved = SystemRuntime.now();
        }
        self.ready.push_back(log);
    }

    fn unpark(&mut self, identity: u64) {
        if let Some(log) = self.take_parked(identity) {
            self.push(log);
        }
    }

    fn take_parked(&mut self, identity: u64) -> Option<Box<AttachedLog>> {
        let (log, due) = self.parked.remove(&identity)?;
        if let Some(due) = due {
            self.deadlines.remove(&(due, identity));
        }
        Some(log)
    }

    /// Queues the logs whose deadline is due, and gives up on threads that hang.
    fn check(&mut self, now: Duration) {
        while let Some((_, identity)) = self.deadlines.first().filter(|(due, _)| *due <= now).copied() {
            self.unpark(identity);
        }
        if !self.ready.is_empty() && now.saturating_sub(self.moved) >= STUCK {
            self.hang_epoch += 1;
            self.working = 0;
            self.moved = now;
        }
    }

    /// Returns when the queue has to be checked next, if no thread is going to by then.
    fn unwatched(&self) -> Option<Duration> {
        let stuck = (!self.ready.is_empty()).then(|| self.moved + STUCK);
        let due = self.deadlines.first().map(|(due, _)| *due);
        let next = [stuck, due].into_iter().flatten().min();
        next.filter(|next| self.watched_until.is_none_or(|watched_until| *next < watched_until))
    }

    /// Returns the number of threads without a log, including those that are about to start.
    fn free(&self) -> usize {
        self.threads - self.busy
    }
}

impl CommitThreads {
    pub const fn new(at_work: usize) -> CommitThreads {
        CommitThreads::started_by(at_work, |threads| {
            std::thread::Builder::new().name("forelog-commit".into()).spawn(|| threads.serve()).map(drop)
        })
    }

    pub const fn started_by(at_work: usize, start: fn(&'static CommitThreads) -> io::Result<()>) -> CommitThreads {
        let queue = Queue {
            ready: VecDeque::new(),
            parked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            threads: 0,
            idle: 0,
            busy: 0,
            working: 0,
            hang_epoch: 0,
            moved: Duration::ZERO,
            spawn_failed: false,
            watched_until: None,
        };
        let (logs_wait, may_linger) = (AtomicBool::new(false), AtomicBool::new(true));
        CommitThreads { at_work, start, queue: Mutex::new(queue), work: Condvar::new(), logs_wait, may_linger }
    }

    /// Returns the runtime of a log on these threads.
    pub fn host(&'static self) -> Arc<dyn Runtime> {
        Arc::new(Pooled(self))
    }

    /// Serves a log from now on, until it is told to stop.
    ///
    /// # Errors
    /// `Io` if there is no thread and none can be started.
    pub fn adopt(&'static self, log: AttachedLog) -> Result<()> {
        let mut queue = locked(&self.queue);
        queue.push(Box::new(log));
        let called = self.call(&mut queue);
        let refused = if queue.threads == 0 { queue.ready.pop_back() } else { None };
        drop(queue);
        match (refused, called) {
            (Some(_), Err(e)) => Err(Error::from(Fault::new("thread", "forelog-commit", &e))),
            _ => Ok(()),
        }
    }

    /// Wakes or starts a thread if a ready log could be served or a deadline is unwatched.
    fn call(&'static self, queue: &mut Queue) -> io::Result<()> {
        let takers = queue.ready.len().min(self.at_work.saturating_sub(queue.working));
        let mut called = Ok(());
        if takers > 0 || queue.unwatched().is_some() {
            if queue.idle > 0 {
                self.work.notify_one();
            } else if queue.free() < takers.max(1) {
                called = (self.start)(self);
                queue.threads += usize::from(called.is_ok());
                // Without an idle thread, the threads that have a log come back to check the queue.
                queue.spawn_failed = called.is_err();
            }
        }
        self.publish_pressure(queue);
        called
    }

    /// Publishes queue pressure to threads that must not take the queue's lock.
    fn publish_pressure(&self, queue: &Queue) {
        let full = queue.working >= self.at_work || queue.free() == 0;
        self.logs_wait.store(full && !queue.ready.is_empty() || queue.spawn_failed, Ordering::Release);
        self.may_linger.store(queue.working <= LINGERING, Ordering::Release);
    }

    pub fn serve(&'static self) {
        let mut queue = locked(&self.queue);
        let mut timed_out = false;
        loop {
            queue.spawn_failed = false;
            queue.check(SystemRuntime.now());
            if queue.working < self.at_work {
                if let Some(log) = queue.ready.pop_front() {
                    queue = self.leave_with(log, queue);
                    timed_out = false;
                    continue;
                }
            }
            let watch = queue.unwatched();
            if timed_out && watch.is_none() && queue.threads > KEPT {
                queue.threads -= 1;
                return self.publish_pressure(&queue);
            }
            (queue, timed_out) = self.sleep(queue, watch);
        }
    }

    fn leave_with<'q>(&'static self, log: Box<AttachedLog>, mut queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue>
    where
        Self: 'q,
    {
        queue.moved = SystemRuntime.now();
        queue.busy += 1;
        queue.working += 1;
        let hang_epoch = queue.hang_epoch;
        let _ = self.call(&mut queue);
        drop(queue);
        // Steps catch their own panics, so a panic here is a bug elsewhere. The other logs are served all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| self.step_until_idle(log)));
        let mut queue = locked(&self.queue);
        queue.busy -= 1;
        if hang_epoch == queue.hang_epoch {
            queue.working -= 1;
        }
        self.publish_pressure(&queue);
        queue
    }

    /// Sleeps until there may be a log to take, or until `watch`. Returns true if nothing has come for long.
    fn sleep<'q>(&self, mut queue: MutexGuard<'q, Queue>, watch: Option<Duration>) -> (MutexGuard<'q, Queue>, bool) {
        queue.watched_until = watch.or(queue.watched_until);
        queue.idle += 1;
        let wait = match watch {
            Some(at) => Some(at.saturating_sub(SystemRuntime.now())),
            None => (queue.threads > KEPT).then_some(IDLE),
        };
        let (mut queue, timed_out) = match wait {
            Some(wait) => {
                let (queue, waited) = self.work.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner);
                (queue, waited.timed_out())
            }
            None => (self.work.wait(queue).unwrap_or_else(PoisonError::into_inner), false),
        };
        queue.idle -= 1;
        if watch.is_some() && queue.watched_until == watch {
            queue.watched_until = None;
        }
        (queue, timed_out && watch.is_none())
    }

    fn step_until_idle(&'static self, mut log: Box<AttachedLog>) {
        loop {
            match log.commit_loop.try_step() {
                Some(closed) => return log.commit_loop.leave(closed, log.lock),
                None if log.commit_loop.is_idle() || self.logs_wait.load(Ordering::Acquire) => return self.release(log),
                None => {}
            }
        }
    }

    /// Parks a log that has no work, and queues any other at the end.
    fn release(&'static self, log: Box<AttachedLog>) {
        // This thread comes back to the queue to see what is next and when.
        let queue = self.put_down(log, false);
        self.publish_pressure(&queue);
    }

    /// Parks a log, or queues it if there is something to do for a commit thread.
    fn put_down(&'static self, log: Box<AttachedLog>, needs_thread: bool) -> MutexGuard<'static, Queue> {
        let shared = log.commit_loop.shared.clone();
        // Held meanwhile, so that a thread that resumes the log finds it where it is.
        let mut submissions = locked(&shared.submissions);
        let mut queue = locked(&self.queue);
        if needs_thread || log.commit_loop.is_wanted(&submissions) {
            queue.push(log);
        } else {
            let due = log.commit_loop.deadline();
            queue.deadlines.extend(due.map(|due| (due, shared.identity)));
            queue.parked.insert(shared.identity, (log, due));
            submissions.thread_state = CommitThreadState::Parked(self);
        }
        queue
    }
}

impl Resume for CommitThreads {
    fn go_ahead(&'static self, identity: u64) {
        // If a thread has taken the log meanwhile, it also finds what this call is about.
        let Some(mut log) = locked(&self.queue).take_parked(identity) else { return };
        let needs_thread = log.commit_loop.try_ahead();
        let mut queue = self.put_down(log, needs_thread);
        // Wakes a thread if the log needs one, or has to be looked at sooner than any thread would.
        let _ = self.call(&mut queue);
    }

    fn lead(&'static self, identity: u64) {
        // If a thread has taken the log meanwhile, it also finds what this call is about.
        let Some(mut log) = locked(&self.queue).take_parked(identity) else { return };
        let Led { closed, needs_thread } = log.commit_loop.try_lead();
        if let Some(closed) = closed {
            return log.commit_loop.leave(closed, log.lock);
        }
        let mut queue = self.put_down(log, needs_thread);
        let _ = self.call(&mut queue);
    }

    fn resume(&'static self, identity: u64) {
        let mut queue = locked(&self.queue);
        queue.unpark(identity);
        // Without another thread, the existing ones serve the queue.
        let _ = self.call(&mut queue);
    }
}

struct Pooled(&'static CommitThreads);

impl Runtime for Pooled {
    fn now(&self) -> Duration {
        SystemRuntime.now()
    }

    fn spawn(&self, job: Job) {
        SystemRuntime.spawn(job);
    }

    fn idle_timeout(&self) -> Option<Duration> {
        let Pooled(threads) = self;
        let lingers = threads.may_linger.load(Ordering::Acquire) && !threads.logs_wait.load(Ordering::Acquire);
        Some(if lingers { LINGER } else { Duration::ZERO })
    }
}
