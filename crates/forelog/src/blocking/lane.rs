//! The lanes of a log: the operations of one thread, and their outcomes until the thread has learned of them.

use crate::error::{Code, Error, Result};
use crate::log::wal::Wal;
use crate::options::Options;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::write::submission_queue::{Settled, SubmissionQueue};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

/// One call whose operations have not settled, or whose failure no caller has been given yet.
struct Call {
    /// Number of its first operation.
    first: u64,
    /// Number of the first of its operations that failed, and why.
    failed: Option<(u64, Error)>,
    /// Its [`super::Pending`] was dropped: its failure goes to the thread's next append or sync.
    dropped: bool,
}

#[derive(Default)]
struct LaneState {
    /// Something may have settled since the last collection.
    woken: bool,
    /// Number of operations that have settled.
    settled: u64,
    /// By the number of their last operation.
    calls: BTreeMap<u64, Call>,
    /// How many of them have failed.
    failures: usize,
    /// One of them has been dropped, so that no caller ends it.
    dropped: bool,
    /// Number of threads that sleep until the lane is woken.
    sleeping: usize,
}

/// How operations are submitted.
#[derive(Clone, Copy, Default)]
pub struct SubmitTerms {
    /// They append records, which are refused until the thread has learned of the rejection of earlier ones.
    pub appends: bool,
    /// If too much is pending, the call waits until there is room. Otherwise it fails.
    pub waits_for_room: bool,
    /// The caller is going to wait for them, so it commits them itself if no thread has the log.
    pub leads: bool,
}

/// The state of a lane, which the log's threads wake.
#[derive(Default)]
struct Signal {
    state: Mutex<LaneState>,
    changed: Condvar,
}

impl Signal {
    /// Blocks until the lane is woken; may return sooner. No wake since the last collection is lost: it is recorded under the same lock.
    /// The caller looks again in any case, because another thread may have collected what the wake was about.
    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, LaneState>) -> MutexGuard<'a, LaneState> {
        if state.woken {
            return state;
        }
        state.sleeping += 1;
        let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.sleeping -= 1;
        state
    }
}

impl Notify for Signal {
    fn wake(&self) {
        let mut state = locked(&self.state);
        state.woken = true;
        let is_awaited = state.sleeping > 0;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
    }
}

impl LaneState {
    fn collect(&mut self, wal: &Wal, client: usize) {
        if !std::mem::take(&mut self.woken) {
            return;
        }
        wal.collect(client, |settled| {
            let (upto, error) = match settled {
                Settled::Done(upto) => (upto, None),
                Settled::Failed(upto, error) => (upto, Some(error)),
            };
            let from = self.settled + 1;
            self.settled = upto.max(self.settled);
            let Some(error) = error else { return };
            for call in self.calls.range_mut(from..).map(|(_, call)| call).take_while(|call| call.first <= upto) {
                if call.failed.is_none() {
                    call.failed = Some((call.first.max(from), error.clone()));
                    self.failures += 1;
                }
            }
        });
        if self.dropped {
            let settled = self.settled;
            self.calls.retain(|last, call| !(call.dropped && call.failed.is_none() && *last <= settled));
            self.dropped = self.calls.values().any(|call| call.dropped);
        }
    }

    /// Returns why the thread's next record is refused: an earlier one of its records was rejected, and the thread does not know it yet.
    fn refusal(&mut self) -> Option<Error> {
        if self.failures == 0 {
            return None;
        }
        self.dropped_failure().or_else(|| {
            let (_, error) = self.calls.values().find_map(|call| call.failed.as_ref())?;
            Some(error.clone())
        })
    }

    /// Takes the failure of a call whose outcome no caller can ask for any more.
    fn dropped_failure(&mut self) -> Option<Error> {
        if self.failures == 0 {
            return None;
        }
        let settled = self.settled;
        let dropped = self.calls.iter().find(|(last, call)| call.dropped && call.failed.is_some() && **last <= settled);
        let last = dropped.map(|(last, _)| *last)?;
        self.take(last).map(|(_, error)| error)
    }

    /// Ends a call, and returns the number of its first failed operation, counted from 0, with the error.
    fn take(&mut self, last: u64) -> Option<(u64, Error)> {
        let call = self.calls.remove(&last)?;
        let (failed, error) = call.failed?;
        self.failures -= 1;
        Some((failed - call.first, error))
    }
}

/// The queue of operations of one thread.
pub struct Lane {
    client: usize,
    signal: Arc<Signal>,
    /// Number of calls that are about to use the lane.
    users: AtomicUsize,
}

impl Lane {
    fn new(wal: &Wal) -> Lane {
        let signal = Arc::new(Signal::default());
        Lane { client: wal.join(signal.clone()), signal, users: AtomicUsize::new(0) }
    }

    /// Submits operations through `act`, which gets the queue and the number of the lane's client. Returns what `act` returned, and the
    /// number of the last operation. They may have settled by then.
    pub fn submit<T>(
        &self,
        wal: &Wal,
        operation: &'static str,
        SubmitTerms { appends, waits_for_room: waits, leads }: SubmitTerms,
        mut act: impl FnMut(&mut SubmissionQueue, usize, &Options) -> Result<T>,
    ) -> Result<(T, u64)> {
        let mut state = locked(&self.signal.state);
        let mut looked = false;
        loop {
            state.collect(wal, self.client);
            if appends {
                state.refusal().map_or(Ok(()), Err)?;
            }
            let submitted = wal.submit(operation, leads, |queue, options| {
                let entered = |queue: &SubmissionQueue| queue.clients.get(self.client)?.as_ref().map(|client| client.submitted);
                let before = entered(queue).unwrap_or(0);
                let done = act(queue, self.client, options);
                if waits && done.as_ref().is_err_and(|error| error.code == Code::Backpressure) {
                    queue.await_room(self.signal.clone());
                }
                Ok((done?, before + 1, entered(queue).unwrap_or(0)))
            });
            match submitted {
                Ok(((done, first, last), turn)) => {
                    state.calls.insert(last, Call { first, failed: None, dropped: false });
                    // Whoever settles an operation wakes the lane, which takes its lock.
                    drop(state);
                    turn.take();
                    return Ok((done, last));
                }
                Err(error) if waits && error.code == Code::Backpressure => state = self.signal.sleep(state),
                // It may be the rejection of an earlier call that has settled and not been collected.
                Err(_) if appends && !looked && !state.calls.is_empty() => (looked, state.woken) = (true, true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Blocks until every operation of the call that ends with operation `last` has settled.
    ///
    /// # Errors
    /// Why an operation of the call failed, with the number of the first one that did, counted from 0 in the call.
    pub fn wait(&self, wal: &Wal, last: u64) -> std::result::Result<(), (u64, Error)> {
        let mut state = locked(&self.signal.state);
        loop {
            state.collect(wal, self.client);
            if state.settled >= last {
                return state.take(last).map_or(Ok(()), Err);
            }
            state = self.signal.sleep(state);
        }
    }

    /// Whether the call has settled, so that waiting for it would not block.
    pub fn is_settled(&self, wal: &Wal, last: u64) -> bool {
        let mut state = locked(&self.signal.state);
        state.collect(wal, self.client);
        state.settled >= last
    }

    /// Gives up the outcome of a call. If that call fails, the thread's next append or sync returns its failure.
    pub fn forget(&self, last: u64) {
        let mut state = locked(&self.signal.state);
        let settled = state.settled;
        if let Some(call) = state.calls.get_mut(&last) {
            call.dropped = true;
            if last <= settled && call.failed.is_none() {
                state.calls.remove(&last);
            } else {
                state.dropped = true;
            }
        }
    }

    /// Takes the failure of a call whose outcome was given up.
    pub fn dropped_failure(&self, wal: &Wal) -> Option<Error> {
        let mut state = locked(&self.signal.state);
        state.collect(wal, self.client);
        state.dropped_failure()
    }

    /// Whether no call uses the lane and no outcome is left in it.
    fn is_free(&self, wal: &Wal) -> bool {
        let mut state = locked(&self.signal.state);
        state.collect(wal, self.client);
        state.calls.is_empty() && self.users.load(Ordering::Acquire) == 0
    }
}

/// A lane that no other thread is given while this value exists.
pub struct HeldLane(pub Arc<Lane>);

impl Drop for HeldLane {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

thread_local! {
    /// Ends with its thread.
    static LIFE: Arc<()> = Arc::default();
}

/// The lane of a thread, and whether that thread still exists.
struct Owned {
    lane: Arc<Lane>,
    life: Weak<()>,
}

/// The lanes of a log, by thread. A lane in which nothing is left may go to another thread.
#[derive(Default)]
pub struct Lanes {
    table: Mutex<HashMap<ThreadId, Owned>>,
    /// The first failure of a dropped call whose thread has ended, for closing.
    orphaned: Mutex<Option<Error>>,
}

impl Lanes {
    /// Returns the lane of the calling thread.
    pub fn own(&self, wal: &Wal) -> HeldLane {
        let mut table = locked(&self.table);
        let thread = thread::current().id();
        let lane = match table.get(&thread) {
            Some(owned) => owned.lane.clone(),
            None => {
                let free = table.iter().find(|(_, owned)| self.is_free(wal, owned)).map(|(thread, _)| *thread);
                let lane = free.and_then(|thread| table.remove(&thread)).map_or_else(|| Arc::new(Lane::new(wal)), |owned| owned.lane);
                // A thread that is ending has no life any more.
                let life = LIFE.try_with(Arc::downgrade).unwrap_or_default();
                table.insert(thread, Owned { lane: lane.clone(), life });
                lane
            }
        };
        lane.users.fetch_add(1, Ordering::AcqRel);
        HeldLane(lane)
    }

    /// Whether the lane may go to another thread. If its thread has ended, the failures that it was not given are kept for closing.
    fn is_free(&self, wal: &Wal, owned: &Owned) -> bool {
        if owned.life.strong_count() == 0 {
            while let Some(error) = owned.lane.dropped_failure(wal) {
                locked(&self.orphaned).get_or_insert(error);
            }
        }
        owned.lane.is_free(wal)
    }

    /// Takes the failures of all calls whose outcomes were given up, of any thread, and returns the first.
    pub fn dropped_failure(&self, wal: &Wal) -> Option<Error> {
        let lanes: Vec<_> = locked(&self.table).values().map(|owned| owned.lane.clone()).collect();
        let mut first = locked(&self.orphaned).take();
        for lane in lanes {
            while let Some(error) = lane.dropped_failure(wal) {
                first.get_or_insert(error);
            }
        }
        first
    }

    /// Returns the clients of all lanes.
    pub fn clients(&self) -> Vec<usize> {
        locked(&self.table).values().map(|owned| owned.lane.client).collect()
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        locked(&self.table).len()
    }
}
