//! The ends of an open log: where it begins, and how far it is written, acknowledged and durable.

use crate::format::horizon::LogEnd;
use crate::util::locks::locked;
use std::sync::Mutex;

/// The durable end of the log, up to which a backup copies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableEnd {
    /// Id of the active segment.
    pub segment: u64,
    /// The durable end of the frames in that segment, and the last durable position of the log.
    pub durable: LogEnd,
}

/// The ends of a log at one moment. The low mark is the first position; the others are the last ones, and 0 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// First position that can be read. In an empty log that is the position of the next record.
    pub low_mark: u64,
    /// Last position that was handed to the operating system.
    pub written: u64,
    /// Last position that readers can see.
    pub acknowledged: u64,
    /// Last position that survives power loss.
    pub durable: u64,
    /// Up to where a backup may copy. `None` while no part of the active segment is proven durable.
    pub durable_end: Option<DurableEnd>,
    /// Number of truncations from the end since the log was opened, resets included.
    pub truncations: u64,
}

impl Ends {
    /// Makes the log end at `end`, where all of it is durable, after a truncation from the end or a reset.
    pub fn cut_to(&mut self, end: DurableEnd) {
        let last = end.durable.position;
        (self.written, self.acknowledged, self.durable) = (last, last, last);
        self.durable_end = Some(end);
        self.truncations += 1;
    }
}

/// The ends of an open log, shared by all that read them. In a log that this process writes, the thread that has the log alone changes them. In a
/// log opened read-only they follow the writer's page.
///
/// The lock is held for a copy of a few numbers. Only the lock of the reader positions is taken under it.
#[derive(Debug)]
pub struct LogEnds(Mutex<Ends>);

impl Default for LogEnds {
    fn default() -> LogEnds {
        LogEnds(Mutex::new(Ends { low_mark: 1, written: 0, acknowledged: 0, durable: 0, durable_end: None, truncations: 0 }))
    }
}

impl LogEnds {
    /// Returns all of them as they are at this moment.
    pub fn get(&self) -> Ends {
        *locked(&self.0)
    }

    /// Changes several of them at once.
    pub fn change(&self, change: impl FnOnce(&mut Ends)) {
        change(&mut locked(&self.0));
    }

    pub fn low_mark(&self) -> u64 {
        self.get().low_mark
    }

    pub fn acknowledged(&self) -> u64 {
        self.get().acknowledged
    }

    pub fn durable(&self) -> u64 {
        self.get().durable
    }
}
