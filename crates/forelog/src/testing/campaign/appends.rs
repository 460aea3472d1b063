//! Appends as group commit makes them: the records submitted, and what the answer promises.

use super::history::{broken, Act, Held, History, Policy};
use super::oracle::{Made, Tag};
use crate::error::Error;
use crate::log::open::Opened;
use crate::testing::sim::Rng;
use crate::write::group::{Batch, Group};

/// Records to be appended one by one, or as one batch.
pub struct Part {
    pub tags: Vec<Tag>,
    pub batch: bool,
}

/// Adds a single record to a group.
pub fn push(group: &mut Group, position: u64, tag: Tag) {
    let made = Made::new(position, tag);
    let record = made.record();
    let len = record.check(1 << 30).unwrap();
    group.push(0, position, &record, len);
}

impl History {
    /// Returns the content of a record: new, or one that was tried at this position before.
    fn tag(&mut self, position: u64) -> Tag {
        let p = position as usize;
        if self.attempts.len() <= p {
            self.attempts.resize(p + 1, 0);
        }
        let again = self.attempts[p] > 0 && self.rng.chance(0.5);
        let attempt = if again { self.attempts[p] - 1 } else { self.attempts[p] };
        self.attempts[p] = attempt + 1;
        // The length follows from the attempt, so that the same attempt makes the same record.
        let mut size = Rng::new(position << 8 ^ u64::from(attempt));
        let len = match size.below(100) {
            0..60 => size.below(120),
            60..85 => 100 + size.below(1500),
            85..95 => 1000 + size.below(9000),
            95..98 if self.large => 9000 + size.below(30_000),
            98.. if self.large => 30_000 + size.below(170_000),
            _ => size.below(3000),
        };
        Tag { attempt, len: len as u32 }
    }

    /// Returns a record or a batch for the positions from `first` on.
    pub fn part(&mut self, first: u64) -> Part {
        let batch = self.rng.chance(0.5);
        let count = if batch { 1 + self.rng.below(4) } else { 1 };
        Part { tags: (first..first + count).map(|position| self.tag(position)).collect(), batch }
    }

    /// Appends a group of singles and batches as group commit would. Returns why some of it was rejected.
    pub fn append(&mut self, opened: &mut Opened) -> Held<Option<Error>> {
        let mut next = self.expected.end + 1;
        let parts = (0..1 + self.rng.below(4)).map(|_| {
            let part = self.part(next);
            next += part.tags.len() as u64;
            part
        });
        let parts: Vec<Part> = parts.collect();
        let durable = match self.policy {
            Policy::Always => true,
            Policy::Mixed => self.rng.chance(0.5),
            Policy::Os => false,
        };
        self.commit(opened, &parts, durable)
    }

    /// Commits single records and batches as one group. Returns why some of it was rejected.
    pub fn commit(&mut self, opened: &mut Opened, parts: &[Part], durable: bool) -> Held<Option<Error>> {
        let writer = &mut opened.writer;
        if writer.next_position() != self.expected.end + 1 {
            return broken(format!(
                "the next position of the writer is {}, but the log ends at {}",
                writer.next_position(),
                self.expected.end
            ));
        }
        let mut group = Group::default();
        let mut next = writer.next_position();
        for Part { tags, batch } in parts {
            let first = next;
            let mut gathered = Batch::new();
            for (i, tag) in tags.iter().enumerate() {
                if *batch {
                    gathered.push(Made::new(next, *tag).record(), 1 << 30).unwrap();
                } else {
                    push(&mut group, next, *tag);
                }
                self.expected.push(*tag, !batch || i + 1 == tags.len());
                next += 1;
            }
            if *batch {
                group.push_batch(0, first, &mut gathered);
            }
        }
        self.disk.say(|| {
            format!("append up to {}, {} bytes of records{}", next - 1, group.record_bytes, if durable { ", durable" } else { "" })
        });
        let progress = self.watched(Act::Commit, || writer.commit(&mut group, durable));
        if self.disk.crashed() {
            return Ok(None);
        }
        let rejected = match progress.failure {
            Some(error) if !error.heals() => return Ok(Some(error)),
            other => other,
        };
        let kept = group.frames.get(progress.frames).map_or(next - 1, |frame| frame.first - 1);
        if rejected.is_none() && kept != next - 1 {
            return broken("a commit succeeded in part");
        }
        self.expected.cut(kept);
        self.fenced |= rejected.is_some();
        if rejected.is_none() || progress.frames > 0 {
            self.expected.written = kept;
            if durable {
                self.expected.durable = kept;
            }
        }
        self.disk.say(|| format!("  acknowledged up to {kept}{}", if rejected.is_some() { ", the rest rejected" } else { "" }));
        Ok(rejected)
    }
}
