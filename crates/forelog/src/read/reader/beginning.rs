//! Where a reader begins that was asked for an end of the log: the end may move before the reader has come to it.

use super::Reader;
use crate::error::{Code, Error, Result};
use crate::read::follow::FollowedLog;
use crate::segments::reader_positions::Start;
use std::sync::Arc;

/// An end of the log that a reader begins at, while the reader may still begin elsewhere.
///
/// The first position moves until the reader has given a record. The last one moves until the reader has looked at it, and
/// only where it is not there any more.
pub struct Beginning {
    start: Start,
    tail: Arc<dyn FollowedLog>,
    /// Last position that was asked for.
    to: u64,
    /// How many records it may give.
    most: u64,
    /// First position of the log when the reader last began.
    first: Option<u64>,
}

impl Beginning {
    pub fn new(start: Start, tail: Arc<dyn FollowedLog>, to: u64) -> Beginning {
        Beginning { start, tail, to, most: u64::MAX, first: None }
    }
}

impl Reader {
    /// Gives no more than `most` records, wherever it begins.
    pub fn at_most(mut self, most: u64) -> Reader {
        self.to = self.to.min((self.next - 1).saturating_add(most));
        self.limit = self.limit.min(self.to);
        if let Some(beginning) = &mut self.beginning {
            beginning.most = most;
        }
        self
    }

    /// The reader has looked at `at`, where it begins, and has given something if `gave`.
    pub(super) fn has_looked(&mut self, at: u64, gave: bool) {
        let Some(beginning) = &self.beginning else { return };
        if beginning.start == Start::End {
            self.place.fix(at);
        }
        if gave || beginning.start == Start::End {
            self.beginning = None;
        }
    }

    /// Moves a reader that has given nothing yet to where its end of the log is now, if `error` says that the end has moved.
    ///
    /// # Errors
    /// `error`, where the reader has to end with it.
    pub(super) fn begin_anew(&mut self, error: Error) -> Result<()> {
        let moved = matches!(error.code, Code::Truncated | Code::OutOfRange) && !self.place.is_left();
        let Some(beginning) = self.beginning.as_mut().filter(|_| moved) else { return Err(error) };
        let kept = self.catalog.places.begin_anew(&self.place);
        let (first, last) = beginning.tail.ends()?;
        // Each time the log has moved on: a reader that begins again and again is never the only one that does something.
        // A cut since may have brought it back to where it was.
        let stands = kept == u64::MAX && self.place.cuts() == 0;
        if beginning.first.replace(first) == Some(first) && stands {
            return Err(error);
        }
        self.next = match beginning.start {
            Start::First => first,
            // What was appended since belongs to the reader, as far as it is there.
            _ => self.next.min(kept.saturating_add(1)).max(first),
        };
        let to = if self.follows { beginning.to } else { beginning.to.min(last) };
        self.to = to.min((self.next - 1).saturating_add(beginning.most));
        self.limit = if self.tail.is_some() { 0 } else { self.to };
        (self.cuts, self.cut_off, self.cursor) = (0, false, None);
        self.holes.clear();
        self.place.advance(self.next);
        Ok(())
    }
}
