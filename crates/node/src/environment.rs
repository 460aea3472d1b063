//! What JavaScript can ask of its environment: opening logs, readers, jobs, and collecting results. `calls` has what is called per record.

use crate::backup::Backup;
use crate::calls;
use crate::completion::{completion, Completion, Outcome};
use crate::cursor::{start, CursorData};
use crate::error::{invalid, panicked, ErrorData, FailureData};
use crate::events::EventsData;
use crate::options::{last_position, open_options, OpenOptions, ReaderOptions};
use crate::reader::{Reader, Resumed};
use crate::reports::{RecoveryData, StatsData};
use crate::salvage::Salvage;
use crate::state::EnvironmentState;
use crate::verify::Watcher;
use crate::writes::Writes;
use forelog::{Code, Error, StartPosition, Wal};
use napi::bindgen_prelude::{Function, JsValue, Object, Uint8Array};
use napi::Env;
use napi_derive::napi;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::rc::Rc;

/// One JavaScript environment: the main thread or a worker.
#[napi]
pub struct Environment {
    state: Rc<EnvironmentState>,
}

#[napi]
impl Environment {
    /// `wake` is called without arguments when a log has settlements or a request has completed, and then not again until `rearm()`.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> napi::Result<Self> {
        let wake = wake.build_threadsafe_function::<()>().weak::<true>().build()?;
        let state = Rc::new(EnvironmentState::new(env.raw(), wake));
        // Added after the threadsafe function, so that it runs before Node releases that.
        env.add_env_cleanup_hook(state.clone(), |state| {
            let _ = catch_unwind(AssertUnwindSafe(|| state.end()));
        })?;
        Ok(Environment { state })
    }

    /// Returns an object with the raw functions.
    #[napi(catch_unwind, ts_return_type = "object")]
    pub fn calls<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        calls::calls(env, &self.state)
    }

    /// Makes this thread submit the writes of logs that are opened from now on, if the system allows it. `turn` is called without arguments when
    /// the disk is done with some. Only for Node.js: its event loop waits for the disk. Returns the kernel's interface that is used.
    #[napi(catch_unwind)]
    pub fn submit_writes(&self, env: Env, turn: Function<'_, (), ()>) -> Option<String> {
        let queue = forelog::write_queue()?;
        let name = queue.name().to_owned();
        let writes = Writes::new(env.raw(), turn.raw(), queue, &self.state)?;
        self.state.writes.set(writes).is_ok().then_some(name)
    }

    /// Returns the memory of the record buffer: its words, and then its arenas.
    #[napi(catch_unwind)]
    pub fn record_buffer(&self) -> Vec<Uint8Array> {
        self.state.record_buffer.to_js()
    }

    /// Whether this side sees what JavaScript has written to that memory.
    #[napi(catch_unwind)]
    pub fn shares_record_buffer(&self) -> bool {
        self.state.record_buffer.is_shared()
    }

    /// Opens a log and returns the number of the request. Stopping the watcher ends the opening.
    #[napi(catch_unwind)]
    pub fn open(&self, dir: String, options: OpenOptions, watcher: Option<&Watcher>) -> f64 {
        let (log, notify) = self.state.logs.reserve(&self.state.shared);
        let watch = watcher.map_or_else(Default::default, |watcher| watcher.watch.clone());
        self.state.shared.request(move || {
            let open = || Wal::open_with_progress(&PathBuf::from(dir), open_options(&options)?, notify, &watch);
            let opened = catch_unwind(AssertUnwindSafe(open));
            Outcome::Opened(log, opened.unwrap_or_else(|panic| Err(panicked(panic).during("open"))))
        })
    }

    /// Closes a log and returns the number of the request. Its settlements can be collected until `forget()`.
    #[napi(catch_unwind)]
    pub fn close(&self, log: u32) -> f64 {
        let wal = self.state.logs.get(log);
        self.state.shared.request(move || {
            let closed = catch_unwind(AssertUnwindSafe(|| wal.map_or(Ok(()), |wal| wal.close())));
            Outcome::Closed(closed.unwrap_or_else(|panic| Err(panicked(panic).during("close"))))
        })
    }

    /// Verifies the log in a directory, without a handle on it, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn verify(&self, dir: String, watcher: &Watcher) -> f64 {
        let watch = watcher.watch.clone();
        self.state.shared.long_request(move || {
            let verified = catch_unwind(AssertUnwindSafe(|| forelog::verify(&PathBuf::from(dir), &watch)));
            Outcome::Verified(verified.unwrap_or_else(|panic| Err(panicked(panic).during("verify"))))
        })
    }

    /// Reports the state of the log in a directory, without a handle on it, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn stat(&self, dir: String) -> f64 {
        self.state.shared.request(move || {
            let looked = catch_unwind(AssertUnwindSafe(|| forelog::stat(&PathBuf::from(dir))));
            Outcome::Stat(looked.unwrap_or_else(|panic| Err(panicked(panic).during("stat"))))
        })
    }

    /// Verifies the sealed segments of an open log, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn scrub(&self, log: u32, watcher: &Watcher) -> f64 {
        let (wal, watch) = (self.state.logs.get(log), watcher.watch.clone());
        self.state.shared.long_request(move || {
            let closed = || Err(Error::new(Code::Closed, "the log is closed").during("scrub"));
            let verified = catch_unwind(AssertUnwindSafe(|| wal.map_or_else(closed, |wal| wal.scrub(&watch))));
            Outcome::Verified(verified.unwrap_or_else(|panic| Err(panicked(panic).during("scrub"))))
        })
    }

    /// Finds the first record that was committed at a time, in ms since 1970, or later, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn position_at(&self, log: u32, time: f64) -> f64 {
        let wal = self.state.logs.get(log);
        self.state.shared.request(move || {
            let closed = || Err(Error::new(Code::Closed, "the log is closed"));
            let found = catch_unwind(AssertUnwindSafe(|| wal.map_or_else(closed, |wal| wal.position_at(time as u64))));
            let found = found.unwrap_or_else(|panic| Err(panicked(panic)));
            Outcome::Position(found.map_err(|error| error.during("read")))
        })
    }

    /// Frees the number of a closed log.
    #[napi(catch_unwind)]
    pub fn forget(&self, log: u32) {
        self.state.logs.free(log);
    }

    /// Creates a reader of the records from `from` to `to`, inclusive. It begins at `from`: `START_FIRST`,
    /// `START_END` or a position. Returns nothing if it was refused: see `refusal()`.
    #[napi(catch_unwind)]
    pub fn reader(&self, log: u32, from: f64, to: f64, options: ReaderOptions) -> Option<Reader> {
        let options = options.reading(start(from), last_position(to));
        let reader = self.state.logs.with(log, |wal| wal.read(options));
        self.state.value_or_refuse(reader).map(|reader| Reader::new(self.state.clone(), reader))
    }

    /// Creates a reader that replaces `replaced` after a truncation. It begins at `next`, or if that is 0 where `replaced` began. Returns nothing
    /// if it was refused: see `refusal()`.
    #[napi(catch_unwind)]
    pub fn resume(&self, log: u32, replaced: &Reader, next: f64, to: f64, options: ReaderOptions) -> Option<Resumed> {
        let next = Some(next as u64).filter(|next| *next > 0);
        let options = options.reading(StartPosition::First, last_position(to));
        let resumed = self.state.logs.with(log, |wal| wal.resume(replaced.position(), next, options));
        let (kept, reader) = self.state.value_or_refuse(resumed)?;
        Some(Resumed { kept: kept as f64, reader: Reader::new(self.state.clone(), reader) })
    }

    /// Creates a backup of a log into a directory. Returns nothing if the log is closed.
    #[napi(catch_unwind)]
    pub fn backup(&self, log: u32, dir: String) -> Option<Backup> {
        Some(Backup::new(self.state.shared.clone(), self.state.logs.get(log)?, dir))
    }

    /// Creates a salvage of the log in the directory `from`, without a handle on it, into a new log in `to`. It does nothing before its
    /// first step.
    #[napi(catch_unwind)]
    pub fn salvage(&self, from: String, to: String, allow_unsafe: bool) -> Salvage {
        Salvage::new(self.state.shared.clone(), from, to, allow_unsafe)
    }

    /// Opens a cursor of a log and returns the number of the request. If there is none of that name, it is created at `from`.
    #[napi(catch_unwind)]
    pub fn cursor(&self, log: u32, name: String, from: f64) -> f64 {
        let id = self.state.shared.number();
        let shared = self.state.shared.clone();
        match self.state.logs.get(log) {
            Some(wal) => wal.cursor(&name, start(from), move |made| shared.complete(id, Outcome::Cursor(made))),
            None => shared.complete(id, Outcome::Cursor(Err(Error::new(Code::Closed, "the log is closed").during("cursor")))),
        }
        id
    }

    /// Returns all cursors of a log, or nothing if they cannot be read: see `refusal()`.
    #[napi(catch_unwind)]
    pub fn cursors(&self, log: u32) -> Option<Vec<CursorData>> {
        let all = self.state.value_or_refuse(self.state.logs.with(log, |wal| wal.cursors()))?;
        Some(all.into_iter().map(|(name, at)| CursorData { name: name.to_string(), position: at as f64 }).collect())
    }

    /// Takes the outcomes that have arrived.
    #[napi(catch_unwind)]
    pub fn completions(&self) -> Vec<Completion> {
        let outcomes = self.state.shared.take_completions();
        outcomes.into_iter().map(|(request, outcome)| completion(&self.state, request, outcome)).collect()
    }

    /// Returns why the last raw call, or a call such as `reader()`, was refused.
    #[napi(catch_unwind)]
    pub fn refusal(&self) -> ErrorData {
        let refusal = self.state.take_refusal();
        ErrorData::from(refusal.unwrap_or_else(|| invalid("internal error: no call was refused")))
    }

    /// Returns the failure that `settled()` announced with a negative number.
    #[napi(catch_unwind)]
    pub fn failure(&self) -> Option<FailureData> {
        let failure = self.state.take_failure();
        failure.map(|(up_to, error)| FailureData { up_to: up_to as f64, error: error.into() })
    }

    /// Makes the log record events of these kinds, and no others, for this environment. The kinds are `EVENT_…` bits of `wire`.
    #[napi(catch_unwind)]
    pub fn listen(&self, log: u32, kinds: u32) {
        if let Some(wal) = self.state.logs.get(log) {
            wal.listen(kinds);
        }
    }

    /// Takes the events that the log has recorded since the last call.
    #[napi(catch_unwind)]
    pub fn events(&self, log: u32) -> Option<EventsData> {
        self.state.logs.get(log).map(|wal| wal.events().into())
    }

    #[napi(catch_unwind)]
    pub fn stats(&self, log: u32) -> Option<StatsData> {
        self.state.logs.get(log).map(|wal| StatsData::new(wal.stats(), wal.recovery()))
    }

    #[napi(catch_unwind)]
    pub fn recovery(&self, log: u32) -> Option<RecoveryData> {
        self.state.logs.get(log).map(|wal| wal.recovery().into())
    }

    /// Ends the environment at once, for a process about to exit. Blocks until everything accepted is committed.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.state.end();
    }
}
