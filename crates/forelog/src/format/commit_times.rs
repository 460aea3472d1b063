//! When the records of a segment were committed. Only searches by time, retention by age and reports use these times: neither the order of
//! records nor recovery rests on them.

/// The least and the greatest time of a segment's records, in ms since 1970. Both are 0 if no record has a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    pub least: u64,
    pub greatest: u64,
}

impl CommitTimes {
    /// Adds the time of a frame, 0 if it is not known.
    pub fn note(&mut self, committed_ms: u64) {
        if committed_ms > 0 {
            self.least = if self.least == 0 { committed_ms } else { self.least.min(committed_ms) };
            self.greatest = self.greatest.max(committed_ms);
        }
    }

    /// Whether records with the times `other` can be among these.
    pub fn covers(self, other: CommitTimes) -> bool {
        other == CommitTimes::default() || self.least <= other.least && self.greatest >= other.greatest
    }

    /// Whether these can be the times of records: none, or a least one that is not above the greatest.
    pub fn is_sound(self) -> bool {
        self.least <= self.greatest && (self.least == 0) == (self.greatest == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_times_do_not_count_and_a_clock_that_goes_back_lowers_the_least() {
        let mut times = CommitTimes::default();
        times.note(0);
        assert_eq!(times, CommitTimes::default());
        for ms in [500, 0, 400, 450] {
            times.note(ms);
            assert!(times.is_sound());
        }
        assert_eq!(times, CommitTimes { least: 400, greatest: 500 });
        for (least, greatest) in [(0, 5), (5, 0), (6, 5)] {
            assert!(!CommitTimes { least, greatest }.is_sound());
        }
    }
}
