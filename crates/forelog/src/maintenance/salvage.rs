//! Salvaging: a new log of every record that holds in a damaged one. Positions stay what they were, and what is missing
//! becomes a hole that the header of the segment after it records.
//!
//! The damaged log is read as mode `readOnly` reads it, and not a byte of it changes. The new log has a uuid, ids and salts
//! of its own; frames keep their kinds, their positions and their bodies as they are stored. CONTROL is made last: without
//! it the new directory does not open, so a salvage that was cut off is never taken for a log.

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

/// Bytes read by one step, roughly.
const STEP: u64 = 4 << 20;

/// Whether a writer has the damaged log open now.
type Held = Box<dyn Fn() -> Result<bool> + Send>;

/// What a salvage has made of a damaged log so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Salvaged {
    /// What opening the damaged log would meet, by its label in docs/recovery.md.
    pub verdict: &'static str,
    /// First position of the new log: that of the first good record, or of the next one where there is none.
    pub first_position: u64,
    /// Position that the next record of the new log gets: above every position that is known to have been given.
    pub next_position: u64,
    /// Records in the new log.
    pub records: u64,
    /// Segments in the new log.
    pub segments: u64,
    /// Positions that are missing, in order. Those before the first good record are not part of the new log.
    pub holes: Vec<Hole>,
    /// Named cursors that were taken over.
    pub cursors: u64,
    /// CURSORS was there, but does not hold: its cursors have to be made again.
    pub cursors_lost: bool,
    /// Bytes of the damaged log's segments that were looked at, and their total.
    pub done_bytes: u64,
    pub total_bytes: u64,
}

impl Salvaged {
    /// Whether something is missing that no earlier salvage has recorded already.
    pub fn is_lossy(&self) -> bool {
        self.cursors_lost || self.holes.iter().any(|hole| !hole.recorded)
    }
}

/// A salvage under way. Dropping it before it is done removes what it has made.
pub struct Salvage {
    from: Arc<dyn Storage>,
    held: Held,
    /// What CONTROL and the names said when the salvage began.
    before: Option<Fingerprint>,
    source: Option<Source>,
    target: Target,
    report: Salvaged,
    done: bool,
    /// Of the new directory: no other salvage, backup or log uses it meanwhile.
    lock: Option<Lock>,
}

/// Makes a new log in `to` of all records that hold in the log in `from`; nothing is read before the first step.
///
/// `to` is created if need be, and must be empty.
///
/// # Errors
/// `NotFound` and `Format` where there is no log to salvage, `Locked` while a writer has it open; `Format` when `to` is
/// not empty, `InvalidArg` when it is in the damaged log's directory or on a network file system, `Io`.
pub fn salvage(from: &Path, to: &Path, allow_unsafe: bool) -> Result<Salvage> {
    begin(from, to, allow_unsafe).map_err(|error| error.during("salvage"))
}

fn begin(dir: &Path, to: &Path, allow_unsafe: bool) -> Result<Salvage> {
    prepare_dir(dir, false)?;
    // Nothing is written to it, so a network's locks and fsyncs do not matter.
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

/// A log that is being written is not salvaged: what its writer acknowledges meanwhile would be missing from the new log
/// without being told as a hole.
fn refuse_held(held: &Held) -> Result<()> {
    if held()? {
        return Err(Error::new(Code::Locked, "the log is open for writing: close it before it is salvaged"));
    }
    Ok(())
}

/// Refuses to report a log that is not found at its path.
fn is_where_it_is_looked_for(to: &dyn Storage) -> Result<()> {
    match to.lost() {
        Some(what) => Err(Error::new(Code::Detached, format!("{what}: the salvage is not complete, and nothing of it is left"))),
        None => Ok(()),
    }
}

/// What a writer changes: CONTROL's state and the names of segments.
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
    /// A salvage into an empty storage.
    pub fn new(from: Arc<dyn Storage>, to: Arc<dyn Storage>, held: Held) -> Salvage {
        let target = Target::new(to);
        Salvage { from, held, before: None, source: None, target, report: Salvaged::default(), done: false, lock: None }
    }

    /// Goes on for a few MiB, blocking. The new log is complete and durable when `is_done`.
    ///
    /// # Errors
    /// `Locked` when a writer has opened the damaged log meanwhile, `Io` when a file of it cannot be opened, `Detached` when its
    /// files were removed meanwhile or the new directory is not at its path any more; `Io`, `NoSpace` and `ReadOnly` from the
    /// new directory. The salvage is over then; dropping it removes what it has made. Damage is no
    /// error: it is in the report.
    pub fn step(&mut self) -> Result<()> {
        let advanced = self.advance();
        advanced.map_err(|error| explained(&*self.from, error).during("salvage"))
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

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

    /// Everything is there but what makes it a log.
    fn finish(&mut self) -> Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let (low, next, uuid) = (source.low, source.last + 1, source.uuid);
        let (active, end) = self.target.finish(next)?;
        // What was lost in front of the first good record is no part of the new log.
        let first = self.target.first().filter(|_| self.report.records > 0).map_or(next, |first| first.max(low));
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
        // What a writer has changed meanwhile is in nobody's report.
        refuse_held(&self.held)?;
        if self.before.as_ref() != Some(&Fingerprint::of(&*self.from)?) {
            return Err(Error::new(Code::Locked, "the log was written to while it was salvaged"));
        }
        let mark = Mark { segment: active, offset: end.offset, position: end.next - 1 };
        let state = ControlState { uuid: new, sequence: 1, active, low: first, mark: Some(mark), fence: None };
        self.target.name(&[CREATING, CONTROL]);
        let to = self.target.storage();
        to.sync_dir()?;
        is_where_it_is_looked_for(&**to)?;
        create_control(&**to, &state)?;
        // Between the two looks the directory became a log: where it went meanwhile, it is none again.
        is_where_it_is_looked_for(&**to)?;
        self.target.keep();
        self.report.segments = self.target.segments();
        (self.report.first_position, self.report.next_position) = (first, next);
        self.report.done_bytes = self.report.total_bytes;
        (self.done, self.lock) = (true, None);
        Ok(())
    }
}
