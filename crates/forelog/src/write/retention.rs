//! Retention removes whole sealed segments by size or age, oldest first. It keeps every segment that a reader still has to read, and unless
//! `override_cursors` is set every segment that a cursor has not consumed.

use crate::error::Fault;
use crate::format::commit_times::CommitTimes;
use crate::observe::events::SegmentFromFuture;
use crate::options::{millis, Retention};
use crate::segments::catalog::CatalogSegment;
use crate::segments::segment_file::SegmentFile;
use crate::write::writer::Writer;
use age::{Stamps, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod age;

/// The lowest positions that are still needed.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    pub readers: u64,
    pub cursors: u64,
}

/// The result of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The position that becomes the first of the log.
    pub first: Option<u64>,
    /// How soon to check again, if nothing else happens.
    pub again: Option<Duration>,
    /// Segments that were found in this check to have a creation time in the future.
    pub ahead: Vec<SegmentFromFuture>,
    /// The creation time of the newest segment is in the future. A segment that is begun now will show the age of all before it.
    pub renew: bool,
}

/// How soon retention checks again after a reader or a cursor has held something back.
const HELD: Duration = Duration::from_secs(1);

/// Cached facts about segments, so that a check of a long log costs no more than one of a short log.
#[derive(Default)]
pub struct KnownSegments {
    /// Lengths of files that do not change any more, by id.
    lens: BTreeMap<u64, u64>,
    /// By id, the creation times of segments that were asked for, and the monotonic time at which each was first seen, in ms. A segment is
    /// at least as old as it has been known.
    created: BTreeMap<u64, (u64, u64)>,
    /// By id, when the last record of a sealed segment was committed, in ms; 0 if nothing shows that.
    latest: BTreeMap<u64, u64>,
    /// Ids of segments whose creation time is in the future.
    ahead: BTreeSet<u64>,
    /// A segment was begun because the newest one had such a creation time.
    renewed: bool,
    wall: Wall,
}

/// The state of one check.
#[derive(Default)]
struct Check {
    due: Due,
    /// The wall clock by which ages are computed, in ms: see [`Wall`].
    now: u64,
    /// The wall clock as read, in ms.
    wall: u64,
    /// The monotonic clock, in ms.
    steady: u64,
    stamps: Stamps,
    /// For each of the oldest segments, a time up to which all records before it were committed; `None` if no such time is believed.
    believed: Vec<Option<u64>>,
}

impl Writer {
    /// Returns what may be removed now of the positions below `floors`.
    pub fn due(&mut self, retention: &Retention, floors: Floors) -> Result<Due, Fault> {
        let segments = self.catalog.all();
        let mut bytes = match retention.max_bytes {
            Some(_) => self.bytes(&segments)?,
            None => 0,
        };
        let mut check = Check {
            due: Due::default(),
            now: 0,
            wall: self.storage.wall_clock(),
            steady: (self.meter.clock)() / 1_000_000,
            ..Check::default()
        };
        check.now = self.known.wall.now(check.wall, check.steady);
        if retention.max_age.is_some() {
            self.note_newest(&segments, &mut check);
        }
        for (i, pair) in segments.windows(2).enumerate() {
            let [segment, following] = pair else { break };
            let large = retention.max_bytes.is_some_and(|most| bytes > most);
            let left = match retention.max_age {
                Some(age) => millis(age).saturating_sub(self.age(&segments, i + 1, &mut check)?),
                None => u64::MAX,
            };
            if !large && left > 0 {
                check.due.again = retention.max_age.map(|_| Duration::from_millis(left));
                break;
            }
            let ignored = large && retention.override_cursors;
            if following.first > floors.readers || !ignored && following.first > floors.cursors {
                check.due.again = Some(HELD);
                break;
            }
            check.due.first = Some(following.first);
            bytes -= self.known.lens.get(&segment.id).copied().unwrap_or(0).min(bytes);
        }
        Ok(check.due)
    }

    /// Begins a segment, so that its creation time shows how old all segments before it are at least.
    ///
    /// # Errors
    /// `NoSpace` if there is no room to roll, in which case a later write rolls. `Poisoned` if the log is poisoned.
    pub fn renew(&mut self) -> crate::error::Result<()> {
        self.plan_roll();
        let rolled = self.finish_plan(0);
        self.health.poison_unless_it_heals(rolled)
    }

    /// Records the segment being written as known since it began, or since the log was opened.
    fn note_newest(&mut self, segments: &[Arc<CatalogSegment>], check: &mut Check) {
        let oldest = segments.first().map_or(0, |oldest| oldest.id);
        self.known.created = self.known.created.split_off(&oldest);
        self.known.latest = self.known.latest.split_off(&oldest);
        let Some(active) = &self.active else { return };
        let (id, created_ms, segment) = (active.header.id, active.header.created_ms, active.entry.file.clone());
        self.known.created.entry(id).or_insert((created_ms, check.steady));
        let is_ahead = self.note_ahead(id, &segment, created_ms, check);
        check.due.renew = is_ahead && !std::mem::replace(&mut self.known.renewed, true);
    }

    /// Whether a creation time is in the future. Each segment is reported once.
    fn note_ahead(&mut self, id: u64, segment: &str, created_ms: u64, check: &mut Check) -> bool {
        let is_ahead = created_ms > check.wall.saturating_add(age::DRIFT);
        if is_ahead && self.known.ahead.insert(id) {
            check.due.ahead.push(SegmentFromFuture { segment: segment.to_owned(), created_ms, now_ms: check.wall });
        }
        is_ahead
    }

    /// Returns how old the records before the segment at `at` are at least, in ms.
    fn age(&mut self, segments: &[Arc<CatalogSegment>], at: usize, check: &mut Check) -> Result<u64, Fault> {
        let (_, seen) = self.created(&segments[at], check)?;
        let known = check.steady.saturating_sub(seen);
        for at in at..segments.len() {
            while check.believed.len() <= at {
                let i = check.believed.len();
                let (created, _) = self.created(&segments[i], check)?;
                let latest = if i > 0 { self.latest(&segments[i - 1], created)? } else { 0 };
                check.believed.push([latest, created].into_iter().find(|stamp| check.stamps.believes(*stamp, check.now)));
            }
            if let Some(stamp) = check.believed[at] {
                return Ok(known.max(check.now.saturating_sub(stamp)));
            }
        }
        Ok(known)
    }

    /// Returns a segment's creation time, 0 if its header cannot be decoded, and the monotonic time since which it has been known.
    fn created(&mut self, segment: &CatalogSegment, check: &mut Check) -> Result<(u64, u64), Fault> {
        if let Some(created) = self.known.created.get(&segment.id) {
            return Ok(*created);
        }
        let found = SegmentFile::open(&*self.storage, &segment.file, false)?;
        let created = found.header.map_or(0, |header| header.created_ms);
        self.note_ahead(segment.id, &segment.file, created, check);
        self.known.created.insert(segment.id, (created, check.steady));
        Ok((created, check.steady))
    }

    /// Returns when the last record of a sealed segment was committed, whose successor was created at `sealed`. Returns 0 if its footer does
    /// not say so, or if the clock was set while it was written: a record may then be younger than it says.
    fn latest(&mut self, segment: &CatalogSegment, sealed: u64) -> Result<u64, Fault> {
        if let Some(latest) = self.known.latest.get(&segment.id) {
            return Ok(*latest);
        }
        let SegmentFile { file, header, .. } = SegmentFile::open(&*self.storage, &segment.file, false)?;
        let times = header.ok().and_then(|header| Some((header.created_ms, segment.times(&*file, header.seed())?)));
        let is_ordered = |created: u64, times: CommitTimes| {
            created <= times.least.saturating_add(age::DRIFT) && times.greatest <= sealed.saturating_add(age::DRIFT)
        };
        // The footer of a segment that a crash has left without one may be written while the log is open.
        let Some((created, times)) = times else { return Ok(0) };
        let latest = if is_ordered(created, times) { times.greatest } else { 0 };
        self.known.latest.insert(segment.id, latest);
        Ok(latest)
    }

    /// Returns the size of all the log's segment files together.
    fn bytes(&mut self, segments: &[Arc<CatalogSegment>]) -> Result<u64, Fault> {
        let oldest = segments.first().map_or(0, |oldest| oldest.id);
        self.known.lens.retain(|id, _| *id >= oldest);
        let mut bytes = 0;
        for (i, segment) in segments.iter().enumerate() {
            // The last two may still be cut to size.
            let known = self.known.lens.get(&segment.id).filter(|_| i + 2 < segments.len());
            let len = match known {
                Some(len) => *len,
                None => self.storage.open(&segment.file, false)?.len()?,
            };
            self.known.lens.insert(segment.id, len);
            bytes += len;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::testing::campaign::named::Log;
    use crate::testing::sim::{Rng, SimDisk};
    use std::cell::Cell;

    const NOW: u64 = 1_700_000_000_000;
    const YEAR: u64 = 365 * 86_400_000;
    const HOUR: u64 = 3_600_000;

    thread_local!(static STEADY: Cell<u64> = const { Cell::new(0) });

    /// The monotonic clock, in ns; `STEADY` counts hours.
    fn steady() -> u64 {
        STEADY.get() * HOUR * 1_000_000
    }

    /// A log with a segment for each record. Each segment is begun when the wall clock shows the given time.
    fn log(stamps: &[u64]) -> Log {
        let disk = SimDisk::new(1, 512);
        disk.set_wall_clock(stamps[0]);
        let mut log = Log::on(disk, Options { segment_bytes: 16 << 10, ..Options::default() });
        log.opened.writer.meter.clock = steady;
        for stamp in stamps {
            log.disk.set_wall_clock(*stamp);
            log.commit(&[&[11_000]], true);
        }
        log.disk.set_wall_clock(NOW);
        log
    }

    /// Closes the log and opens it again, as another process would. The clocks stay as they are.
    fn reopen(mut log: Log) -> Log {
        log.opened.writer.close().unwrap();
        log.disk.restart();
        log.opened = crate::log::open::open(Arc::new(log.disk.clone()), &log.options, steady).unwrap();
        log
    }

    fn due(log: &mut Log, hours: u64) -> Due {
        let retention = Retention { max_age: Some(Duration::from_secs(hours * 3600)), ..Retention::default() };
        log.opened.writer.due(&retention, Floors { readers: u64::MAX, cursors: u64::MAX }).unwrap()
    }

    #[test]
    fn a_segment_is_removed_as_soon_as_its_last_record_is_old_enough_and_no_earlier() {
        let mut rng = Rng::new(7);
        for round in 0..60 {
            let mut log = log(&[NOW]);
            // When each record was committed, and the segment that it is in.
            let (mut now, mut records) = (NOW, vec![(NOW, log.segment())]);
            for _ in 0..12 {
                now += [0, 1, HOUR / 3, 5 * HOUR][rng.below(4) as usize];
                log.disk.set_wall_clock(now);
                log.commit(&[&[rng.below(9000) as u32]], true);
                records.push((now, log.segment()));
                log.opened.writer.sealer.run().unwrap();
            }
            let mut log = if round % 2 == 0 { reopen(log) } else { log };
            let hours = 1 + rng.below(12);
            log.disk.set_wall_clock(now + HOUR);
            let is_old = |segment: &String| records.iter().all(|(time, other)| other != segment || now + HOUR - time >= hours * HOUR);
            let kept = records.iter().position(|(_, segment)| *segment == log.segment() || !is_old(segment)).unwrap();
            let expected = Some(kept as u64 + 1).filter(|first| *first > 1);
            assert_eq!(due(&mut log, hours).first, expected, "{records:?}, {hours} hours, at {}", now + HOUR);
        }
    }

    #[test]
    fn a_segment_whose_footer_is_written_after_the_first_check_is_removed_by_its_last_record() {
        let mut log = log(&[NOW, NOW + 5 * HOUR]);
        // A crash before the footer of the first segment was written.
        log.disk.restart();
        log.disk.set_wall_clock(NOW + 6 * HOUR);
        log.opened = crate::log::open::open(Arc::new(log.disk.clone()), &log.options, steady).unwrap();
        assert_eq!(due(&mut log, 3).first, None);
        log.opened.writer.sealer.run().unwrap();
        assert_eq!(due(&mut log, 3).first, Some(2));
    }

    #[test]
    fn a_clock_that_was_set_back_within_a_segment_makes_no_record_older_than_the_next_segment() {
        for back in [5 * HOUR, 2 * HOUR] {
            let disk = SimDisk::new(1, 512);
            disk.set_wall_clock(NOW - 9 * HOUR);
            let mut log = Log::on(disk, Options { segment_bytes: 16 << 10, ..Options::default() });
            for clock in [NOW - 8 * HOUR, NOW - 8 * HOUR - back, NOW - HOUR] {
                log.disk.set_wall_clock(clock);
                log.commit(&[&[3000]], true);
            }
            log.commit(&[&[11_000]], true);
            log.opened.writer.sealer.run().unwrap();
            assert_eq!(log.opened.catalog.all().len(), 2);
            log.disk.set_wall_clock(NOW);
            assert_eq!(due(&mut log, 2).first, None, "{back}");
            assert_eq!(due(&mut log, 1).first, Some(4), "{back}");
        }
    }

    #[test]
    fn segments_from_the_future_are_removed_once_later_ones_are_old_enough_and_are_reported_once() {
        let ahead = NOW + 10 * YEAR;
        let mut log = reopen(log(&[ahead, ahead + 1, ahead + 2, NOW - 5 * HOUR, NOW - 2 * HOUR]));
        let young = due(&mut log, 6);
        assert_eq!((young.first, young.again), (None, Some(Duration::from_secs(3600))));
        let reported: Vec<u64> = young.ahead.iter().map(|ahead| ahead.created_ms).collect();
        assert_eq!((reported, young.renew), (vec![ahead + 1, ahead, ahead + 2], false));
        let old = due(&mut log, 3);
        assert_eq!((old.first, old.ahead), (Some(4), vec![]));
    }

    #[test]
    fn a_log_whose_newest_segment_is_from_the_future_rolls_to_one_that_is_not() {
        let ahead = NOW + 10 * YEAR;
        let mut log = reopen(log(&[ahead, ahead, ahead]));
        let found = due(&mut log, 1);
        assert_eq!((found.first, found.renew), (None, true));
        log.opened.writer.renew().unwrap();
        assert_eq!(log.opened.writer.active.as_ref().unwrap().header.created_ms, NOW);
        assert!(!due(&mut log, 1).renew);
        // The new segment also counts after the log has been opened again.
        let mut log = reopen(log);
        log.disk.set_wall_clock(NOW + HOUR);
        assert_eq!(due(&mut log, 1).first, Some(4));
    }

    #[test]
    fn a_segment_without_a_usable_creation_time_ages_from_when_the_log_was_opened() {
        // Creation times that are too low, that are in the future, and that are right before a clock that has lost its time.
        for (stamps, now) in [([0, 7, 9], NOW), ([NOW + YEAR; 3], NOW), ([NOW - YEAR, NOW - YEAR, NOW], 0)] {
            STEADY.set(0);
            let mut log = reopen(log(&stamps));
            log.disk.set_wall_clock(now);
            assert_eq!(due(&mut log, 2).first, None, "{stamps:?}");
            STEADY.set(1);
            assert_eq!(due(&mut log, 2).first, None, "{stamps:?}");
            STEADY.set(2);
            assert_eq!(due(&mut log, 2).first, Some(3), "{stamps:?}");
        }
    }

    #[test]
    fn one_segment_dated_1970_among_others_removes_no_younger_segment() {
        let mut log = reopen(log(&[NOW - 5 * HOUR, NOW - 4 * HOUR, 0, NOW - HOUR, NOW]));
        assert_eq!(due(&mut log, 2).first, Some(2));
        assert_eq!(due(&mut log, 1).first, Some(4));
    }
}
