//! Every call of a roll, and of the operations that lead to one, fails with every error. The log must go on or be poisoned as the rules
//! say, and what was acknowledged must be in it after a crash at any later moment.

use super::appends::Part;
use super::clients::Scheduler;
use super::history::{broken, Caught, Held, History};
use super::oracle::Tag;
use super::salvaged;
use crate::error::{Code, Error, Fault};
use crate::format::file_names::{classify, FileKind, CONTROL, RESERVE};
use crate::format::frame;
use crate::format::header::Header;
use crate::format::record::RecordRef;
use crate::log::commit_loop::CommitLoop;
use crate::log::open::Opened;
use crate::log::read_only;
use crate::log::state::LogState;
use crate::options::Options;
use crate::segments::placement::Filling;
use crate::storage::Storage;
use crate::testing::sim::{Faults, SimDisk, Strike, Through};
use crate::util::healing::On;
use crate::util::limits::PAGE;
use crate::util::locks::locked;
use crate::util::notify::Waiter;
use crate::write::submission_queue::Client;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Error numbers that Linux returns, and one that it returns only by mistake.
const ERRNOS: [i32; 27] = [1, 2, 4, 5, 6, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23, 24, 27, 28, 30, 31, 36, 38, 75, 95, 116, 122];
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const UNSUPPORTED: [i32; 3] = [EINVAL, 38, 95];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Durable records of these lengths.
    Append(&'static [u32]),
    /// Durable records of these lengths, all or none.
    Batch(&'static [u32]),
    /// Records that are acknowledged when they are written.
    Write(&'static [u32]),
    TruncateBefore(u64),
    TruncateAfter(u64),
    Reset(u64),
    Sync,
    Close,
    /// Marks, footers, spares and the zeroes of prefilling.
    Background,
    /// The process ends, and another one opens the log. Unsynced bytes stay in memory.
    Reopen,
    /// The disk fills up, or has room again.
    Full(bool),
    /// The reserve is made.
    Reserve,
    /// The reserve is removed by another program.
    NoReserve,
    /// The active segment is prefilled.
    Fill,
}

use Step::{Append, Background, Batch, Close, Fill, Full, NoReserve, Reopen, Reserve, Reset, Sync, TruncateAfter, TruncateBefore, Write};

/// The name of a case, the steps before the one that is struck, that step, and a call that it makes.
struct Case(&'static str, &'static [Step], Step, &'static str);

const CASES: [Case; 22] = [
    Case("an append in place", &[Append(&[100])], Append(&[200]), "pwrite 0"),
    Case("several frames in place", &[Append(&[100])], Append(&[40, 50, 60, 3000]), "pwrite 0"),
    Case("an append for which the file becomes longer", &[Append(&[100])], Append(&[5000]), "fallocate 0"),
    Case("a roll into a spare that is ready", &[Append(&[4000, 100]), Background], Append(&[4000]), "rename 0"),
    Case("a roll that makes its spare", &[Append(&[4000, 100])], Append(&[4000]), "fallocate spare-"),
    Case("a roll into a segment larger than the rest", &[Append(&[3000]), Background], Append(&[20_000]), "fallocate spare-"),
    Case("a roll into the reserve", &[Append(&[4000, 100]), Reserve, Full(true)], Append(&[4000]), "pwrite reserve"),
    Case("a roll after bytes that are not durable", &[Append(&[4000]), Write(&[100]), Background], Write(&[4000]), "rename 0"),
    Case("two rolls of one group", &[Append(&[4000, 100]), Background], Append(&[4000, 40, 9000]), "rename 0"),
    Case("a roll into a recycled file", &[Append(&[9000]), Append(&[9000, 100]), TruncateBefore(3)], Append(&[4000]), "open spare-"),
    Case(
        "an append after frames that a crash may have torn in a recycled file",
        &[Append(&[9000]), Append(&[9000, 100]), TruncateBefore(3), Append(&[4000]), Close, Reopen],
        Append(&[100]),
        "getrandom",
    ),
    Case(
        "a roll of an opening on a full disk",
        &[Append(&[500]), Append(&[700]), NoReserve, Full(true), Reopen, Full(false)],
        Append(&[300]),
        "pread 0",
    ),
    Case("truncateBefore", &[Append(&[9000]), Append(&[4000, 100]), Append(&[60])], TruncateBefore(3), "pwrite CONTROL"),
    Case("truncateBefore of whole segments", &[Append(&[9000]), Append(&[9000]), Append(&[9000])], TruncateBefore(3), "rename spare-"),
    Case("truncateAfter", &[Append(&[100]), Append(&[9000]), Append(&[60])], TruncateAfter(2), "rename 0"),
    Case("truncateAfter inside a batch", &[Append(&[100]), Batch(&[900, 800, 700])], TruncateAfter(3), "rename 0"),
    Case("truncateAfter of all", &[Append(&[100])], TruncateAfter(0), "rename 0"),
    Case("reset", &[Append(&[100]), Append(&[9000])], Reset(7), "unlink 0"),
    Case("sync", &[Write(&[100])], Sync, "fdatasync 0"),
    Case("close", &[Append(&[9000]), Append(&[4000, 100])], Close, "pwrite CONTROL"),
    Case("the background", &[Append(&[9000]), Append(&[4000, 100])], Background, "pwrite spare-"),
    Case("a large commit past the page cache", &[Fill, Append(&[2500])], Append(&[2600]), "direct 0"),
];

/// A log, and everything that is known about it.
struct Life {
    history: History,
    opened: Option<Opened>,
    /// Makes every record different.
    attempt: u32,
}

impl Life {
    fn new(sector: u64, direct: bool) -> Held<Life> {
        let mut history = History::new(1);
        history.disk = SimDisk::new(1, sector);
        history.disk.set_recycles(true);
        history.disk.set_large_commit(2000);
        history.disk.set_through(if direct { Through::Taken } else { Through::None });
        history.without_faults(Options { segment_bytes: 12 << 10, ..Options::default() });
        let opened = history.open()?;
        Ok(Life { history, opened, attempt: 0 })
    }

    /// Performs a step, and returns why it was rejected.
    fn take(&mut self, step: Step) -> Held<Option<Error>> {
        let Life { history, opened, attempt } = self;
        let Some(log) = opened.as_mut() else { return broken("the log is not open") };
        match step {
            Append(lens) | Batch(lens) | Write(lens) => {
                *attempt += 1;
                let tags: Vec<Tag> = lens.iter().map(|len| Tag { attempt: *attempt, len: *len }).collect();
                let parts: Vec<Part> = match step {
                    Batch(_) => vec![Part { tags, batch: true }],
                    _ => tags.into_iter().map(|tag| Part { tags: vec![tag], batch: true }).collect(),
                };
                let rejected = history.commit(log, &parts, !matches!(step, Write(_)))?;
                if rejected.is_none() && !log.writer.is_named() {
                    return broken("records are acknowledged in a segment that CONTROL does not name");
                }
                Ok(rejected)
            }
            TruncateBefore(first) => history.truncate_before(log, first),
            TruncateAfter(last) => history.truncate_after(log, last),
            Reset(first) => history.reset(log, first),
            Sync => {
                let synced = log.writer.sync();
                if synced.is_ok() {
                    (history.expected.durable, history.expected.written) = (history.expected.end, history.expected.end);
                }
                Ok(synced.err())
            }
            Close => {
                history.close(log)?;
                Ok(log.writer.health.ended().cloned())
            }
            Background => {
                let mut fault = log.writer.sealer.run().err();
                log.writer.spares().prepare(true);
                fault = fault.or(log.writer.mark().and_then(|job| job.run().err()).filter(|fault| !fault.heals(On::Named)));
                fault = fault.or(fill(log).err());
                Ok(fault.map(|fault| log.writer.health.poison(fault)))
            }
            Reopen => {
                *opened = None;
                history.disk.restart();
                *opened = history.open()?;
                Ok(None)
            }
            Full(full) => {
                history.disk.set_faults(Faults { full, ..Faults::default() });
                Ok(None)
            }
            Reserve => {
                log.writer.spares().prepare_reserve();
                Ok(None)
            }
            NoReserve => {
                let _ = history.disk.remove(RESERVE);
                Ok(None)
            }
            Fill => {
                fill(log).unwrap();
                Ok(None)
            }
        }
    }

    fn is_poisoned(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.writer.health.ended().is_some())
    }

    /// Ends the process or cuts the power, and checks that what is left is allowed.
    fn survives(&self, what: &str) -> Held<()> {
        for (power, seed) in [(false, 0), (true, 1), (true, 2), (true, 3)] {
            let disk = self.history.disk.fork();
            disk.reseed(seed);
            disk.set_strike(None);
            reopens(self.history.branch(disk), power, what)?;
        }
        Ok(())
    }
}

fn fill(log: &mut Opened) -> Result<(), Fault> {
    if let Some(active) = log.writer.active.as_mut().filter(|active| matches!(active.placement.filling, Filling::After(_))) {
        active.placement.filling = Filling::After(0);
    }
    if let Some(growth) = log.writer.due_growth() {
        growth.run();
    }
    log.writer.due_prefill().map_or(Ok(()), |ahead| ahead.fill())
}

fn reopens(mut branch: History, power: bool, what: &str) -> Held<()> {
    if power {
        branch.disk.power_cut();
        branch.lossy = true;
    } else {
        branch.lossy |= branch.disk.sync_failed();
    }
    branch.disk.restart();
    branch.disk.set_faults(Faults::default());
    match branch.reopen() {
        Ok(true) => Ok(()),
        Ok(false) => broken(format!("{what}: does not open")),
        Err(error) => broken(format!("{what}, {}: {}", if power { "power cut" } else { "killed" }, error.0)),
    }
}

/// Returns what a counted call was working on.
fn on(counted: &[(&'static str, String)], number: usize, step: Step) -> On {
    let (call, name) = &counted[number];
    match (*call, classify(name)) {
        ("direct", _) => On::Direct,
        ("rename", FileKind::Segment(_)) => On::Name,
        ("rename" | "unlink", _) => On::Unused,
        ("fdatasync", FileKind::Spare(_) | FileKind::Reserve) => {
            // A roll writes the header of the file that it takes, and syncs that file.
            let written = counted[..number].iter().any(|(call, of)| *call == "pwrite" && of == name);
            if step == Background || !written {
                On::Unused
            } else {
                On::Spare
            }
        }
        (_, FileKind::Spare(_) | FileKind::Reserve) => On::Spare,
        _ => On::Named,
    }
}

/// Number of calls that a case makes, of failures that healed, and of failures that poisoned.
type Tally = (usize, u64, u64);

fn walk(case: &Case, sector: u64) -> Held<Tally> {
    let Case(name, before, step, must) = case;
    let direct = before.contains(&Fill);
    let begin = || -> Held<Life> {
        let mut life = Life::new(sector, direct)?;
        for step in *before {
            if let Some(error) = life.take(*step)? {
                return broken(format!("{name}: {error}"));
            }
        }
        Ok(life)
    };
    // Counts the calls, none of which fails.
    let counted = {
        let mut life = begin()?;
        life.history.disk.set_strike(Some(Strike::default()));
        if let Some(error) = life.take(*step)? {
            return broken(format!("{name}: {error}"));
        }
        life.history.disk.set_strike(None)
    };
    if std::env::var("FORELOG_CASE").is_ok() {
        println!("{name}: {counted:?}");
    }
    if counted.iter().all(|(call, file)| !format!("{call} {file}").starts_with(must)) {
        return broken(format!("{name}: no {must} among {counted:?}"));
    }
    let (mut tally, mut followed) = ((counted.len(), 0, 0), HashSet::new());
    for number in 0..counted.len() {
        let (call, file) = &counted[number];
        let variants: &[bool] = if matches!(*call, "pwrite" | "rename") { &[false, true] } else { &[false] };
        for (errno, partly) in ERRNOS.into_iter().flat_map(|errno| variants.iter().map(move |partly| (errno, *partly))) {
            let label = format!("{name}, call {number}, {call} {file}, errno {errno}{}", if partly { ", done in part" } else { "" });
            let syscall = if *call == "direct" { "pwrite" } else { call };
            let fault = Fault::new(syscall, file.as_str(), &std::io::Error::from_raw_os_error(errno));
            let on = on(&counted, number, *step);
            let heals = fault.heals(on);
            // These errors contradict the state: that a file does not exist, or that nothing was renamed.
            if *call == "unlink" && errno == ENOENT || partly && *call == "rename" && heals {
                continue;
            }
            let mut life = begin()?;
            let strike = Strike { numbers: number..number + 1, errno, partly: 0..if partly { usize::MAX } else { 0 }, ..Strike::default() };
            life.history.disk.set_strike(Some(strike));
            let failed = life.take(*step).map_err(|error| broken::<()>(format!("{label}: {}", error.0)).unwrap_err())?;
            let struck = life.history.disk.set_strike(None);
            assert!(struck.len() > number, "{label}: not met");
            let poisoned = life.is_poisoned();
            // The low mark may have been written although the write was incomplete.
            let unknown = partly && file == CONTROL && matches!(step, TruncateBefore(_));
            // The file system says at the first write that it does not support this.
            let refused = *call == "direct" && UNSUPPORTED.contains(&errno);
            if poisoned == heals && !unknown && !refused {
                return broken(format!(
                    "{label}: {} although {on:?} says that it {}",
                    if poisoned { "poisoned" } else { "not poisoned" },
                    if heals { "heals" } else { "poisons" }
                ));
            }
            if let Some(error) = failed.as_ref().filter(|error| !poisoned && !error.heals()) {
                return broken(format!("{label}: rejected with {error:?}"));
            }
            // Errors that the engine distinguishes. One error of each kind is followed through every crash.
            let kind =
                (fault.is_no_space(), fault.wants_room(), fault.is_not_found(), fault.is_out_of_descriptors(), fault.is_unsupported());
            let follow = followed.insert((number, partly, poisoned, kind));
            if follow {
                life.survives(&label)?;
            }
            if poisoned {
                tally.2 += 1;
                continue;
            }
            tally.1 += 1;
            goes_on(&mut life, *step, &label, follow)?;
        }
    }
    Ok(tally)
}

/// Checks that the log goes on once the cause is gone: it accepts appends, each crash on the way leaves what was acknowledged, and it
/// closes in order.
fn goes_on(life: &mut Life, step: Step, label: &str, follow: bool) -> Held<()> {
    life.history.disk.set_faults(Faults::default());
    life.history.disk.set_strike(None);
    if step == Close {
        life.take(Reopen)?;
    }
    let caught: Rc<RefCell<Vec<Caught>>> = Rc::default();
    life.history.caught = follow.then(|| (caught.clone(), 0.3));
    let steps = [Append(&[70]), Append(&[9000, 50]), Background, Append(&[60])];
    for step in steps.into_iter().take(if follow { steps.len() } else { 2 }) {
        if let Some(error) = life.take(step)? {
            return broken(format!("{label}: still {error}"));
        }
    }
    if !follow {
        return life.history.disk.violation().map_or(Ok(()), |rule| broken(format!("{label}: {rule}")));
    }
    life.history.caught = None;
    for caught in caught.take() {
        let disk = caught.moment.disk.fork();
        reopens(caught.before.branch(disk), true, &format!("{label}, and a crash later on"))?;
    }
    if let Some(rule) = life.history.disk.violation() {
        return broken(format!("{label}: {rule}"));
    }
    if life.history.disk.names().iter().all(|name| name != RESERVE) {
        return broken(format!("{label}: the reserve is not made again"));
    }
    life.take(Close)?;
    reopens(life.history.branch(life.history.disk.fork()), false, label)
}

#[test]
fn every_call_that_fails_with_any_error_heals_or_poisons_as_the_rules_say() {
    let asked = std::env::var("FORELOG_CASE").unwrap_or_default();
    for case in CASES.iter().filter(|case| case.0.contains(&asked)) {
        let (calls, healed, poisoned) = walk(case, 512).unwrap_or_else(|broken| panic!("{}", broken.0));
        println!("{}: {calls} calls, {healed} failures healed, {poisoned} poisoned", case.0);
        assert!(calls > 0 && healed + poisoned > 0);
    }
}

/// Makes calls fail from now on, until that is taken back.
fn lasting(life: &Life, calls: &'static [&'static str], file: &'static str, errno: i32) {
    life.history.disk.set_strike(Some(Strike { numbers: 0..usize::MAX, calls, file, errno, ..Strike::default() }));
}

fn rejects(life: &mut Life, step: Step) -> Code {
    let error = life.take(step).unwrap_or_else(|broken| panic!("{}", broken.0)).expect("rejected");
    assert!(error.heals() && error.message.ends_with("; the log continues once the cause is gone"), "{error}");
    error.code
}

fn takes(life: &mut Life, steps: &[Step]) {
    for step in steps {
        let rejected = life.take(*step).unwrap_or_else(|broken| panic!("{}", broken.0));
        assert!(rejected.is_none(), "{rejected:?}");
    }
}

/// Returns a log that is about to roll, with a spare that is ready.
fn about_to_roll() -> Life {
    let mut life = Life::new(4096, false).unwrap();
    takes(&mut life, &[Append(&[4000, 100]), Background, Reserve]);
    life
}

#[test]
fn without_a_free_descriptor_the_spare_and_the_reserve_serve_two_rolls_and_the_third_is_rejected() {
    const EMFILE: i32 = 24;
    let mut life = about_to_roll();
    lasting(&life, &["open", "fallocate"], "", EMFILE);
    takes(&mut life, &[Append(&[4000, 100]), Background, Append(&[4000, 100]), Background]);
    for _ in 0..3 {
        assert_eq!(rejects(&mut life, Append(&[4000])), Code::Io);
        life.survives("without descriptors").unwrap();
    }
    takes(&mut life, &[Sync]);
    goes_on(&mut life, Sync, "with descriptors again", true).unwrap();
}

#[test]
fn acknowledged_records_survive_closing_a_log_that_cannot_write() {
    for (calls, file, errno, code) in [
        (&["open", "fallocate", "rename"][..], "", 13, Code::Io),
        (&["rename"][..], "", 30, Code::ReadOnly),
        (&["rename"][..], "", 122, Code::NoSpace),
        // The new segment has its name, but nothing may be acknowledged in it.
        (&["pwrite"][..], CONTROL, 27, Code::Io),
        // Neither the frame nor its fence can be written.
        (&["pwrite"][..], "", 30, Code::ReadOnly),
    ] {
        let mut life = about_to_roll();
        lasting(&life, calls, file, errno);
        for _ in 0..3 {
            assert_eq!(rejects(&mut life, Append(&[4000])), code, "{calls:?} {errno}");
        }
        life.survives("while it cannot go on").unwrap();
        takes(&mut life, &[Sync, Close]);
        goes_on(&mut life, Close, "after it", true).unwrap();
    }
}

#[test]
fn an_unwritten_frame_needs_no_fence_and_a_partly_written_one_that_cannot_be_fenced_poisons() {
    // The write of the frame, and some of the two writes that fence it off; then which of them are done in part.
    for (numbers, partly, seeds) in [(0..2, 0..0, 1), (0..3, 0..0, 1), (0..2, 0..1, 1), (0..3, 0..3, 1), (0..2, 1..2, 40)] {
        for seed in 0..seeds {
            let mut life = Life::new(512, false).unwrap();
            takes(&mut life, &[Append(&[100])]);
            life.history.disk.reseed(seed);
            let strike = Strike { numbers: numbers.clone(), partly: partly.clone(), calls: &["pwrite"], errno: 27, ..Strike::default() };
            life.history.disk.set_strike(Some(strike));
            let rejected = life.take(Append(&[40, 3000])).unwrap().unwrap();
            let is_cut_short = partly.contains(&0);
            assert_eq!(rejected.code, if is_cut_short { Code::Poisoned } else { Code::Io }, "{rejected}");
            life.history.disk.set_strike(None);
            life.survives("not fenced off").unwrap();
            if !is_cut_short {
                goes_on(&mut life, Append(&[100]), "without a fence", true).unwrap();
            }
        }
    }
}

#[test]
fn a_file_into_which_a_failed_roll_carried_records_does_not_become_another_segment() {
    const EACCES: i32 = 13;
    let mut life = Life::new(512, false).unwrap();
    takes(&mut life, &[Append(&[100]), Batch(&[900, 800, 700])]);
    lasting(&life, &["rename"], "", EACCES);
    assert_eq!(rejects(&mut life, TruncateAfter(3)), Code::Io);
    life.history.disk.set_strike(None);
    // The next segment contains less than was carried.
    let rolls = life.opened.as_ref().unwrap().writer.meter.counters.rolls;
    takes(&mut life, &[Append(&[5400]), Append(&[400])]);
    assert_eq!(life.opened.as_ref().unwrap().writer.meter.counters.rolls, rolls + 1);
    takes(&mut life, &[Close]);
    reopens(life.history.branch(life.history.disk.fork()), false, "closed").unwrap();
}

#[test]
fn the_delayed_roll_after_opening_a_reset_log_on_a_full_disk_ends_no_reader() {
    let mut life = Life::new(512, false).unwrap();
    takes(&mut life, &[Append(&[100, 100])]);
    // The process ends after the reset has begun the new segment and before CONTROL names it.
    lasting(&life, &["pwrite"], CONTROL, 27);
    let _ = life.take(Reset(3)).unwrap();
    life.history.disk.set_strike(None);
    takes(&mut life, &[NoReserve, Full(true), Reopen]);
    let opened = life.opened.as_ref().unwrap();
    assert!(opened.writer.unproven);
    let reader = opened.catalog.reader_positions.enter(3);
    takes(&mut life, &[Full(false), Append(&[50])]);
    assert!(!life.opened.as_ref().unwrap().writer.unproven);
    assert!(reader.kept().is_none_or(|kept| kept >= 2), "{:?}", reader.kept());
}

#[test]
fn a_rejected_record_does_not_come_back_from_a_segment_whose_header_is_damaged() {
    let mut whole = 0;
    for seed in 0..20 {
        let mut life = Life::new(512, false).unwrap();
        life.history.disk.reseed(seed);
        life.history.disk.set_strike(Some(Strike { numbers: 0..1, partly: 0..1, calls: &["pwrite"], errno: 27, ..Strike::default() }));
        assert_eq!(life.take(Append(&[100])).unwrap().unwrap().code, Code::Io);
        life.history.disk.set_strike(None);
        let disk = life.history.disk.fork();
        disk.restart();
        let segment = disk.names().into_iter().find(|name| matches!(classify(name), FileKind::Segment(_))).unwrap();
        let bytes = disk.bytes(&segment);
        let header = Header::decode(&bytes[..PAGE as usize]).unwrap();
        whole += usize::from(bytes.get(PAGE as usize..).and_then(|rest| frame::decode(rest, header.seed(), PAGE)).is_some());
        disk.damage(&segment, 60, &[bytes[60] ^ 1]);
        let view = read_only::open(&(Arc::new(disk.clone()) as Arc<dyn Storage>), || 0).unwrap();
        assert_eq!((view.recovery.verdict, view.positions.next), ("bad-header", 1), "seed {seed}");
        salvaged::check(&disk).unwrap_or_else(|broken| panic!("seed {seed}: {}", broken.0));
    }
    assert!(whole > 0, "no write was done in whole");
}

#[test]
fn a_mark_that_could_not_be_written_is_retried_a_second_later_even_if_the_log_is_idle() {
    let mut life = Life::new(4096, false).unwrap();
    let (storage, options) = (Arc::new(life.history.disk.clone()), life.history.options.clone());
    let (shared, writer) = LogState::writable(storage, options.clone(), life.opened.take().unwrap());
    let scheduler = Arc::new(Scheduler::default());
    let mut thread = CommitLoop::new(shared.clone(), writer, scheduler.clone());
    let mut a_second_later = || {
        *locked(&scheduler.now) += Duration::from_secs(1);
        assert!(thread.is_wanted(&locked(&shared.submissions)));
        thread.step();
        let jobs = std::mem::take(&mut *locked(&scheduler.jobs));
        jobs.into_iter().for_each(|job| job());
        locked(&thread.writer.control).state().mark.map(|mark| mark.position)
    };
    let client = locked(&shared.submissions).join(Client::new(Arc::new(Waiter::default())));
    let record = RecordRef { value: Some(b"v"), ..RecordRef::default() };
    locked(&shared.submissions).append(client, &record, 4, true, &options).unwrap();
    shared.rouse(locked(&shared.submissions));
    lasting(&life, &["pwrite"], CONTROL, 27);
    assert_eq!([a_second_later(), a_second_later(), a_second_later()], [Some(0); 3]);
    life.history.disk.set_strike(None);
    assert_eq!(a_second_later(), Some(1));
}
