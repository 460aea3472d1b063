//! The part of an environment that only its own thread touches.

use crate::loan::Loans;
use crate::logs::Logs;
use crate::record_buffer::RecordBuffer;
use crate::wake::{Wake, WakeState};
use crate::writes::Writes;
use forelog::{Batch, Error, Wal, WriteQueue};
use napi::sys;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// The part of an environment that only its own thread touches.
pub struct EnvironmentState {
    env: sys::napi_env,
    /// Raw handle of the threadsafe function, for ref and unref without the lock of the wake: a thread that wakes this one holds that lock.
    /// `None` after `end`.
    wake_handle: Cell<Option<sys::napi_threadsafe_function>>,
    pub shared: Arc<WakeState>,
    pub logs: Logs,
    pub loans: Loans,
    pub batch: RefCell<Batch>,
    pub record_buffer: Rc<RecordBuffer>,
    /// Set if this thread submits the writes of its logs itself.
    pub writes: OnceCell<Writes>,
    refusal: RefCell<Option<Error>>,
    failure: RefCell<Option<(u64, Error)>>,
}

impl EnvironmentState {
    pub fn new(env: sys::napi_env, wake: Wake) -> Self {
        EnvironmentState {
            env,
            wake_handle: Cell::new(Some(wake.raw())),
            shared: Arc::new(WakeState::new(wake)),
            logs: Logs::default(),
            loans: Loans::default(),
            batch: RefCell::new(Batch::new()),
            record_buffer: RecordBuffer::new(),
            writes: OnceCell::new(),
            refusal: RefCell::new(None),
            failure: RefCell::new(None),
        }
    }

    /// Stores why a raw call was refused, until `Environment.refusal()` takes it.
    pub fn refuse(&self, error: Error) {
        *self.refusal.borrow_mut() = Some(error);
    }

    /// Returns the value of a call, or nothing and stores why it was refused.
    pub fn value_or_refuse<T>(&self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.refuse(error)).ok()
    }

    /// Takes why a call was refused.
    pub fn take_refusal(&self) -> Option<Error> {
        self.refusal.borrow_mut().take()
    }

    /// Stores the failure that `settled` announces, until `Environment.failure()` takes it.
    pub fn fail(&self, up_to: u64, error: Error) {
        *self.failure.borrow_mut() = Some((up_to, error));
    }

    pub fn take_failure(&self) -> Option<(u64, Error)> {
        self.failure.borrow_mut().take()
    }

    /// Completes writes that the disk is done with. Returns whether JavaScript has something to settle.
    pub fn complete_writes(&self, queue: &dyn WriteQueue) -> bool {
        let mut tokens = Vec::new();
        queue.take_tokens(&mut tokens);
        self.shared.hold_wake(|| {
            for token in tokens {
                if let Some(wal) = self.logs.get(token as u32) {
                    wal.complete();
                }
            }
        })
    }

    /// Commits what a log has accepted, on this thread as far as that does not block it.
    pub fn kick(&self, wal: &Wal) {
        // A commit of this thread that is complete by now also settles. That need not wake the thread which it is on.
        if self.shared.hold_wake(|| wal.kick()) {
            self.shared.wake();
        }
    }

    /// Appends all records of the record buffer to its log and clears it, or appends none of them. Calls `then` with the log after they were
    /// appended.
    pub fn append_buffered(&self, then: impl FnOnce(&Wal)) -> Result<u64, Error> {
        let buffer = &self.record_buffer;
        self.logs.with(buffer.log(), |wal| {
            // It is clear before anything else can fail: a record that was accepted must not cross again.
            let first = buffer.pass(true, wal.options().max_record_bytes, |records| wal.append_encoded(records, buffer.durable()))?;
            then(wal);
            Ok(first)
        })
    }

    /// Whether the environment has ended, so that nothing is settled any more.
    pub fn has_ended(&self) -> bool {
        self.wake_handle.get().is_none()
    }

    /// Sets whether the wake keeps the event loop alive. Returns false once the environment has ended.
    pub fn keep_alive(&self, alive: bool) -> bool {
        let Some(wake) = self.wake_handle.get() else { return false };
        if let Some(writes) = self.writes.get() {
            writes.keep_alive(alive);
        }
        // SAFETY: this is the environment's own thread, as for every raw call. The function is released only by `end`, which first takes it
        // from here.
        let status = unsafe {
            if alive {
                sys::napi_ref_threadsafe_function(self.env, wake)
            } else {
                sys::napi_unref_threadsafe_function(self.env, wake)
            }
        };
        status == sys::Status::napi_ok
    }

    /// Ends the environment: commits everything accepted, on this thread, without settling any promise. May be called again.
    pub fn end(&self) {
        if let Some(writes) = self.writes.get() {
            writes.keep_alive(false);
        }
        self.wake_handle.set(None);
        self.shared.end();
        self.loans.end();
        // Buffered records have been accepted as far as their callers know; only the end of the turn was not reached.
        let _ = self.append_buffered(|_| ());
        for wal in self.logs.take_all() {
            // A close in progress on the pool also holds the log. This waits for it, while a drop would not.
            let _ = wal.close();
        }
        drop(self.shared.take_completions());
    }
}
