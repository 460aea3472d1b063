//! Salvage: makes a new log of every good record in a damaged one. Positions stay what they were, and missing ones become a hole that the
//! header of the segment after it records.
//!
//! The damaged log is read as in mode `readOnly`, and not a byte of it changes. The new log has a uuid, ids and salts of its own; frames
//! keep their kinds, their positions and their stored bodies. CONTROL is made last: without it the new directory does not open, so a
//! salvage that was cut off is never taken for a log.

mod source;
mod target;

use crate::cursors;
use crate::error::{Code, Error, Result};
use crate::format::control::{ControlState, Mark};
use crate::format::file_names::{CONTROL, CURSORS};
use crate::maintenance::backup::{claim, refuse_inside};
use crate::read::reader::Hole;
use crate::recovery::directory::{named, prepare_dir, Listing};
use crate::recovery::evidence::{inspect_directory, refuse_unknown};
use crate::segments::attachment::explained;
use crate::segments::control_file::{create_control, CREATING};
use crate::storage::disk::Disk;
use crate::storage::lock::Lock;
use crate::storage::Storage;
use source::{Piece, Source};
use std::path::Path;
use std::sync::Arc;
use target::Target;

/// Approximate number of bytes that one step reads.
const STEP: u64 = 4 << 20;

/// Returns whether a writer has the damaged log open now.
type Held = Box<dyn Fn() -> Result<bool> + Send>;

/// The report of a salvage so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Salvaged {
    /// Label of the verdict that opening the damaged log would reach, one of docs/recovery.md.
    pub verdict: &'static str,
    /// First position of the new log: that of the first good record, or the next position if there is none.
    pub first_position: u64,
    /// Position of the next record of the new log, which is above every position that is known to have been assigned.
    pub next_position: u64,
    /// Number of records in the new log.
    pub records: u64,
    /// Number of segments in the new log.
    pub segments: u64,
    /// Positions that are missing, in order. Those before the first good record are not part of the new log.
    pub holes: Vec<Hole>,
    /// Number of named cursors that were taken over.
    pub cursors: u64,
    /// CURSORS exists but is damaged, so its cursors have to be made again.
    pub cursors_lost: bool,
    /// Bytes of the damaged log's segments that were inspected.
    pub done_bytes: u64,
    /// Bytes of the damaged log's segments in all.
    pub total_bytes: u64,
}

impl Salvaged {
    /// Whether something is missing that no earlier salvage has recorded already.
    pub fn is_lossy(&self) -> bool {
        self.cursors_lost || self.holes.iter().any(|hole| !hole.recorded)
    }
}

/// A salvage in progress. Dropping it before it is done removes the files that it has made.
pub struct Salvage {
    from: Arc<dyn Storage>,
    held: Held,
    /// CONTROL and the segment names when the salvage began.
    before: Option<Fingerprint>,
    source: Option<Source>,
    target: Target,
    report: Salvaged,
    done: bool,
    /// Lock of the new directory, so that no other salvage, backup or log uses it meanwhile.
    lock: Option<Lock>,
}

/// Begins to make a new log in `to` of all good records of the log in `from`. Nothing is read before the first step.
///
/// `to` is created if necessary, and must be empty.
///
/// # Errors
/// `NotFound` or `Format` if there is no log to salvage, `Locked` if a writer has it open. `Format` if `to` is not empty, `InvalidArg` if
/// it is in the damaged log's directory or on a network file system, `Io`.
pub fn salvage(from: &Path, to: &Path, allow_unsafe: bool) -> Result<Salvage> {
    begin(from, to, allow_unsafe).map_err(|error| error.during("salvage"))
}

fn begin(dir: &Path, to: &Path, allow_unsafe: bool) -> Result<Salvage> {
    prepare_dir(dir, false)?;
    // Nothing is written to it, so the locks and fsyncs of a network file system do not matter.
    let disk = Disk::new(dir, true)?;
    let home = disk.handle();
    let from: Arc<dyn Storage> = Arc::new(disk);
    refuse_unknown(&*from, false).map_err(|error| named(error, dir))?;
    refuse_inside(to, &home, "the new log")?;
    let held: Held = Box::new(move || Lock::is_held(&home));
    refuse_held(&held)?;
    let (disk, lock) = claim(to, allow_unsafe, "a salvage")?;
    let mut salvage = Salvage::new(from, Arc::new(disk), held);
    salvage.lock = Some(lock);
    Ok(salvage)
}

/// Refuses a log that is being written. Records that its writer acknowledges meanwhile would be missing from the new log without being
/// reported as a hole.
fn refuse_held(held: &Held) -> Result<()> {
    if held()? {
        return Err(Error::new(Code::Locked, "the log is open for writing: close it before it is salvaged"));
    }
    Ok(())
}

/// Fails if the new log is no longer at its path, so that it is not reported.
fn is_where_it_is_looked_for(to: &dyn Storage) -> Result<()> {
    match to.lost() {
        Some(what) => Err(Error::new(Code::Detached, format!("{what}: the salvage was not completed, and its files were removed"))),
        None => Ok(()),
    }
}

/// The parts of a log that show whether a writer has changed it: CONTROL's state and the names of segments.
#[derive(PartialEq, Eq)]
struct Fingerprint {
    control: Option<ControlState>,
    segments: Vec<String>,
}

impl Fingerprint {
    fn of(storage: &dyn Storage) -> Result<Fingerprint> {
        let found = inspect_directory(storage, false).map_err(Error::from)?;
        let control = found.control.and_then(|slots| slots.chosen.ok()).map(|(state, _)| state);
        let Listing { segments, .. } = found.listing;
        Ok(Fingerprint { control, segments: segments.into_values().map(|name| name.file).collect() })
    }
}

impl Salvage {
    /// Creates a salvage into an empty storage.
    pub fn new(from: Arc<dyn Storage>, to: Arc<dyn Storage>, held: Held) -> Salvage {
        let target = Target::new(to);
        Salvage { from, held, before: None, source: None, target, report: Salvaged::default(), done: false, lock: None }
    }

    /// Salvages the next few MiB; blocking. The new log is complete and durable when `is_done`.
    ///
    /// # Errors
    /// - `Locked`: a writer has opened the damaged log meanwhile.
    /// - `Detached`: the files of the damaged log were removed meanwhile, or the new directory is no longer at its path.
    /// - `Io`: a file of the damaged log cannot be opened, or the new directory failed.
    /// - `NoSpace`, `ReadOnly`: the new directory failed.
    ///
    /// The salvage is over then. Dropping it removes the files that it has made. Damage is not an error: it is in the report.
    pub fn step(&mut self) -> Result<()> {
        let advanced = self.advance();
        advanced.map_err(|error| explained(&*self.from, error).during("salvage"))
    }

    /// Whether the new log is complete and durable.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Returns the report so far.
    pub fn report(&self) -> &Salvaged {
        &self.report
    }

    fn advance(&mut self) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let Some(source) = &mut self.source else {
            refuse_held(&self.held)?;
            self.before = Some(Fingerprint::of(&*self.from)?);
            let source = Source::open(&self.from)?;
            self.report = Salvaged { verdict: source.verdict, total_bytes: source.total_bytes, ..Salvaged::default() };
            self.source = Some(source);
            return Ok(());
        };
        let (report, target) = (&mut self.report, &mut self.target);
        let goes_on = source.advance(STEP, &mut |piece| match piece {
            Piece::Hole(hole) => {
                report.holes.push(hole);
                Ok(())
            }
            Piece::Frame { frame, body, created_ms } => {
                report.records += u64::from(frame.count);
                target.put(&frame, &body, created_ms)
            }
            Piece::SegmentEnd => target.end_segment(),
        })?;
        report.done_bytes = source.done_bytes;
        if goes_on {
            return Ok(());
        }
        self.finish()
    }

    /// Completes the new log, in which only the files are missing that make it a log.
    fn finish(&mut self) -> Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let (low_mark, next, uuid) = (source.low_mark, source.last + 1, source.uuid);
        let (active, end) = self.target.finish(next)?;
        // Positions that were lost before the first good record are no part of the new log.
        let first = self.target.first().filter(|_| self.report.records > 0).map_or(next, |first| first.max(low_mark));
        let new = self.target.uuid()?;
        if let Some(bytes) = cursors::copy(&*self.from)? {
            match cursors::adopted(&bytes, &uuid, new, next - 1) {
                Some((bytes, count)) => {
                    self.target.add(CURSORS, &bytes)?;
                    self.report.cursors = count;
                }
                None => self.report.cursors_lost = true,
            }
        }
        // Changes that a writer made meanwhile would be in no report.
        refuse_held(&self.held)?;
        if self.before.as_ref() != Some(&Fingerprint::of(&*self.from)?) {
            return Err(Error::new(Code::Locked, "the log was written to during the salvage: close it and salvage again"));
        }
        let mark = Mark { segment: active, offset: end.offset, position: end.next - 1 };
        let state = ControlState { uuid: new, sequence: 1, active, low_mark: first, mark: Some(mark), fence: None };
        self.target.name(&[CREATING, CONTROL]);
        let to = self.target.storage();
        to.sync_dir()?;
        is_where_it_is_looked_for(&**to)?;
        create_control(&**to, &state)?;
        // The directory became a log between the two checks. If it went elsewhere meanwhile, the log is removed.
        is_where_it_is_looked_for(&**to)?;
        self.target.keep();
        self.report.segments = self.target.segments();
        (self.report.first_position, self.report.next_position) = (first, next);
        self.report.done_bytes = self.report.total_bytes;
        (self.done, self.lock) = (true, None);
        Ok(())
    }
}
