//! One JavaScript environment: the main thread's or a worker's.
//!
//! Other threads reach it in one way only. They leave what they have (a log with news, the outcome of a request) in [`Shared`] and wake it.
//! The wake is level-triggered and carries no data: until JavaScript rearms it, further wakes cost one atomic swap.

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
use forelog::{Batch, Block, Code, Error, Notify, Standing, Verification, Wal};
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

/// Called without arguments; weak, so that it alone does not keep the process alive.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true>;

/// What a request has come to.
pub enum Outcome {
    Opened(u32, forelog::Result<Wal>),
    Closed(forelog::Result<()>),
    Backup(forelog::Result<BackupData>),
    Salvaged(forelog::Result<SalvageData>),
    /// And whether a follower has been given everything there is.
    Read(forelog::Result<Option<Block>>, bool),
    Verified(forelog::Result<Verification>),
    Stat(forelog::Result<Standing>),
    Cursor(forelog::Result<forelog::Cursor>),
}

/// The part of an environment that other threads hold. It may outlive the environment.
pub struct Shared {
    /// `None` once the environment has ended: nothing may be called then, and nothing is kept.
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

    /// Runs blocking work on the engine's pool; gives the number under which its completion will appear.
    pub fn request(self: &Arc<Self>, work: impl FnOnce() -> Outcome + Send + 'static) -> f64 {
        let id = self.number();
        let shared = self.clone();
        forelog::pool::spawn(move || shared.complete(id, work()));
        id
    }

    /// Runs work that may take hours on a thread of its own.
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

    /// A number for a request that will be completed by whoever serves it.
    pub fn number(&self) -> f64 {
        self.requests.fetch_add(1, Ordering::Relaxed) as f64
    }

    pub fn complete(&self, id: f64, outcome: Outcome) {
        // An outcome that nobody will ask for is dropped here, on the pool's thread: a log that has just been opened is closed.
        let mut late = Some(outcome);
        {
            // Held meanwhile, so that the environment cannot end between the look and the push.
            let wake = lock(&self.wake);
            if let (Some(_), Some(outcome)) = (wake.as_ref(), late.take_if(|_| wake.is_some())) {
                lock(&self.completions).push((id, outcome));
            }
        }
        drop(late);
        self.wake();
    }

    /// To be called before looking at what there is: what comes later wakes again.
    pub fn rearm(&self) -> usize {
        self.woken.store(false, Ordering::SeqCst);
        lock(&self.completions).len()
    }
}

/// What the engine calls when something of one log has settled.
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

/// A log from the request to open it until it is forgotten. JavaScript knows it by its index.
struct Slot {
    notify: Arc<LogNotify>,
    wal: Option<Arc<Wal>>,
}

/// The part of an environment that only its own thread touches.
pub struct Host {
    env: sys::napi_env,
    /// The wake, to be held without its lock: whoever wakes has that, and the thread woken would run into it. `None` once ended.
    held: Cell<Option<sys::napi_threadsafe_function>>,
    pub shared: Arc<Shared>,
    slots: RefCell<Vec<Option<Slot>>>,
    pub batch: RefCell<Batch>,
    pub stage: Rc<Stage>,
    refusal: RefCell<Option<Error>>,
    failure: RefCell<Option<(u64, Error)>>,
}

impl Host {
    /// Remembers why a raw call was refused, until `Environment.refusal()` takes it.
    pub fn refuse(&self, error: Error) {
        *self.refusal.borrow_mut() = Some(error);
    }

    /// What a call came to, if it was not refused.
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

    /// Appends what is on the stage: all of it, which clears the stage, or nothing.
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

    /// Whether the wake keeps the event loop alive. False once the environment has ended.
    pub fn hold(&self, held: bool) -> bool {
        let Some(wake) = self.held.get() else { return false };
        // SAFETY: on the environment's own thread, as every raw call is; the function is not released before `end`, which takes it
        // from here first.
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

    /// The end of the environment. Whatever it accepted is committed, in this thread; nobody is told. Safe to repeat.
    fn end(&self) {
        self.held.set(None);
        let wake = lock(&self.shared.wake).take();
        drop(wake);
        // Its appends have been called, and only the end of the turn did not come.
        let _ = self.append_staged();
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        for wal in slots.into_iter().flatten().filter_map(|slot| slot.wal) {
            // A close under way in the pool holds the log too: this waits for it, where a drop would not.
            let _ = wal.close();
        }
        let completions = std::mem::take(&mut *lock(&self.shared.completions));
        drop(completions);
    }
}

/// The outcome of a request; `error`, or what was asked for.
#[napi(object, object_from_js = false)]
pub struct Completion {
    pub request: f64,
    pub error: Option<ErrorData>,
    /// The log opened.
    pub log: Option<u32>,
    /// The same for every handle on one log in this process.
    pub identity: Option<f64>,
    pub block: Option<BlockData>,
    pub backup: Option<BackupData>,
    pub salvage: Option<SalvageData>,
    /// The block takes a follower to the end of what is acknowledged: the next one will have to be waited for.
    pub caught_up: Option<bool>,
    pub verification: Option<VerificationData>,
    pub standing: Option<StandingData>,
    pub cursor: Option<Cursor>,
}

/// A reader in the place of another one.
#[napi(object, object_from_js = false)]
pub struct Resumed {
    /// Last position that the cuts so far have kept.
    pub kept: f64,
    pub reader: Reader,
}

/// The manner in which a reader reads.
#[napi(object, object_to_js = false)]
pub struct Manner {
    /// Most records that it gives; may be infinite.
    pub most: f64,
    /// It waits for what is not there yet.
    pub follow: bool,
    /// It goes on behind damage.
    pub salvage: bool,
    /// It says what `BlockData` names of detailed readers.
    pub detailed: bool,
}

impl Manner {
    fn of(&self, reader: forelog::Reader) -> forelog::Reader {
        let reader = reader.at_most(last(self.most));
        if self.detailed {
            reader.detailed()
        } else {
            reader
        }
    }
}

/// A position or a number that may be infinite.
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
    /// `wake` is called, without arguments and once until `rearm()`, when there is news of a log or a completion.
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
        // Added after the threadsafe function, so that it runs before Node takes that down.
        env.add_env_cleanup_hook(host.clone(), |host| {
            let _ = catch_unwind(AssertUnwindSafe(|| host.end()));
        })?;
        Ok(Environment { host })
    }

    /// The functions of the raw path.
    #[napi(catch_unwind, ts_return_type = "object")]
    pub fn calls<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        wal::calls(env, &self.host)
    }

    /// The memory that small records are gathered in.
    #[napi(catch_unwind)]
    pub fn stage(&self) -> Uint8Array {
        self.host.stage.to_js()
    }

    /// Whether what JavaScript has written there is seen here.
    #[napi(catch_unwind)]
    pub fn shares_stage(&self) -> bool {
        self.host.stage.is_shared()
    }

    /// Opens a log; gives the number of the request. Stopping the watcher ends it.
    #[napi(catch_unwind)]
    pub fn open(&self, dir: String, options: OpenOptions, watcher: Option<&Watcher>) -> f64 {
        let (log, notify) = self.host.reserve();
        let watch = watcher.map_or_else(Default::default, |watcher| watcher.watch.clone());
        self.host.shared.request(move || {
            let open = || Wal::open_watched(&PathBuf::from(dir), open_options(&options)?, notify, &watch);
            let opened = catch_unwind(AssertUnwindSafe(open));
            Outcome::Opened(log, opened.unwrap_or_else(|panic| Err(panicked(panic).during("open"))))
        })
    }

    /// Closes a log; gives the number of the request. What has settled can still be asked until `forget()`.
    #[napi(catch_unwind)]
    pub fn close(&self, log: u32) -> f64 {
        let wal = self.host.wal(log);
        self.host.shared.request(move || {
            let closed = catch_unwind(AssertUnwindSafe(|| wal.map_or(Ok(()), |wal| wal.close())));
            Outcome::Closed(closed.unwrap_or_else(|panic| Err(panicked(panic).during("close"))))
        })
    }

    /// Verifies the log in a directory, with no handle on it; gives the number of the request.
    #[napi(catch_unwind)]
    pub fn verify(&self, dir: String, watcher: &Watcher) -> f64 {
        let watch = watcher.watch.clone();
        self.host.shared.long_request(move || {
            let verified = catch_unwind(AssertUnwindSafe(|| forelog::verify(&PathBuf::from(dir), &watch)));
            Outcome::Verified(verified.unwrap_or_else(|panic| Err(panicked(panic).during("verify"))))
        })
    }

    /// Tells how the log in a directory stands, with no handle on it; gives the number of the request.
    #[napi(catch_unwind)]
    pub fn stat(&self, dir: String) -> f64 {
        self.host.shared.request(move || {
            let looked = catch_unwind(AssertUnwindSafe(|| forelog::stat(&PathBuf::from(dir))));
            Outcome::Stat(looked.unwrap_or_else(|panic| Err(panicked(panic).during("stat"))))
        })
    }

    /// Verifies the sealed segments of an open log; gives the number of the request.
    #[napi(catch_unwind)]
    pub fn scrub(&self, log: u32, watcher: &Watcher) -> f64 {
        let (wal, watch) = (self.host.wal(log), watcher.watch.clone());
        self.host.shared.long_request(move || {
            let closed = || Err(Error::new(Code::Closed, "the log is closed").during("scrub"));
            let verified = catch_unwind(AssertUnwindSafe(|| wal.map_or_else(closed, |wal| wal.scrub(&watch))));
            Outcome::Verified(verified.unwrap_or_else(|panic| Err(panicked(panic).during("scrub"))))
        })
    }

    /// Frees the number of a log that has been closed.
    #[napi(catch_unwind)]
    pub fn forget(&self, log: u32) {
        self.host.forget(log);
    }

    /// A reader of the records from `from` to position `to`, inclusive; nothing when it was refused, see `refusal()`. It begins at the
    /// first position for 0, after the last one acknowledged for a negative number, otherwise at this position.
    #[napi(catch_unwind)]
    pub fn reader(&self, log: u32, from: f64, to: f64, manner: Manner) -> Option<Reader> {
        let (from, to) = (start(from), last(to));
        let reader = self.host.with_log(log, |wal| match (manner.follow, manner.salvage) {
            (true, _) => wal.follower(from, to),
            (_, true) => wal.salvage(from, to),
            _ => wal.reader(from, to),
        });
        self.host.answered(reader).map(|reader| Reader::new(self.host.shared.clone(), manner.of(reader)))
    }

    /// A reader that takes the place of `left`, under which the log was cut; nothing when it was refused, see `refusal()`. It begins at
    /// `next`, or for 0 as the other one did.
    #[napi(catch_unwind)]
    pub fn resume(&self, log: u32, left: &Reader, next: f64, to: f64, manner: Manner) -> Option<Resumed> {
        let (next, to) = (Some(next as u64).filter(|next| *next > 0), last(to));
        let resumed = self.host.with_log(log, |wal| wal.resume(left.place(), next, to, manner.follow));
        let (kept, reader) = self.host.answered(resumed)?;
        Some(Resumed { kept: kept as f64, reader: Reader::new(self.host.shared.clone(), manner.of(reader)) })
    }

    /// A backup of a log into a directory; nothing when the log is closed.
    #[napi(catch_unwind)]
    pub fn backup(&self, log: u32, dir: String) -> Option<Backup> {
        Some(Backup::new(self.host.shared.clone(), self.host.wal(log)?, dir))
    }

    /// A salvage of the log in the directory `from`, with no handle on it, into a new one in `to`. Nothing happens before its first
    /// step.
    #[napi(catch_unwind)]
    pub fn salvage(&self, from: String, to: String, allow_unsafe: bool) -> Salvage {
        Salvage::new(self.host.shared.clone(), from, to, allow_unsafe)
    }

    /// A cursor of a log, which is made if there is none of that name, standing where `from` says; gives the number of the request.
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

    /// All cursors of a log; nothing when they cannot be told, see `refusal()`.
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

    /// Takes the outcomes that there are.
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

    /// Why the last raw call, or `reader()`, was refused.
    #[napi(catch_unwind)]
    pub fn refusal(&self) -> ErrorData {
        let refusal = self.host.refusal.borrow_mut().take();
        ErrorData::from(refusal.unwrap_or_else(|| invalid("nothing was refused")))
    }

    /// What `settled()` announced with a negative number.
    #[napi(catch_unwind)]
    pub fn failure(&self) -> Option<FailureData> {
        let failure = self.host.failure.borrow_mut().take();
        failure.map(|(up_to, error)| FailureData { up_to: up_to as f64, error: error.into() })
    }

    /// From now on the log records events of these kinds for this environment: bits of 1 append, 2 sync, 4 roll, 8 truncate,
    /// 16 poisoned, 32 detached, 64 clock.
    #[napi(catch_unwind)]
    pub fn listen(&self, log: u32, kinds: u32) {
        if let Some(wal) = self.host.wal(log) {
            wal.listen(kinds);
        }
    }

    /// Takes what it has recorded since the last time.
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

    /// Ends everything at once, for a process about to exit: blocks until what was accepted is committed.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.host.end();
    }
}
