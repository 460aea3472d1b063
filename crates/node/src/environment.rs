//! State of one JavaScript environment: the main thread or a worker.
//!
//! Other threads reach it in one way only: they leave their work (a log with settlements, the outcome of a request) in [`Shared`] and wake
//! the environment. The wake is level-triggered and carries no data. Until JavaScript rearms it, further wakes cost one atomic swap.

use crate::backup::{Backup, BackupData};
use crate::convert::{open_options, OpenOptions, RecoveryData, StandingData, StatsData};
use crate::cursor::{start, Cursor, CursorData};
use crate::error::{invalid, panicked, ErrorData, FailureData};
use crate::events::EventsData;
use crate::reader::{BlockData, Reader};
use crate::salvage::{Salvage, SalvageData};
use crate::stage::Stage;
use crate::verify::{VerificationData, Watcher};
use crate::wal;
use forelog::{Batch, Block, Code, Error, Notify, ReadOptions, Standing, StartPosition, Verification, Wal};
use napi::bindgen_prelude::{Function, Object, Uint8Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{sys, Env, Status};
use napi_derive::napi;
use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threadsafe function without arguments. It is weak, so that it alone does not keep the process alive.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true>;

/// The result of an asynchronous request.
pub enum Outcome {
    Opened(u32, forelog::Result<Wal>),
    Closed(forelog::Result<()>),
    Backup(forelog::Result<BackupData>),
    Salvaged(forelog::Result<SalvageData>),
    /// The next block, and whether it takes a follower to the end of what is acknowledged.
    Read(forelog::Result<Option<Block>>, bool),
    Verified(forelog::Result<Verification>),
    Stat(forelog::Result<Standing>),
    Cursor(forelog::Result<forelog::NamedCursor>),
}

/// The part of an environment that other threads hold. It may outlive the environment.
pub struct Shared {
    /// `None` once the environment has ended. After that nothing may be called, and outcomes are dropped.
    wake: Mutex<Option<Wake>>,
    woken: AtomicBool,
    news: Mutex<Vec<u32>>,
    completions: Mutex<Vec<(f64, Outcome)>>,
    requests: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            if let Some(wake) = lock(&self.wake).as_ref() {
                wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
            }
        }
    }

    /// Runs blocking work on the engine's pool, and returns the number of the request that its completion will carry.
    pub fn request(self: &Arc<Self>, work: impl FnOnce() -> Outcome + Send + 'static) -> f64 {
        let id = self.number();
        let shared = self.clone();
        forelog::pool::spawn(move || shared.complete(id, work()));
        id
    }

    /// Runs work that may take hours on a thread of its own, and returns the number of the request.
    pub fn long_request(self: &Arc<Self>, work: impl FnOnce() -> Outcome + Send + 'static) -> f64 {
        let id = self.requests.fetch_add(1, Ordering::Relaxed) as f64;
        let shared = self.clone();
        let spawned = std::thread::Builder::new().name("forelog-verify".into()).spawn(move || shared.complete(id, work()));
        if let Err(error) = spawned {
            let error = Error::new(Code::Io, format!("no thread to verify on: {error}"));
            self.complete(id, Outcome::Verified(Err(error.during("verify"))));
        }
        id
    }

    /// Returns a number for a request that the caller will complete.
    pub fn number(&self) -> f64 {
        self.requests.fetch_add(1, Ordering::Relaxed) as f64
    }

    pub fn complete(&self, id: f64, outcome: Outcome) {
        // If the environment has ended, the outcome is dropped here, on the pool's thread: a log that has just been opened is closed.
        let mut late = Some(outcome);
        {
            // Held during the push, so that the environment cannot end between the check and the push.
            let wake = lock(&self.wake);
            if let (Some(_), Some(outcome)) = (wake.as_ref(), late.take_if(|_| wake.is_some())) {
                lock(&self.completions).push((id, outcome));
            }
        }
        drop(late);
        self.wake();
    }

    /// Enables the next wake and returns the number of completions. Call this before collecting: what arrives later wakes again.
    pub fn rearm(&self) -> usize {
        self.woken.store(false, Ordering::SeqCst);
        lock(&self.completions).len()
    }
}

/// Called by the engine when operations of one log have settled.
struct LogNotify {
    shared: Arc<Shared>,
    log: u32,
    listed: AtomicBool,
}

impl Notify for LogNotify {
    fn wake(&self) {
        if !self.listed.swap(true, Ordering::SeqCst) {
            lock(&self.shared.news).push(self.log);
        }
        self.shared.wake();
    }
}

/// A log, from the request to open it until it is forgotten. JavaScript refers to it by its index.
struct Slot {
    notify: Arc<LogNotify>,
    wal: Option<Arc<Wal>>,
}

/// The part of an environment that only its own thread touches.
pub struct Host {
    env: sys::napi_env,
    /// Raw handle of the threadsafe function, for ref and unref without taking `shared.wake`: a thread that wakes this one holds that lock.
    /// `None` after `end`.
    held: Cell<Option<sys::napi_threadsafe_function>>,
    pub shared: Arc<Shared>,
    slots: RefCell<Vec<Option<Slot>>>,
    pub batch: RefCell<Batch>,
    pub stage: Rc<Stage>,
    refusal: RefCell<Option<Error>>,
    failure: RefCell<Option<(u64, Error)>>,
}

impl Host {
    /// Stores why a raw call was refused, until `Environment.refusal()` takes it.
    pub fn refuse(&self, error: Error) {
        *self.refusal.borrow_mut() = Some(error);
    }

    /// Returns the value of a call, or stores why it was refused.
    fn answered<T>(&self, answer: Result<T, Error>) -> Option<T> {
        answer.map_err(|error| self.refuse(error)).ok()
    }

    pub fn fail(&self, up_to: u64, error: Error) {
        *self.failure.borrow_mut() = Some((up_to, error));
    }

    pub fn with_log<T>(&self, log: u32, call: impl FnOnce(&Wal) -> forelog::Result<T>) -> Result<T, Error> {
        match self.slots.borrow().get(log as usize) {
            Some(Some(Slot { wal: Some(wal), .. })) => call(wal),
            _ => Err(Error::new(Code::Closed, "the log is closed")),
        }
    }

    /// Appends all staged records and clears the stage, or appends none of them.
    pub fn append_staged(&self) -> Result<u64, Error> {
        let records = self.stage.records();
        let first = self.with_log(self.stage.log(), |wal| wal.append_all(records, self.stage.durable()))?;
        self.stage.clear();
        Ok(first)
    }

    pub fn next_news(&self) -> Option<u32> {
        let log = lock(&self.shared.news).pop()?;
        if let Some(Some(slot)) = self.slots.borrow().get(log as usize) {
            slot.notify.listed.store(false, Ordering::SeqCst);
        }
        Some(log)
    }

    /// Sets whether the wake keeps the event loop alive. Returns false once the environment has ended.
    pub fn hold(&self, held: bool) -> bool {
        let Some(wake) = self.held.get() else { return false };
        // SAFETY: this is the environment's own thread, as for every raw call. The function is released only by `end`, which first takes it
        // from here.
        let status = unsafe {
            if held {
                sys::napi_ref_threadsafe_function(self.env, wake)
            } else {
                sys::napi_unref_threadsafe_function(self.env, wake)
            }
        };
        status == sys::Status::napi_ok
    }

    fn reserve(&self) -> (u32, Arc<LogNotify>) {
        let mut slots = self.slots.borrow_mut();
        let index = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        let notify = Arc::new(LogNotify { shared: self.shared.clone(), log: index as u32, listed: AtomicBool::new(false) });
        let slot = Some(Slot { notify: notify.clone(), wal: None });
        match slots.get_mut(index) {
            Some(free) => *free = slot,
            None => slots.push(slot),
        }
        (index as u32, notify)
    }

    fn forget(&self, log: u32) {
        let slot = self.slots.borrow_mut().get_mut(log as usize).and_then(Option::take);
        drop(slot);
    }

    fn opened(&self, log: u32, wal: Wal) {
        if let Some(Some(slot)) = self.slots.borrow_mut().get_mut(log as usize) {
            slot.wal = Some(Arc::new(wal));
        }
    }

    fn wal(&self, log: u32) -> Option<Arc<Wal>> {
        self.slots.borrow().get(log as usize)?.as_ref()?.wal.clone()
    }

    /// Ends the environment: commits everything accepted, on this thread, without settling any promise. May be called again.
    fn end(&self) {
        self.held.set(None);
        let wake = lock(&self.shared.wake).take();
        drop(wake);
        // Staged records have been appended as far as their callers know; only the end of the turn was not reached.
        let _ = self.append_staged();
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        for wal in slots.into_iter().flatten().filter_map(|slot| slot.wal) {
            // A close in progress on the pool also holds the log. This waits for it, while a drop would not.
            let _ = wal.close();
        }
        let completions = std::mem::take(&mut *lock(&self.shared.completions));
        drop(completions);
    }
}

/// The outcome of a request: `error`, or the field that was requested.
#[napi(object, object_from_js = false)]
pub struct Completion {
    pub request: f64,
    pub error: Option<ErrorData>,
    /// Number of the opened log.
    pub log: Option<u32>,
    /// Identity of the log: equal for all handles on one log in this process.
    pub identity: Option<f64>,
    pub block: Option<BlockData>,
    pub backup: Option<BackupData>,
    pub salvage: Option<SalvageData>,
    /// Whether the block takes a follower to the end of what is acknowledged, so that the next one has to be waited for.
    pub caught_up: Option<bool>,
    pub verification: Option<VerificationData>,
    pub standing: Option<StandingData>,
    pub cursor: Option<Cursor>,
}

/// A reader that replaces another one after a truncation.
#[napi(object, object_from_js = false)]
pub struct Resumed {
    /// Last position that all truncations so far have kept.
    pub kept: f64,
    pub reader: Reader,
}

/// Options of a reader.
#[napi(object, object_to_js = false)]
pub struct Manner {
    /// Maximum number of records to return; may be infinite.
    pub most: f64,
    /// Wait for new records at the end.
    pub follow: bool,
    /// Continue after damage.
    pub salvage: bool,
    /// Fill in what `BlockData` describes for detailed readers.
    pub detailed: bool,
}

impl Manner {
    fn options(&self, from: StartPosition, to: u64) -> ReadOptions {
        let Manner { most, follow, salvage, detailed } = *self;
        ReadOptions { from, to, max_records: last(most), follow, salvage, detailed }
    }
}

/// Converts a position or a number that may be infinite.
fn last(number: f64) -> u64 {
    if number.is_finite() {
        number as u64
    } else {
        u64::MAX
    }
}

#[napi]
pub struct Environment {
    host: Rc<Host>,
}

#[napi]
impl Environment {
    /// `wake` is called without arguments when a log has settlements or a request has completed, and then not again until `rearm()`.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> napi::Result<Self> {
        let wake = wake.build_threadsafe_function::<()>().weak::<true>().build()?;
        let held = Cell::new(Some(wake.raw()));
        let shared = Arc::new(Shared {
            wake: Mutex::new(Some(wake)),
            woken: AtomicBool::new(false),
            news: Mutex::new(Vec::new()),
            completions: Mutex::new(Vec::new()),
            requests: AtomicU64::new(0),
        });
        let host = Rc::new(Host {
            env: env.raw(),
            held,
            shared,
            slots: RefCell::new(Vec::new()),
            batch: RefCell::new(Batch::new()),
            stage: Stage::new(),
            refusal: RefCell::new(None),
            failure: RefCell::new(None),
        });
        // Added after the threadsafe function, so that it runs before Node releases that.
        env.add_env_cleanup_hook(host.clone(), |host| {
            let _ = catch_unwind(AssertUnwindSafe(|| host.end()));
        })?;
        Ok(Environment { host })
    }

    /// Returns an object with the raw functions.
    #[napi(catch_unwind, ts_return_type = "object")]
    pub fn calls<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        wal::calls(env, &self.host)
    }

    /// Returns the memory in which small records are staged.
    #[napi(catch_unwind)]
    pub fn stage(&self) -> Uint8Array {
        self.host.stage.to_js()
    }

    /// Whether this side sees what JavaScript has written to that memory.
    #[napi(catch_unwind)]
    pub fn shares_stage(&self) -> bool {
        self.host.stage.is_shared()
    }

    /// Opens a log and returns the number of the request. Stopping the watcher ends the opening.
    #[napi(catch_unwind)]
    pub fn open(&self, dir: String, options: OpenOptions, watcher: Option<&Watcher>) -> f64 {
        let (log, notify) = self.host.reserve();
        let watch = watcher.map_or_else(Default::default, |watcher| watcher.watch.clone());
        self.host.shared.request(move || {
            let open = || Wal::open_with_progress(&PathBuf::from(dir), open_options(&options)?, notify, &watch);
            let opened = catch_unwind(AssertUnwindSafe(open));
            Outcome::Opened(log, opened.unwrap_or_else(|panic| Err(panicked(panic).during("open"))))
        })
    }

    /// Closes a log and returns the number of the request. Its settlements can be collected until `forget()`.
    #[napi(catch_unwind)]
    pub fn close(&self, log: u32) -> f64 {
        let wal = self.host.wal(log);
        self.host.shared.request(move || {
            let closed = catch_unwind(AssertUnwindSafe(|| wal.map_or(Ok(()), |wal| wal.close())));
            Outcome::Closed(closed.unwrap_or_else(|panic| Err(panicked(panic).during("close"))))
        })
    }

    /// Verifies the log in a directory, without a handle on it, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn verify(&self, dir: String, watcher: &Watcher) -> f64 {
        let watch = watcher.watch.clone();
        self.host.shared.long_request(move || {
            let verified = catch_unwind(AssertUnwindSafe(|| forelog::verify(&PathBuf::from(dir), &watch)));
            Outcome::Verified(verified.unwrap_or_else(|panic| Err(panicked(panic).during("verify"))))
        })
    }

    /// Reports the state of the log in a directory, without a handle on it, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn stat(&self, dir: String) -> f64 {
        self.host.shared.request(move || {
            let looked = catch_unwind(AssertUnwindSafe(|| forelog::stat(&PathBuf::from(dir))));
            Outcome::Stat(looked.unwrap_or_else(|panic| Err(panicked(panic).during("stat"))))
        })
    }

    /// Verifies the sealed segments of an open log, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn scrub(&self, log: u32, watcher: &Watcher) -> f64 {
        let (wal, watch) = (self.host.wal(log), watcher.watch.clone());
        self.host.shared.long_request(move || {
            let closed = || Err(Error::new(Code::Closed, "the log is closed").during("scrub"));
            let verified = catch_unwind(AssertUnwindSafe(|| wal.map_or_else(closed, |wal| wal.scrub(&watch))));
            Outcome::Verified(verified.unwrap_or_else(|panic| Err(panicked(panic).during("scrub"))))
        })
    }

    /// Frees the number of a closed log.
    #[napi(catch_unwind)]
    pub fn forget(&self, log: u32) {
        self.host.forget(log);
    }

    /// Creates a reader of the records from `from` to `to`, inclusive. It begins at the first position if `from` is 0, after the last
    /// acknowledged one if it is negative, and otherwise at this position. Returns nothing if it was refused: see `refusal()`.
    #[napi(catch_unwind)]
    pub fn reader(&self, log: u32, from: f64, to: f64, manner: Manner) -> Option<Reader> {
        let reader = self.host.with_log(log, |wal| wal.read(manner.options(start(from), last(to))));
        self.host.answered(reader).map(|reader| Reader::new(self.host.shared.clone(), reader))
    }

    /// Creates a reader that replaces `left` after a truncation. It begins at `next`, or if that is 0 where `left` began. Returns nothing
    /// if it was refused: see `refusal()`.
    #[napi(catch_unwind)]
    pub fn resume(&self, log: u32, left: &Reader, next: f64, to: f64, manner: Manner) -> Option<Resumed> {
        let next = Some(next as u64).filter(|next| *next > 0);
        let resumed = self.host.with_log(log, |wal| wal.resume(left.place(), next, manner.options(StartPosition::First, last(to))));
        let (kept, reader) = self.host.answered(resumed)?;
        Some(Resumed { kept: kept as f64, reader: Reader::new(self.host.shared.clone(), reader) })
    }

    /// Creates a backup of a log into a directory. Returns nothing if the log is closed.
    #[napi(catch_unwind)]
    pub fn backup(&self, log: u32, dir: String) -> Option<Backup> {
        Some(Backup::new(self.host.shared.clone(), self.host.wal(log)?, dir))
    }

    /// Creates a salvage of the log in the directory `from`, without a handle on it, into a new log in `to`. It does nothing before its
    /// first step.
    #[napi(catch_unwind)]
    pub fn salvage(&self, from: String, to: String, allow_unsafe: bool) -> Salvage {
        Salvage::new(self.host.shared.clone(), from, to, allow_unsafe)
    }

    /// Opens a cursor of a log and returns the number of the request. If there is none of that name, it is created at `from`.
    #[napi(catch_unwind)]
    pub fn cursor(&self, log: u32, name: String, from: f64) -> f64 {
        let id = self.host.shared.number();
        let shared = self.host.shared.clone();
        match self.host.wal(log) {
            Some(wal) => wal.cursor(&name, start(from), move |made| shared.complete(id, Outcome::Cursor(made))),
            None => shared.complete(id, Outcome::Cursor(Err(Error::new(Code::Closed, "the log is closed").during("cursor")))),
        }
        id
    }

    /// Returns all cursors of a log, or nothing if they cannot be read: see `refusal()`.
    #[napi(catch_unwind)]
    pub fn cursors(&self, log: u32) -> Option<Vec<CursorData>> {
        match self.host.with_log(log, |wal| wal.cursors()) {
            Ok(all) => Some(all.into_iter().map(|(name, at)| CursorData { name: name.to_string(), position: at as f64 }).collect()),
            Err(error) => {
                self.host.refuse(error);
                None
            }
        }
    }

    /// Takes the outcomes that have arrived.
    #[napi(catch_unwind)]
    pub fn completions(&self) -> Vec<Completion> {
        let outcomes = std::mem::take(&mut *lock(&self.host.shared.completions));
        outcomes.into_iter().map(|(request, outcome)| self.completion(request, outcome)).collect()
    }

    fn completion(&self, request: f64, outcome: Outcome) -> Completion {
        let mut completion = Completion {
            request,
            error: None,
            log: None,
            identity: None,
            block: None,
            backup: None,
            salvage: None,
            caught_up: None,
            verification: None,
            standing: None,
            cursor: None,
        };
        match outcome {
            Outcome::Opened(log, Ok(wal)) => {
                completion.log = Some(log);
                completion.identity = Some(wal.identity() as f64);
                self.host.opened(log, wal);
            }
            Outcome::Opened(log, Err(error)) => {
                self.host.forget(log);
                completion.error = Some(error.into());
            }
            Outcome::Read(Ok(block), caught_up) => {
                completion.block = block.map(Into::into);
                completion.caught_up = Some(caught_up);
            }
            Outcome::Verified(Ok(found)) => completion.verification = Some(found.into()),
            Outcome::Stat(Ok(standing)) => completion.standing = Some(standing.into()),
            Outcome::Backup(Ok(backup)) => completion.backup = Some(backup),
            Outcome::Salvaged(Ok(salvage)) => completion.salvage = Some(salvage),
            Outcome::Cursor(Ok(cursor)) => completion.cursor = Some(Cursor::new(self.host.shared.clone(), cursor)),
            Outcome::Closed(Ok(())) => {}
            Outcome::Closed(Err(error))
            | Outcome::Backup(Err(error))
            | Outcome::Salvaged(Err(error))
            | Outcome::Read(Err(error), _)
            | Outcome::Verified(Err(error))
            | Outcome::Stat(Err(error))
            | Outcome::Cursor(Err(error)) => completion.error = Some(error.into()),
        }
        completion
    }

    /// Returns why the last raw call, or a call such as `reader()`, was refused.
    #[napi(catch_unwind)]
    pub fn refusal(&self) -> ErrorData {
        let refusal = self.host.refusal.borrow_mut().take();
        ErrorData::from(refusal.unwrap_or_else(|| invalid("nothing was refused")))
    }

    /// Returns the failure that `settled()` announced with a negative number.
    #[napi(catch_unwind)]
    pub fn failure(&self) -> Option<FailureData> {
        let failure = self.host.failure.borrow_mut().take();
        failure.map(|(up_to, error)| FailureData { up_to: up_to as f64, error: error.into() })
    }

    /// Makes the log record events of these kinds, and no others, for this environment. Bits: 1 append, 2 sync, 4 roll, 8 truncate, 16
    /// poisoned, 32 detached, 64 clock.
    #[napi(catch_unwind)]
    pub fn listen(&self, log: u32, kinds: u32) {
        if let Some(wal) = self.host.wal(log) {
            wal.listen(kinds);
        }
    }

    /// Takes the events that the log has recorded since the last call.
    #[napi(catch_unwind)]
    pub fn events(&self, log: u32) -> Option<EventsData> {
        self.host.wal(log).map(|wal| wal.events().into())
    }

    #[napi(catch_unwind)]
    pub fn stats(&self, log: u32) -> Option<StatsData> {
        self.host.wal(log).map(|wal| StatsData::new(wal.stats(), wal.recovery()))
    }

    #[napi(catch_unwind)]
    pub fn recovery(&self, log: u32) -> Option<RecoveryData> {
        self.host.wal(log).map(|wal| wal.recovery().into())
    }

    /// Ends the environment at once, for a process about to exit. Blocks until everything accepted is committed.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.host.end();
    }
}
