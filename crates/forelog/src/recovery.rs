//! What the bytes of the active segment mean after a crash: a pure function from bytes and marks to a verdict.
//!
//! Nothing here writes, and nothing is believed before its checksum. The table at the end of the file is section
//! "Recovery" of docs/format.md: one row for each combination of evidence, under the same labels.

use crate::control::State;
use crate::frame::{self, Frame, ALIGN, HEADER};
use crate::options::PAGE;
use crate::segment::Header;
use crate::storage::window::Window;
use crate::storage::Fault;

/// A place between two frames: what a frame that starts there must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    pub offset: u64,
    /// Position of the next record.
    pub next: u64,
    /// CRC field of the frame that ends here.
    pub crc: u32,
}

impl Joint {
    pub fn start(header: &Header) -> Joint {
        Joint { offset: PAGE, next: header.first, crc: header.first_prev() }
    }

    fn after(self, frame: &Frame) -> Joint {
        Joint { offset: self.offset + frame.span(), next: frame.next_position(), crc: frame.crc }
    }
}

/// What a scan of a segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// X: where the first byte stands that does not continue the log.
    pub end: Joint,
    pub records: u64,
    /// The furthest synced offset that any valid frame claims, on either side of the end.
    pub claimed: u64,
    /// Positions of valid frames past the end, lowest and highest.
    pub stray: Option<(u64, u64)>,
    /// First and last non-zero byte past the end.
    pub garbage: Option<(u64, u64)>,
}

/// The valid frame at `offset`, body checked; `None` when the bytes there are not one.
fn valid(bytes: &mut Window, header: &Header, offset: u64) -> Result<Option<Frame>, Fault> {
    let Some(frame) = frame::decode(bytes.get(offset, HEADER)?, header.seed(), offset) else { return Ok(None) };
    if frame.first < header.first || frame.span() > bytes.len() - offset {
        return Ok(None);
    }
    let (mut at, end) = (offset + HEADER as u64, offset + HEADER as u64 + u64::from(frame.body_len));
    let mut crc = 0;
    while at < end {
        let piece = bytes.get(at, (end - at).min(128 << 10) as usize)?;
        if piece.is_empty() {
            return Ok(None);
        }
        crc = frame::body_crc(crc, piece);
        at += piece.len() as u64;
    }
    Ok((frame::stored(crc) == frame.body_crc).then_some(frame))
}

/// Whether `frame` is the one that continues the log at `joint`.
fn continues(frame: &Frame, joint: &Joint) -> bool {
    frame.first == joint.next && frame.prev == joint.crc
}

/// Reads a segment to its end, through zeroes: a crash may leave a hole where an earlier page was lost.
/// The window's length is the file's, or the fence.
pub fn scan(bytes: &mut Window, header: &Header) -> Result<Scan, Fault> {
    let mut scan = Scan { end: Joint::start(header), records: 0, claimed: 0, stray: None, garbage: None };
    while let Some(frame) = valid(bytes, header, scan.end.offset)?.filter(|f| continues(f, &scan.end)) {
        scan.claimed = scan.claimed.max(frame.synced);
        scan.records += u64::from(frame.count);
        scan.end = scan.end.after(&frame);
    }
    let mut at = scan.end.offset;
    while at < bytes.len() {
        let step = bytes.get(at, 64 << 10)?;
        if step.is_empty() {
            break;
        }
        let Some(non_zero) = step.iter().position(|b| *b != 0) else {
            at += step.len() as u64;
            continue;
        };
        let dirty = at + non_zero as u64;
        at = dirty - dirty % ALIGN;
        let (first, _) = *scan.garbage.get_or_insert((dirty, dirty));
        let frame = valid(bytes, header, at)?;
        let span = frame.map_or(ALIGN, |f| f.span());
        scan.garbage = Some((first, (at + span).min(bytes.len()) - 1));
        if let Some(frame) = frame {
            scan.claimed = scan.claimed.max(frame.synced);
            let last = frame.next_position().saturating_sub(1).max(frame.first);
            let (low, high) = scan.stray.unwrap_or((frame.first, last));
            scan.stray = Some((low.min(frame.first), high.max(last)));
        }
        at += span;
    }
    Ok(scan)
}

/// The joint at `offset`, reached by the frame headers alone; `None` when no chain of them leads there.
pub fn joint_at(bytes: &mut Window, header: &Header, offset: u64) -> Result<Option<Joint>, Fault> {
    let mut joint = Joint::start(header);
    while joint.offset < offset {
        let frame = frame::decode(bytes.get(joint.offset, HEADER)?, header.seed(), joint.offset);
        match frame.filter(|f| continues(f, &joint)) {
            Some(frame) => joint = joint.after(&frame),
            None => return Ok(None),
        }
    }
    Ok((joint.offset == offset).then_some(joint))
}

/// The joint before the frame that holds `position`, reached by frame headers from `joint` on; `Err` is where the
/// chain of them breaks first.
pub fn joint_near(bytes: &mut Window, header: &Header, mut joint: Joint, position: u64) -> Result<Result<Joint, Joint>, Fault> {
    while joint.next < position {
        let frame = frame::decode(bytes.get(joint.offset, HEADER)?, header.seed(), joint.offset);
        match frame.filter(|f| continues(f, &joint)) {
            Some(frame) if frame.next_position() > position => break,
            Some(frame) => joint = joint.after(&frame),
            None => return Ok(Err(joint)),
        }
    }
    Ok(Ok(joint))
}

/// D: how much of the active segment is proven to have been durable.
pub fn proven(header: &Header, control: &State, scan: &Scan) -> u64 {
    let marked = control.mark.filter(|m| m.segment == header.id).map_or(0, |m| m.offset);
    header.carried_end.max(marked).max(scan.claimed)
}

/// What was seen, as answers to five questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The frames end before the proven offset: X < D.
    pub short: bool,
    /// CONTROL names this segment, or a later one that it outlived.
    pub named: bool,
    /// CONTROL's durable mark is exactly the end.
    pub marked: bool,
    /// A write to this segment failed and was told.
    pub fenced: bool,
    /// Past the end stands a valid frame or, unless the file was recycled, any byte that is not zero.
    pub debris: bool,
}

impl Evidence {
    pub fn of(header: &Header, control: &State, scan: &Scan) -> Evidence {
        let mark = control.mark.filter(|m| m.segment == header.id);
        Evidence {
            short: scan.end.offset < proven(header, control, scan),
            named: control.active >= header.id,
            marked: mark.is_some_and(|m| m.offset == scan.end.offset),
            fenced: control.fence.is_some_and(|f| f.segment == header.id),
            debris: scan.stray.is_some() || (scan.garbage.is_some() && !header.recycled),
        }
    }
}

/// What the evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Bytes that were durable are damaged: an error, and nothing is changed.
    Corrupt,
    /// Debris of writes that were never acknowledged as durable: fenced off by rolling.
    Torn,
    /// A write failed before the crash: what it left is not even looked at, and the log rolls.
    Fenced,
    /// The roll that made this segment did not finish: its frames are carried whole.
    Unnamed,
    /// The frames are good but not proven durable: they are carried into the next segment.
    Unproven,
    /// Closed in order: the log goes on in place.
    Clean,
}

impl Verdict {
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Corrupt => "corrupt",
            Verdict::Torn => "torn",
            Verdict::Fenced => "fenced",
            Verdict::Unnamed => "unnamed",
            Verdict::Unproven => "unproven",
            Verdict::Clean => "clean",
        }
    }
}

#[derive(Clone, Copy)]
enum Cell {
    Yes,
    No,
    Any,
}

struct Row {
    verdict: Verdict,
    short: Cell,
    named: Cell,
    marked: Cell,
    fenced: Cell,
    debris: Cell,
}

use Cell::{Any, No, Yes};

/// Every combination of evidence matches exactly one row; a test walks them all.
const TABLE: [Row; 6] = [
    Row { verdict: Verdict::Corrupt, short: Yes, named: Any, marked: Any, fenced: Any, debris: Any },
    Row { verdict: Verdict::Torn, short: No, named: Any, marked: Any, fenced: Any, debris: Yes },
    Row { verdict: Verdict::Fenced, short: No, named: Any, marked: Any, fenced: Yes, debris: No },
    Row { verdict: Verdict::Unnamed, short: No, named: No, marked: Any, fenced: No, debris: No },
    Row { verdict: Verdict::Unproven, short: No, named: Yes, marked: No, fenced: No, debris: No },
    Row { verdict: Verdict::Clean, short: No, named: Yes, marked: Yes, fenced: No, debris: No },
];

impl Row {
    fn matches(&self, evidence: &Evidence) -> bool {
        let holds = |cell: Cell, seen: bool| match cell {
            Yes => seen,
            No => !seen,
            Any => true,
        };
        holds(self.short, evidence.short)
            && holds(self.named, evidence.named)
            && holds(self.marked, evidence.marked)
            && holds(self.fenced, evidence.fenced)
            && holds(self.debris, evidence.debris)
    }
}

/// The verdict for what was seen. Should the table ever have a gap, damage is the answer that changes nothing.
pub fn judge(evidence: &Evidence) -> Verdict {
    TABLE.iter().find(|row| row.matches(evidence)).map_or(Verdict::Corrupt, |row| row.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_evidence_matches_exactly_one_row() {
        for bits in 0..32u8 {
            let bit = |n: u8| bits & 1 << n != 0;
            let evidence = Evidence { short: bit(0), named: bit(1), marked: bit(2), fenced: bit(3), debris: bit(4) };
            let rows: Vec<_> = TABLE.iter().filter(|row| row.matches(&evidence)).map(|row| row.verdict).collect();
            assert_eq!(rows, [judge(&evidence)], "{evidence:?}");
        }
    }
}
