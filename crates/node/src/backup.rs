//! A backup in steps, each of which is a job on the engine's pool.

use crate::completion::Outcome;
use crate::error::panicked;
use crate::wake::WakeState;
use forelog::{Backup as Steps, Code, Error, Progress, Wal};
use napi_derive::napi;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Progress of a backup.
#[napi(object, object_from_js = false)]
pub struct BackupData {
    /// Whether the copy is complete and durable.
    pub done: bool,
    pub first_position: f64,
    pub last_position: f64,
    pub segments: f64,
    pub total_segments: f64,
    pub bytes: f64,
    pub total_bytes: f64,
    pub linked: f64,
    pub cloned: f64,
    pub copied: f64,
}

impl BackupData {
    fn new(progress: Progress, done: bool) -> Self {
        BackupData {
            done,
            first_position: progress.first_position as f64,
            last_position: progress.last_position as f64,
            segments: progress.segments as f64,
            total_segments: progress.total_segments as f64,
            bytes: progress.bytes as f64,
            total_bytes: progress.total_bytes as f64,
            linked: progress.linked as f64,
            cloned: progress.cloned as f64,
            copied: progress.copied as f64,
        }
    }
}

enum State {
    Planned(Arc<Wal>, PathBuf),
    Running(Box<Steps>),
    Ended,
}

impl State {
    fn step(&mut self) -> forelog::Result<BackupData> {
        let mut steps = match std::mem::replace(self, State::Ended) {
            State::Planned(wal, dir) => Box::new(wal.backup(&dir)?),
            State::Running(steps) => steps,
            State::Ended => return Err(Error::new(Code::Closed, "the backup has ended").during("backup")),
        };
        // An error drops `steps`, which removes what it has copied.
        let progress = steps.step()?;
        let done = steps.is_done();
        if !done {
            *self = State::Running(steps);
        }
        Ok(BackupData::new(progress, done))
    }
}

/// A backup of a log into a directory. Takes one request at a time.
#[napi]
pub struct Backup {
    shared: Arc<WakeState>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backup {
    pub fn new(shared: Arc<WakeState>, wal: Arc<Wal>, dir: String) -> Self {
        Backup { shared, state: Arc::new(Mutex::new(State::Planned(wal, PathBuf::from(dir)))) }
    }
}

#[napi]
impl Backup {
    /// Runs one step and returns the number of the request. A step that fails leaves nothing of the backup.
    #[napi(catch_unwind)]
    pub fn step(&self) -> f64 {
        let state = self.state.clone();
        self.shared.request(move || {
            let stepped = catch_unwind(AssertUnwindSafe(|| lock(&state).step()));
            Outcome::Backup(stepped.unwrap_or_else(|panic| Err(panicked(panic).during("backup"))))
        })
    }

    /// Aborts the backup, removes what it has copied, and returns the number of the request.
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
