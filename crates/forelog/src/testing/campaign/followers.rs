//! A reader that follows the log through its history. It returns every record once, and ends where a record that it has returned was
//! truncated.

use super::clients::Served;
use super::history::{broken, Held, History};
use super::oracle::Made;
use crate::error::Code;
use crate::read::reader::{ReadPlan, Reader, Tail};
use crate::testing::sim::Faults;
use std::sync::Arc;

pub struct Follower {
    reader: Reader,
    next: u64,
}

impl History {
    /// Lets the follower read all that is available, or begins one.
    pub fn follow(&mut self, log: &mut Served) -> Held<()> {
        let kept = std::mem::replace(&mut self.kept, u64::MAX);
        let Some(Follower { reader, next }) = &mut log.follower else {
            let next = self.expected.low;
            let storage = Arc::new(self.disk.clone());
            let reader = Reader::new(
                storage,
                log.shared.catalog.clone(),
                ReadPlan { tail: Some(Tail { log: log.shared.clone(), follows: true, check_start: false }), ..(next..=u64::MAX).into() },
            );
            log.follower = Some(Follower { reader, next });
            return Ok(());
        };
        let gone = *next - 1 > kept || *next < self.expected.low;
        let faults = self.disk.faults();
        self.disk.set_faults(Faults { read: 0.0, ..faults.clone() });
        let ended = loop {
            let block = match reader.next_block(1 << self.rng.below(16)) {
                Ok(Some(block)) => block,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if gone || block.first_position != *next {
                return broken(format!("a follower at {next} returns {}, {kept} was kept", block.first_position));
            }
            for record in &block {
                let right = self.expected.tags.get(*next as usize).is_some_and(|tag| Made::new(*next, *tag).is(record));
                if !right || *next > self.expected.end {
                    return broken(format!("a follower returns something else at {next}"));
                }
                *next += 1;
            }
        };
        self.disk.set_faults(faults);
        match ended {
            Ok(()) if !gone && *next == self.expected.end + 1 => Ok(()),
            Err(error) if gone && error.code == Code::Truncated => {
                log.follower = None;
                Ok(())
            }
            ended => broken(format!("a follower at {next}, {kept} kept, ends with {ended:?}, {}", self.expected.bounds())),
        }
    }
}
