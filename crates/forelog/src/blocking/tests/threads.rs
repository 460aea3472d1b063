//! Threads that share a log: each gets the results of its own calls, and no thread waits in vain.

use super::*;

/// Positions and values.
type Found = Vec<(u64, Vec<u8>)>;

#[test]
fn every_thread_gets_the_positions_of_its_own_records() -> Result<()> {
    const THREADS: usize = 8;
    const EACH: usize = 200;
    let fixture = Fixture::new()?;
    let found: Vec<Result<Found>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let log = &fixture.log;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for n in 0..EACH {
                        let value = |part: usize| format!("{thread}/{n}/{part}").into_bytes();
                        match n % 4 {
                            0 => mine.push((log.append(&value(0))?, value(0))),
                            1 => mine.push((log.submit(&value(0))?.wait()?, value(0))),
                            2 => mine.extend(log.append_all(&[value(0), value(1)])?.zip([value(0), value(1)])),
                            _ => mine.extend(log.append_batch(&[value(0), value(1)])?.zip([value(0), value(1)])),
                        }
                        let last = mine.last().map_or(0, |(position, _)| *position);
                        assert!(log.positions().durable >= last, "acknowledged before it is durable");
                    }
                    Ok(mine)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Error::new(Code::Io, "panicked")))).collect()
    });
    let mut all = BTreeMap::new();
    for mine in found {
        let mine = mine?;
        assert!(mine.is_sorted_by_key(|(position, _)| *position), "a thread's records are in the order of its calls");
        all.extend(mine);
    }
    assert_eq!(fixture.values()?, all);
    assert_eq!(all.len(), THREADS * EACH * 3 / 2);
    fixture.log.close()
}

#[test]
fn a_rejection_reaches_those_whose_records_it_befell_and_nobody_else() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    log.append("durable")?;
    thread::scope(|scope| {
        fixture.fill_disk();
        let failing = scope.spawn(|| code(log.append(&[1; 100 << 10])));
        assert!(matches!(failing.join(), Ok(Some(Code::NoSpace))));
        fixture.mend_disk();
        // Another thread had no record in flight, so nothing refuses its append.
        assert!(matches!(scope.spawn(|| log.append("after")).join(), Ok(Ok(2))));
    });
    assert_eq!(log.append("and again")?, 3);
    log.close()
}

#[test]
fn threads_on_a_disk_that_is_full_now_and_then_read_back_exactly_what_was_acknowledged_to_them() -> Result<()> {
    const THREADS: u64 = 6;
    let fixture = Fixture::new()?;
    let (log, done) = (&fixture.log, AtomicU64::new(0));
    let (kept, failures) = (Mutex::new(BTreeMap::new()), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (kept, failures, done) = (&kept, &failures, &done);
            scope.spawn(move || {
                for n in 0..300u64 {
                    let mut value = format!("{thread}/{n}").into_bytes();
                    value.resize(200 + (n as usize % 7) * 900, b'.');
                    match log.append(&value) {
                        Ok(position) => {
                            let before = kept.lock().unwrap_or_else(PoisonError::into_inner).insert(position, value);
                            assert_eq!(before, None, "one position for two records");
                        }
                        Err(error) => {
                            assert_eq!(error.code, Code::NoSpace, "{error}");
                            failures.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                done.fetch_add(1, Ordering::Release);
            });
        }
        scope.spawn(|| {
            while done.load(Ordering::Acquire) < THREADS {
                fixture.fill_disk();
                let seen = failures.load(Ordering::Relaxed);
                while failures.load(Ordering::Relaxed) == seen && done.load(Ordering::Acquire) < THREADS {
                    thread::yield_now();
                }
                fixture.mend_disk();
                let next = log.next_position();
                while log.next_position() < next + 20 && done.load(Ordering::Acquire) < THREADS {
                    thread::yield_now();
                }
            }
            fixture.mend_disk();
        });
    });
    assert!(failures.load(Ordering::Relaxed) > 0);
    let kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(fixture.values()? == kept);
    log.close()
}

#[test]
fn a_thread_submits_nothing_more_until_it_has_been_given_a_rejection_and_other_threads_go_on() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    fixture.fill_disk();
    let first = log.submit(&[1; 100 << 10])?;
    while !first.is_settled() {
        thread::yield_now();
    }
    fixture.mend_disk();
    assert_eq!(code(log.submit("overtakes")), Some(Code::NoSpace));
    assert_eq!(code(log.append("overtakes")), Some(Code::NoSpace), "the thread still does not know");
    let other = thread::scope(|scope| scope.spawn(|| log.append("of another thread")).join());
    assert!(matches!(other, Ok(Ok(1))));
    assert_eq!(first.wait().map_err(|error| (error.code, error.position)), Err((Code::NoSpace, Some(1))));
    assert_eq!(log.append("knows")?, 2);
    log.close()
}

#[test]
fn the_failure_of_a_dropped_record_is_returned_once_by_the_next_append_or_sync_or_by_closing() -> Result<()> {
    let rejected = |fixture: &Fixture| -> Result<()> {
        fixture.fill_disk();
        let pending = fixture.log.submit(&[1; 100 << 10])?;
        let position = pending.position();
        drop(pending);
        while fixture.log.next_position() != position {
            thread::yield_now();
        }
        fixture.mend_disk();
        Ok(())
    };
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    rejected(&fixture)?;
    log.truncate_before(1)?;
    assert_eq!(code(log.sync()), Some(Code::NoSpace));
    log.sync()?;
    rejected(&fixture)?;
    assert_eq!(code(log.append("refused")), Some(Code::NoSpace));
    assert_eq!(log.append("goes on")?, 1);
    rejected(&fixture)?;
    assert_eq!(code(log.close()), Some(Code::NoSpace));
    log.close()
}

#[test]
fn a_failed_fsync_ends_every_call_that_waits_and_every_later_one() -> Result<()> {
    const THREADS: usize = 6;
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    log.append("durable")?;
    fixture.gate.set(true);
    let ready = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let ready = &ready;
                scope.spawn(move || {
                    let pending = log.submit("lost or not");
                    ready.wait();
                    let synced = if n % 2 == 0 { code(log.sync()) } else { Some(Code::Poisoned) };
                    (pending.and_then(Pending::wait).err(), synced, code(log.append("later")))
                })
            })
            .collect();
        ready.wait();
        fixture.disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
        fixture.gate.set(false);
        for thread in threads {
            let found = thread.join().map(|(pending, synced, later)| (pending.map(|error| error.code), synced, later));
            assert!(matches!(found, Ok((Some(Code::Poisoned), Some(Code::Poisoned), Some(Code::Poisoned)))), "{found:?}");
        }
    });
    assert_eq!(positions(log.iter()), (vec![1], None), "what was durable can be read");
    assert_eq!(positions(log.follow(1)), (vec![1], Some(Code::Poisoned)));
    assert_eq!(code(log.close()), Some(Code::Poisoned));
    assert_eq!(code(log.close()), Some(Code::Poisoned));
    Ok(())
}

#[test]
fn closing_lets_those_that_wait_return_with_their_results_and_refuses_the_rest() -> Result<()> {
    for shared in [false, true] {
        let fixture = Fixture::new()?;
        let other = if shared { Some(fixture.again()?) } else { None };
        let log = &fixture.log;
        fixture.gate.set(true);
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| log.append("waits"))).collect();
            fixture.gate.await_sync();
            while log.next_position() < 5 {
                thread::yield_now();
            }
            let follower = scope.spawn(|| positions(log.follow(StartPosition::End)));
            let closing = scope.spawn(|| log.close());
            while !log.inner().0.is_closed() {
                thread::yield_now();
            }
            assert_eq!(code(log.append("late")), Some(Code::Closed));
            fixture.gate.set(false);
            let mut found: Vec<_> = waiting.into_iter().filter_map(|thread| thread.join().ok()?.ok()).collect();
            found.sort_unstable();
            assert_eq!(found, [1, 2, 3, 4]);
            assert!(matches!(closing.join(), Ok(Ok(()))));
            assert_eq!(
                (code(log.append("late")), code(log.sync()), code(log.get(1))),
                (Some(Code::Closed), Some(Code::Closed), Some(Code::Closed))
            );
            assert_eq!(positions(log.iter()).1, Some(Code::Closed));
            assert!(follower.join().is_ok_and(|(_, end)| end == Some(Code::Closed)));
            if let Some(other) = other {
                assert_eq!(other.append("through the other handle").ok(), Some(5));
                assert!(other.close().is_ok());
            }
        });
    }
    Ok(())
}

#[test]
fn when_too_much_waits_an_append_waits_or_fails_as_chosen_and_a_submission_fails() -> Result<()> {
    let options = Options { max_pending_bytes: 4000, ..small(Fsync::Always) };
    for when_full in [WhenFull::Wait, WhenFull::Fail] {
        let fixture = Fixture::open(options.clone(), when_full)?;
        let log = &fixture.log;
        fixture.gate.set(true);
        let pending = [log.submit(&[0; 1900])?, log.submit(&[0; 1900])?];
        assert_eq!(code(log.submit(&[0; 1900])), Some(Code::Backpressure));
        thread::scope(|scope| {
            let blocked: Vec<_> = (0..5).map(|_| scope.spawn(|| log.append(&[1; 1900]))).collect();
            if when_full == WhenFull::Wait {
                // None of them returns before the disk does.
                while log.inner().1.count() < 6 {
                    thread::yield_now();
                }
                assert!(blocked.iter().all(|thread| !thread.is_finished()));
                fixture.gate.set(false);
            }
            let mut found: Vec<_> =
                blocked.into_iter().filter_map(|thread| thread.join().ok()).map(|found| found.map_err(|e| e.code)).collect();
            found.sort_unstable_by_key(|found| *found.as_ref().unwrap_or(&0));
            match when_full {
                WhenFull::Wait => assert_eq!(found, [3, 4, 5, 6, 7].map(Ok)),
                WhenFull::Fail => assert_eq!(found, vec![Err(Code::Backpressure); 5]),
            }
        });
        fixture.gate.set(false);
        assert_eq!(pending.map(|pending| pending.wait().ok()), [Some(1), Some(2)]);
        log.close()?;
    }
    Ok(())
}

#[test]
fn an_append_that_waits_for_room_ends_with_the_log() -> Result<()> {
    let options = Options { max_pending_bytes: 4000, ..small(Fsync::Always) };
    for poisoned in [false, true] {
        let fixture = Fixture::open(options.clone(), WhenFull::Wait)?;
        let log = &fixture.log;
        fixture.gate.set(true);
        let pending = log.submit(&[0; 3900])?;
        thread::scope(|scope| {
            let blocked = scope.spawn(|| log.append(&[1; 1900]));
            while log.inner().1.count() < 2 {
                thread::yield_now();
            }
            let closing = (!poisoned).then(|| scope.spawn(|| log.close()));
            if poisoned {
                fixture.disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
            } else {
                while !log.inner().0.is_closed() {
                    thread::yield_now();
                }
            }
            fixture.gate.set(false);
            let ends = if poisoned { [Code::Poisoned, Code::Poisoned] } else { [Code::Closed, Code::Closed] };
            // It may also have been waiting for the lock of the queue all the time.
            assert!(blocked.join().is_ok_and(|found| ends.map(Some).contains(&code(found))));
            assert!(closing.is_none_or(|closing| matches!(closing.join(), Ok(Ok(())))));
        });
        assert_eq!(code(pending.wait()), poisoned.then_some(Code::Poisoned));
    }
    Ok(())
}

#[test]
fn no_thread_waits_in_vain_for_a_record_that_settles_while_it_goes_to_sleep() -> Result<()> {
    let fixture = Fixture::open(small(Fsync::Os), WhenFull::Wait)?;
    let log = &fixture.log;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3000).for_each(|_| assert!(log.append("x").is_ok())));
        }
    });
    assert_eq!(log.last_position(), Some(12_000));
    log.close()
}

#[test]
fn a_pending_record_is_waited_for_in_another_thread_and_after_the_log_was_dropped() -> Result<()> {
    let fixture = Fixture::new()?;
    fixture.gate.set(true);
    let (one, two) = (fixture.log.submit("one")?, fixture.log.submit("two")?);
    thread::scope(|scope| {
        let waiting = [scope.spawn(move || two.wait()), scope.spawn(move || one.wait())];
        fixture.gate.set(false);
        let [two, one] = waiting.map(|thread| thread.join().ok().and_then(Result::ok));
        assert_eq!((one, two), (Some(1), Some(2)));
    });
    let three = fixture.log.submit("three")?;
    drop(fixture.log);
    assert_eq!(three.wait()?, 3);
    Ok(())
}

#[test]
fn threads_that_have_ended_leave_their_lanes_to_others_even_if_a_dropped_record_was_rejected() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    fixture.fill_disk();
    for _ in 0..50 {
        let spawned = thread::scope(|scope| scope.spawn(|| log.submit(&[1; 100 << 10]).map(drop)).join());
        assert!(spawned.is_ok());
        while log.next_position() != 1 {
            thread::yield_now();
        }
    }
    assert!(log.inner().1.count() <= 3, "{}", log.inner().1.count());
    fixture.mend_disk();
    assert_eq!(code(log.close()), Some(Code::NoSpace), "closing returns what no thread could be given");
    log.close()
}

#[test]
fn threads_that_have_ended_leave_their_lanes_to_others() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    for _ in 0..50 {
        thread::scope(|scope| {
            scope.spawn(|| log.submit("dropped").map(drop));
        });
        // What it submitted settles before this.
        log.sync()?;
    }
    assert!(log.inner().1.count() <= 3, "{}", log.inner().1.count());
    log.close()
}
