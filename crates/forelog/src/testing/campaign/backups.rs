//! Backups in the middle of a history, made step by step between its operations, onto a disk that may lose its power too.

use super::clients::Served;
use super::history::{broken, Held, History};
use super::oracle::{read, Expected, Read};
use crate::error::Code;
use crate::log::open::{open, Opened};
use crate::maintenance::backup::{Backup, Progress};
use crate::testing::sim::{Faults, SimDisk};
use std::sync::Arc;

/// A backup in progress.
pub struct Copying {
    backup: Backup,
    to: SimDisk,
    /// The log at the cut, and how far the copy is.
    cut: Option<(Expected, Progress)>,
}

impl Copying {
    fn is_cut_at(&self, last: u64) -> bool {
        self.cut.as_ref().is_some_and(|(_, known)| known.last_position == last)
    }
}

impl History {
    /// Begins a backup, or goes on with the one in progress.
    pub fn copy(&mut self, log: &mut Served) -> Held<()> {
        let Some(copying) = &mut log.copying else {
            let to = SimDisk::new(self.rng.next(), self.disk.sector());
            if self.rng.chance(0.6) {
                to.set_budget(self.rng.below(30));
            }
            self.disk.say(|| "a backup begins".into());
            let backup = Backup::new(log.shared.clone(), Arc::new(to.clone()));
            log.copying = Some(Copying { backup, to, cut: None });
            return Ok(());
        };
        let faults = self.disk.faults();
        self.disk.set_faults(Faults { read: 0.0, ..faults.clone() });
        let stepped = copying.backup.step();
        self.disk.set_faults(faults);
        self.disk.say(|| format!("backup: {:?}", stepped.as_ref().map_err(|error| error.code)));
        match stepped {
            // The backup took its cut, for the first time or anew. The copy also has no segments if truncation has passed the cut since.
            Ok(progress) if progress.segments == 0 && progress.bytes == 0 && !copying.is_cut_at(progress.last_position) => {
                let least = if log.thread.writer.unproven { 0 } else { self.expected.durable };
                if progress.last_position < least || progress.last_position > self.expected.end {
                    return broken(format!("a backup is cut at {}, {}", progress.last_position, self.expected.bounds()));
                }
                copying.cut = Some((self.expected.clone(), progress));
                Ok(())
            }
            Ok(progress) => {
                copying.cut.iter_mut().for_each(|(_, known)| *known = progress);
                if copying.backup.is_done() {
                    self.give_up(log)
                } else {
                    Ok(())
                }
            }
            Err(_) if copying.to.crashed() => self.give_up(log),
            Err(error) if error.code == Code::NoSpace && log.thread.writer.unproven => self.give_up(log),
            Err(error) => broken(format!("a backup failed without a fault: {error:?}")),
        }
    }

    /// Ends both processes and cuts the power of the other disk, which must hold the whole log up to the cut, or no log.
    pub fn give_up(&mut self, log: &mut Served) -> Held<()> {
        let Some(Copying { backup, to, cut }) = log.copying.take() else { return Ok(()) };
        let done = backup.is_done();
        // A dead process removes nothing.
        to.set_budget(0);
        drop(backup);
        to.power_cut();
        to.restart();
        let whole = open(Arc::new(to.clone()), &self.options, || 0);
        match (whole, cut) {
            (Ok(opened), _) if opened.recovery.verdict == "absent" && !done => Ok(()),
            (Ok(opened), Some((expected, progress))) => is_whole(&to, opened, &expected, progress, done),
            (Err(error), _) if !done && matches!(error.code, Code::Corrupt | Code::Format) => Ok(()),
            (Ok(_), None) => broken("a backup without a cut opens"),
            (Err(error), _) => {
                broken(format!("a backup that is {} does not open: {error:?}", if done { "complete" } else { "unfinished" }))
            }
        }
    }
}

fn is_whole(to: &SimDisk, opened: Opened, expected: &Expected, cut: Progress, done: bool) -> Held<()> {
    let (low, end) = (opened.recovery.first_position, opened.writer.next_position() - 1);
    // If all durable records were truncated, the log goes on empty at its low mark, in a segment of its own.
    let goes_on = opened.recovery.clean || opened.recovery.verdict == "clean" && cut.last_position < low;
    if low != cut.first_position || end != cut.last_position.max(low - 1) || done && !goes_on {
        return broken(format!("a backup with the cut {cut:?} opens with {low}..={end}, {}", opened.recovery.verdict));
    }
    match read(Arc::new(to.clone()), &opened.catalog, expected, low, end, 1 << 14) {
        Read::All => to.violation().map_or(Ok(()), broken),
        Read::Stopped(error) => broken(format!("a backup: reading {low} to {end}: {error}")),
        Read::Wrong(text) => broken(format!("a backup: {text}")),
    }
}
