//! Readers: each block is read by a job on the engine's pool.

use crate::completion::Outcome;
use crate::error::panicked;
use crate::wake::WakeState;
use forelog::{Block, ReaderPosition, WaitHandle};
use napi_derive::napi;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Source {
    shared: Arc<WakeState>,
    reader: Mutex<Option<forelog::Reader>>,
    /// Where the reader stands, as the log knows it.
    position: Arc<ReaderPosition>,
    released: AtomicBool,
    /// Wait of a follower, to be ended by `wake`.
    wait_handle: Mutex<Option<WaitHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Completes a request with the next block, or without one at the end or after a release. If a follower has caught up, the request is
    /// completed later, after the next wake.
    fn serve(self: Arc<Self>, request: f64, max_bytes: usize) {
        let read = catch_unwind(AssertUnwindSafe(|| self.next(request, max_bytes)));
        match read.unwrap_or_else(|panic| Err(panicked(panic).during("read"))) {
            Ok(Next::Later) => {}
            Ok(Next::Block(block, caught_up)) => self.shared.complete(request, Outcome::Read(Ok(Some(block)), caught_up)),
            Ok(Next::End) => {
                self.position.advance(u64::MAX);
                self.shared.complete(request, Outcome::Read(Ok(None), false));
            }
            Err(error) => {
                self.position.advance(u64::MAX);
                self.shared.complete(request, Outcome::Read(Err(error), false));
            }
        }
    }

    fn next(self: &Arc<Self>, request: f64, max_bytes: usize) -> forelog::Result<Next> {
        // The reader is taken out of the lock, because a wake may come at once, and on this thread.
        let Some(mut reader) = lock(&self.reader).take().filter(|_| !self.released.load(Ordering::SeqCst)) else { return Ok(Next::End) };
        // If reading fails or ends, `reader` is dropped here and not only when JavaScript collects the handle.
        match reader.next_block(max_bytes)? {
            Some(block) => {
                let caught_up = reader.follows() && reader.has_caught_up();
                self.put_back(reader);
                Ok(Next::Block(block, caught_up))
            }
            None => {
                let this = self.clone();
                let again = move || forelog::pool::spawn(move || this.serve(request, max_bytes));
                let Some(wait) = reader.follow_wait() else { return Ok(Next::End) };
                self.put_back(reader);
                let wait_handle = wait.wait(Box::new(again));
                {
                    // The reader may already have been woken and be waiting again.
                    let mut latest = lock(&self.wait_handle);
                    if latest.as_ref().is_none_or(|other| other.is_older_than(&wait_handle)) {
                        *latest = Some(wait_handle);
                    }
                }
                // A release before the handle was stored has not woken the wait.
                if self.released.load(Ordering::SeqCst) {
                    self.wake();
                }
                Ok(Next::Later)
            }
        }
    }

    fn put_back(&self, reader: forelog::Reader) {
        let mut slot = lock(&self.reader);
        if self.released.load(Ordering::SeqCst) {
            self.position.advance(u64::MAX);
        } else {
            *slot = Some(reader);
        }
    }

    fn wake(&self) {
        let wait_handle = lock(&self.wait_handle).take();
        if let Some(wait_handle) = wait_handle {
            wait_handle.wake();
        }
    }
}

enum Next {
    /// The block, and whether it takes a follower to the end of what is acknowledged.
    Block(Block, bool),
    Later,
    End,
}

/// Reads records in blocks. Takes one request at a time.
#[napi]
pub struct Reader {
    source: Arc<Source>,
}

impl Reader {
    pub fn new(shared: Arc<WakeState>, reader: forelog::Reader) -> Self {
        let position = reader.position().clone();
        let source =
            Source { shared, reader: Mutex::new(Some(reader)), position, released: AtomicBool::new(false), wait_handle: Mutex::default() };
        Reader { source: Arc::new(source) }
    }

    pub fn position(&self) -> &ReaderPosition {
        &self.source.position
    }
}

#[napi]
impl Reader {
    /// Requests the next block of about `max_bytes`, and returns the number of the request. At the end the request completes without a
    /// block; for a follower it completes when there is one.
    #[napi(catch_unwind)]
    pub fn next(&self, max_bytes: u32) -> f64 {
        let source = self.source.clone();
        let request = source.shared.number();
        forelog::pool::spawn(move || source.serve(request, max_bytes as usize));
        request
    }

    /// Last position that every truncation of the log since the reader began has kept; nothing if there was none.
    #[napi(catch_unwind)]
    pub fn kept(&self) -> Option<f64> {
        self.source.position.kept().map(|last| last as f64)
    }

    /// Releases the resources of the reader. A read in progress completes first.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.source.released.store(true, Ordering::SeqCst);
        drop(lock(&self.source.reader).take());
        self.source.position.advance(u64::MAX);
        self.source.wake();
    }
}

/// A reader that replaces another one after a truncation.
#[napi(object, object_from_js = false)]
pub struct Resumed {
    /// Last position that all truncations so far have kept.
    pub kept: f64,
    pub reader: Reader,
}
