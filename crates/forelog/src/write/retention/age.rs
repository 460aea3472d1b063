//! Computes how old segments are, even if clocks were wrong. Does no I/O.
//!
//! A segment's stamp is the wall clock at its creation. Stamps rise along the log unless a clock was wrong, and none can be later than now,
//! give or take a minute. A stamp that contradicts this is not believed, and the next stamp that is believed replaces it. So a record is
//! never taken for older than shown by a stamp that agrees with the order of the log, and no single stamp holds anything back.

/// No log of this format was written before 2020. Clocks that have lost their time show 1970 or 2000.
const EARLIEST: u64 = 1_577_836_800_000;

/// Everyday corrections move a wall clock forward or back by at most this, in ms.
pub const DRIFT: u64 = 60_000;

/// A wall clock that jumped forward counts once it has stayed there for this long, in ms.
const LASTING: u64 = 3_600_000;

/// Judges the stamps of consecutive segments, oldest first.
#[derive(Default)]
pub struct Stamps {
    /// The highest stamp believed so far.
    highest: u64,
}

impl Stamps {
    /// Whether the next stamp of the log is believed at `now`.
    pub fn believes(&mut self, stamp: u64, now: u64) -> bool {
        let believed = (EARLIEST.max(self.highest)..=now.saturating_add(DRIFT)).contains(&stamp);
        if believed {
            self.highest = stamp;
        }
        believed
    }
}

/// The wall clock without jumps forward that do not last, which would make everything old at once. All times are in ms.
#[derive(Default)]
pub struct Wall {
    /// Both clocks at the last call at which they agreed.
    base: Option<(u64, u64)>,
    /// The monotonic clock when they were first seen to disagree.
    since: Option<u64>,
}

impl Wall {
    /// Returns the time that counts when the two clocks show `wall` and `steady`.
    pub fn now(&mut self, wall: u64, steady: u64) -> u64 {
        let (base, then) = *self.base.get_or_insert((wall, steady));
        let expected = base.saturating_add(steady.saturating_sub(then));
        let since = *self.since.get_or_insert(steady);
        if wall > expected.saturating_add(DRIFT) && steady.saturating_sub(since) < LASTING {
            return expected;
        }
        (self.base, self.since) = (Some((wall, steady)), None);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000;
    const NOW: u64 = EARLIEST + 2000 * DAY;

    /// The stamp that counts for each segment: its own, or the next one that is believed.
    fn counting(stamps: &[u64], now: u64) -> Vec<Option<u64>> {
        let mut known = Stamps::default();
        let believed: Vec<_> = stamps.iter().map(|stamp| known.believes(*stamp, now).then_some(*stamp)).collect();
        (0..stamps.len()).map(|i| believed[i..].iter().copied().flatten().next()).collect()
    }

    fn rising() -> impl Strategy<Value = Vec<u64>> {
        vec(0..2000 * DAY, 2..9).prop_map(|mut days| {
            days.sort_unstable();
            days.into_iter().map(|day| EARLIEST + day).collect()
        })
    }

    proptest! {
        #[test]
        fn creation_times_in_ascending_order_are_used_unchanged(stamps in rising()) {
            let own: Vec<_> = stamps.iter().copied().map(Some).collect();
            prop_assert_eq!(counting(&stamps, NOW), own);
        }

        #[test]
        fn a_creation_time_in_the_future_is_ignored(stamps in rising(), at in any::<prop::sample::Index>(), ahead in DRIFT + 1..100_000 * DAY) {
            let (at, mut wrong) = (at.index(stamps.len()), stamps.clone());
            wrong[at] = NOW + ahead;
            for (i, counts) in counting(&wrong, NOW).into_iter().enumerate() {
                let right = if i == at { stamps.get(i + 1) } else { stamps.get(i) };
                prop_assert_eq!(counts, right.copied());
            }
        }

        #[test]
        fn no_single_wrong_creation_time_makes_records_older_than_the_preceding_segment(
            stamps in rising(), at in any::<prop::sample::Index>(), stamp in prop_oneof![Just(0), Just(EARLIEST), EARLIEST..NOW + DAY, any::<u64>()],
        ) {
            let (at, mut wrong) = (at.index(stamps.len()), stamps.clone());
            wrong[at] = stamp;
            for (i, counts) in counting(&wrong, NOW).into_iter().enumerate().skip(1) {
                // A wrong stamp that agrees with the order of the log cannot be told from a right one.
                let least = if i == at { stamps[i - 1] } else { stamps[i] };
                prop_assert!(counts.is_none_or(|counts| counts >= least), "segment {}: {:?} of {:?}", i, counts, wrong);
            }
        }
    }

    #[test]
    fn consecutive_segments_dated_1970_are_as_young_as_the_segment_after_them() {
        let stamps = [NOW - 9 * DAY, 5, 6, 7, NOW - DAY];
        assert_eq!(counting(&stamps, NOW)[1..], [Some(NOW - DAY); 4]);
        assert_eq!(counting(&stamps[1..], NOW), [Some(NOW - DAY); 4]);
        assert_eq!(counting(&stamps[..4], NOW)[1..], [None; 3]);
        // If the clock itself is at 1970, nothing is old.
        assert_eq!(counting(&stamps, 50), [None; 5]);
    }

    #[test]
    fn a_clock_that_jumps_ahead_makes_nothing_old_until_it_has_stayed_there_long_enough() {
        let mut wall = Wall::default();
        assert_eq!([wall.now(NOW, 7), wall.now(NOW + 5000, 5007), wall.now(NOW + 7000, 6007)], [NOW, NOW + 5000, NOW + 7000]);
        let ahead = NOW + 3650 * DAY;
        assert_eq!(wall.now(ahead, 7007), NOW + 8000);
        assert_eq!(wall.now(ahead + LASTING - 1, 7006 + LASTING), NOW + 7999 + LASTING);
        assert_eq!(wall.now(ahead + LASTING, 7007 + LASTING), ahead + LASTING);
        // A step back counts at once, and a jump that did not last is forgotten.
        assert_eq!(wall.now(NOW, 7008 + LASTING), NOW);
        assert_eq!(wall.now(ahead, 7009 + LASTING), NOW + 1);
        assert_eq!(wall.now(NOW + 2, 7010 + LASTING), NOW + 2);
        assert_eq!(wall.now(ahead, 7011 + 2 * LASTING), NOW + 3 + LASTING);
    }
}
