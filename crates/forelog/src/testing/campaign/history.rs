//! A random history of a log: epochs of opening, operating and dying over the simulated disk. Each opening is checked against what the log
//! has promised.

use super::appends::push;
use super::commands::Ahead;
use super::oracle::{misplaced, read, Expected, Read, Tag};
use super::rot;
use crate::error::{Code, Error};
use crate::log::open::{open, Opened};
use crate::maintenance::verify::verify_storage;
use crate::options::{Compression, Options};
use crate::segments::catalog::Catalog;
use crate::segments::control_file::MarkJob;
use crate::segments::placement::Filling;
use crate::storage::Storage;
use crate::testing::sim::{Faults, Moment, Rng, SimDisk, Through};
use crate::util::healing::On;
use crate::util::locks::locked;
use crate::write::group::Group;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A promise that was broken.
#[derive(Debug)]
pub struct Broken(pub String);

pub type Held<T> = Result<T, Broken>;

pub fn broken<T>(text: impl Into<String>) -> Held<T> {
    Err(Broken(text.into()))
}

/// The end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process died in the middle of an operation, or between two.
    Died,
    /// The log refuses to go on until it is reopened.
    Failed,
    Closed,
}

/// The operation that the log was performing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Create,
    Recover,
    Commit,
    Sync,
    Truncate,
    /// Marks, spares and prefilling: the work of the pool.
    Background,
    Close,
}

/// How appends of a history are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Always,
    Mixed,
    Os,
}

/// A moment of a history, and what the log had promised by then.
pub struct Caught {
    pub moment: Moment,
    pub act: Act,
    pub before: Rc<History>,
}

#[derive(Clone)]
pub struct History {
    pub disk: SimDisk,
    pub expected: Expected,
    /// What the log may contain instead, if a truncation was cut off.
    pub others: Vec<Expected>,
    /// A command that a client has submitted and that has not settled.
    pub ahead: Option<Ahead>,
    /// The lowest position that truncations have kept since a follower last looked.
    pub kept: u64,
    pub options: Options,
    pub recoveries: u64,
    /// Number of recoveries that found the active segment in a recycled file.
    pub recycled: u64,
    pub rng: Rng,
    /// Number of attempts at each position.
    pub attempts: Vec<u32>,
    /// Probabilities for the whole history.
    faults: Faults,
    pub policy: Policy,
    space_varies: bool,
    /// The disk is full nearly always, so that rolls have to take the reserve.
    scarce: bool,
    pub large: bool,
    /// Every opening changes the compression.
    compresses: bool,
    /// Segments are prefilled early and often.
    pub fills: bool,
    /// Truncates often, so that segments are made in recycled files.
    pub recycles: bool,
    opened_once: bool,
    /// Unsynced bytes may have been lost since the log was last opened.
    pub lossy: bool,
    closed_clean: bool,
    /// A write fell short since the log was opened, so the log does not go on in that segment.
    pub fenced: bool,
    /// The history goes through the commit thread, with clients.
    served: bool,
    /// The only client submits its writes itself, and completes them later.
    pub goes_ahead: bool,
    job: Option<Arc<MarkJob>>,
    /// Drawn from separately, like what moves with it: the wall clock.
    clock_rng: Rng,
    /// The list in which moments are kept, and the share of moments to keep.
    pub caught: Option<(Rc<RefCell<Vec<Caught>>>, f64)>,
}

fn no_clock() -> u64 {
    0
}

impl History {
    pub fn new(seed: u64) -> History {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let sector = if rng.chance(0.5) { 512 } else { 4096 };
        let pick = |rng: &mut Rng, values: [f64; 4]| values[rng.below(4) as usize];
        let faults = Faults {
            sync: pick(&mut rng, [0.0, 0.0, 0.02, 0.1]),
            short: pick(&mut rng, [0.0, 0.0, 0.1, 0.2]),
            write: pick(&mut rng, [0.0, 0.0, 0.0, 0.02]),
            read: pick(&mut rng, [0.0, 0.0, 0.0, 0.02]),
            refuse: 0.0,
            full: false,
            garble: rng.chance(0.2),
        };
        let segment_bytes = [8 << 10, 12 << 10, 16 << 10, 32 << 10, 64 << 10][rng.below(5) as usize];
        let disk = SimDisk::new(seed, sector);
        // Drawn separately, so that a seed whose disk does not support this has the same history as ever.
        let mut choice = Rng::new(!seed);
        let through = match choice.below(8) {
            0 => Through::Refused,
            1..=3 => Through::None,
            _ => Through::Taken,
        };
        disk.set_through(through);
        disk.set_large_commit([0, 0, 0, 2000][choice.below(4) as usize]);
        let recycles = choice.below(4) > 0;
        disk.set_recycles(recycles);
        let faults = Faults { refuse: pick(&mut choice, [0.0, 0.0, 0.01, 0.05]), ..faults };
        let goes_ahead = through == Through::Taken && choice.chance(0.6);
        let mut history = History {
            disk,
            expected: Expected::new(),
            others: Vec::new(),
            ahead: None,
            kept: u64::MAX,
            options: Options { segment_bytes, ..Options::default() },
            recoveries: 0,
            recycled: 0,
            attempts: Vec::new(),
            faults,
            policy: [Policy::Always, Policy::Mixed, Policy::Mixed, Policy::Os][rng.below(4) as usize],
            space_varies: rng.chance(0.4),
            scarce: rng.chance(0.15),
            large: rng.chance(0.3),
            compresses: rng.chance(0.5),
            fills: through != Through::None,
            recycles,
            opened_once: false,
            lossy: false,
            closed_clean: false,
            fenced: false,
            served: rng.chance(0.4),
            goes_ahead: false,
            job: None,
            clock_rng: Rng::new(seed ^ 0xc10c),
            caught: None,
            rng,
        };
        if goes_ahead && (history.served || choice.chance(0.5)) {
            (history.served, history.goes_ahead, history.policy) = (true, true, Policy::Always);
            // Neither a compressed commit nor one that rolls is submitted.
            history.compresses &= choice.chance(0.2);
            history.options.segment_bytes = segment_bytes.max(32 << 10);
        }
        history
    }

    /// Removes all faults, for scripts that bring their own.
    #[cfg(test)]
    pub fn without_faults(&mut self, options: Options) {
        (self.options, self.faults) = (options, Faults::default());
        (self.space_varies, self.scarce, self.compresses) = (false, false, false);
    }

    pub fn was_open(&self) -> bool {
        self.opened_once
    }

    /// Returns a hash of the bounds that the next opening must meet.
    pub fn promises(&self) -> u64 {
        let flags = [u64::from(self.lossy), u64::from(self.closed_clean)];
        let outcomes = std::iter::once(&self.expected).chain(&self.others);
        let bounds = outcomes.flat_map(|e| [e.low, e.end, e.durable, e.written]);
        flags.into_iter().chain(bounds).fold(0, |hash, bound| Rng::new(hash ^ bound).next())
    }

    /// Opens the log once and reads it whole. Returns false if it may fail to open: on a full disk, before it was ever open.
    pub fn reopen(&mut self) -> Held<bool> {
        let opened = self.open()?.is_some();
        match self.disk.violation() {
            Some(rule) => broken(rule),
            None => Ok(opened),
        }
    }

    /// Returns the same history up to here, over a disk of its own.
    pub fn branch(&self, disk: SimDisk) -> History {
        History { disk, job: None, caught: None, ..self.clone() }
    }

    /// Performs one operation on the log, and keeps moments of it. The oracle knows everything promised before it.
    pub fn watched<T>(&mut self, act: Act, call: impl FnOnce() -> T) -> T {
        self.watched_with(act, call, |_, _| {})
    }

    /// Like `watched`, if promises are made during the operation. `told` adds those made before the disk had changed this often.
    pub fn watched_with<T>(&mut self, act: Act, call: impl FnOnce() -> T, told: impl Fn(&mut History, u64)) -> T {
        let Some((caught, share)) = self.caught.clone() else { return call() };
        // All creations are alike.
        let share = if act == Act::Create { share / 4.0 } else { share };
        self.disk.watch(self.disk.digest(), share);
        let result = call();
        let moments = self.disk.watched();
        caught.borrow_mut().extend(moments.into_iter().map(|moment| {
            let mut before = self.branch(self.disk.clone());
            told(&mut before, moment.disk.changes());
            Caught { moment, act, before: Rc::new(before) }
        }));
        result
    }

    /// Runs all epochs. With `rot`, stops after a power cut half of the time, so that damage can follow.
    pub fn run(&mut self, rot: bool) -> Held<()> {
        let epochs = 1 + self.rng.below(7);
        for epoch in 0..=epochs {
            let last = epoch == epochs;
            let end = self.epoch(last)?;
            if let Some(rule) = self.disk.violation() {
                return broken(rule);
            }
            if last {
                break;
            }
            if self.rng.chance(0.55) {
                self.disk.say(|| format!("## {end:?}, power cut"));
                self.disk.power_cut();
                self.lossy = true;
                if rot && self.opened_once && self.rng.chance(0.5) {
                    self.disk.restart();
                    return Ok(());
                }
            } else {
                self.disk.say(|| format!("## {end:?}, the process ends"));
                self.lossy |= self.disk.sync_failed();
            }
            self.disk.restart();
        }
        Ok(())
    }

    fn epoch(&mut self, last: bool) -> Held<End> {
        let mut faults = if last { Faults::default() } else { self.faults.clone() };
        faults.full = match self.scarce {
            true => self.opened_once && self.rng.chance(0.8),
            false => self.space_varies && self.rng.chance(0.3),
        };
        self.disk.set_faults(faults);
        let longest = if self.goes_ahead { 240 } else { 120 };
        let budget = if self.rng.chance(0.3) { self.rng.below(20) } else { self.rng.below(longest) };
        self.disk.set_budget(if last { u64::MAX } else { budget });
        let end = self.live(last);
        self.job = None;
        end
    }

    /// Sets the wall clock back or forward. Times that repeat are as likely as times that do not.
    fn move_clock(&mut self) {
        let now = 1_700_000_000_000 + 1000 * self.clock_rng.below(12);
        self.disk.set_wall_clock(now);
        self.expected.clock = now;
        self.others.iter_mut().for_each(|other| other.clock = now);
    }

    /// Checks that times are found where they are.
    fn check_times(&mut self, catalog: &Arc<Catalog>) -> Held<()> {
        let times: Vec<u64> = (0..3).map(|_| 1_700_000_000_000 + 500 * self.clock_rng.below(26)).collect();
        let faults = self.disk.faults();
        self.disk.set_faults(Faults { read: 0.0, ..faults.clone() });
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        let wrong = misplaced(&storage, catalog, &self.expected, &times);
        self.disk.set_faults(faults);
        match wrong {
            Some(text) if !self.disk.crashed() => broken(text),
            _ => Ok(()),
        }
    }

    fn live(&mut self, last: bool) -> Held<End> {
        self.move_clock();
        let Some(mut opened) = self.open()? else { return Ok(End::Died) };
        let operations = if last { 3 } else { self.rng.below(if self.goes_ahead { 32 } else { 16 }) };
        if self.served {
            if self.fills && self.rng.chance(0.7) {
                let filled = self.fill_ahead(&mut opened);
                if self.disk.crashed() {
                    return Ok(End::Died);
                }
                if filled.is_some() {
                    self.stays_failed(&mut opened)?;
                    return Ok(End::Failed);
                }
            }
            return self.serve(opened, operations);
        }
        for _ in 0..operations {
            let end = self.operate(&mut opened)?;
            if self.disk.crashed() {
                return Ok(End::Died);
            }
            if let Some(end) = end {
                if end == End::Failed {
                    self.stays_failed(&mut opened)?;
                }
                return Ok(end);
            }
        }
        Ok(End::Died)
    }

    /// Opens the log and compares it with what was promised; `None` if this attempt ended in a fault.
    pub fn open(&mut self) -> Held<Option<Opened>> {
        self.disk.say(|| format!("-- open, {}, in {}", self.expected.bounds(), self.disk.names().join(" ")));
        let before = self.disk.fork();
        let injected = self.disk.injected();
        if self.compresses {
            self.options.compression = [Compression::None, Compression::Lz4, Compression::Zstd][self.rng.below(3) as usize];
        }
        let (storage, options) = (Arc::new(self.disk.clone()), self.options.clone());
        let act = if self.opened_once { Act::Recover } else { Act::Create };
        let opened = self.watched(act, || open(storage, &options, no_clock));
        if self.disk.crashed() {
            return Ok(None);
        }
        let faulty = self.disk.injected() > injected;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.disk.say(|| format!("-- not opened: {error}"));
                let told = match error.code {
                    // Without a segment there is nothing yet with which a log could go on.
                    Code::NoSpace => faulty || self.disk.faults().full && !self.disk.names().iter().any(|n| n.ends_with(".wal")),
                    Code::Io | Code::ReadOnly | Code::Poisoned => faulty,
                    _ => false,
                };
                return if told { Ok(None) } else { broken(format!("opening failed: {:?}, {error}", error.code)) };
            }
        };
        let (low, end) = (opened.recovery.first_position, opened.writer.next_position() - 1);
        self.lossy |= self.disk.sync_failed();
        self.disk.say(|| format!("-- opened, {}: {low}..={end}, durable {}", opened.recovery.verdict, opened.writer.durable_position()));
        self.recognise(&opened, low, end)?;
        if self.closed_clean && !opened.recovery.clean {
            return broken(format!("closed in order, but the verdict of opening is {}", opened.recovery.verdict));
        }
        self.check_verify(&before)?;
        self.check_views(&before, low, end)?;
        self.recoveries += 1;
        self.recycled += u64::from(before.is_recycled());
        if opened.recovery.next_position != end + 1 || opened.writer.low_mark() != low {
            return broken(format!("the report says {:?}", opened.recovery));
        }
        self.expected.cut(end);
        self.expected.whole[end as usize] = true;
        self.expected.written = end;
        self.expected.durable = self.expected.durable.max(opened.writer.durable_position());
        (self.lossy, self.closed_clean, self.fenced, self.opened_once) = (false, false, false, true);
        self.disk.forget_faults();
        self.check_times(&opened.catalog)?;
        Ok(Some(opened))
    }

    /// Finds the opened log among all states that it may have.
    fn recognise(&mut self, opened: &Opened, low: u64, end: u64) -> Held<()> {
        let mut outcomes = vec![std::mem::take(&mut self.expected)];
        outcomes.append(&mut self.others);
        let mut why = Vec::new();
        for i in 0..outcomes.len() {
            self.expected = std::mem::take(&mut outcomes[i]);
            let least = if self.lossy { self.expected.durable } else { self.expected.written };
            let refused = match self.expected.refuses(end, least) {
                _ if low != self.expected.low => Some(format!("it starts at {low}")),
                None => self.check_read(&opened.catalog, low, end, 1 << 16).err().map(|Broken(text)| text),
                refused => refused,
            };
            match refused {
                Some(text) => why.push(format!("[{}: {text}]", self.expected.bounds())),
                None => {
                    // The name of a segment that CONTROL does not name may still be lost, which brings back another state.
                    if opened.writer.unproven && !opened.writer.is_named() {
                        outcomes[i] = self.expected.clone();
                        self.others = outcomes;
                    }
                    return Ok(());
                }
            }
            outcomes[i] = std::mem::take(&mut self.expected);
        }
        broken(why.join(" "))
    }

    /// Opens the damaged `disk`, which must fail with an error or be harmless to a state of the log. Each state is tried on a disk of its
    /// own.
    pub fn survives(&self, disk: &SimDisk, least: u64) -> Held<()> {
        if self.others.is_empty() {
            return rot::check(disk, &self.options, &self.expected, least).map(|_| ());
        }
        let outcomes = std::iter::once(&self.expected).chain(&self.others);
        let told = outcomes.map(|expected| rot::check(&disk.fork(), &self.options, expected, least).map(|_| ()));
        told.reduce(|a, b| a.or(b)).unwrap_or(Ok(()))
    }

    /// Verifies the disk as opening found it and as it left it. No crash and no fault may be taken for damage.
    fn check_verify(&self, before: &SimDisk) -> Held<()> {
        for (disk, when) in [(before, "before opening"), (&self.disk.fork(), "after opening")] {
            disk.set_faults(Faults::default());
            match verify_storage(Arc::new(disk.clone()), &Arc::default()) {
                Ok(report) => {
                    if let Some(problem) = report.problems.first() {
                        return broken(format!("verifying {when} reports {problem:?}"));
                    }
                }
                Err(error) if error.code == Code::NotFound && when == "before opening" => {}
                Err(error) => return broken(format!("verifying {when}: {error}")),
            }
        }
        Ok(())
    }

    /// Reads without faults and compares.
    pub fn check_read(&mut self, catalog: &Arc<Catalog>, from: u64, to: u64, block: usize) -> Held<()> {
        let faults = self.disk.faults();
        self.disk.set_faults(Faults { read: 0.0, ..faults.clone() });
        let outcome = read(Arc::new(self.disk.clone()), catalog, &self.expected, from, to, block);
        self.disk.set_faults(faults);
        match outcome {
            Read::All => Ok(()),
            // A dead process reads nothing. The next opening is checked instead.
            Read::Stopped(_) if self.disk.crashed() => Ok(()),
            Read::Stopped(error) => broken(format!("reading {from} to {to}: {error}")),
            Read::Wrong(text) => broken(text),
        }
    }

    /// Fills the disk up, or makes room again.
    pub fn change_space(&mut self) {
        if self.space_varies && !self.scarce && self.rng.chance(0.15) {
            let faults = self.disk.faults();
            self.disk.say(|| format!("space: {}", if faults.full { "free" } else { "full" }));
            self.disk.set_faults(Faults { full: !faults.full, ..faults });
        }
    }

    /// Records that the log was closed in order. If nothing failed, the next opening goes on in place.
    pub fn closes(&mut self, clean: bool) {
        (self.expected.durable, self.expected.written) = (self.expected.end, self.expected.end);
        self.closed_clean = clean && !self.fenced;
    }

    /// Performs one operation. Returns how the epoch ends, if it does.
    fn operate(&mut self, opened: &mut Opened) -> Held<Option<End>> {
        self.change_space();
        if self.clock_rng.chance(0.3) {
            self.move_clock();
        }
        let injected = self.disk.injected();
        let unfilled = opened.writer.active.as_ref().is_some_and(|a| matches!(a.placement.filling, Filling::After(_)));
        // Only blocks that were written before are written past the page cache.
        let operation = match () {
            () if self.fills && unfilled && self.rng.chance(0.4) => 84,
            // Leads to the removal of a whole segment, or to a next one that is begun in its file.
            () if self.recycles && opened.catalog.all().len() > 1 && self.rng.chance(0.5) => 100,
            () if opened.writer.spares().has_recycled() && self.rng.chance(0.3) => 46,
            () => self.rng.below(100),
        };
        let failure = match operation {
            0..46 => self.append(opened)?,
            46..54 => self.truncate(opened)?,
            100 => {
                let first = opened.catalog.all().last().map_or(1, |active| active.first);
                self.truncate_before(opened, first.max(self.expected.low))?
            }
            54..66 => {
                let synced = self.watched(Act::Sync, || opened.writer.sync());
                self.disk.say(|| format!("sync: {synced:?}", synced = synced.as_ref().map_err(|e| e.code)));
                if synced.is_ok() {
                    self.expected.durable = self.expected.end;
                    self.expected.written = self.expected.end;
                }
                synced.err()
            }
            66..76 => {
                // Sometimes later operations overtake a job.
                let job = self.job.take().or_else(|| opened.writer.mark().map(Arc::new));
                if self.rng.chance(0.3) {
                    self.job = job;
                    None
                } else {
                    self.disk.say(|| "mark".into());
                    self.watched(Act::Background, || job.and_then(|job| job.run().err()))
                        .filter(|fault| !fault.heals(On::Named))
                        .map(|fault| opened.writer.health.poison(fault))
                }
            }
            76..80 => {
                self.disk.say(|| "footers".into());
                opened.writer.sealer.run().err().map(|fault| opened.writer.health.poison(fault))
            }
            80..84 => {
                self.grow(opened);
                self.disk.say(|| "prepare a spare".into());
                self.watched(Act::Background, || opened.writer.spares().prepare(true));
                None
            }
            84..87 => self.fill_ahead(opened),
            87..90 => self.tell(opened)?,
            90..95 => {
                let (low, end, block) = (self.expected.low, self.expected.end, 1 << self.rng.below(18));
                let from = low + self.rng.below(end + 2 - low);
                self.check_read(&opened.catalog, from, end, block)?;
                self.check_times(&opened.catalog)?;
                None
            }
            _ => return self.close(opened),
        };
        if self.disk.crashed() {
            return Ok(None);
        }
        let Some(error) = failure else {
            if !opened.writer.unproven {
                self.others.clear();
            }
            return Ok(None);
        };
        let faulty = self.disk.injected() > injected;
        match error.code {
            Code::NoSpace if faulty || self.disk.faults().full => Ok(None),
            _ if faulty && error.heals() => Ok(None),
            Code::Poisoned | Code::Io if faulty => Ok(Some(End::Failed)),
            code => broken(format!("an operation failed without a fault: {code:?}, {error}")),
        }
    }

    /// Grows the active segment's file as far as it can.
    fn grow(&mut self, opened: &Opened) {
        if let Some(growth) = opened.writer.due_growth() {
            self.disk.say(|| "grow".into());
            self.watched(Act::Background, || growth.run());
        }
    }

    /// Prefills the active segment.
    fn fill_ahead(&mut self, opened: &mut Opened) -> Option<Error> {
        if let Some(active) = opened.writer.active.as_mut().filter(|a| matches!(a.placement.filling, Filling::After(_))) {
            active.placement.filling = Filling::After(0);
        }
        self.grow(opened);
        let filled = self.watched(Act::Background, || opened.writer.due_prefill().map_or(Ok(()), |ahead| ahead.fill()));
        self.disk.say(|| "zeroes ahead".into());
        filled.err().map(|fault| opened.writer.health.poison(fault))
    }

    /// Publishes the horizons to other processes, and checks that these never go past what was accepted.
    fn tell(&mut self, opened: &mut Opened) -> Held<Option<Error>> {
        let faults = self.disk.faults();
        self.disk.set_faults(Faults { read: 0.0, ..faults.clone() });
        let before = locked(&opened.writer.control).horizon();
        self.disk.set_faults(faults.clone());
        opened.writer.publish_page(1, opened.writer.next_position() - 1);
        self.disk.set_faults(Faults { read: 0.0, ..faults.clone() });
        // A writer that cannot roll yet publishes nothing, and the page is what an earlier one left.
        let told = locked(&opened.writer.control).horizon().filter(|told| before.as_ref() != Some(told));
        self.disk.set_faults(faults);
        match told {
            Some(told) if told.acknowledged.position > self.expected.end => broken(format!("the horizon page says {told:?}")),
            _ => Ok(None),
        }
    }

    pub fn close(&mut self, opened: &mut Opened) -> Held<Option<End>> {
        let injected = self.disk.injected();
        let provable = opened.writer.mark().is_some();
        let closed = self.watched(Act::Close, || opened.writer.close());
        self.disk.say(|| format!("close: {:?}", closed.as_ref().map_err(|e| e.code)));
        if self.disk.crashed() {
            return Ok(None);
        }
        opened.writer.retire();
        opened.writer.spares().close();
        match closed {
            Ok(()) if provable => self.closes(self.disk.injected() == injected),
            Ok(()) => {}
            Err(_) if self.disk.injected() > injected => return Ok(Some(End::Failed)),
            Err(error) => return broken(format!("closing failed without a fault: {error}")),
        }
        Ok(Some(End::Closed))
    }

    /// Checks that a failed log fails again and writes nothing.
    fn stays_failed(&mut self, opened: &mut Opened) -> Held<()> {
        let poisoned = opened.writer.health.ended().is_some();
        let changes = self.disk.changes();
        if poisoned {
            let mut group = Group::default();
            push(&mut group, opened.writer.next_position(), Tag { attempt: 0, len: 9 });
            let refused = opened.writer.commit(&mut group, true).failure.is_some_and(|e| e.code == Code::Poisoned);
            if !refused
                || opened.writer.truncate_before(self.expected.end + 1).is_ok()
                || opened.writer.truncate_after(1).is_ok()
                || opened.writer.reset(5).is_ok()
                || opened.writer.sync().is_ok()
                || opened.writer.close().is_ok()
                || opened.writer.mark().is_some()
            {
                return broken("a poisoned log accepts operations");
            }
        }
        if self.disk.changes() != changes {
            return broken("a poisoned log writes to the disk");
        }
        Ok(())
    }
}
