//! Truncations by clients: submitted after some appends, with more appends after them.

use super::clients::{Operation, Served};
use super::history::History;
use super::oracle::Expected;
use crate::error::Code;
use crate::util::locks::locked;
use crate::write::submission_queue::Command;

/// A command in progress, and the log as it will be once the command is done.
#[derive(Clone)]
pub struct Ahead {
    command: Command,
    /// Includes what was appended after the command.
    pub expected: Expected,
    /// Number of unsettled operations before the command, which does not begin before they have settled.
    waits_for: usize,
    /// The command will be rejected, because records before it were.
    void: bool,
}

impl History {
    /// Submits a command for one of the clients, after everything that waits.
    pub fn command(&mut self, log: &Served) {
        let (low, end) = (self.expected.low, self.expected.end);
        let active = log.shared.catalog.all().last().map_or(0, |active| active.first);
        let command = match self.rng.below(10) {
            _ if self.recycles && active > low && self.rng.chance(0.5) => Command::TruncateBefore(active),
            0..4 => Command::TruncateBefore(low + self.rng.below(end + 2 - low)),
            4..8 => Command::TruncateAfter(low - 1 + self.rng.below(end + 2 - low)),
            _ => Command::Reset(1 + self.rng.below(end + 6)),
        };
        let mut after = self.expected.clone();
        let kept = match command {
            Command::TruncateBefore(first) => {
                after.low = first;
                None
            }
            Command::TruncateAfter(last) => Some(last),
            Command::Reset(first) => {
                after.low = first;
                Some(first - 1)
            }
        };
        if let Some(last) = kept {
            after.cut(last);
            // The kept part of a batch is a batch of its own.
            after.whole[last as usize] = true;
            (after.durable, after.written) = (last, last);
        }
        let waits_for = log.inboxes.iter().map(|inbox| locked(&inbox.waiting).1.len()).sum();
        let inbox = &log.inboxes[self.rng.below(log.inboxes.len() as u64) as usize];
        self.disk.say(|| format!("client {}: {command:?}", inbox.client));
        locked(&log.shared.submissions).command(inbox.client, command, &self.options).unwrap();
        locked(&inbox.waiting).1.push_back(Operation { last: 0, durable: false, command: true });
        self.ahead = Some(Ahead { command, expected: after, waits_for, void: false });
    }

    /// Returns the log that appends are added to: as it will be once everything submitted is done.
    pub fn accepted(&mut self) -> &mut Expected {
        match &mut self.ahead {
            Some(ahead) => &mut ahead.expected,
            None => &mut self.expected,
        }
    }

    /// Records that some operations before a command have settled.
    pub fn settled_before(&mut self, operations: usize, failed: Option<Code>) {
        if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.waits_for > 0) {
            ahead.waits_for = ahead.waits_for.saturating_sub(operations);
            // A command that makes room is done even if records are rejected.
            let makes_room = matches!(ahead.command, Command::TruncateBefore(_));
            ahead.void |= failed.is_some_and(|code| code == Code::Poisoned || !makes_room);
        }
    }

    /// Records that appends were rejected, so positions above `end` are taken back.
    pub fn given_back(&mut self, end: u64) {
        if end < self.expected.end {
            self.expected.cut(end);
        }
        match &mut self.ahead {
            Some(ahead) if matches!(ahead.command, Command::TruncateBefore(_)) => {
                ahead.expected.cut(end.min(ahead.expected.end));
                (ahead.expected.written, ahead.expected.durable) = (ahead.expected.written.min(end), ahead.expected.durable.min(end));
            }
            _ => {}
        }
    }

    /// Records that the command has settled.
    pub fn commanded(&mut self, done: bool) {
        let Some(mut ahead) = self.ahead.take() else { return };
        let keeps_positions = matches!(ahead.command, Command::TruncateBefore(_));
        if keeps_positions {
            (ahead.expected.written, ahead.expected.durable) = (self.expected.written, self.expected.durable);
        }
        if !done {
            // A rejected `truncate_before` rejects nothing else: the records appended after it stay.
            if keeps_positions {
                ahead.expected.low = self.expected.low;
                self.expected = ahead.expected;
            }
            return;
        }
        self.kept = match ahead.command {
            Command::TruncateBefore(_) => self.kept,
            Command::TruncateAfter(last) => self.kept.min(last),
            Command::Reset(_) => 0,
        };
        self.expected = ahead.expected;
        self.disk.say(|| "  truncated".into());
    }

    /// If the power goes now, the log may be as it was, or as a command that may have begun leaves it.
    pub fn may_be_ahead(&mut self) {
        if let Some(ahead) = self.ahead.take().filter(|ahead| ahead.waits_for == 0 && !ahead.void) {
            let mut expected = ahead.expected;
            if let Command::TruncateBefore(_) = ahead.command {
                (expected.written, expected.durable) = (self.expected.written, self.expected.durable);
            }
            self.others.push(expected);
        }
    }
}
