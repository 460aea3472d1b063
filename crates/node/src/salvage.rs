//! A salvage in steps, each of which is a job on the engine's pool.

use crate::completion::Outcome;
use crate::error::panicked;
use crate::reports::HoleData;
use crate::wake::WakeState;
use forelog::{Code, Error, Salvage as Steps, Salvaged};
use napi_derive::napi;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Progress of a salvage, and its report when it is done.
#[napi(object, object_from_js = false)]
pub struct SalvageData {
    /// Whether the new log is complete and durable.
    pub done: bool,
    pub verdict: String,
    pub first_position: f64,
    pub next_position: f64,
    pub records: f64,
    pub segments: f64,
    /// Empty until the salvage is done.
    pub holes: Vec<HoleData>,
    pub cursors: f64,
    pub cursors_lost: bool,
    pub done_bytes: f64,
    pub total_bytes: f64,
}

impl SalvageData {
    fn new(report: &Salvaged, done: bool) -> Self {
        // There may be many holes, and they are only used in the final report.
        let holes = if done { report.holes.iter().cloned().map(Into::into).collect() } else { Vec::new() };
        SalvageData {
            done,
            verdict: report.verdict.to_owned(),
            first_position: report.first_position as f64,
            next_position: report.next_position as f64,
            records: report.records as f64,
            segments: report.segments as f64,
            holes,
            cursors: report.cursors as f64,
            cursors_lost: report.cursors_lost,
            done_bytes: report.done_bytes as f64,
            total_bytes: report.total_bytes as f64,
        }
    }
}

enum State {
    Planned { from: PathBuf, to: PathBuf, allow_unsafe: bool },
    Running(Box<Steps>),
    Ended,
}

impl State {
    fn step(&mut self) -> forelog::Result<SalvageData> {
        let mut steps = match std::mem::replace(self, State::Ended) {
            State::Planned { from, to, allow_unsafe } => Box::new(forelog::salvage(&from, &to, allow_unsafe)?),
            State::Running(steps) => steps,
            State::Ended => return Err(Error::new(Code::Closed, "the salvage has ended").during("salvage")),
        };
        // An error drops `steps`, which removes what it has written.
        steps.step()?;
        let done = steps.is_done();
        let data = SalvageData::new(steps.report(), done);
        if !done {
            *self = State::Running(steps);
        }
        Ok(data)
    }
}

/// A salvage of a damaged log into a new one. Takes one request at a time.
#[napi]
pub struct Salvage {
    shared: Arc<WakeState>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Salvage {
    pub fn new(shared: Arc<WakeState>, from: String, to: String, allow_unsafe: bool) -> Self {
        let planned = State::Planned { from: PathBuf::from(from), to: PathBuf::from(to), allow_unsafe };
        Salvage { shared, state: Arc::new(Mutex::new(planned)) }
    }
}

#[napi]
impl Salvage {
    /// Runs one step and returns the number of the request. A step that fails leaves nothing of the new log.
    #[napi(catch_unwind)]
    pub fn step(&self) -> f64 {
        let state = self.state.clone();
        self.shared.request(move || {
            let stepped = catch_unwind(AssertUnwindSafe(|| lock(&state).step()));
            Outcome::Salvaged(stepped.unwrap_or_else(|panic| Err(panicked(panic).during("salvage"))))
        })
    }

    /// Aborts the salvage, removes what it has written of the new log, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn abandon(&self) -> f64 {
        let state = self.state.clone();
        self.shared.request(move || {
            let abandoned = std::mem::replace(&mut *lock(&state), State::Ended);
            drop(abandoned);
            Outcome::Closed(Ok(()))
        })
    }
}
