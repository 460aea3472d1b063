//! Tiny scripts, run in every way: with each crash point, each single fault and each subset of unsynced effects, and the recovery that
//! follows likewise.

use super::appends::Part;
use super::history::{broken, Held, History};
use super::oracle::Tag;
use crate::log::open::Opened;
use crate::options::Options;
use crate::testing::sim::{Faults, Rng, SimDisk};
use std::cell::RefCell;

/// Counts through all combinations of choices, or draws some of them. The number of choices is known only as they are made.
#[derive(Default)]
struct Odometer {
    digits: Vec<(u64, u64)>,
    at: usize,
    drawn: Option<Rng>,
}

impl Odometer {
    fn choose(&mut self, options: u64) -> u64 {
        if options < 2 {
            return 0;
        }
        if self.at == self.digits.len() {
            let digit = self.drawn.as_mut().map_or(0, |rng| rng.below(options));
            self.digits.push((digit, options));
        }
        self.at += 1;
        self.digits[self.at - 1].0
    }

    /// Moves on to the next combination. Returns false after the last one.
    fn turn(&mut self) -> bool {
        self.digits.truncate(self.at);
        self.at = 0;
        if self.drawn.is_some() {
            self.digits.clear();
            return true;
        }
        while self.digits.last().is_some_and(|(digit, options)| digit + 1 == *options) {
            self.digits.pop();
        }
        self.digits.last_mut().map(|(digit, _)| *digit += 1).is_some()
    }
}

enum Step {
    /// Batches of records of these lengths, each batch a frame.
    Append(&'static [&'static [u32]]),
    Durable(&'static [&'static [u32]]),
    TruncateBefore(u64),
    TruncateAfter(u64),
    Reset(u64),
    Sync,
    Mark,
    Prepare,
    Seal,
    /// The file of the active segment grows as far as it can.
    Grow,
    /// The log is closed, and opened again by the same process.
    Reopen,
    Close,
}

use Step::{Append, Close, Durable, Grow, Mark, Prepare, Reopen, Reset, Seal, Sync, TruncateAfter, TruncateBefore};

const SCRIPTS: [(&str, &[Step]); 16] = [
    ("durable then plain", &[Durable(&[&[30], &[20, 20]]), Append(&[&[40], &[50]])]),
    ("plain, sync, mark, durable", &[Append(&[&[30]]), Sync, Mark, Durable(&[&[20, 9], &[40]])]),
    ("two pages", &[Durable(&[&[10]]), Append(&[&[2000], &[2500], &[30]])]),
    ("roll", &[Append(&[&[30]]), Prepare, Append(&[&[3000], &[3000, 2500], &[900]]), Seal, Append(&[&[40]])]),
    ("truncate before, not yet durable", &[Durable(&[&[30]]), Append(&[&[20, 20]]), TruncateBefore(4), Append(&[&[40]])]),
    ("truncate before, a segment goes", &[Durable(&[&[6000]]), Append(&[&[5000], &[40]]), TruncateBefore(3), Append(&[&[40]])]),
    ("truncate after, inside a batch", &[Durable(&[&[30]]), Append(&[&[20, 20, 9]]), TruncateAfter(3), Append(&[&[40]])]),
    ("truncate after, in a sealed segment", &[Durable(&[&[30, 6000]]), Append(&[&[5000]]), TruncateAfter(1), Durable(&[&[40]])]),
    ("reset upwards", &[Durable(&[&[30]]), Append(&[&[20]]), Reset(7), Append(&[&[40]])]),
    ("reset downwards", &[TruncateBefore(1), Durable(&[&[30], &[20], &[9]]), TruncateBefore(3), Reset(2), Append(&[&[40]])]),
    ("close", &[Append(&[&[30], &[20]]), Close]),
    ("close, grow again and close", &[Durable(&[&[30]]), Reopen, Durable(&[&[20]]), Grow, Append(&[&[3000]]), Close]),
    ("grow, give all of it back and write there again", &[Grow, Durable(&[&[9000]]), Reopen, Append(&[&[20, 30], &[40]]), Mark]),
    (
        "release the unused part of a recycled file, and write there again",
        &[
            Durable(&[&[9000, 2000]]),
            TruncateBefore(3),
            Durable(&[&[9000]]),
            TruncateBefore(4),
            Durable(&[&[5000]]),
            Reopen,
            Append(&[&[900]]),
        ],
    ),
    (
        "truncate before, and the next segment recycles the file of the removed one",
        &[Durable(&[&[6000, 5000]]), Durable(&[&[40]]), TruncateBefore(3), Durable(&[&[11_000]]), Append(&[&[2000], &[30]]), Mark],
    ),
    (
        "a reset into a recycled, prepared file, and torn frames there",
        &[Durable(&[&[9000, 2000]]), Durable(&[&[5000]]), TruncateBefore(3), Prepare, Reset(9), Mark, Append(&[&[3000], &[2000, 30]])],
    ),
];

fn play(history: &mut History, opened: &mut Opened, script: &[Step]) -> Held<()> {
    for step in script {
        let goes_on = match step {
            Append(batches) | Durable(batches) => {
                let tag = |len: &u32| Tag { attempt: 0, len: *len };
                let parts = batches.iter().map(|lens| Part { tags: lens.iter().map(tag).collect(), batch: true });
                let parts: Vec<Part> = parts.collect();
                history.commit(opened, &parts, matches!(step, Durable(_)))?.is_none_or(|e| e.heals())
            }
            TruncateBefore(first) => history.truncate_before(opened, *first)?.is_none(),
            TruncateAfter(last) => history.truncate_after(opened, *last)?.is_none(),
            Reset(first) => history.reset(opened, *first)?.is_none(),
            Sync => {
                let synced = opened.writer.sync().is_ok();
                if synced {
                    (history.expected.durable, history.expected.written) = (history.expected.end, history.expected.end);
                }
                synced
            }
            Mark => opened.writer.mark().is_none_or(|job| job.run().is_ok()),
            Prepare => {
                opened.writer.spares().prepare(true);
                true
            }
            Seal => opened.writer.sealer.run().is_ok(),
            Grow => {
                if let Some(growth) = opened.writer.due_growth() {
                    growth.run();
                }
                true
            }
            Reopen => {
                history.close(opened)?;
                let again = if history.disk.crashed() { None } else { history.open()? };
                again.map(|again| *opened = again).is_some()
            }
            Close => {
                history.close(opened)?;
                false
            }
        };
        if !goes_on || history.disk.crashed() {
            break;
        }
    }
    Ok(())
}

/// Runs a script in one way, with the deaths after it.
fn run(script: &[Step], deaths: u64, sector: u64, fault: bool, odometer: &RefCell<Odometer>, traced: bool) -> (Held<()>, History) {
    let choose = |options: u64| odometer.borrow_mut().choose(options);
    let mut history = History::new(1);
    history.disk = SimDisk::new(1, sector);
    history.disk.set_recycles(true);
    if traced {
        history.disk.start_trace();
    }
    history.without_faults(Options { segment_bytes: 12 << 10, ..Options::default() });
    let mut outcome = || -> Held<()> {
        for death in 0..=deaths {
            let mut opened = None;
            // The first opening is not tested here: creation alone has as many steps as a script.
            if death == 0 {
                opened = history.open()?;
            }
            if death < deaths {
                if fault {
                    history.disk.set_trip(choose(24));
                }
                history.disk.set_budget(choose(24));
            }
            if death > 0 {
                opened = history.open()?;
            }
            if let (0, Some(opened)) = (death, &mut opened) {
                play(&mut history, opened, script)?;
            }
            if let Some(rule) = history.disk.violation() {
                return broken(rule);
            }
            if death < deaths && choose(2) == 0 {
                history.disk.say(|| "## power cut".into());
                let keep = &mut |_: &mut _, _: &str, _, versions: usize| choose(versions as u64 + 1) as usize;
                history.disk.power_cut_keeping(keep, &mut |_| choose(2) == 1);
                history.lossy = true;
            }
            history.disk.set_trip(u64::MAX);
            history.disk.set_faults(Faults::default());
            history.disk.restart();
        }
        Ok(())
    };
    let outcome = outcome();
    (outcome, history)
}

/// Draws a few runs of each script. With `FORELOG_RUNS`, counts through that many of them, or all there are.
fn explore(deaths: u64, fault: bool) {
    let asked: Option<u64> = std::env::var("FORELOG_RUNS").ok().and_then(|n| n.parse().ok());
    for (name, script) in SCRIPTS {
        for sector in [4096, 512] {
            let drawn = asked.is_none().then(|| Rng::new(sector));
            let odometer = RefCell::new(Odometer { drawn, ..Odometer::default() });
            let (cap, mut runs) = (asked.unwrap_or(150), 0);
            let complete = loop {
                if let Err(broken) = run(script, deaths, sector, fault, &odometer, false).0 {
                    odometer.borrow_mut().at = 0;
                    let history = run(script, deaths, sector, fault, &odometer, true).1;
                    panic!("{name}, sectors of {sector}, run {runs}: {broken:?}\n{}", history.disk.trace().join("\n"));
                }
                runs += 1;
                if !odometer.borrow_mut().turn() {
                    break true;
                }
                if runs == cap {
                    break false;
                }
            };
            println!("{deaths} deaths, {name}, sectors of {sector}: {runs} runs{}", if complete { ", all" } else { "" });
        }
    }
}

#[test]
fn every_crash_of_a_tiny_history_and_every_outcome_of_it() {
    explore(1, false);
}

#[test]
fn every_crash_after_every_single_fault() {
    explore(1, true);
}

#[test]
fn every_crash_during_recovery_and_every_outcome_of_it() {
    explore(2, false);
}
