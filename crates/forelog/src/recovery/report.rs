//! The report on what opening found and did.

use crate::recovery::survey::{Damage, Survey};
use crate::recovery::verdict::{Answer, Verdict};

/// The result of an opening.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// Label of the verdict, one of docs/recovery.md.
    pub verdict: &'static str,
    /// The log is new, or nothing had to be cut off or written again: the verdict is `clean`. Closing in order leaves such a log, and so
    /// does a process that died while everything was proven durable.
    pub clean: bool,
    /// Opening has created the log.
    pub created: bool,
    /// First position of the log; equal to `next_position` in an empty log.
    pub first_position: u64,
    /// Position of the next record.
    pub next_position: u64,
    /// Number of records found in the segment that was scanned.
    pub records: u64,
    /// Number of records written again into a new segment, because nothing proved them durable.
    pub carried: u64,
    /// The bytes that recovery cut off, or in `readOnly` mode would cut off.
    pub fenced: Option<Fenced>,
    /// The damage in spite of which the log was opened, in `prefix` and `readOnly` mode.
    pub damage: Option<Damage>,
    /// Positions that were lost before this log was made, first and last of each hole. A salvage left them out, and readers pass over them.
    pub holes: Vec<(u64, u64)>,
    /// Segments after the damage that `prefix` mode left out as a whole, by file name.
    pub left_out: Vec<String>,
    /// The directory is in memory, so nothing in it survives a restart of the machine.
    pub volatile: bool,
    /// Number of bytes of segments that opening scanned.
    pub scanned_bytes: u64,
    /// How long opening took, in milliseconds.
    pub duration_ms: f64,
}

/// Bytes that recovery cut off. They stay on disk, and nothing reads them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// Name of the file.
    pub segment: String,
    /// Offset of the first of the bytes.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// Lowest and highest position of the whole frames among them. If damage was cut off, the range of all positions that went with it.
    pub positions: Option<(u64, u64)>,
    /// The file was used before, so some of the bytes may be older than this segment.
    pub recycled: bool,
}

impl Recovery {
    /// Whether the log was opened in spite of damage.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    /// Returns the part of the report that follows from the survey.
    pub fn of(found: &Survey, answer: Answer) -> Recovery {
        let damage = if answer == Answer::Cut || answer == Answer::Read { found.damage().cloned() } else { None };
        let mut report = Recovery {
            verdict: found.verdict.label(),
            clean: found.verdict == Verdict::Clean,
            first_position: found.low_mark,
            records: found.active.as_ref().map_or(0, |active| active.scan.records),
            scanned_bytes: found.active.as_ref().map_or(0, |active| active.fence),
            fenced: fenced(found),
            damage,
            holes: found.holes.clone(),
            ..Recovery::default()
        };
        if answer == Answer::Cut {
            report.fenced = cut(found);
            let at = report.damage.as_ref().map(|damage| damage.segment.clone());
            let behind = found.live.iter().map(|name| name.file.clone()).skip_while(|file| Some(file) != at.as_ref());
            report.left_out = behind.skip(1).collect();
            // Holes after the cut are no longer in the log.
            let first_lost = report.damage.as_ref().and_then(|damage| damage.lost).map_or(u64::MAX, |(first, _)| first);
            report.holes.retain(|(first, _)| *first < first_lost);
        }
        report
    }
}

fn fenced(found: &Survey) -> Option<Fenced> {
    let active = found.active.as_ref()?;
    let (offset, end) = match (found.verdict, active.scan.garbage) {
        (Verdict::Fenced, _) => (active.fence, active.len),
        (Verdict::Torn, Some((_, last))) => (active.scan.end.offset, last + 1),
        _ => return None,
    };
    let segment = active.segment.name.file.clone();
    Some(Fenced { segment, offset, bytes: end - offset, positions: active.scan.stray, recycled: active.segment.header.recycled })
}

/// Returns what `prefix` mode cuts off in the damaged segment, up to the end of its file.
fn cut(found: &Survey) -> Option<Fenced> {
    let damage = found.damage()?;
    let positions = damage.lost.map(|(first, _)| (first, found.last().max(first)));
    Some(Fenced { segment: damage.segment.clone(), offset: damage.offset, bytes: found.bytes_behind(damage), positions, recycled: false })
}
