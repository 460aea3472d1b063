//! What a survey of a log has found: its segments, the evidence, the verdict and the damage.

use crate::error::Flipped;
use crate::format::control::ControlState;
use crate::format::file_names::Name;
use crate::format::footer::Index;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::recovery::directory::{Listing, Slots};
use crate::recovery::verdict::{self, Evidence, Verdict};
use crate::segments::frame_scan::Scan;
use crate::storage::FileRef;

/// Bytes that were durable and are no longer as they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// A sentence for people.
    pub text: String,
    /// Name of the damaged file.
    pub segment: String,
    /// Offset in that file at which the damage begins.
    pub offset: u64,
    /// First and last position that the damage affects, as far as is known.
    pub lost: Option<(u64, u64)>,
    /// The single flipped bit that explains the damage, if there is one.
    pub flipped: Option<Flipped>,
}

/// A segment with a good header, or in read-only mode with a repaired one.
#[derive(Clone)]
pub struct SurveyedSegment {
    pub name: Name,
    pub file: FileRef,
    pub header: Header,
}

/// The active segment and the result of its scan.
pub struct SurveyedActive {
    pub segment: SurveyedSegment,
    pub len: u64,
    /// Offset past which nothing was inspected; the file's length if nothing is fenced.
    pub fence: u64,
    pub scan: Scan,
    /// The last frame boundary that is proven durable: at the proven offset D, unless there is damage before it.
    pub proven: FrameBoundary,
}

/// The end of the good part of a log, before damage.
pub struct GoodEnd {
    pub segment: SurveyedSegment,
    pub len: u64,
    pub end: FrameBoundary,
    /// Index of the frames up to there.
    pub index: Index,
}

/// Everything that a survey has found.
pub struct Survey {
    pub listing: Listing,
    pub control: Option<Slots>,
    /// CONTROL's state; if no slot is good, as much of it as the segments show.
    pub state: ControlState,
    pub evidence: Evidence,
    pub verdict: Verdict,
    /// First position of the log.
    pub low_mark: u64,
    /// The live segments at or above the low mark, oldest first.
    pub live: Vec<Name>,
    /// Positions from the low mark on that were lost before this log was made, according to headers: first and last of each hole.
    pub holes: Vec<(u64, u64)>,
    /// Absent if its header is bad.
    pub active: Option<SurveyedActive>,
    /// In `prefix` mode, the end of the good part before sealed damage or a bad header.
    pub good_end: Option<GoodEnd>,
    pub damages: Vec<(Verdict, Damage)>,
}

impl Survey {
    /// Returns the damage that the verdict is about.
    pub fn damage(&self) -> Option<&Damage> {
        self.damages.iter().find(|(verdict, _)| *verdict == self.verdict).map(|(_, damage)| damage)
    }

    /// Returns all damage that was found, each with its verdict.
    pub fn all_damage(&self) -> &[(Verdict, Damage)] {
        &self.damages
    }

    /// Records whether the disk failed to read something. If it did, nothing that looks like damage is known to be damage.
    pub fn unreadable(&mut self, unreadable: bool) {
        if unreadable {
            // Bytes that read as zeroes do not show whose directory this is, either.
            self.evidence = Evidence { unreadable, ..self.evidence };
            self.verdict = verdict::judge(&self.evidence);
            if let Some((_, damage)) = self.damages.first().cloned() {
                self.damages.insert(0, (Verdict::Unreadable, damage));
            }
        }
    }

    /// Returns the number of bytes from damage to the end of its file.
    pub fn bytes_behind(&self, damage: &Damage) -> u64 {
        let good = self.good_end.as_ref().map(|good| (&good.segment, good.len));
        let active = self.active.as_ref().map(|active| (&active.segment, active.len));
        let len = [good, active].into_iter().flatten().find(|(segment, _)| segment.name.file == damage.segment).map(|(_, len)| len);
        len.unwrap_or(damage.offset) - damage.offset
    }

    /// Returns the last position that was found or is known to have existed, 0 if there is none.
    pub fn last(&self) -> u64 {
        let found = self.active.as_ref().map_or(0, |active| active.scan.end.next - 1);
        let named = self.live.last().map_or(0, |newest| newest.first - 1);
        self.damages.iter().filter_map(|(_, damage)| damage.lost).map(|(_, last)| last).fold(found.max(named), u64::max)
    }
}
