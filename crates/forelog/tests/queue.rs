//! The example: a queue hands out each job until it is finished, across restarts, and forgets finished ones.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/queue.rs"]
mod queue;

use queue::Queue;

#[test]
fn a_job_is_handed_out_until_it_is_finished_whatever_ends_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    queue.add(["one", "two", "three"]).unwrap();
    assert_eq!(queue.work(|job| job == "one").unwrap(), 1);
    queue.close().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    assert_eq!(queue.waiting(), 2);
    queue.add(["four"]).unwrap();
    let mut jobs = Vec::new();
    let count = queue.work(|job| {
        jobs.push(job.to_owned());
        true
    });
    assert_eq!((count.unwrap(), queue.waiting()), (3, 0));
    assert_eq!(jobs, ["two", "three", "four"]);
    queue.close().unwrap();
}

#[test]
fn finished_jobs_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(dir.path()).unwrap();
    queue.add((0..1500).map(|_| "job")).unwrap();
    assert_eq!(queue.work(|_| true).unwrap(), 1500);
    queue.close().unwrap();
    let log = forelog::Log::open(dir.path()).unwrap();
    assert_eq!((log.first_position(), log.iter().count()), (1501, 0));
    log.close().unwrap();
}
