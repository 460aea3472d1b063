//! A small thread pool for blocking work: block reads, opening and closing, marks and spares. Threads are made when
//! they are needed and kept; an idle one costs nothing but its stack.

use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// More than a disk can serve at once gains nothing; fewer let one slow log hold up the others.
const THREADS: usize = 4;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    work: Condvar,
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// Runs `job` on a thread of the pool, soon. Should no thread be had, it runs here and now.
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
            // A job that panics has a bug of its own; the pool serves the others all the same.
            let _ = catch_unwind(AssertUnwindSafe(job));
            queue = pool.queue.lock().unwrap_or_else(PoisonError::into_inner);
        } else {
            queue.idle += 1;
            queue = pool.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
