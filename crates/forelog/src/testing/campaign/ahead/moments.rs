//! What comes between any two moments of a step while writes are under way: a moment is a look at the clock, or a poll of a write.

use super::*;
use crate::options::{Options, Retention};
use crate::testing::sim::{before_polls, Through};
use crate::util::runtime::Job;
use std::sync::atomic::AtomicU64;
use std::sync::Mutex;

/// Does something in the middle of a step. Returns false if it is not possible at this moment, because a lock is held.
type Deed = Box<dyn FnMut() -> bool + Send>;

/// A clock that may go on at each look, and a deed that is done at a chosen moment.
#[derive(Default)]
struct Moments {
    scheduler: Arc<Scheduler>,
    tick: Mutex<Duration>,
    /// Number of moments until the deed.
    left: AtomicU64,
    deed: Mutex<Option<Deed>>,
}

impl Moments {
    fn pass(&self) {
        if self.left.load(Ordering::Relaxed) > 0 {
            self.left.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let taken = locked(&self.deed).take();
        if let Some(mut deed) = taken {
            if !deed() {
                *locked(&self.deed) = Some(deed);
            }
        }
    }

    /// Does the deed after this many moments.
    fn arm(self: &Arc<Self>, left: u64, deed: Deed) {
        self.left.store(left, Ordering::Relaxed);
        *locked(&self.deed) = Some(deed);
        let moments = self.clone();
        before_polls(Some(Box::new(move || moments.pass())));
    }

    /// Returns whether the deed was done.
    fn disarm(&self) -> bool {
        before_polls(None);
        locked(&self.deed).take().is_none()
    }
}

impl Runtime for Moments {
    fn now(&self) -> Duration {
        self.pass();
        let mut now = locked(&self.scheduler.now);
        *now += *locked(&self.tick);
        *now
    }

    fn spawn(&self, job: Job) {
        self.scheduler.spawn(job);
    }

    fn idle_timeout(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

/// Opens a log of some records in several segments.
fn open_log(retention: Retention) -> (Turns, Arc<Moments>) {
    let disk = SimDisk::new(1, 512);
    disk.set_through(Through::Taken);
    let mut log = Log::on(disk, Options { segment_bytes: 64 << 10, retention, ..Options::default() });
    log.fill();
    for _ in 0..7 {
        log.commit(&[&[20_000]], true);
        log.grow();
    }
    let moments = Arc::new(Moments::default());
    (Turns::over(log, moments.scheduler.clone(), moments.clone()), moments)
}

/// Steps the log as its threads do, until none of them has anything to do.
fn step_until_parked(log: &mut Turns, mut needs_thread: bool) -> Option<Result<()>> {
    for _ in 0..100 {
        if !needs_thread && !log.thread.is_wanted(&locked(&log.shared.submissions)) {
            return None;
        }
        needs_thread = false;
        let closed = log.thread.try_step();
        if closed.is_some() {
            return closed;
        }
    }
    panic!("the log is never parked");
}

/// Lets the disk complete one write after the other, and tells the client of each. Nothing else kicks the log.
fn complete_all(log: &mut Turns, mut needs_thread: bool) -> Option<Result<()>> {
    for _ in 0..100 {
        let closed = step_until_parked(log, needs_thread);
        if closed.is_some() || log.disk.under_way() == 0 {
            return closed;
        }
        log.disk.script_completions(&[(0, Written)]);
        locked(&log.shared.submissions).kicked = true;
        needs_thread = log.thread.try_ahead();
    }
    panic!("writes stay under way");
}

/// What comes in the middle of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    Append,
    AppendOfAnother,
    Command,
    Close,
}

/// Returns the deed, which appends the record at `position`.
fn deed(comes: Comes, log: &Turns, position: u64, other: usize) -> Deed {
    let (shared, options, client) = (log.shared.clone(), log.options.clone(), log.client);
    Box::new(move || {
        let Ok(mut submissions) = shared.submissions.try_lock() else { return false };
        let made = Made::new(position, Tag { attempt: 0, len: 100 });
        let record = made.record();
        let len = record.check(1 << 30).unwrap();
        match comes {
            Comes::Append => assert_eq!(submissions.append(client, &record, len, false, &options).unwrap(), position),
            Comes::AppendOfAnother => assert_eq!(submissions.append(other, &record, len, false, &options).unwrap(), position),
            Comes::Command => submissions.command(client, Command::TruncateBefore(1), &options).unwrap(),
            Comes::Close => {
                submissions.phase = LogPhase::Closing;
                shared.stop.store(true, Ordering::Release);
            }
        }
        shared.rouse(submissions);
        true
    })
}

#[test]
fn what_comes_at_any_moment_of_a_step_settles_without_another_kick() {
    let scripts = [&[][..], &[(0, Written)], &[(1, Written)], &[(1, Written), (0, Written)], &[(0, Unfinished)]];
    let mut moments_seen = 0;
    for comes in [Comes::Append, Comes::AppendOfAnother, Comes::Command, Comes::Close] {
        for (script, steps) in scripts.into_iter().flat_map(|script| [(script, false), (script, true)]) {
            for left in 0.. {
                let (mut log, moments) = open_log(Retention::default());
                let last = (log.submit(TWO_PAGES), log.submit(100)).1;
                let another = comes == Comes::AppendOfAnother;
                let join = || locked(&log.shared.submissions).join(Client::new(Arc::new(Waiter::default())));
                let other = if another { join() } else { usize::MAX };
                moments.arm(left, deed(comes, &log, last + 1, other));
                log.disk.script_completions(script);
                // The client's thread, or a commit thread, because the writes are overdue.
                let (closed, needs_thread) = if steps {
                    *locked(&log.scheduler.now) += Duration::from_millis(25);
                    (log.thread.try_step(), false)
                } else {
                    locked(&log.shared.submissions).kicked = true;
                    (None, log.thread.try_ahead())
                };
                if !moments.disarm() {
                    break;
                }
                moments_seen += 1;
                let closed = closed.or_else(|| complete_all(&mut log, needs_thread));
                let what = format!("{comes:?} at moment {left}, {script:?}, by a commit thread: {steps}");
                let appended = matches!(comes, Comes::Append | Comes::AppendOfAnother);
                if appended {
                    log.expected.push(Tag { attempt: 0, len: 100 }, true);
                }
                let own = 2 + u64::from(matches!(comes, Comes::Append | Comes::Command));
                assert_eq!(log.settled(log.client), (own, None), "{what}");
                if another {
                    assert_eq!(log.settled(other), (1, None), "{what}");
                }
                assert_eq!(closed.is_some(), comes == Comes::Close, "{what}");
                let end = last + u64::from(appended);
                assert_eq!((log.acknowledged(), log.disk.under_way()), (end, 0), "{what}");
                assert_eq!(log.cut(end, |_| true), end, "{what}");
            }
        }
    }
    assert!(moments_seen > 100, "{moments_seen}");
}

#[test]
fn retention_that_comes_due_at_any_moment_of_a_step_waits_for_the_writes_under_way() {
    let (mut early, mut removed) = (0, 0);
    for late in 0..15 {
        let (mut log, moments) = open_log(Retention { max_bytes: Some(100 << 10), ..Retention::default() });
        // A reader holds the oldest segment back, so retention checks again in a second.
        let held = log.shared.catalog.reader_positions.enter(1);
        assert!(step_until_parked(&mut log, true).is_none());
        assert_eq!(log.thread.writer.low_mark(), 1);
        drop(held);
        let due = log.thread.deadline().unwrap();
        // Not so early that the writes are overdue when retention is due.
        *locked(&log.scheduler.now) = due.saturating_sub(Duration::from_millis(late));
        let last = (log.submit(TWO_PAGES), log.submit(100)).1;
        assert_eq!(log.disk.under_way(), 2);
        *locked(&moments.tick) = Duration::from_millis(1);
        for _ in 0..3 {
            let before = log.thread.writer.low_mark();
            assert!(log.thread.try_step().is_none());
            if log.thread.writer.low_mark() > before {
                assert_eq!(log.disk.under_way(), 0, "segments are removed while writes are under way, {late} ms before retention is due");
                removed += 1;
            }
            early += u64::from(log.disk.under_way() > 0);
        }
        *locked(&moments.tick) = Duration::ZERO;
        *locked(&log.scheduler.now) += Duration::from_secs(2);
        assert!(complete_all(&mut log, true).is_none());
        assert_eq!((log.settled(log.client), log.acknowledged()), ((2, None), last));
        assert!(log.thread.writer.low_mark() > 1);
        assert_eq!(log.disk.violation(), None);
        log.disk.power_cut();
        log.disk.restart();
        let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
        let low = opened.writer.low_mark();
        assert_eq!(opened.writer.next_position(), last + 1);
        assert!(matches!(read(Arc::new(log.disk.clone()), &opened.catalog, &log.expected, low, last, 1 << 12), Read::All));
    }
    assert!(early > 0 && removed > 0, "{early} {removed}");
}

#[test]
fn a_check_of_the_path_that_comes_due_at_any_moment_of_a_step_rejects_nothing_that_is_written() {
    let mut ended = [0; 2];
    for late in 0..15 {
        let (mut log, moments) = open_log(Retention::default());
        log.submit(100);
        assert!(complete_all(&mut log, false).is_none());
        // The mark is due after a second, for which the path is checked. The writes are not overdue by then.
        *locked(&log.scheduler.now) = Duration::from_millis(1000 - late);
        let last = (log.submit(TWO_PAGES), log.submit(100)).1;
        log.disk.lose("it was moved away");
        *locked(&moments.tick) = Duration::from_millis(1);
        assert!(log.thread.try_step().is_none());
        ended[usize::from(log.try_append(log.client, 1).is_err())] += 1;
        *locked(&moments.tick) = Duration::ZERO;
        *locked(&log.scheduler.now) += Duration::from_secs(2);
        complete_all(&mut log, true);
        let (settled, failed) = log.settled(log.client);
        assert_eq!(log.acknowledged(), last, "{late} ms before the check");
        assert!(settled == 3 && failed.is_none() || settled == 4 && failed == Some(Code::Detached), "{settled} {failed:?}, {late}");
    }
    assert!(ended[0] > 0 && ended[1] > 0, "{ended:?}");
}
