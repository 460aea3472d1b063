//! Images: the disk as a power cut or a kill leaves it at one moment of a history. Each is opened and read whole.

use super::history::{broken, Act, Caught, Held, History, Policy};
use super::rot;
use crate::testing::sim::{Faults, Rng};
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

/// The operation of the log when it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    Creation,
    Recovery,
    /// From the first byte of the next segment's header until CONTROL names the segment; not during opening.
    Roll,
    Commit,
    Sync,
    Truncation,
    Background,
    Close,
}

/// The origin of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub cut: Cut,
    /// The power was cut; otherwise only the process died.
    pub power: bool,
    /// The disk had a fault since the log was last open: EIO, no space, a short write, a failed fsync, garbage, rot.
    pub fault: bool,
    /// Sectors have 4096 bytes, not 512.
    pub large_sectors: bool,
    pub policy: Policy,
}

/// A disk that was opened and read whole.
pub struct Image {
    pub hash: u64,
    pub class: Class,
}

/// A promise that was broken.
pub struct Failure {
    pub text: String,
    /// The trace that led there, if it was asked for.
    pub trace: Vec<String>,
}

/// The result of one seed.
pub struct Report {
    /// The images in the order in which they were met. One disk may appear several times.
    pub images: Vec<Image>,
    /// Number of images whose active segment was in a recycled file.
    pub recycled: u64,
    /// Number of commits of the history that were submitted and completed later.
    pub later: u64,
    /// Number of those whose write was complete before that of an earlier one.
    pub overtook: u64,
    /// Hash of every operation of every disk and of every verdict. It is the same for the same seed.
    pub trace: u64,
    pub failures: Vec<Failure>,
}

/// Maximum number of deaths in a row: a death in the recovery from a death in a recovery.
const DEATHS: u32 = 3;
/// Maximum number of images of one moment, with more for the rarer moments of a roll.
const CUTS: u64 = 3;
const CUTS_OF_ROLLS: u64 = 12;
/// Share of the moments that are cut, of a history and of a recovery, which has about twenty moments.
const MOMENTS: f64 = 0.6;
const RECOVERIES: f64 = 0.01;

struct Explorer {
    report: Report,
    seen: HashSet<(u64, u64)>,
    rng: Rng,
}

/// Whether the only client of the history of `seed` submits its commits itself, instead of a commit thread.
pub fn submits_commits(seed: u64) -> bool {
    History::new(seed).goes_ahead
}

/// Runs the history of `seed`, and cuts it at many of its moments in several ways each.
///
/// `damage` is the share of images to which rot is added.
pub fn torture(seed: u64, damage: f64, traced: bool) -> Report {
    let report = Report { images: Vec::new(), recycled: 0, later: 0, overtook: 0, trace: seed, failures: Vec::new() };
    let mut explorer = Explorer { report, seen: HashSet::new(), rng: Rng::new(!seed) };
    let mut trunk = History::new(seed);
    if traced {
        trunk.disk.start_trace();
    }
    let caught = Rc::new(RefCell::new(Vec::new()));
    trunk.caught = Some((caught.clone(), MOMENTS));
    let lived = held(|| trunk.run(false));
    explorer.note(&trunk, lived);
    (explorer.report.later, explorer.report.overtook) = (trunk.disk.completed_later(), trunk.disk.overtook());
    trunk.caught = None;
    for caught in caught.take() {
        explorer.explore(&caught, 1, damage);
    }
    explorer.report
}

fn held<T>(call: impl FnOnce() -> Held<T>) -> Held<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
        broken(format!("panicked: {}", text.unwrap_or_default()))
    })
}

impl Explorer {
    fn mix(&mut self, word: u64) {
        self.report.trace = Rng::new(self.report.trace ^ word).next();
    }

    fn note<T>(&mut self, history: &History, outcome: Held<T>) -> Option<T> {
        self.mix(history.disk.digest());
        outcome.map_err(|broken| self.report.failures.push(Failure { text: broken.0, trace: history.disk.trace() })).ok()
    }

    fn explore(&mut self, caught: &Caught, deaths: u32, damage: f64) {
        let cuts = if caught.moment.rolling && caught.act != Act::Recover { CUTS_OF_ROLLS } else { CUTS };
        for _ in 0..1 + self.rng.below(cuts) {
            self.cut(caught, deaths, damage);
        }
    }

    /// Cuts a history at one moment in one way, and opens what is left.
    fn cut(&mut self, caught: &Caught, deaths: u32, damage: f64) {
        let disk = caught.moment.disk.fork();
        disk.reseed(self.rng.next());
        let mut branch = caught.before.branch(disk.clone());
        let power = self.rng.chance(0.8);
        disk.say(|| format!("## {}", if power { "power cut" } else { "the process dies" }));
        if power {
            disk.power_cut();
            branch.lossy = true;
        } else {
            branch.lossy |= disk.sync_failed();
        }
        disk.restart();
        let full = self.rng.chance(0.1);
        disk.set_faults(Faults { full, ..Faults::default() });
        let rotten = branch.was_open() && self.rng.chance(damage);
        let rot = rotten.then(|| rot::inflict(&disk, &mut self.rng)).flatten();
        let hash = disk.image();
        // Equal bytes may have come to hold more promises meanwhile.
        if rot.is_none() && !self.seen.insert((hash, branch.promises())) {
            return;
        }
        let class = Class {
            cut: match caught.act {
                Act::Create => Cut::Creation,
                Act::Recover => Cut::Recovery,
                _ if caught.moment.rolling => Cut::Roll,
                Act::Commit => Cut::Commit,
                Act::Sync => Cut::Sync,
                Act::Truncate => Cut::Truncation,
                Act::Background => Cut::Background,
                Act::Close => Cut::Close,
            },
            power,
            fault: disk.is_faulty(),
            large_sectors: disk.sector() > 512,
            policy: branch.policy,
        };
        self.mix(hash);
        if let Some((_, least)) = rot {
            let told = held(|| branch.survives(&disk, least));
            if self.note(&branch, told).is_some() {
                self.report.images.push(Image { hash, class });
            }
            return;
        }
        let inner = Rc::new(RefCell::new(Vec::new()));
        if deaths < DEATHS {
            branch.caught = Some((inner.clone(), RECOVERIES));
        }
        let before = branch.recycled;
        let opened = held(|| branch.reopen());
        branch.caught = None;
        if let Some(true) = self.note(&branch, opened) {
            self.report.images.push(Image { hash, class });
            self.report.recycled += branch.recycled - before;
        }
        for caught in inner.take() {
            self.explore(&caught, deaths + 1, damage);
        }
    }
}
