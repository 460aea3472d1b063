//! A small thread pool for blocking work: reading blocks, opening and closing, durable marks and spares. Threads are
//! started when they are needed and then kept. An idle thread costs only its stack.

use crate::util::runtime::Job;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// Maximum number of threads. More than a disk can serve at the same time would gain nothing. With fewer, one slow log
/// would delay the others.
const THREADS: usize = 4;

#[derive(Default)]
struct JobQueue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Pool {
    queue: Mutex<JobQueue>,
    work: Condvar,
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// Runs `job` soon, on a thread of the pool. If the pool has no thread and cannot start one, the job runs on the calling
/// thread.
pub fn spawn(job: impl FnOnce() + Send + 'static) {
    let pool = POOL.get_or_init(Pool::default);
    let mut queue = pool.queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.jobs.push_back(Box::new(job));
    if queue.idle >= queue.jobs.len() || queue.threads >= THREADS {
        drop(queue);
        pool.work.notify_one();
        return;
    }
    queue.threads += 1;
    drop(queue);
    let spawned = std::thread::Builder::new().name("forelog-pool".into()).spawn(move || serve(pool));
    if spawned.is_err() {
        let mut queue = pool.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.threads -= 1;
        let job = if queue.threads == 0 { queue.jobs.pop_back() } else { None };
        drop(queue);
        if let Some(job) = job {
            job();
        }
    }
}

fn serve(pool: &'static Pool) {
    let mut queue = pool.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            // A panic is a bug of that job alone. The pool continues to serve other jobs.
            let _ = catch_unwind(AssertUnwindSafe(job));
            queue = pool.queue.lock().unwrap_or_else(PoisonError::into_inner);
        } else {
            queue.idle += 1;
            queue = pool.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
