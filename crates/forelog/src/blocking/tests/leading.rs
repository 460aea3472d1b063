//! Threads that commit what they wait for.

use super::*;

/// How often a test tries to find the log parked. A deadline may hand it to a commit thread at any time.
const TRIES: usize = 10_000;

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> Option<T> {
    thread.join().ok()
}

impl Fixture {
    /// Lets an append of another thread hang in the disk, in a commit that the same thread makes, and calls `meanwhile`. Then the disk goes
    /// on. Returns what both returned.
    fn while_one_leads<T>(&self, meanwhile: impl FnOnce() -> T) -> (T, Result<u64>) {
        let meanwhile = &mut Some(meanwhile);
        for _ in 0..TRIES {
            self.gate.set(true);
            let found = thread::scope(|scope| {
                let leader = scope.spawn(|| self.log.append("of the leader"));
                let leads = self.gate.await_sync() == Some(leader.thread().id());
                let done = if leads { meanwhile.take().map(|meanwhile| meanwhile()) } else { None };
                self.gate.set(false);
                let appended = joined(leader);
                done.zip(appended)
            });
            if let Some(found) = found {
                return found;
            }
        }
        panic!("every commit was made by another thread");
    }
}

#[test]
fn one_thread_that_appends_commits_on_its_own() -> Result<()> {
    for fsync in [Fsync::Always, Fsync::Os] {
        let fixture = Fixture::open(small(fsync), WhenFull::Wait)?;
        let mut found = 0;
        for _ in 0..TRIES {
            fixture.log.append_durable("value")?;
            found += usize::from(fixture.gate.thread() == Some(thread::current().id()));
            if found == 20 {
                break;
            }
        }
        assert_eq!(found, 20, "{fsync:?}");
        fixture.log.close()?;
    }
    Ok(())
}

#[test]
fn a_log_that_syncs_by_the_clock_is_left_to_its_commit_thread() -> Result<()> {
    let fixture = Fixture::open(small(Fsync::Every(Duration::from_millis(1))), WhenFull::Wait)?;
    for _ in 0..300 {
        fixture.log.append_durable("value")?;
        assert_ne!(fixture.gate.thread(), Some(thread::current().id()));
    }
    fixture.log.close()
}

#[test]
fn a_thread_that_commits_does_not_go_on_for_those_that_came_later() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    thread::scope(|scope| {
        let (followers, appended) = fixture.while_one_leads(|| {
            let (first, leader) = (log.next_position(), fixture.gate.thread());
            let followers: Vec<_> = (0..7).map(|_| scope.spawn(|| log.append("of a follower"))).collect();
            while log.next_position() < first + 7 {
                thread::yield_now();
            }
            // The commit that hangs goes on, and the next one hangs.
            fixture.gate.change(|gate| gate.passes = 1);
            while log.positions().durable < first - 1 {
                thread::yield_now();
            }
            assert_ne!(fixture.gate.await_sync(), leader);
            followers
        });
        assert!(appended.is_ok());
        assert!(followers.into_iter().all(|follower| matches!(joined(follower), Some(Ok(_)))));
    });
    log.close()
}

#[test]
fn a_thread_that_hangs_in_the_disk_holds_up_no_other_log() -> Result<()> {
    // One log at a time.
    let threads = Box::leak(Box::new(CommitThreads::new(1)));
    let open = || Fixture::open_on(threads, small(Fsync::Always), WhenFull::Wait);
    let (hangs, other) = (open()?, open()?);
    let (appended, first) = hangs.while_one_leads(|| {
        // Another thread each, so that commit threads take part.
        let append = || thread::scope(|scope| joined(scope.spawn(|| other.log.append("value"))));
        (0..50).map(|_| append().and_then(Result::ok)).collect::<Vec<_>>()
    });
    assert_eq!(appended, (1..=50).map(Some).collect::<Vec<_>>());
    assert!(first.is_ok());
    hangs.log.close()?;
    other.log.close()
}

#[test]
fn a_panic_in_a_commit_ends_the_log_and_not_the_thread_that_makes_it() -> Result<()> {
    let fixture = Fixture::new()?;
    let ((), appended) = fixture.while_one_leads(|| fixture.gate.change(|gate| gate.panics = true));
    assert_eq!(code(appended), Some(Code::Poisoned));
    assert_eq!(code(fixture.log.append("later")), Some(Code::Poisoned));
    assert_eq!(code(fixture.log.close()), Some(Code::Poisoned));
    Ok(())
}

#[test]
fn a_log_that_is_closed_while_a_thread_commits_is_closed_after_it() -> Result<()> {
    let fixture = Fixture::new()?;
    thread::scope(|scope| {
        let (closing, appended) = fixture.while_one_leads(|| {
            let closing = scope.spawn(|| fixture.log.close());
            while !fixture.log.inner().0.is_closed() {
                thread::yield_now();
            }
            closing
        });
        assert!(appended.is_ok());
        assert!(matches!(joined(closing), Some(Ok(()))));
    });
    Ok(())
}

#[test]
fn threads_that_come_and_go_wait_for_nothing_in_vain() -> Result<()> {
    let (always, os) = (Fixture::new()?, Fixture::open(small(Fsync::Os), WhenFull::Wait)?);
    for fixture in [&always, &os] {
        let log = &fixture.log;
        let mut all = 0;
        for round in 0..60 {
            let threads = 1 + round % 5;
            thread::scope(|scope| {
                for thread in 0..threads {
                    scope.spawn(move || {
                        for n in 0..20 {
                            match (thread + n) % 7 {
                                0 => assert!(log.sync().is_ok()),
                                1 => assert!(log.submit("a value").and_then(Pending::wait).is_ok()),
                                2 => assert!(log.truncate_before(1).is_ok()),
                                _ => assert!(log.append("a value").is_ok()),
                            }
                        }
                    });
                }
            });
            all = log.next_position();
        }
        assert_eq!(log.positions().acknowledged, all - 1);
        log.close()?;
    }
    Ok(())
}
