//! A backup: a copy of a log that is being written. Sealed segments are shared if the file system can do that, the active one is copied up
//! to its durable end, and CONTROL comes last. Without CONTROL no writer opens the directory; with it, the directory is a log.
//!
//! The copy has the original's uuid, ids and salts, because its frames are bound to them: it is the same log up to the cut, and a log of
//! its own after it. New segments have new salts, so the two are never taken for each other after the cut.

use crate::cursors;
use crate::error::{Code, Error, Result};
use crate::format::control::{self, ControlState};
use crate::format::file_names::{Name, CONTROL, CURSORS, LOCK};
use crate::recovery::directory::Listing;
use crate::segments::attachment::explained;
use crate::segments::control_file::{create_control, CREATING};
use crate::segments::log_ends::DurableEnd;
use crate::segments::reader_positions::ReaderPosition;
use crate::segments::segment_file::SegmentFile;
use crate::storage::dir_handle::DirHandle;
use crate::storage::disk::{create_dir, Disk};
use crate::storage::lock::Lock;
use crate::storage::Storage;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod copy;
mod origin;

use copy::{CopyMethod, Copying, PendingSegment};
pub use origin::Origin;

/// Approximate number of bytes that one step copies.
const STEP: u64 = 4 << 20;
/// Number of segments that one step links.
const LINKS: usize = 64;
/// How often truncation may overtake a cut before the backup gives up.
const OVERTAKEN: usize = 32;
/// If the log has not moved between this many attempts, its movement is not the reason why a segment is missing.
const STILL: usize = 3;
/// How often a backup waits a moment for the writer in another process to publish what it has done. That takes some milliseconds, or longer
/// if the other process hardly gets to run.
const BEHIND: usize = 400;

/// The state of a log that truncation changes: its first position, and how many times positions were taken back.
type Truncations = (u64, u64);

/// Whether `dir`, or as much of its path as exists, is the directory of `log` or inside it, wherever that directory is now.
fn is_inside(dir: &Path, log: &DirHandle) -> bool {
    let existing = |dir: &Path| -> Option<PathBuf> {
        let dir = std::path::absolute(dir).ok()?;
        dir.ancestors().find_map(|part| fs::canonicalize(part).ok())
    };
    existing(dir).is_some_and(|dir| dir.ancestors().any(|part| log.is_at(part)))
}

fn refuse_used(to: &Disk, dir: &Path, job: &str) -> Result<()> {
    match to.list()?.into_iter().find(|name| name != LOCK) {
        Some(name) => Err(Error::new(Code::Format, format!("{job} needs an empty directory: {} contains {name}", dir.display()))),
        None => Ok(()),
    }
}

/// Refuses a directory for a copy if it is the directory of `log` or inside it.
pub fn refuse_inside(dir: &Path, log: &DirHandle, copy: &str) -> Result<()> {
    if is_inside(dir, log) {
        return Err(Error::new(Code::InvalidArg, format!("{copy} must not be in the directory of its log")));
    }
    Ok(())
}

/// Claims an empty directory of the real disk for the result of `job`: creates it if necessary, and locks it.
pub fn claim(dir: &Path, allow_unsafe: bool, job: &str) -> Result<(Disk, Lock)> {
    if !dir.is_dir() {
        create_dir(dir)?;
    }
    let to = Disk::new(dir, allow_unsafe)?;
    refuse_used(&to, dir, job)?;
    let lock = Lock::acquire(&to.handle())?;
    // Another job may have used the directory until just now.
    refuse_used(&to, dir, job)?;
    Ok((to, lock))
}

/// How far a backup is, and how its segments were brought over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// First position of the copy.
    pub first_position: u64,
    /// Last position of the copy: the durable one at the cut, or the one before the first if the copy is empty.
    pub last_position: u64,
    /// Number of segments that are done.
    pub segments: u64,
    /// Number of segments in all.
    pub total_segments: u64,
    /// Bytes of segments that are done.
    pub bytes: u64,
    /// Bytes of segments in all.
    pub total_bytes: u64,
    /// Number of segments that are the same file as the original's.
    pub linked: u64,
    /// Number of segments that share their blocks with the original's.
    pub cloned: u64,
    /// Number of segments that were copied byte by byte.
    pub copied: u64,
}

/// A backup in progress. Dropping it before it is done removes the files that it has made.
pub struct Backup {
    origin: Arc<dyn Origin>,
    to: Arc<dyn Storage>,
    cut: Option<DurableEnd>,
    /// How often the backup began anew because the log had moved on.
    overtaken: usize,
    /// How often since then it did so, or waited, although the log had not moved.
    still: usize,
    /// The truncations of the log when a segment was last missing.
    missed_at: Option<Truncations>,
    low_mark: u64,
    /// CURSORS at the cut.
    cursors: Option<Vec<u8>>,
    /// Segments that are still to come, newest first.
    pending: Vec<PendingSegment>,
    copying: Option<Copying>,
    /// False once the file system has shown that it cannot link files.
    can_link: bool,
    /// False once the file system has shown that it cannot clone files.
    can_clone: bool,
    /// Names made in the other directory, with the ids of segments.
    made: Vec<(u64, String)>,
    /// Segments that were brought over whole: id, way and length.
    brought: Vec<(u64, CopyMethod, u64)>,
    /// The position that retention keeps for this backup.
    held_position: Option<Arc<ReaderPosition>>,
    progress: Progress,
    done: bool,
    /// Lock of the other directory, so that no process opens it meanwhile.
    lock: Option<Lock>,
}

impl Backup {
    /// Creates a backup into an empty directory. Nothing happens before the first step.
    pub fn new(origin: Arc<dyn Origin>, to: Arc<dyn Storage>) -> Backup {
        Backup {
            origin,
            to,
            cut: None,
            overtaken: 0,
            still: 0,
            missed_at: None,
            low_mark: 1,
            cursors: None,
            pending: Vec::new(),
            copying: None,
            can_link: true,
            can_clone: true,
            made: Vec::new(),
            brought: Vec::new(),
            held_position: None,
            progress: Progress::default(),
            done: false,
            lock: None,
        }
    }

    /// Creates a backup into a directory of the real disk, which is created if necessary.
    ///
    /// # Errors
    /// `Format` if the directory is not empty, `InvalidArg` if it is the log's own or inside it, `Locked`.
    pub fn into_dir(origin: Arc<dyn Origin>, dir: &Path, allow_unsafe: bool) -> Result<Backup> {
        if let Some(log) = origin.storage().home() {
            refuse_inside(dir, log, "a backup")?;
        }
        let (to, lock) = claim(dir, allow_unsafe, "a backup")?;
        let mut backup = Backup::new(origin, Arc::new(to));
        backup.lock = Some(lock);
        Ok(backup)
    }

    /// Copies the next few MiB; blocking. The backup is complete and durable when `is_done`.
    ///
    /// # Errors
    /// - `Io`, `NoSpace`, `ReadOnly`: one of the two directories failed.
    /// - `Truncated`: truncation overtook the backup repeatedly: make it again.
    /// - `Corrupt`: a segment is missing from a log that has not moved.
    /// - `Locked`: another process is opening the log and does not finish.
    /// - `Closed`: the log was closed.
    ///
    /// The backup is over then. Dropping it removes the files that it has made.
    pub fn step(&mut self) -> Result<Progress> {
        let stepped = self.advance();
        stepped.map_err(|error| explained(&**self.origin.storage(), error).during("backup"))
    }

    /// Whether the backup is complete and durable.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn advance(&mut self) -> Result<Progress> {
        let low_mark = self.origin.low_mark()?;
        let Some(cut) = self.cut else {
            self.take()?;
            return Ok(self.progress);
        };
        let (mut budget, mut links) = (STEP, LINKS);
        while budget > 0 && links > 0 {
            let Some(segment) = self.pending.last() else {
                self.finish(cut)?;
                break;
            };
            let id = segment.name.id;
            match self.bring(cut, &mut budget) {
                Ok(Some(way)) => {
                    links -= 1;
                    let len = self.pending.pop().map_or(0, |segment| segment.len);
                    self.brought.push((id, way, len));
                }
                Ok(None) => {}
                Err(fault) if fault.is_not_found() => {
                    self.passed(cut, id, low_mark)?;
                    break;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        self.count();
        Ok(self.progress)
    }

    /// Determines the cut, and lists the segments up to it.
    fn take(&mut self) -> Result<()> {
        let truncations = self.origin.truncation_count();
        let cut = match self.origin.durable_end() {
            Ok(cut) => cut,
            // A writer that has just opened or truncated the log publishes its state within some milliseconds.
            Err(error) if error.code == Code::Locked && self.still < BEHIND && self.origin.catch_up() => {
                self.still += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.cursors = cursors::copy(&**self.origin.storage())?;
        self.origin.durable_end()?;
        self.held_position = Some(self.origin.hold_retention(self.origin.low_mark()?));
        let from = self.origin.storage().clone();
        let counted = self.origin.segments();
        let mut names = Listing::read(&*from)?.segments;
        names.retain(|id, _| *id <= cut.segment);
        // After the listing: every segment removed before the listing is below this.
        self.low_mark = self.origin.low_mark()?;
        // Names alone do not distinguish segments of the log from dead ones.
        if truncations != self.origin.truncation_count() || !counted.iter().any(|name| name.id == cut.segment) {
            return self.miss(cut, format!("segment {:016x} is missing", cut.segment));
        }
        let base = names.values().rev().find(|name| name.first <= self.low_mark).map(|name| name.id);
        let base = base.filter(|_| names.contains_key(&cut.segment));
        let counts = |name: &&Name| base.is_some_and(|base| (base..=cut.segment).contains(&name.id));
        let missing = counted.iter().filter(counts).find(|name| !names.contains_key(&name.id));
        let base = match (base, missing) {
            (Some(base), None) => base,
            // A reset or a truncation came between the cut and the listing, or the cut does not show one yet.
            (None, _) => return self.miss(cut, format!("no segment contains position {}", self.low_mark)),
            (_, Some(name)) => return self.miss(cut, format!("{} is missing", name.file)),
        };
        names.retain(|id, _| *id >= base);
        // After a reset to a higher position since the cut, the copy is empty as well and goes on where the log does.
        let last = cut.durable.position.max(self.low_mark - 1);
        self.progress = Progress { first_position: self.low_mark, last_position: last, ..Progress::default() };
        for (_, name) in names.into_iter().rev() {
            let len = match from.open(&name.file, false).and_then(|file| file.len()) {
                Ok(len) => len,
                // It counts as missing when its turn comes.
                Err(fault) if fault.is_not_found() => 0,
                Err(fault) => return Err(fault.into()),
            };
            let len = if name.id == cut.segment { cut.durable.offset } else { len };
            self.progress.total_bytes += len;
            self.pending.push(PendingSegment { name, len });
        }
        self.progress.total_segments = self.pending.len() as u64;
        self.cut = Some(cut);
        Ok(())
    }

    /// Updates `progress` from what has been copied and what is left.
    fn count(&mut self) {
        let came = |by: CopyMethod| self.brought.iter().filter(|(_, way, _)| *way == by).count() as u64;
        let (linked, cloned, copied) = (came(CopyMethod::Link), came(CopyMethod::Clone), came(CopyMethod::Copy));
        let segments = self.brought.len() as u64;
        let whole = self.brought.iter().map(|(_, _, len)| len).sum::<u64>();
        let bytes = whole + self.copying.as_ref().map_or(0, |copying| copying.at);
        let total_bytes = whole + self.pending.iter().map(|segment| segment.len).sum::<u64>();
        let total_segments = segments + self.pending.len() as u64;
        self.progress = Progress { segments, total_segments, bytes, total_bytes, linked, cloned, copied, ..self.progress };
    }

    /// Handles a segment that has vanished: truncation has passed it, or something is wrong.
    fn passed(&mut self, cut: DurableEnd, id: u64, before: u64) -> Result<()> {
        self.copying = None;
        let low_mark = self.origin.low_mark()?;
        let base = self.pending.iter().map(|segment| &segment.name).find(|name| name.first <= low_mark).map_or(0, |name| name.id);
        if low_mark > cut.durable.position + 1 || base <= id {
            // Nothing up to the cut is left, or the log was truncated there.
            self.remove(|_| true);
            (self.cut, self.pending) = (None, Vec::new());
            return self.miss(cut, format!("segment {id:016x} is missing, and the log starts at position {}", low_mark.max(before)));
        }
        self.pending.retain(|segment| segment.name.id >= base);
        self.remove(|made| made < base);
        (self.low_mark, self.progress.first_position) = (low_mark, low_mark);
        Ok(())
    }

    /// Handles a missing segment that belongs to `cut`. If the log was truncated meanwhile, or publishes later segments only now, that is
    /// not damage, and the backup begins anew with another cut.
    ///
    /// # Errors
    /// `Truncated` if the log has moved on too often, `Corrupt` with `text` if it has not moved.
    fn miss(&mut self, cut: DurableEnd, text: String) -> Result<()> {
        let may_be_behind = self.origin.catch_up();
        let newest = self.origin.durable_end()?;
        let truncations = (self.origin.low_mark()?, self.origin.truncation_count());
        let has_moved = self.missed_at.replace(truncations) != Some(truncations) || newest.segment != cut.segment;
        if has_moved {
            (self.overtaken, self.still) = (self.overtaken + 1, 0);
        } else {
            self.still += 1;
        }
        let past = may_be_behind && self.origin.is_past(newest);
        if self.overtaken < OVERTAKEN && self.still < if past { BEHIND } else { STILL } {
            return Ok(());
        }
        if has_moved || past {
            let mut error = Error::new(Code::Truncated, "truncation overtook the backup repeatedly: make it again");
            error.first_position = Some(truncations.0);
            return Err(error);
        }
        Err(Error::new(Code::Corrupt, text))
    }

    /// Completes the copy, in which only the files are missing that make it a log.
    fn finish(&mut self, cut: DurableEnd) -> Result<()> {
        let Some((_, file)) = self.made.iter().find(|(id, _)| *id == cut.segment) else {
            return Err(Error::new(Code::Corrupt, "the active segment is missing"));
        };
        let header = SegmentFile::open(&*self.to, file, false)?
            .header
            .map_err(|_| Error::new(Code::Corrupt, format!("the header of {file} is damaged")))?;
        if let Some(bytes) = self.cursors.take() {
            let bytes = cursors::clamped(bytes, &header.uuid, cut.durable.position);
            self.made.push((u64::MAX, CURSORS.to_owned()));
            let file = self.to.create(CURSORS, bytes.len() as u64)?;
            file.write_at(&bytes, 0).map_err(|short| short.fault)?;
            file.sync()?;
        }
        self.to.sync_dir()?;
        self.is_where_it_is_looked_for()?;
        let mark = control::Mark { segment: cut.segment, offset: cut.durable.offset, position: cut.durable.position };
        let state =
            ControlState { uuid: header.uuid, sequence: 1, active: cut.segment, low_mark: self.low_mark, mark: Some(mark), fence: None };
        self.made.extend([CREATING, CONTROL].map(|name| (u64::MAX, name.to_owned())));
        create_control(&*self.to, &state)?;
        // The copy became a log between the two checks. If its directory went elsewhere meanwhile, the copy is removed.
        self.is_where_it_is_looked_for()?;
        self.made.clear();
        self.done = true;
        (self.lock, self.held_position) = (None, None);
        Ok(())
    }

    fn is_where_it_is_looked_for(&self) -> Result<()> {
        match self.to.lost() {
            Some(what) => Err(Error::new(Code::Detached, format!("{what}: the backup was not completed, and its files were removed"))),
            None => Ok(()),
        }
    }

    fn remove(&mut self, which: impl Fn(u64) -> bool) {
        // CONTROL first: without it the remaining files are no log.
        for (_, name) in self.made.iter().rev().filter(|(id, _)| which(*id)) {
            let _ = self.to.remove(name);
        }
        self.made.retain(|(id, _)| !which(*id));
        self.brought.retain(|(id, _, _)| !which(*id));
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        if !self.done {
            self.copying = None;
            self.remove(|_| true);
        }
    }
}

#[cfg(test)]
mod tests;
