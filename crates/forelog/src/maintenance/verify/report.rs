//! The report of a verification.

use crate::recovery::survey::Damage;

/// One inconsistency found by [`verify()`](crate::verify()) or by a scrub.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The label of a verdict in docs/recovery.md, or one of the following.
    ///
    /// - `broken-chain`: segments disagree on where one of them ends.
    /// - `wrong-footer`: an intact footer contradicts the frames.
    /// - `damaged-cursors`: CURSORS cannot be used.
    /// - `unreadable`: the disk fails to read.
    pub kind: &'static str,
    /// Where the problem is, and what it covers.
    pub damage: Damage,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Number of segments that count: those at or above the low mark that no later one replaces.
    pub segments: u64,
    /// Number of sealed segments among them without a footer. A search in such a segment reads its frame headers one by one.
    pub without_footer: u64,
    /// Number of segments whose footer is damaged. A crash while a footer is written leaves that, so it is no problem, and costs no record.
    pub broken_footers: u64,
    /// Number of good frames that hold records.
    pub frames: u64,
    /// Number of records in good frames.
    pub records: u64,
    /// Number of bytes in good frames.
    pub bytes: u64,
    /// Positions that were lost before this log was made, according to headers: first and last of each hole. They are no problem.
    pub holes: Vec<(u64, u64)>,
    /// The problems in the order of the log. Empty if all is well.
    pub problems: Vec<Problem>,
}
