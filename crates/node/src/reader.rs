//! Readers: a job on the engine's pool reads the blocks that were requested, one after the other.

use crate::block::PackedBlock;
use crate::completion::Outcome;
use crate::error::panicked;
use crate::loan::Loan;
use crate::state::EnvironmentState;
use crate::wake::WakeState;
use forelog::{ReaderPosition, WaitHandle};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request for one block.
struct Request {
    number: f64,
    max_bytes: usize,
    /// Memory for the block.
    loan: Option<Arc<Loan>>,
    /// A follower that has caught up waits. Otherwise the request completes without a block.
    waits: bool,
}

/// The requests that no job has begun, oldest first.
#[derive(Default)]
struct Requests {
    queue: VecDeque<Request>,
    /// A job serves the requests, or will once a follower's wait has ended.
    is_served: bool,
}

struct Source {
    shared: Arc<WakeState>,
    requests: Mutex<Requests>,
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
    /// Adds a request. A job that is serving others takes it up without a wake.
    fn request(self: &Arc<Self>, request: Request) {
        let mut requests = lock(&self.requests);
        requests.queue.push_back(request);
        if !std::mem::replace(&mut requests.is_served, true) {
            drop(requests);
            let this = self.clone();
            forelog::pool::spawn(move || this.serve_all());
        }
    }

    /// Serves requests until there are none, or until a follower has to wait.
    fn serve_all(self: Arc<Self>) {
        loop {
            let request = {
                let mut requests = lock(&self.requests);
                let request = requests.queue.pop_front();
                requests.is_served = request.is_some();
                request
            };
            let Some(request) = request else { return };
            if !self.serve(request) {
                return;
            }
        }
    }

    /// Completes a request with the next block, or without one at the end or after a release. Returns false if a follower has caught up: the
    /// request is then completed later, by a job that begins after the next wake.
    fn serve(self: &Arc<Self>, request: Request) -> bool {
        let number = request.number;
        let read = catch_unwind(AssertUnwindSafe(|| self.next(request)));
        let outcome = match read.unwrap_or_else(|panic| Err(panicked(panic).during("read"))) {
            Ok(Next::Later) => return false,
            Ok(Next::Nothing) => Outcome::Read(Ok(None), true),
            Ok(Next::Block(block, caught_up)) => Outcome::Read(Ok(Some(*block)), caught_up),
            Ok(Next::End) => {
                self.position.advance(u64::MAX);
                Outcome::Read(Ok(None), false)
            }
            Err(error) => {
                self.position.advance(u64::MAX);
                Outcome::Read(Err(error), false)
            }
        };
        self.shared.complete(number, outcome);
        true
    }

    fn next(self: &Arc<Self>, request: Request) -> forelog::Result<Next> {
        // The reader is taken out of the lock, because a wake may come at once, and on this thread.
        let Some(mut reader) = lock(&self.reader).take().filter(|_| !self.released.load(Ordering::SeqCst)) else { return Ok(Next::End) };
        // If reading fails or ends, `reader` is dropped here and not only when JavaScript collects the handle.
        let read = match &request.loan {
            Some(loan) => loan.fill(|memory| {
                let block = reader.next_block_in(request.max_bytes, Some(memory))?;
                Ok(block.map(|block| PackedBlock::into_lent(block, memory)))
            }),
            None => Some(reader.next_block(request.max_bytes).map(|block| block.map(PackedBlock::apart))),
        };
        // Without its memory the environment has ended.
        let Some(read) = read else { return Ok(Next::End) };
        match read? {
            Some(block) => {
                let caught_up = reader.follows() && reader.has_caught_up();
                self.put_back(reader);
                Ok(Next::Block(Box::new(block), caught_up))
            }
            None => {
                let Some(wait) = reader.follow_wait() else { return Ok(Next::End) };
                self.put_back(reader);
                if !request.waits {
                    return Ok(Next::Nothing);
                }
                lock(&self.requests).queue.push_front(request);
                let this = self.clone();
                let again = move || forelog::pool::spawn(move || this.serve_all());
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
    Block(Box<PackedBlock>, bool),
    /// A follower has caught up, and the request does not wait.
    Nothing,
    Later,
    End,
}

/// Reads records in blocks. Takes several requests at a time, and completes them in order.
#[napi]
pub struct Reader {
    state: Rc<EnvironmentState>,
    source: Arc<Source>,
}

impl Reader {
    pub fn new(state: Rc<EnvironmentState>, reader: forelog::Reader) -> Self {
        let source = Source {
            shared: state.shared.clone(),
            requests: Mutex::default(),
            position: reader.position().clone(),
            reader: Mutex::new(Some(reader)),
            released: AtomicBool::new(false),
            wait_handle: Mutex::default(),
        };
        Reader { state, source: Arc::new(source) }
    }

    pub fn position(&self) -> &ReaderPosition {
        &self.source.position
    }
}

#[napi]
impl Reader {
    /// Requests the next block of about `max_bytes`, and returns the number of the request. At the end the request completes without a
    /// block. For a follower that has caught up it completes when there is one if it waits, and at once otherwise.
    ///
    /// The block is put into `memory`, which must not be used before the request has completed, if it fits and fills at least half of it.
    #[napi(catch_unwind)]
    pub fn next(&self, max_bytes: u32, waits: bool, memory: Option<Uint8Array>) -> f64 {
        let number = self.source.shared.number();
        let loan = memory.map(|memory| self.state.loans.lend(number, memory));
        self.source.request(Request { number, max_bytes: max_bytes as usize, loan, waits });
        number
    }

    /// Last position that every truncation of the log since the reader began has kept; nothing if there was none.
    #[napi(catch_unwind)]
    pub fn kept(&self) -> Option<f64> {
        self.source.position.kept().map(|last| last as f64)
    }

    /// Releases the resources of the reader. A read in progress completes first, and the other requests complete without a block.
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
