//! Group commit around a log for one writer: what arrives while one commit is under way becomes the next.

use crate::{Log, Result};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub struct Grouped<L> {
    log: L,
    state: Mutex<State>,
    committed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Vec<u8>>,
    /// The number of the group that is being collected, and of the last one that is durable.
    collecting: u64,
    durable: u64,
    is_committing: bool,
    failure: Option<String>,
}

impl<L: Log> Grouped<L> {
    pub fn new(log: L) -> Grouped<L> {
        Grouped { log, state: Mutex::new(State { collecting: 1, ..State::default() }), committed: Condvar::new() }
    }

    /// The first thread that finds no commit under way makes one, for all that wait.
    pub fn append(&self, value: &[u8]) -> Result<()> {
        let mut state = self.lock();
        state.waiting.push(value.to_vec());
        let group = state.collecting;
        while state.durable < group && state.failure.is_none() {
            if state.is_committing {
                state = self.committed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_committing = true;
            drop(state);
            // The threads that the commit before has woken come along, instead of waiting for the next.
            std::thread::yield_now();
            state = self.lock();
            state.collecting += 1;
            let values = std::mem::take(&mut state.waiting);
            drop(state);
            let result = self.log.append_batch(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
            state = self.lock();
            state.is_committing = false;
            match result {
                Ok(()) => state.durable = group,
                Err(error) => state.failure = Some(error.to_string()),
            }
            self.committed.notify_all();
        }
        state.failure.as_ref().map_or(Ok(()), |failure| Err(failure.clone().into()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
