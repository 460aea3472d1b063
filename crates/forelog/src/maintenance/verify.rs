//! Verification: reads and checks every byte that counts, even while a writer is at work. Changes nothing.

use crate::cursors;
use crate::error::{Code, Error, Fault, Flipped, Result};
use crate::format::file_names::{Name, CURSORS};
use crate::format::footer::Index;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::maintenance::progress::{JobProgress, ProgressStorage};
use crate::options::Mode;
use crate::recovery::directory::{named, prepare_dir, Listing};
use crate::recovery::evidence::inspect_directory;
use crate::recovery::live_evidence::survey_until_stable;
use crate::recovery::survey::{Damage, Survey, SurveyedActive};
use crate::recovery::verdict::{self, Answer, Verdict};
use crate::segments::attachment::{detached, is_emptied};
use crate::segments::footer_writer::{find_footer, FooterState};
use crate::segments::frame_scan;
use crate::segments::segment_file::SegmentFile;
use crate::storage::disk::Disk;
use crate::storage::uncached::uncached;
use crate::storage::window::Window;
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::{data_len, FileRef, Storage};
use std::path::Path;
use std::sync::Arc;

mod report;
mod scrub;

pub use report::{Problem, Verification};
pub(crate) use scrub::scrub;

/// Verifies the log in `dir`, including the active segment and CONTROL; blocking. Needs no writer and takes no lock, so a writer in any
/// process may be at work. On Linux it drops what the page cache holds of sealed segments, so that the bytes come from the disk.
///
/// # Errors
/// `NotFound` or `Format` if there is no log to verify, `Io` if the directory cannot be listed, `Truncated` if a writer truncated the log
/// during every survey of it, `Detached` if the directory was removed meanwhile, `Closed` if `job` was stopped. Damage is not an error:
/// it is in the report.
pub fn verify(dir: &Path, job: &Arc<JobProgress>) -> Result<Verification> {
    let verified = prepare_dir(dir, false).and_then(|()| verify_storage(Arc::new(Disk::new(dir, true)?), job));
    verified.map_err(|error| named(error, dir).during("verify"))
}

/// Returns what was found, or `Detached` if the directory was removed meanwhile. Files are missing then, and none is damaged.
fn settled(storage: &dyn Storage, found: Result<Verification>) -> Result<Verification> {
    let is_good = match &found {
        Ok(found) => found.problems.is_empty(),
        Err(error) => error.code == Code::Closed,
    };
    match storage.lost().filter(|_| !is_good && is_emptied(storage)) {
        Some(what) => Err(detached(&what)),
        None => found,
    }
}

pub(crate) fn verify_storage(storage: Arc<dyn Storage>, job: &Arc<JobProgress>) -> Result<Verification> {
    let found = verify_all(storage.clone(), job);
    settled(&*storage, found)
}

fn verify_all(storage: Arc<dyn Storage>, job: &Arc<JobProgress>) -> Result<Verification> {
    let storage_of_job: Arc<dyn Storage> = Arc::new(ProgressStorage::new(storage.clone(), job.clone()));
    let found = survey_until_stable(&storage_of_job).map_err(|error| stopped(job, error))?;
    if let Answer::Refuse(code) = verdict::answer(found.verdict, Mode::ReadOnly) {
        return Err(found.refusal(code));
    }
    let counts = |name: &Name, last: u64| counts_still(&*storage, name, last);
    let mut verifier = Verifier::new(storage_of_job, found.state.uuid, found.low_mark, &counts)?;
    job.begin(verifier.total(&found.live));
    for (verdict, damage) in found.all_damage() {
        // Frames and headers of live segments are read once more, which shows more of them.
        let again = match verdict {
            Verdict::BadHeader => found.live.iter().any(|name| name.file == damage.segment),
            Verdict::DamagedActive | Verdict::DamagedSealed | Verdict::Unreadable => true,
            _ => false,
        };
        if !again {
            verifier.report.problems.push(Problem { kind: verdict.label(), damage: damage.clone() });
        }
    }
    let outcome = verifier.sealed_ones(&found.live).and_then(|()| match found.live.last() {
        Some(newest) => verifier.active(newest, &found),
        None => Ok(()),
    });
    outcome.map_err(|fault| stopped(job, fault.into()))?;
    verifier.cursors(&*storage);
    job.finish();
    Ok(verifier.report)
}

/// How often a writer may move the log on between two inspections before the last one counts as it is.
const INSPECTIONS: usize = 32;

/// Whether the log needs a segment that is missing, whose positions go up to `last`. Because a writer may be at work, inspects the
/// directory until nothing was truncated between two inspections in a row.
fn counts_still(storage: &dyn Storage, name: &Name, last: u64) -> bool {
    let mut before = None;
    for _ in 0..INSPECTIONS {
        let Ok(now) = inspect_directory(storage, false) else { continue };
        let mut later = now.listing.segments.range(name.id + 1..).map(|(_, later)| later.first);
        // A later segment that starts no later than this one has replaced it. If a later one starts at or below the low mark, this segment
        // ends below the mark.
        if last < now.low_mark || later.any(|first| first <= name.first || first <= now.low_mark) {
            return false;
        }
        let seen = (now.state.active, now.low_mark);
        if before.replace(seen) == Some(seen) {
            break;
        }
    }
    true
}

fn stopped(job: &JobProgress, error: Error) -> Error {
    if job.is_stopped() {
        return Error::new(Code::Closed, "the verification was stopped");
    }
    error
}

struct Verifier<'a> {
    storage: Arc<dyn Storage>,
    listing: Listing,
    uuid: [u8; 16],
    /// Positions below this one are no longer in the log.
    low_mark: u64,
    /// Whether a segment, up to this position, is still part of the log. Other segments are removed during the verification.
    counts: &'a dyn Fn(&Name, u64) -> bool,
    report: Verification,
}

/// A segment that is being read.
struct OpenSegment {
    name: Name,
    file: FileRef,
    header: Header,
    lenient: ZeroOnReadError,
}

/// Where the bytes of a segment are read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// From the disk, because the contents of the page cache prove nothing about it. Everything in a sealed segment was durable before it
    /// was sealed, so dropping its cached pages loses nothing.
    Disk,
    /// From the page cache. After a failed fsync the cache may have the only copy of the active segment's last frames.
    Cache,
}

/// The known end of a segment's frames.
#[derive(Clone, Copy)]
enum End {
    At(FrameBoundary),
    /// The end is before this position. Only the segment that is missing knew the offset.
    Before(u64),
}

impl<'a> Verifier<'a> {
    fn new(storage: Arc<dyn Storage>, uuid: [u8; 16], low_mark: u64, counts: &'a dyn Fn(&Name, u64) -> bool) -> Result<Verifier<'a>> {
        let listing = Listing::read(&*storage).map_err(Error::from)?;
        Ok(Verifier { storage, listing, uuid, low_mark, counts, report: Verification::default() })
    }

    fn total(&self, names: &[Name]) -> u64 {
        // Holes are not read.
        let len = |name: &Name| self.storage.open(&name.file, false).and_then(|file| Ok(data_len(&*file, file.len()?)));
        names.iter().filter_map(|name| len(name).ok()).sum()
    }

    fn problem(&mut self, kind: &'static str, text: String, at: (&str, u64), lost: Option<(u64, u64)>) {
        self.explained(kind, text, at, lost, None);
    }

    /// Adds a problem that a single flipped bit may explain, which the text then names as well.
    fn explained(&mut self, kind: &'static str, mut text: String, at: (&str, u64), lost: Option<(u64, u64)>, flipped: Option<Flipped>) {
        if let Some(Flipped { offset, bit }) = flipped {
            text += &format!("; bit {bit} of the byte at offset {offset} has flipped");
        }
        let lost = lost.map(|(first, last)| (first.max(self.low_mark), last)).filter(|(first, last)| first <= last);
        let damage = Damage { text, segment: at.0.into(), offset: at.1, lost, flipped };
        // A missing segment makes the frames before it end too soon, which is no problem of its own.
        let missing = |p: &Problem| p.kind == Verdict::Gap.label() && kind == Verdict::DamagedSealed.label();
        let at_once = |p: &Problem| p.damage.segment == damage.segment && p.damage.offset == damage.offset;
        let known = |p: &Problem| p.damage.lost == damage.lost && (at_once(p) || missing(p));
        if !self.report.problems.iter().any(known) {
            self.report.problems.push(Problem { kind, damage });
        }
    }

    /// Opens a segment whose positions go up to `last`; `None` if it no longer counts, or its header is bad.
    fn open(&mut self, name: &Name, last: u64, from: From) -> std::result::Result<Option<OpenSegment>, Fault> {
        let lenient = ZeroOnReadError::new(self.storage.clone());
        let file = match lenient.open(&name.file, false) {
            Err(fault) if fault.is_not_found() => {
                self.missing(name, last);
                return Ok(None);
            }
            other => other?,
        };
        let file = if from == From::Disk { uncached(file) } else { file };
        let found = SegmentFile::of(file)?;
        let ours = |header: &Header| header.is_of(name.id, name.first) && header.uuid == self.uuid;
        let header = found.header.as_ref().ok().filter(|header| ours(header)).cloned();
        if header.is_none() && self.storage.is_gone(&name.file) {
            self.missing(name, last);
        } else if header.is_none() {
            let text = format!("the header of {} is damaged or belongs to another segment", name.file);
            let flipped = found.repaired_header().filter(|(header, _)| ours(header)).map(|(_, flipped)| flipped);
            self.explained(Verdict::BadHeader.label(), text, (&name.file, 0), Some((name.first, last)), flipped);
            self.unreadable(&name.file, &lenient, last);
        }
        Ok(header.map(|header| OpenSegment { name: name.clone(), file: found.file, header, lenient }))
    }

    /// Handles a segment that is not in the directory: it was truncated meanwhile, or there is a gap.
    fn missing(&mut self, name: &Name, last: u64) {
        if (self.counts)(name, last) {
            self.problem(Verdict::Gap.label(), format!("{} is missing", name.file), (&name.file, 0), Some((name.first, last)));
        }
    }

    /// Checks CURSORS. One good slot is enough, because a crash may tear the other.
    fn cursors(&mut self, storage: &dyn Storage) {
        if let Err(error) = cursors::verify(storage, &self.uuid) {
            let kind = if error.code == Code::Io { Verdict::Unreadable.label() } else { "damaged-cursors" };
            self.problem(kind, error.message.clone(), (CURSORS, 0), None);
        }
    }

    /// Reports that the disk failed to read a part of a file.
    fn unreadable(&mut self, file: &str, lenient: &ZeroOnReadError, last: u64) {
        if let Some(fault) = lenient.fault().filter(|_| last >= self.low_mark) {
            self.problem(Verdict::Unreadable.label(), format!("the file cannot be read: {fault}"), (file, 0), None);
        }
    }

    /// Checks every segment but the last of `live`.
    fn sealed_ones(&mut self, live: &[Name]) -> std::result::Result<(), Fault> {
        for pair in live.windows(2) {
            if let [name, above] = pair {
                self.sealed(name, above)?;
            }
        }
        Ok(())
    }

    fn sealed(&mut self, name: &Name, above: &Name) -> std::result::Result<(), Fault> {
        let known = self.report.problems.len();
        self.sealed_one(name, above)?;
        // Bytes of a file that lost its name meanwhile may be another segment's.
        if self.report.problems.len() > known && self.storage.is_gone(&name.file) {
            self.report.problems.truncate(known);
            self.missing(name, above.first - 1);
        }
        Ok(())
    }

    fn sealed_one(&mut self, name: &Name, above: &Name) -> std::result::Result<(), Fault> {
        self.report.segments += 1;
        let Some(segment) = self.open(name, above.first - 1, From::Disk)? else { return Ok(()) };
        let end = match self.sealed_end(name, above)? {
            Some(p) if p.salt != segment.header.salt => {
                let text = format!("{} names another predecessor than {}", above.file, name.file);
                self.problem("broken-chain", text, (&above.file, 0), None);
                End::Before(above.first)
            }
            Some(p) => End::At(FrameBoundary { offset: p.end, next: above.first, crc: p.crc }),
            None => End::Before(above.first),
        };
        // Read before the frames and again after them, because a writer may be writing the footer.
        let before = find_footer(&*segment.file, segment.header.seed())?;
        let (index, whole) = self.frames(&segment, end, Verdict::DamagedSealed)?;
        let footer = match before {
            FooterState::Damaged => find_footer(&*segment.file, segment.header.seed())?,
            other => other,
        };
        let at = segment.file.len()?;
        match (footer, end) {
            (FooterState::None, _) => self.report.without_footer += 1,
            (FooterState::Damaged, _) => self.report.broken_footers += 1,
            (FooterState::Footer(footer), End::At(end)) if whole => {
                // A later truncation may have moved the end to a lower offset, never to a higher one.
                let agrees = footer.end == end || footer.end.offset > end.offset;
                if !agrees || !footer.index.agrees_with(&index, end.offset) {
                    let text = format!("the footer of {} contradicts its frames", name.file);
                    self.problem("wrong-footer", text, (&name.file, at), None);
                }
            }
            (FooterState::Footer(_), _) => {}
        }
        self.unreadable(&name.file, &segment.lenient, above.first - 1);
        Ok(())
    }

    /// Returns the end of `name` according to the next segment, which is `above` or one in between that no longer holds anything.
    fn sealed_end(&mut self, name: &Name, above: &Name) -> std::result::Result<Option<Predecessor>, Fault> {
        let mut at = above.clone();
        loop {
            // Problems of this segment are reported when it is verified itself; here only its predecessor record is needed.
            let known = self.report.problems.len();
            let segment = self.open(&at, u64::MAX, From::Cache)?;
            self.report.problems.truncate(known);
            let Some(predecessor) = segment.and_then(|segment| segment.header.predecessor) else { return Ok(None) };
            if predecessor.id == name.id {
                return Ok(Some(predecessor));
            }
            match self.listing.segments.get(&predecessor.id).filter(|_| predecessor.id > name.id) {
                Some(between) => at = between.clone(),
                None => return Ok(None),
            }
        }
    }

    /// Checks the frames up to the end, even after damage. Returns an index of them, and whether they were whole.
    fn frames(&mut self, segment: &OpenSegment, end: End, verdict: Verdict) -> std::result::Result<(Index, bool), Fault> {
        let (header, file) = (&segment.header, &segment.name.file);
        let (limit, next) = match end {
            End::At(end) => (end.offset, end.next),
            End::Before(next) => (u64::MAX, next),
        };
        let mut window = Window::new(&*segment.file, segment.file.len()?.min(limit));
        let (mut boundary, mut index, mut whole) = (FrameBoundary::start(header), Index::default(), true);
        if header.start() > self.low_mark.max(header.first) {
            self.report.holes.push((self.low_mark.max(header.first), header.start() - 1));
        }
        loop {
            let ended = match end {
                End::At(end) => boundary.offset >= end.offset,
                End::Before(next) => boundary.next >= next,
            };
            if ended {
                break;
            }
            if let Some(frame) = frame_scan::read_frame(&mut window, header, boundary)? {
                self.report.frames += u64::from(frame.count > 0);
                self.report.records += u64::from(frame.count);
                self.report.bytes += frame.span();
                boundary = boundary.after(&frame);
                index.note_frame(&frame, boundary);
                continue;
            }
            whole = false;
            let flipped = frame_scan::flipped_bit(&mut window, header, boundary.offset)?;
            let found = frame_scan::resync(&mut window, header, boundary.offset + 1, boundary.next..next)?;
            let lost = (boundary.next, found.map_or(next, |found| found.next) - 1);
            // No position below the low mark is lost, but the frames above it are reached through here.
            let text = match lost.0 <= lost.1 {
                true => format!("{file} is damaged at offset {}: positions {} to {} are affected", boundary.offset, lost.0, lost.1),
                // Only padding is damaged.
                false => format!("{file} is damaged at offset {}: no position is affected", boundary.offset),
            };
            self.explained(verdict.label(), text, (file, boundary.offset), Some(lost), flipped);
            match found {
                Some(found) => boundary = found,
                None => return Ok((index, false)),
            }
        }
        if let End::At(end) = end {
            if boundary != end {
                let text = format!(
                    "the segment after {file} says that {file} ends elsewhere: at offset {}, before position {}",
                    end.offset, end.next
                );
                self.problem("broken-chain", text, (file, boundary.offset), None);
                whole = false;
            }
        }
        Ok((index, whole))
    }

    /// Checks the newest segment, up to where recovery would find its end. If the segment is damaged, checks it up to the last position
    /// that was found in it.
    fn active(&mut self, name: &Name, found: &Survey) -> std::result::Result<(), Fault> {
        self.report.segments += 1;
        let last = found.last();
        let Some(segment) = self.open(name, last.max(name.first), From::Cache)? else { return Ok(()) };
        let Some(SurveyedActive { scan, .. }) = &found.active else { return Ok(()) };
        let end = if scan.end.offset >= verdict::proven(&segment.header, &found.state, scan) {
            // Frames past this end were never acknowledged as durable.
            End::At(scan.end)
        } else {
            End::Before(scan.stray.map_or(0, |(_, last)| last).max(last).max(scan.end.next) + 1)
        };
        let known = self.report.problems.len();
        self.frames(&segment, end, Verdict::DamagedActive)?;
        if self.report.problems.len() > known && self.storage.is_gone(&name.file) {
            self.report.problems.truncate(known);
            self.missing(name, last);
        }
        self.unreadable(&name.file, &segment.lenient, last);
        Ok(())
    }
}
