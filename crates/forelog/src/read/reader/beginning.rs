//! Where a reader begins that was asked to start at an end of the log. The end may move before the reader gets there.

use super::plain::PlainReader;
use crate::error::{Code, Error, Result};
use crate::read::follow::FollowedLog;
use crate::segments::reader_positions::StartPosition;
use std::sync::Arc;

/// An end of the log that a reader begins at, for as long as the reader may still begin elsewhere.
///
/// A reader at the first position moves along until it has returned a record. A reader at the end moves until it has looked there, and only
/// if that position is no longer in the log.
pub struct Beginning {
    start: StartPosition,
    tail: Arc<dyn FollowedLog>,
    /// Last position that the caller asked for.
    to: u64,
    /// Maximum number of records that the reader may return.
    max_records: u64,
    /// First position of the log when the reader last began.
    first: Option<u64>,
}

impl Beginning {
    pub fn new(start: StartPosition, tail: Arc<dyn FollowedLog>, to: u64, max_records: u64) -> Beginning {
        Beginning { start, tail, to, max_records, first: None }
    }
}

impl PlainReader {
    /// Records that the reader has begun at `at`, and that it has returned something if `gave`.
    pub(super) fn note_begun(&mut self, at: u64, gave: bool) {
        let Some(beginning) = &self.beginning else { return };
        if beginning.start == StartPosition::End {
            self.position.fix_start(at);
        }
        if gave || beginning.start == StartPosition::End {
            self.beginning = None;
        }
    }

    /// Moves a reader that has returned nothing yet to where its end of the log is now, if `error` shows that the end has moved.
    ///
    /// # Errors
    /// `error`, if the reader has to end with it.
    pub(super) fn begin_again(&mut self, error: Error) -> Result<()> {
        let moved = matches!(error.code, Code::Truncated | Code::OutOfRange) && !self.position.is_left();
        let Some(beginning) = self.beginning.as_mut().filter(|_| moved) else { return Err(error) };
        let kept = self.catalog.reader_positions.restart(&self.position);
        let (first, last) = beginning.tail.ends()?;
        // Begin again only if the log has moved on, so that a reader never does so for ever without progress elsewhere. A truncation since
        // the last time may have brought the log back to where it was.
        let is_unchanged = kept == u64::MAX && self.position.truncation_count() == 0;
        if beginning.first.replace(first) == Some(first) && is_unchanged {
            return Err(error);
        }
        self.next = match beginning.start {
            StartPosition::First => first,
            // Records appended meanwhile belong to the reader, as far as they are still in the log.
            _ => self.next.min(kept.saturating_add(1)).max(first),
        };
        let to = if self.follows { beginning.to } else { beginning.to.min(last) };
        self.to = match &mut self.since {
            Some(since) => {
                since.is_located = false;
                to
            }
            None => to.min((self.next - 1).saturating_add(beginning.max_records)),
        };
        self.limit = if self.tail.is_some() { 0 } else { self.to };
        (self.truncations, self.cut_off, self.cursor) = (0, false, None);
        self.holes.clear();
        self.position.advance(self.next);
        Ok(())
    }
}
