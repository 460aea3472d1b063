//! From the evidence found at opening to a verdict, as a table. Pure data: `evidence` gathers the evidence, `open` and `read_only` act on
//! the verdict.
//!
//! The labels are those of docs/recovery.md, of reports and of errors. Every combination of evidence matches exactly one row.

use crate::error::Code;
use crate::format::control::ControlState;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::options::Mode;
use crate::segments::frame_scan::Scan;

/// Returns D, the offset up to which the active segment is proven to have been durable.
pub fn proven(header: &Header, control: &ControlState, scan: &Scan) -> u64 {
    let marked = control.mark.filter(|m| m.segment == header.id).map_or(0, |m| m.offset);
    header.carried_end.max(marked).max(scan.claimed)
}

/// Yes/no evidence from the survey. Questions that earlier answers make irrelevant are `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The disk failed to read something.
    pub unreadable: bool,
    /// There are foreign files, or a CONTROL that never was a log's, and no segment.
    pub foreign: bool,
    /// There is an intact page of a newer format version.
    pub newer: bool,
    /// There is a segment under its final name.
    pub segments: bool,
    /// A slot of CONTROL is good.
    pub control: bool,
    /// CONTROL names a segment that does not exist.
    pub lost: bool,
    /// Two files have the same segment id.
    pub duplicate_id: bool,
    /// A predecessor above the low mark is missing.
    pub gap: bool,
    /// The oldest segment starts above the low mark.
    pub late: bool,
    /// The frames of a sealed segment end before its successor says. Only `prefix` mode checks this; otherwise reading meets it.
    pub sealed_short: bool,
    /// A file with a segment's final name has a bad header, or the header of another segment.
    pub bad_header: bool,
    /// The active segment's frames end before the proven offset, X < D, or none of them ends at that offset.
    pub short: bool,
    /// After the active segment's end there is a valid frame or, unless the file was recycled, a byte that is not zero.
    pub debris: bool,
    /// A write to the active segment failed and was reported, so CONTROL has a fence for the segment.
    pub fenced: bool,
    /// CONTROL names the active segment, or a later segment that this one has outlived.
    pub named: bool,
    /// CONTROL's durable mark is exactly the active segment's end.
    pub marked: bool,
}

impl Evidence {
    /// Adds the evidence of a scan of the active segment. `boundary` is the last frame boundary up to the proven offset.
    pub fn scanned(&mut self, header: &Header, control: &ControlState, scan: &Scan, boundary: FrameBoundary) {
        let mark = control.mark.filter(|m| m.segment == header.id);
        self.short = boundary.offset < proven(header, control, scan);
        self.named = control.active >= header.id;
        self.marked = mark.is_some_and(|m| m.offset == scan.end.offset);
        self.fenced = control.fence.is_some_and(|f| f.segment == header.id);
        self.debris = scan.strays > 0 || (scan.garbage.is_some() && !header.recycled);
    }

    fn answers(&self) -> [bool; 16] {
        let e = self;
        [
            e.unreadable,
            e.foreign,
            e.newer,
            e.segments,
            e.control,
            e.lost,
            e.duplicate_id,
            e.gap,
            e.late,
            e.sealed_short,
            e.bad_header,
            e.short,
            e.debris,
            e.fenced,
            e.named,
            e.marked,
        ]
    }
}

/// The meaning of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The disk fails to read, from which no damage is concluded.
    Unreadable,
    /// The directory is foreign.
    Foreign,
    /// The log was written by a newer version.
    Newer,
    /// There is no log. It is created if `create` is set.
    Absent,
    /// CONTROL names a segment that does not exist.
    LostActive,
    /// There are segments, but no slot of CONTROL is good.
    NoControl,
    /// Two files have the same segment id.
    DuplicateId,
    /// A segment between the low mark and the active one is missing.
    Gap,
    /// The segments between the low mark and the oldest remaining segment are missing.
    LateStart,
    /// Records in a sealed segment are damaged. All of the segment was durable before the roll that sealed it.
    DamagedSealed,
    /// A segment's header is damaged. It was durable before the segment had its name.
    BadHeader,
    /// Records in the active segment are damaged that were durable.
    DamagedActive,
    /// There is debris of writes that were never acknowledged as durable. The log rolls and leaves it behind.
    Torn,
    /// A write failed before the crash. The bytes that it left are not even inspected, and the log rolls.
    Fenced,
    /// The roll that made the active segment did not finish. All of the segment's frames are carried.
    Unnamed,
    /// The frames are good but not proven durable. They are carried into the next segment.
    Unproven,
    /// Everything is proven durable. The log goes on in place.
    Clean,
}

impl Verdict {
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Unreadable => "unreadable",
            Verdict::Foreign => "foreign",
            Verdict::Newer => "newer",
            Verdict::Absent => "absent",
            Verdict::LostActive => "lost-active",
            Verdict::NoControl => "no-control",
            Verdict::DuplicateId => "twins",
            Verdict::Gap => "gap",
            Verdict::LateStart => "late-start",
            Verdict::DamagedSealed => "damaged-sealed",
            Verdict::BadHeader => "bad-header",
            Verdict::DamagedActive => "damaged-active",
            Verdict::Torn => "torn",
            Verdict::Fenced => "fenced",
            Verdict::Unnamed => "unnamed",
            Verdict::Unproven => "unproven",
            Verdict::Clean => "clean",
        }
    }
}

/// The reaction of opening to a verdict, which depends on the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Fails; nothing on disk changes.
    Refuse(Code),
    /// Creates a new log, if `create` allows it.
    Create,
    /// Goes on in place.
    GoOn,
    /// Goes on in a new segment, to which all frames that are good and not proven durable are carried.
    Roll,
    /// Goes on in a new segment that starts where the damage does. Everything after the damage is left out.
    Cut,
    /// Opens for reading; nothing on disk changes.
    Read,
}

#[derive(Clone, Copy)]
enum Cell {
    Yes,
    No,
    Any,
}

struct Row {
    verdict: Verdict,
    cells: [Cell; 16],
    strict: Answer,
    prefix: Answer,
    read_only: Answer,
}

const fn row(verdict: Verdict, cells: [Cell; 16], strict: Answer, prefix: Answer, read_only: Answer) -> Row {
    Row { verdict, cells, strict, prefix, read_only }
}

use Answer::*;
use Cell::{Any as o, No as N, Yes as Y};
use Code::{Corrupt, Format, Io, NotFound};

/// The cells of a row are the fields of [`Evidence`], in order.
///
/// `prefix` cuts only if it is known what came before the damage. A lost segment's header, or CONTROL alone, knew where the segment before
/// ends and what was fenced off in it. No guess replaces that.
#[rustfmt::skip]
#[allow(non_upper_case_globals)]
const TABLE: [Row; 17] = [
    //                           unreadable  segments  twins    sealed_short debris  named
    //                           |  foreign  |  control|  gap   |  bad_header|  fenced  marked
    //                           |  |  newer |  |  lost|  |  late  |  short  |  |  |  |  strict           prefix           readOnly
    row(Verdict::Unreadable,    [Y, o, o, o, o, o, o, o, o, o, o, o, o, o, o, o], Refuse(Io),      Refuse(Io),      Read),
    row(Verdict::Foreign,       [N, Y, o, o, o, o, o, o, o, o, o, o, o, o, o, o], Refuse(Format),  Refuse(Format),  Refuse(Format)),
    row(Verdict::Newer,         [N, N, Y, o, o, o, o, o, o, o, o, o, o, o, o, o], Refuse(Format),  Refuse(Format),  Refuse(Format)),
    row(Verdict::LostActive,    [N, N, N, o, o, Y, o, o, o, o, o, o, o, o, o, o], Refuse(Corrupt), Refuse(Corrupt), Read),
    row(Verdict::Absent,        [N, N, N, N, o, N, o, o, o, o, o, o, o, o, o, o], Create,          Create,          Refuse(NotFound)),
    row(Verdict::NoControl,     [N, N, N, Y, N, N, o, o, o, o, o, o, o, o, o, o], Refuse(Corrupt), Refuse(Corrupt), Read),
    row(Verdict::DuplicateId,         [N, N, N, Y, Y, N, Y, o, o, o, o, o, o, o, o, o], Refuse(Corrupt), Refuse(Corrupt), Read),
    row(Verdict::Gap,           [N, N, N, Y, Y, N, N, Y, o, o, o, o, o, o, o, o], Refuse(Corrupt), Refuse(Corrupt), Read),
    row(Verdict::LateStart,     [N, N, N, Y, Y, N, N, N, Y, o, o, o, o, o, o, o], Refuse(Corrupt), Refuse(Corrupt), Read),
    row(Verdict::DamagedSealed, [N, N, N, Y, Y, N, N, N, N, Y, o, o, o, o, o, o], Refuse(Corrupt), Cut,             Read),
    row(Verdict::BadHeader,     [N, N, N, Y, Y, N, N, N, N, N, Y, o, o, o, o, o], Refuse(Corrupt), Cut,             Read),
    row(Verdict::DamagedActive, [N, N, N, Y, Y, N, N, N, N, N, N, Y, o, o, o, o], Refuse(Corrupt), Cut,             Read),
    row(Verdict::Torn,          [N, N, N, Y, Y, N, N, N, N, N, N, N, Y, o, o, o], Roll,            Roll,            Read),
    row(Verdict::Fenced,        [N, N, N, Y, Y, N, N, N, N, N, N, N, N, Y, o, o], Roll,            Roll,            Read),
    row(Verdict::Unnamed,       [N, N, N, Y, Y, N, N, N, N, N, N, N, N, N, N, o], Roll,            Roll,            Read),
    row(Verdict::Unproven,      [N, N, N, Y, Y, N, N, N, N, N, N, N, N, N, Y, N], Roll,            Roll,            Read),
    row(Verdict::Clean,         [N, N, N, Y, Y, N, N, N, N, N, N, N, N, N, Y, Y], GoOn,            GoOn,            Read),
];

impl Row {
    fn matches(&self, evidence: &Evidence) -> bool {
        self.cells.iter().zip(evidence.answers()).all(|(cell, seen)| match cell {
            Cell::Yes => seen,
            Cell::No => !seen,
            Cell::Any => true,
        })
    }
}

/// Returns the verdict for the evidence. If the table had a gap, the verdict would be damage, which changes nothing on disk.
pub fn judge(evidence: &Evidence) -> Verdict {
    TABLE.iter().find(|row| row.matches(evidence)).map_or(Verdict::LostActive, |row| row.verdict)
}

/// Returns what `mode` does about `verdict`.
pub fn answer(verdict: Verdict, mode: Mode) -> Answer {
    let row = TABLE.iter().find(|row| row.verdict == verdict);
    row.map_or(Refuse(Corrupt), |row| match mode {
        Mode::Strict => row.strict,
        Mode::Prefix => row.prefix,
        Mode::ReadOnly => row.read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(bits: u32) -> Evidence {
        let bit = |n: u32| bits & 1 << n != 0;
        Evidence {
            unreadable: bit(0),
            foreign: bit(1),
            newer: bit(2),
            segments: bit(3),
            control: bit(4),
            lost: bit(5),
            duplicate_id: bit(6),
            gap: bit(7),
            late: bit(8),
            sealed_short: bit(9),
            bad_header: bit(10),
            short: bit(11),
            debris: bit(12),
            fenced: bit(13),
            named: bit(14),
            marked: bit(15),
        }
    }

    #[test]
    fn every_combination_of_evidence_matches_exactly_one_row() {
        let mut met = Vec::new();
        for bits in 0..1 << 16 {
            let evidence = evidence(bits);
            let rows: Vec<_> = TABLE.iter().filter(|row| row.matches(&evidence)).map(|row| row.verdict).collect();
            assert_eq!(rows, [judge(&evidence)], "{evidence:?}");
            if !met.contains(&rows[0]) {
                met.push(rows[0]);
            }
        }
        assert_eq!(met.len(), TABLE.len(), "a row that nothing matches: {met:?}");
    }

    #[test]
    fn no_mode_writes_to_a_log_that_strict_refuses_for_a_reason_other_than_damage() {
        for row in &TABLE {
            assert!(matches!(row.read_only, Read | Refuse(_)), "{:?}", row.verdict);
            // `prefix` differs from `strict` only where it cuts off damage that `strict` refuses.
            assert!(row.prefix == row.strict || (row.strict, row.prefix) == (Refuse(Corrupt), Cut), "{:?}", row.verdict);
        }
    }

    #[test]
    fn the_table_in_recovery_md_matches_the_verdicts() {
        let page = include_str!("../../../../docs/recovery.md");
        let rows = page.lines().skip_while(|line| !line.starts_with("| verdict")).skip(2).take_while(|line| line.starts_with('|'));
        let told: Vec<Vec<String>> = rows.map(|row| row.split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect();
        let word = |answer: Answer| match answer {
            Refuse(code) => code.as_str(),
            Create => "creates",
            GoOn => "continues",
            Roll => "rolls",
            Cut => "cuts",
            Read => "reads",
        };
        assert_eq!(told.len(), TABLE.len());
        for (row, told) in TABLE.iter().zip(&told) {
            let told = [&told[1], &told[3], &told[4], &told[5]];
            assert_eq!(told, [row.verdict.label(), word(row.strict), word(row.prefix), word(row.read_only)]);
        }
    }
}
