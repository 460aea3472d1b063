//! Truncations, in the middle of everything else.

use super::history::{broken, Act, Held, History};
use super::oracle::Expected;
use crate::error::Error;
use crate::format::file_names::{classify, FileKind, Name};
use crate::log::open::Opened;
use crate::write::writer::Writer;

fn segment(name: &str) -> Option<Name> {
    match classify(name) {
        FileKind::Segment(name) => Some(name),
        _ => None,
    }
}

impl History {
    /// Truncates somewhere. Returns why that was rejected.
    pub fn truncate(&mut self, opened: &mut Opened) -> Held<Option<Error>> {
        let (low, end) = (self.expected.low, self.expected.end);
        match self.rng.below(10) {
            0..4 => {
                let first = low + self.rng.below(end + 2 - low);
                self.truncate_before(opened, first)
            }
            4..8 => {
                let last = low - 1 + self.rng.below(end + 2 - low);
                self.truncate_after(opened, last)
            }
            _ => {
                let first = 1 + self.rng.below(end + 6);
                self.reset(opened, first)
            }
        }
    }

    pub fn truncate_after(&mut self, opened: &mut Opened, last: u64) -> Held<Option<Error>> {
        self.disk.say(|| format!("truncate after {last}"));
        let mut after = self.expected.clone();
        after.cut(last);
        // The kept part of a batch is a batch of its own.
        after.whole[last as usize] = true;
        (after.durable, after.written) = (last, last);
        self.attempt(after, opened, |writer| writer.truncate_after(last))
    }

    pub fn reset(&mut self, opened: &mut Opened, first: u64) -> Held<Option<Error>> {
        self.disk.say(|| format!("reset to {first}"));
        let mut after = Expected { low: first, ..self.expected.clone() };
        after.cut(first - 1);
        (after.durable, after.written) = (first - 1, first - 1);
        self.attempt(after, opened, |writer| writer.reset(first))
    }

    pub fn truncate_before(&mut self, opened: &mut Opened, first: u64) -> Held<Option<Error>> {
        self.disk.say(|| format!("truncate before {first}"));
        let after = Expected { low: first, ..self.expected.clone() };
        let rejected = self.attempt(after, opened, |writer| writer.truncate_before(first))?;
        if rejected.is_none() && !self.disk.crashed() {
            let names: Vec<Name> = self.disk.names().iter().filter_map(|name| segment(name)).collect();
            let ends_below = |n: &&Name| n.first < first && names.iter().any(|above| above.id > n.id && above.first <= first);
            if let Some(name) = names.iter().find(ends_below) {
                return broken(format!("{} is below {first} and was not removed", name.file));
            }
        }
        Ok(rejected)
    }

    /// Makes a truncation. If it is cut off or fails with an unknown result, the log may have either state. If it is rejected, the log must
    /// be as before, and otherwise as `after`.
    fn attempt(
        &mut self,
        after: Expected,
        opened: &mut Opened,
        call: impl FnOnce(&mut Writer) -> Result<(), Error>,
    ) -> Held<Option<Error>> {
        self.others.push(after);
        let ends = |writer: &Writer| (writer.low_mark(), writer.next_position());
        let before = ends(&opened.writer);
        let outcome = self.watched(Act::Truncate, || call(&mut opened.writer));
        if self.disk.crashed() {
            return Ok(None);
        }
        match outcome {
            Ok(()) => {
                self.disk.say(|| "  truncated".into());
                self.expected = self.others.pop().unwrap();
            }
            Err(error) => {
                let after = self.others.last().filter(|_| error.heals()).map(|after| (after.low, after.end + 1));
                let now = ends(&opened.writer);
                if now != before && after == Some(now) {
                    // Done, except for files that could not be removed.
                    self.expected = self.others.pop().unwrap();
                } else if after.is_some() {
                    self.others.pop();
                }
                return Ok(Some(error));
            }
        }
        Ok(None)
    }
}
