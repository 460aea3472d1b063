//! Commits that are submitted and completed later, with completions that a test writes down: in which order the disk is done with them, and
//! how each ends.

use super::clients::Scheduler;
use super::named::Log;
use super::oracle::{read, Expected, Made, Read, Tag};
use crate::error::{Code, Fault, Result};
use crate::log::commit_loop::CommitLoop;
use crate::log::open::open;
use crate::log::state::LogState;
use crate::maintenance::verify::verify_storage;
use crate::options::Options;
use crate::storage::write_queue::Refusal;
use crate::testing::sim::Ending::{self, Failed, Full, Unfinished, Written};
use crate::testing::sim::{Rng, SimDisk, SimQueue};
use crate::util::limits::PAGE;
use crate::util::locks::locked;
use crate::util::notify::Waiter;
use crate::util::runtime::Runtime;
use crate::write::submission_queue::{Client, Command, LogPhase, Settled, WriteRoute};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

mod moments;

/// Bytes of a value with which a commit takes two pages.
const TWO_PAGES: u32 = 5000;

/// A log whose only client submits its commits, on a disk that completes them as a script says.
struct Turns {
    disk: SimDisk,
    options: Options,
    expected: Expected,
    shared: Arc<LogState>,
    thread: CommitLoop,
    scheduler: Arc<Scheduler>,
    client: usize,
    segment: String,
}

impl Turns {
    /// A log of one record, with commits of whole pages.
    fn new(sector: u64) -> Turns {
        let mut log = Log::through(sector, 256 << 10);
        // The first direct write tells that the file system takes them.
        log.commit(&[&[100]], true);
        let scheduler = Arc::new(Scheduler::default());
        Turns::over(log, scheduler.clone(), scheduler)
    }

    /// A log that is open already. `runtime` has the clock of `scheduler`.
    fn over(log: Log, scheduler: Arc<Scheduler>, runtime: Arc<dyn Runtime>) -> Turns {
        let segment = log.segment();
        let Log { disk, options, expected, opened } = log;
        let (shared, writer) = LogState::writable(Arc::new(disk.clone()), options.clone(), opened);
        let thread = CommitLoop::new(shared.clone(), writer, runtime);
        let mut client = Client::new(Arc::new(Waiter::default()));
        client.route = Some(WriteRoute { queue: Arc::new(SimQueue), token: 0 });
        let client = locked(&shared.submissions).join(client);
        disk.script_completions(&[]);
        Turns { disk, options, expected, shared, thread, scheduler, client, segment }
    }

    /// A log whose small commits write the last page again.
    fn small(sector: u64) -> Turns {
        let turns = Turns::new(sector);
        turns.disk.set_large_commit(64 << 10);
        turns
    }

    fn try_append(&mut self, client: usize, len: u32) -> Result<u64> {
        let tag = Tag { attempt: 0, len };
        let made = Made::new(self.expected.end + 1, tag);
        let record = made.record();
        let len = record.check(1 << 30)?;
        let at = locked(&self.shared.submissions).append(client, &record, len, false, &self.options)?;
        self.expected.push(tag, true);
        Ok(at)
    }

    fn append(&mut self, len: u32) -> u64 {
        self.try_append(self.client, len).unwrap()
    }

    /// Runs the end of a turn of the client's thread. Returns whether a commit thread has to go on.
    fn turn(&mut self) -> bool {
        locked(&self.shared.submissions).kicked = true;
        self.thread.try_ahead()
    }

    /// Appends a record in a turn of its own.
    fn submit(&mut self, len: u32) -> u64 {
        let position = self.append(len);
        assert!(!self.turn(), "a commit thread is asked for");
        position
    }

    fn complete(&mut self, script: &[(usize, Ending)]) -> bool {
        self.disk.script_completions(script);
        self.turn()
    }

    /// Lets a commit thread go on until nothing is left to do. Returns the result of closing, if the log was told to stop.
    fn thread(&mut self) -> Option<Result<()>> {
        loop {
            // What is under way for so long is waited for.
            *locked(&self.scheduler.now) += Duration::from_millis(25);
            locked(&self.shared.submissions).kicked = true;
            let closed = self.thread.try_step();
            let submissions = locked(&self.shared.submissions);
            let is_done = submissions.queue.is_empty() && submissions.group.is_empty() && !self.thread.writer.is_ahead();
            let has_failed = matches!(submissions.phase, LogPhase::Poisoned(_) | LogPhase::Detached(_));
            if closed.is_some() || has_failed || is_done && !self.thread.is_taken() {
                return closed;
            }
        }
    }

    /// Returns how many operations of a client have succeeded or failed, and the first failure.
    fn settled(&self, client: usize) -> (u64, Option<Code>) {
        let (mut upto, mut failed) = (0, None);
        loop {
            match locked(&self.shared.submissions).clients[client].as_mut().unwrap().collect() {
                Settled::Done(more) if more == upto => return (upto, failed),
                Settled::Done(more) => upto = more,
                Settled::Failed(more, error) => (upto, failed) = (more, failed.or(Some(error.code))),
            }
        }
    }

    fn acknowledged(&self) -> u64 {
        self.shared.catalog.ends.get().acknowledged
    }

    fn end(&self) -> u64 {
        self.thread.writer.active.as_ref().unwrap().end.offset
    }

    /// Cuts the power, keeping the sectors of the active segment for which `keep` holds, and checks what is left.
    fn cut(&self, least: u64, keep: impl Fn(u64) -> bool) -> u64 {
        let disk = self.disk.fork();
        disk.power_cut_keeping(
            &mut |_, name, offset, versions| if name != self.segment || keep(offset) { versions } else { 0 },
            &mut |_| true,
        );
        self.survives(&disk, least)
    }

    /// Opens a disk after a restart. It holds at least the records up to `least`, no part of any other, and no damage.
    fn survives(&self, disk: &SimDisk, least: u64) -> u64 {
        disk.restart();
        let verified = verify_storage(Arc::new(disk.clone()), &Arc::default()).unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
        let opened = open(Arc::new(disk.clone()), &self.options, || 0).unwrap();
        let end = opened.writer.next_position() - 1;
        assert_eq!(self.expected.refuses(end, least), None);
        let found = read(Arc::new(disk.clone()), &opened.catalog, &self.expected, 1, end, 1 << 12);
        assert!(matches!(found, Read::All), "up to {end}");
        assert_eq!((disk.violation(), self.disk.violation()), (None, None));
        end
    }

    /// Checks the log after the process has died, without and with a power cut. Returns the lowest and the highest end that was found.
    fn ends(&self, least: u64) -> (u64, u64) {
        let mut ends = Vec::new();
        for seed in 0..30 {
            let disk = self.disk.fork();
            disk.reseed(seed);
            if seed % 2 == 0 {
                disk.power_cut();
            }
            ends.push(self.survives(&disk, least));
        }
        (*ends.iter().min().unwrap(), *ends.iter().max().unwrap())
    }

    fn is_poisoned(&mut self) -> bool {
        let refused = self.try_append(self.client, 10).is_err_and(|error| error.code == Code::Poisoned);
        let changes = self.disk.changes();
        self.turn();
        self.thread.try_step();
        refused && self.disk.changes() == changes
    }
}

#[test]
fn nothing_of_a_commit_is_acknowledged_before_the_one_before_it() {
    let mut log = Turns::new(512);
    let (first, second) = (log.submit(TWO_PAGES), log.submit(100));
    assert_eq!(log.disk.under_way(), 2);
    assert!(!log.complete(&[(1, Written)]));
    assert_eq!((log.disk.under_way(), log.settled(log.client), log.acknowledged()), (1, (0, None), first - 1));
    assert!(log.ends(first - 1).0 < second);
    assert!(!log.complete(&[(0, Written)]));
    assert_eq!((log.settled(log.client), log.acknowledged()), ((2, None), second));
    assert_eq!(log.ends(second), (second, second));
}

#[test]
fn a_third_commit_waits_and_is_submitted_when_one_is_complete() {
    let mut log = Turns::new(512);
    (0..4).for_each(|_| assert!(log.submit(100) > 1));
    assert_eq!(log.disk.under_way(), 2);
    assert!(!log.complete(&[(0, Written)]));
    assert_eq!((log.disk.under_way(), log.settled(log.client)), (2, (1, None)));
    assert!(!log.complete(&[(0, Written), (0, Written)]));
    assert_eq!((log.disk.under_way(), log.settled(log.client)), (0, (4, None)), "the other two went together");
    assert_eq!(log.ends(5), (5, 5));
}

#[test]
fn a_commit_that_begins_in_the_last_page_waits_until_that_page_is_written() {
    let mut log = Turns::small(512);
    for len in [100, 300, 20] {
        log.submit(len);
        assert_eq!(log.disk.under_way(), 1);
    }
    assert!(!log.complete(&[(0, Written)]));
    assert_eq!((log.disk.under_way(), log.settled(log.client)), (1, (1, None)));
    assert!(!log.complete(&[(0, Written)]));
    assert_eq!(log.settled(log.client), (3, None));
    assert!(!log.end().is_multiple_of(PAGE));
    assert_eq!(log.ends(4), (4, 4));
}

#[test]
fn a_failed_write_rejects_its_commit_and_the_next_and_poisons_the_log() {
    for script in [&[(0, Failed)][..], &[(1, Written), (0, Failed)], &[(0, Failed), (0, Failed)]] {
        let mut log = Turns::new(512);
        let first = log.submit(TWO_PAGES);
        log.submit(100);
        log.append(10);
        assert!(log.complete(script), "a thread that may block has to reject them");
        assert_eq!((log.settled(log.client), log.acknowledged()), ((0, None), first - 1));
        assert!(log.thread().is_none());
        assert_eq!((log.settled(log.client), log.acknowledged()), ((3, Some(Code::Poisoned)), first - 1));
        assert_eq!(log.disk.under_way(), 0, "the memory of the second was given back before its completion");
        assert!(log.is_poisoned());
        let (_, last) = log.ends(first - 1);
        assert!(last < first + 2, "a record that was never submitted is there");
    }
}

#[test]
fn a_failed_write_rejects_nothing_that_was_acknowledged_before() {
    let mut found = [false; 2];
    for seed in 0..8 {
        let mut log = Turns::new(512);
        log.disk.reseed(seed);
        let first = log.submit(100);
        log.submit(TWO_PAGES);
        assert!(log.complete(&[(1, Failed), (0, Written)]));
        assert_eq!((log.settled(log.client), log.acknowledged()), ((1, None), first));
        log.thread();
        assert_eq!((log.settled(log.client), log.acknowledged()), ((2, Some(Code::Poisoned)), first));
        assert!(log.is_poisoned());
        let (least, most) = log.ends(first);
        found[(least - first) as usize] = true;
        found[(most - first) as usize] = true;
    }
    assert_eq!(found, [true; 2], "what a failed write leaves varies");
}

#[test]
fn a_write_that_fails_for_a_reason_that_passes_rejects_what_is_under_way_and_none_of_it_comes_back() {
    let mut found = [false; 2];
    for (seed, script) in (1..).zip([&[(0, Full)][..], &[(1, Written), (0, Full)], &[(0, Full), (0, Full)]].repeat(4)) {
        let mut log = Turns::new(512);
        log.disk.reseed(seed);
        let first = log.submit(TWO_PAGES);
        log.submit(100);
        log.append(10);
        assert!(log.complete(script));
        log.thread();
        assert_eq!((log.settled(log.client), log.acknowledged()), ((3, Some(Code::NoSpace)), first - 1));
        log.expected.cut(first - 1);
        // The same records again: what is left of them in the file would continue these.
        for len in [TWO_PAGES, 200] {
            log.append(len);
            log.turn();
            log.thread();
        }
        assert_eq!((log.settled(log.client).0, log.acknowledged()), (5, first + 1));
        let (least, most) = log.ends(first + 1);
        found[0] |= least == first + 1;
        found[1] |= most == first + 1;
    }
    assert_eq!(found, [true; 2]);
}

#[test]
fn a_write_that_stops_early_is_written_again_and_acknowledged_once() {
    for script in [&[(0, Unfinished)][..], &[(1, Written), (0, Unfinished)], &[(0, Unfinished), (0, Unfinished)]] {
        for seed in 0..20 {
            let mut log = Turns::new(512);
            log.disk.reseed(seed);
            let (first, second) = (log.submit(TWO_PAGES), log.submit(TWO_PAGES));
            assert!(log.complete(script));
            assert_eq!((log.settled(log.client), log.acknowledged()), ((0, None), first - 1));
            assert!(log.thread().is_none());
            assert_eq!((log.settled(log.client), log.acknowledged()), ((2, None), second));
            assert_eq!(log.cut(second, |_| true), second);
            let third = log.submit(100);
            assert!(!log.complete(&[(0, Written)]));
            assert_eq!((log.settled(log.client), log.cut(third, |_| true)), ((3, None), third));
        }
    }
}

#[test]
fn a_power_cut_leaves_an_allowed_prefix_of_the_commits_under_way_whatever_it_keeps() {
    for (sector, lens) in [(4096, [TWO_PAGES; 2]), (512, [TWO_PAGES; 2]), (4096, [100, TWO_PAGES]), (512, [3000, 100])] {
        let mut log = Turns::new(sector);
        let start = log.end();
        let (first, second) = (log.submit(lens[0]), log.submit(lens[1]));
        assert_eq!(log.disk.under_way(), 2);
        let pages = lens.iter().map(|len| u64::from(*len).div_ceil(PAGE)).sum::<u64>();
        let mut found = [0; 3];
        for subset in 0..1_u64 << pages {
            let end = log.cut(first - 1, |offset| offset < start || subset >> ((offset - start) / PAGE) & 1 == 1);
            found[(end + 1 - first) as usize] += 1;
        }
        assert!(found[0] > 0 && found[1] > 0 && found[2] == 1, "{found:?}");
        let (sectors, mut least) = (pages * PAGE / sector, first - 1);
        for one in 0..=sectors {
            let place = |offset: u64| (offset.wrapping_sub(start)) / sector;
            let end = log.cut(first - 1, |offset| offset < start || place(offset) < one);
            assert!(end >= least && (one < sectors || end == second), "the first {one} sectors: {end}");
            least = end;
            log.cut(first - 1, |offset| offset < start || place(offset) >= one);
            log.cut(first - 1, |offset| offset < start || place(offset) == one);
            log.cut(first - 1, |offset| offset < start || place(offset) != one);
        }
        let mut rng = Rng::new(sector);
        for _ in 0..100 {
            let subset = rng.next();
            log.cut(first - 1, |offset| offset < start || subset >> ((offset - start) / sector) & 1 == 1);
        }
        // The second is complete, and no hole of the first is bridged.
        log.complete(&[(1, Written)]);
        for subset in 0..1_u64 << (pages - 1) {
            let lost = |offset: u64| offset >= start && (offset - start) / PAGE < u64::from(lens[0]).div_ceil(PAGE);
            let end = log.cut(first - 1, |offset| !lost(offset) || subset >> ((offset - start) / PAGE) & 1 == 1);
            assert!(end == first - 1 || end == second, "{end}");
        }
    }
}

#[test]
fn a_process_that_dies_with_writes_under_way_leaves_an_allowed_prefix() {
    let mut log = Turns::new(512);
    let acknowledged = log.submit(TWO_PAGES);
    log.complete(&[(0, Written)]);
    let second = (log.submit(100), log.submit(TWO_PAGES)).1;
    let (least, most) = log.ends(acknowledged);
    assert!(least < second && most == second, "{least} {most}");
    // Nobody is told of what the kernel does for a dead process.
    log.disk.set_budget(0);
    log.complete(&[(0, Written), (0, Written)]);
    assert!(log.disk.crashed());
    assert_eq!(log.settled(log.client), (1, None));
}

#[test]
fn a_small_commit_that_writes_the_last_page_again_loses_nothing_whichever_sectors_it_keeps() {
    let mut log = Turns::small(512);
    let mut whole = 0;
    for len in [100, 900, 30, 1500, 40] {
        let start = log.end();
        let before = log.submit(len) - 1;
        let block = start - start % PAGE;
        for subset in 0..256_u64 {
            let keep = |offset: u64| offset < block || offset >= block + PAGE || subset >> ((offset - block) / 512) & 1 == 1;
            whole += u64::from(log.cut(before, keep) == before + 1);
        }
        assert!(!log.complete(&[(0, Written)]));
        assert_eq!(log.acknowledged(), before + 1);
    }
    assert!(whole > 100, "{whole}");
    assert_eq!(log.ends(6), (6, 6));
}

#[test]
fn closing_completes_the_writes_under_way_and_what_waits_behind_them() {
    for script in [&[][..], &[(1, Written)], &[(1, Unfinished), (0, Unfinished)]] {
        let mut log = Turns::new(512);
        (0..3).for_each(|_| assert!(log.submit(TWO_PAGES) > 1));
        let last = log.append(100);
        locked(&log.shared.submissions).phase = LogPhase::Closing;
        log.shared.stop.store(true, Ordering::Release);
        assert!(log.complete(script), "only a thread that may block closes a log");
        // The clock stands still: nothing is overdue.
        while log.thread.step().is_none() {}
        assert_eq!((log.settled(log.client), log.acknowledged()), ((4, None), last));
        assert_eq!(log.ends(last), (last, last));
    }
}

#[test]
fn a_command_waits_for_the_writes_under_way_and_acts_on_them() {
    let commands = [Command::TruncateAfter(2), Command::TruncateBefore(3), Command::Reset(9)];
    for (command, script) in commands.into_iter().flat_map(|command| [(command, &[][..]), (command, &[(1, Written), (0, Unfinished)])]) {
        let mut log = Turns::new(512);
        assert_eq!((log.submit(TWO_PAGES), log.submit(100)), (2, 3));
        let waiting = log.append(200);
        locked(&log.shared.submissions).command(log.client, command, &log.options).unwrap();
        let next = locked(&log.shared.submissions).next;
        match command {
            Command::TruncateAfter(last) => log.expected.cut(last),
            Command::TruncateBefore(_) => {}
            Command::Reset(_) => {
                log.expected.tags.resize(next as usize, Tag { attempt: 0, len: 0 });
                log.expected.whole.resize(next as usize, true);
                (log.expected.low, log.expected.end) = (next, next - 1);
            }
        }
        assert_eq!(log.append(300), next);
        assert!(log.complete(script));
        assert_eq!(log.settled(log.client).0, 0);
        log.thread();
        assert_eq!((log.settled(log.client), log.acknowledged()), ((5, None), next));
        let low = if matches!(command, Command::TruncateAfter(_)) { 1 } else { log.thread.writer.low_mark() };
        assert_eq!(
            (low, next),
            match command {
                Command::TruncateAfter(last) => (1, last + 1),
                Command::TruncateBefore(first) => (first, waiting + 1),
                Command::Reset(first) => (first, first),
            }
        );
        log.disk.power_cut();
        log.disk.restart();
        let opened = open(Arc::new(log.disk.clone()), &log.options, || 0).unwrap();
        assert_eq!((opened.writer.low_mark(), opened.writer.next_position()), (low, next + 1));
        assert!(matches!(read(Arc::new(log.disk.clone()), &opened.catalog, &log.expected, low, next, 1 << 12), Read::All));
        assert_eq!(log.disk.violation(), None);
    }
}

#[test]
fn a_client_that_joins_meanwhile_settles_after_the_writes_under_way_and_by_a_commit_thread() {
    let mut log = Turns::new(512);
    log.submit(TWO_PAGES);
    let other = locked(&log.shared.submissions).join(Client::new(Arc::new(Waiter::default())));
    log.try_append(other, 100).unwrap();
    let last = log.append(100);
    assert!(log.turn(), "none of two clients submits for the other");
    assert_eq!(log.disk.under_way(), 1);
    assert!(log.complete(&[(0, Written)]), "the first is complete, and the rest is left to a thread");
    assert_eq!((log.settled(log.client), log.settled(other)), ((1, None), (0, None)));
    log.thread();
    assert_eq!((log.settled(log.client), log.settled(other), log.acknowledged()), ((2, None), (1, None), last));
    locked(&log.shared.submissions).clients[other] = None;
    log.submit(100);
    assert_eq!(log.disk.under_way(), 1, "the client is alone again");
    assert!(!log.complete(&[(0, Written)]));
    assert_eq!(log.ends(last + 1), (last + 1, last + 1));
}

#[test]
fn a_client_that_joins_does_not_wait_for_the_thread_of_another_one() {
    for joins_late in [true, false] {
        let mut log = Turns::new(512);
        (0..2).for_each(|_| assert!(log.submit(100) > 1));
        let join = |log: &Turns| locked(&log.shared.submissions).join(Client::new(Arc::new(Waiter::default())));
        let early = (!joins_late).then(|| join(&log));
        log.append(100);
        assert_eq!(log.turn(), !joins_late, "the client is alone, and is told when a write is complete");
        let other = early.unwrap_or_else(|| join(&log));
        log.try_append(other, 100).unwrap();
        assert!(log.turn(), "its thread may be busy");
        log.thread();
        assert_eq!((log.settled(log.client), log.settled(other)), ((3, None), (1, None)));
    }
}

#[test]
fn what_waits_for_overdue_writes_is_committed_by_the_thread_that_completes_them() {
    let mut log = Turns::new(512);
    (0..3).for_each(|_| assert!(log.submit(100) > 1));
    *locked(&log.scheduler.now) += Duration::from_millis(25);
    assert!(log.thread.is_wanted(&locked(&log.shared.submissions)));
    // The client's thread is busy: only the clock asks for a step.
    log.thread.step();
    assert_eq!(log.settled(log.client), (3, None));
}

#[test]
fn a_fault_of_a_background_job_rejects_everything_after_the_writes_under_way() {
    for script in [&[][..], &[(1, Written)], &[(0, Written), (0, Written)]] {
        let mut log = Turns::new(512);
        let (first, second) = (log.submit(TWO_PAGES), log.submit(100));
        let third = log.append(100);
        log.shared.report(Fault::new("fdatasync", "CONTROL", &std::io::Error::from_raw_os_error(5)));
        assert!(log.complete(script));
        assert_eq!(log.settled(log.client).0, 0, "nothing is acknowledged before a commit thread has seen the fault");
        log.thread();
        let acknowledged = log.acknowledged();
        assert!(acknowledged == first - 1 || acknowledged == second, "{acknowledged}");
        assert_eq!(log.settled(log.client), (3, Some(Code::Poisoned)));
        assert!(log.is_poisoned());
        assert!(log.ends(acknowledged).1 < third);
    }
}

#[test]
fn a_commit_whose_submission_is_refused_is_left_to_a_commit_thread_at_once() {
    for refusal in [Refusal::Busy, Refusal::Unsupported] {
        let mut log = Turns::new(512);
        log.submit(TWO_PAGES);
        log.disk.refuse_submissions(Some(refusal));
        let second = log.append(100);
        assert!(log.turn(), "no completion will ask for a thread");
        assert_eq!((log.disk.under_way(), log.settled(log.client)), (1, (0, None)));
        log.thread();
        assert_eq!((log.settled(log.client), log.acknowledged()), ((2, None), second));
        log.disk.refuse_submissions(None);
        let third = log.append(100);
        assert_eq!(log.turn(), refusal == Refusal::Unsupported, "what is not supported is not tried again");
        log.thread();
        assert_eq!((log.settled(log.client), log.ends(third)), ((3, None), (third, third)));
    }
}

#[test]
fn a_log_that_leaves_its_path_settles_each_operation_once_and_rejects_none_that_is_written() {
    for script in [&[][..], &[(1, Written)], &[(0, Written)], &[(0, Failed)]] {
        let mut log = Turns::new(512);
        let (first, _) = (log.submit(TWO_PAGES), log.submit(100));
        log.append(100);
        log.disk.script_completions(script);
        log.disk.lose("it was moved away");
        // The log's path is checked once a second, and before the next commit.
        *locked(&log.scheduler.now) += Duration::from_secs(2);
        log.thread();
        log.thread();
        let (settled, failed) = log.settled(log.client);
        assert_eq!(settled, 3);
        let code = if script == [(0, Failed)] { Code::Poisoned } else { Code::Detached };
        assert_eq!(failed, Some(code));
        assert_eq!(log.acknowledged(), if code == Code::Poisoned { first - 1 } else { first + 1 });
    }
}

#[test]
fn a_check_of_the_path_that_is_due_waits_for_the_writes_under_way() {
    let mut log = Turns::new(512);
    log.submit(100);
    log.complete(&[(0, Written)]);
    let pass = |log: &Turns, ms| *locked(&log.scheduler.now) += Duration::from_millis(ms);
    pass(&log, 995);
    let last = (log.submit(TWO_PAGES), log.submit(100)).1;
    log.disk.lose("it was moved away");
    // The mark is due, for which the path is checked. The writes are not overdue.
    pass(&log, 10);
    log.thread.try_step();
    log.complete(&[(0, Written), (0, Written)]);
    log.thread();
    assert_eq!((log.settled(log.client), log.acknowledged()), ((3, None), last));
    assert!(log.try_append(log.client, 1).is_err_and(|error| error.code == Code::Detached));
}
