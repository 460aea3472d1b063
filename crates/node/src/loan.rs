//! Memory of JavaScript that is lent to the pool, which fills it with one block.
//!
//! A thread of the pool writes to the memory while JavaScript runs. Three things keep that sound. The environment holds a reference to the
//! memory until it has taken it back. The facade shows the memory to nobody before that, so nobody can detach it. An environment that ends
//! takes all memory back first, and waits for a thread that is writing.

use napi::bindgen_prelude::Uint8Array;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Region {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory has no thread of its own. `Loan` lets only one thread at a time reach it.
unsafe impl Send for Region {}

/// The memory as the pool sees it. It may outlive the memory, of which nothing is left then.
#[derive(Default)]
pub struct Loan(Mutex<Option<Region>>);

impl Loan {
    fn lock(&self) -> MutexGuard<'_, Option<Region>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `fill` with the memory, which has any content. Returns `None` without a call once the memory has been taken back.
    pub fn fill<T>(&self, fill: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let region = self.lock();
        let Region { at, len } = region.as_ref()?;
        // SAFETY: the environment keeps the memory alive, and JavaScript leaves it alone, until it has been taken back. That takes the lock.
        Some(fill(unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), *len) }))
    }

    /// Waits for a thread that fills the memory. None does afterwards.
    fn end(&self) {
        *self.lock() = None;
    }
}

/// The memory that an environment has lent, by the number of the request.
#[derive(Default)]
pub struct Loans(RefCell<LentMemory>);

#[derive(Default)]
struct LentMemory {
    by_request: HashMap<u64, (Uint8Array, Arc<Loan>)>,
    ended: bool,
}

impl Loans {
    /// Lends memory for a request. Once the environment has ended, it lends nothing.
    pub fn lend(&self, request: f64, mut memory: Uint8Array) -> Arc<Loan> {
        let mut lent = self.0.borrow_mut();
        if lent.ended {
            return Arc::default();
        }
        // SAFETY: the slice is not used, only where it is and how long.
        let (at, len) = unsafe { (memory.as_mut().as_mut_ptr(), memory.len()) };
        let loan = Arc::new(Loan(Mutex::new(NonNull::new(at).map(|at| Region { at, len }))));
        lent.by_request.insert(request as u64, (memory, loan.clone()));
        loan
    }

    /// Takes back the memory that was lent for a request, if there is any.
    pub fn take_back(&self, request: f64) {
        let lent = self.0.borrow_mut().by_request.remove(&(request as u64));
        if let Some((memory, loan)) = lent {
            loan.end();
            drop(memory);
        }
    }

    /// Takes back all memory, and lends none from now on.
    pub fn end(&self) {
        let lent = {
            let mut lent = self.0.borrow_mut();
            lent.ended = true;
            std::mem::take(&mut lent.by_request)
        };
        for (memory, loan) in lent.into_values() {
            loan.end();
            drop(memory);
        }
    }
}
