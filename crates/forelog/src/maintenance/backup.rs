//! A backup: a copy of a log that is being written. Sealed segments are shared if the file system can do that, the active one is copied up
//! to its durable end, and CONTROL comes last. Without CONTROL the directory does not open; with it, the directory is a log.
//!
//! The copy has the original's uuid, ids and salts, because its frames are bound to them: it is the same log up to the cut, and a log of
//! its own after it. New segments have new salts, so the two are never taken for each other after the cut.

use crate::cursors;
use crate::error::{Code, Error, Fault, Result};
use crate::format::control::{self, ControlState};
use crate::format::file_names::{Name, CONTROL, CURSORS};
use crate::format::header::Header;
use crate::recovery::directory::Listing;
use crate::segments::attachment::explained;
use crate::segments::catalog::DurableEnd;
use crate::segments::control_file::{create_control, CREATING};
use crate::segments::footer_writer::{self, FooterState};
use crate::segments::reader_positions::ReaderPosition;
use crate::storage::dir_handle::DirHandle;
use crate::storage::disk::{create_dir, Disk};
use crate::storage::lock::{Lock, LOCK};
use crate::storage::{data_len, FileRef, Storage};
use crate::util::limits::PAGE;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Approximate number of bytes that one step copies.
const STEP: u64 = 4 << 20;
const PIECE: usize = 1 << 20;
/// A segment whose holes add up to more than this many bytes is copied with its holes.
const SPARSE: u64 = 1 << 20;
/// Number of segments that one step links.
const LINKS: usize = 64;
/// How often truncation may overtake a cut before the backup gives up.
const CUTS: usize = 32;
/// If the log has not moved between this many attempts, its movement is not the reason why a segment is missing.
const STILL: usize = 3;
/// How often a backup waits a moment for the writer in another process to publish what it has done. That takes some milliseconds, or longer
/// if the other process hardly gets to run.
const BEHIND: usize = 400;

/// A log that can be copied while it is written.
pub trait Origin: Send + Sync {
    fn storage(&self) -> &Arc<dyn Storage>;
    /// Returns the durable end as it is now.
    ///
    /// # Errors
    /// `NoSpace` if the log could not roll at opening and nothing in its segment is proven durable, `Closed`. For a log that another
    /// process writes also `Locked` while that process is still opening it, and `Corrupt` if the log is damaged.
    fn cut(&self) -> Result<DurableEnd>;
    /// Returns the first position of the log now. Segments wholly below it may vanish at any time.
    ///
    /// # Errors
    /// `Closed`, after which any segment may vanish.
    fn low(&self) -> Result<u64>;
    /// Returns how many times positions were taken back.
    fn cuts(&self) -> u64;
    /// Keeps retention from removing records from `first` on, for as long as the position is held. Explicit truncation still removes them.
    fn hold(&self, first: u64) -> Arc<ReaderPosition>;
    /// Returns the present segments of the log. Files between two of them may exist although they no longer hold anything.
    fn segments(&self) -> Vec<Name>;
    /// Waits a moment if the cut may be older than the directory. Returns false if it never is.
    fn catch_up(&self) -> bool;
    /// Whether the log has gone on in a segment after `cut` that the cut does not show yet. False if the cut is never older than the
    /// directory.
    fn is_past(&self, cut: DurableEnd) -> bool;
}

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

/// Whether nothing writes to a segment's file any more, because it has its footer. Only such a file may be shared by two logs.
fn is_finished(from: &dyn Storage, file: &str) -> std::result::Result<bool, Fault> {
    let file = from.open(file, false)?;
    let mut page = vec![0; PAGE as usize];
    let n = file.read_at(&mut page, 0)?;
    let Ok(header) = Header::decode(&page[..n]) else { return Ok(false) };
    Ok(matches!(footer_writer::find_footer(&*file, header.seed())?, FooterState::Footer(_)))
}

/// How far a backup is, and how its segments were brought over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub first_position: u64,
    /// Last position of the copy: the durable one at the cut, or the one before the first if the copy is empty.
    pub last_position: u64,
    pub segments: u64,
    pub total_segments: u64,
    pub bytes: u64,
    pub total_bytes: u64,
    /// Number of segments that are the same file as the original's.
    pub linked: u64,
    /// Number of segments that share their blocks with the original's.
    pub cloned: u64,
    pub copied: u64,
}

struct Piece {
    name: Name,
    len: u64,
}

/// The segment being copied.
struct Copying {
    from: FileRef,
    to: FileRef,
    at: u64,
}

/// How a segment was brought to the other directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Link,
    Clone,
    Copy,
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
    low: u64,
    /// CURSORS at the cut.
    cursors: Option<Vec<u8>>,
    /// Segments that are still to come, newest first.
    pieces: Vec<Piece>,
    copying: Option<Copying>,
    /// False once the file system has shown that it cannot link files.
    can_link: bool,
    /// False once the file system has shown that it cannot clone files.
    can_clone: bool,
    /// Names made in the other directory, with the ids of segments.
    made: Vec<(u64, String)>,
    /// Segments that were brought over whole: id, way and length.
    brought: Vec<(u64, Way, u64)>,
    place: Option<Arc<ReaderPosition>>,
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
            low: 1,
            cursors: None,
            pieces: Vec::new(),
            copying: None,
            can_link: true,
            can_clone: true,
            made: Vec::new(),
            brought: Vec::new(),
            place: None,
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

    pub fn is_done(&self) -> bool {
        self.done
    }

    fn advance(&mut self) -> Result<Progress> {
        let low = self.origin.low()?;
        let Some(cut) = self.cut else {
            self.take()?;
            return Ok(self.progress);
        };
        let (mut budget, mut links) = (STEP, LINKS);
        while budget > 0 && links > 0 {
            let Some(piece) = self.pieces.last() else {
                self.finish(cut)?;
                break;
            };
            let id = piece.name.id;
            match self.bring(cut, &mut budget) {
                Ok(Some(way)) => {
                    links -= 1;
                    let len = self.pieces.pop().map_or(0, |piece| piece.len);
                    self.brought.push((id, way, len));
                }
                Ok(None) => {}
                Err(fault) if fault.is_not_found() => {
                    self.passed(cut, id, low)?;
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
        let cuts = self.origin.cuts();
        let cut = match self.origin.cut() {
            Ok(cut) => cut,
            // A writer that has just opened or truncated the log publishes its state within some milliseconds.
            Err(error) if error.code == Code::Locked && self.still < BEHIND && self.origin.catch_up() => {
                self.still += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.cursors = cursors::copy(&**self.origin.storage())?;
        self.origin.cut()?;
        self.place = Some(self.origin.hold(self.origin.low()?));
        let from = self.origin.storage().clone();
        let counted = self.origin.segments();
        let mut names = Listing::read(&*from)?.segments;
        names.retain(|id, _| *id <= cut.segment);
        // After the listing: every segment removed before the listing is below this.
        self.low = self.origin.low()?;
        // Names alone do not distinguish segments of the log from dead ones.
        if cuts != self.origin.cuts() || !counted.iter().any(|name| name.id == cut.segment) {
            return self.miss(cut, format!("segment {:016x} is missing", cut.segment));
        }
        let base = names.values().rev().find(|name| name.first <= self.low).map(|name| name.id);
        let base = base.filter(|_| names.contains_key(&cut.segment));
        let counts = |name: &&Name| base.is_some_and(|base| (base..=cut.segment).contains(&name.id));
        let missing = counted.iter().filter(counts).find(|name| !names.contains_key(&name.id));
        let base = match (base, missing) {
            (Some(base), None) => base,
            // A reset or a truncation came between the cut and the listing, or the cut does not show one yet.
            (None, _) => return self.miss(cut, format!("no segment contains position {}", self.low)),
            (_, Some(name)) => return self.miss(cut, format!("{} is missing", name.file)),
        };
        names.retain(|id, _| *id >= base);
        // After a reset to a higher position since the cut, the copy is empty as well and goes on where the log does.
        let last = cut.durable.position.max(self.low - 1);
        self.progress = Progress { first_position: self.low, last_position: last, ..Progress::default() };
        for (_, name) in names.into_iter().rev() {
            let len = match from.open(&name.file, false).and_then(|file| file.len()) {
                Ok(len) => len,
                // It counts as missing when its turn comes.
                Err(fault) if fault.is_not_found() => 0,
                Err(fault) => return Err(fault.into()),
            };
            let len = if name.id == cut.segment { cut.durable.offset } else { len };
            self.progress.total_bytes += len;
            self.pieces.push(Piece { name, len });
        }
        self.progress.total_segments = self.pieces.len() as u64;
        self.cut = Some(cut);
        Ok(())
    }

    /// Brings over a part of the next segment. Returns how the segment came once it is complete.
    fn bring(&mut self, cut: DurableEnd, budget: &mut u64) -> std::result::Result<Option<Way>, Fault> {
        let Some(Piece { name, len }) = self.pieces.last() else { return Ok(None) };
        let (file, id, len) = (name.file.clone(), name.id, *len);
        let from = self.origin.storage().clone();
        if self.copying.is_none() {
            let sealed = id < cut.segment;
            if sealed && self.can_link && is_finished(&*from, &file)? {
                if self.to.link(&*from, &file)? {
                    self.made.push((id, file.clone()));
                    // A later removal of the name sees the link, and does not recycle the file.
                    return self.is_whole(&*from, &file).map(|()| Some(Way::Link));
                }
                self.can_link = false;
            }
            if sealed && self.can_clone {
                if let Some(cloned) = self.to.clone_file(&*from, &file)? {
                    self.made.push((id, file.clone()));
                    cloned.sync()?;
                    return self.is_whole(&*from, &file).map(|()| Some(Way::Clone));
                }
                self.can_clone = false;
            }
            let source = from.open(&file, false)?;
            let sparse = data_len(&*source, len) + SPARSE < len;
            let to = self.to.create(&file, if sparse { 0 } else { len })?;
            self.made.push((id, file.clone()));
            if sparse {
                to.lengthen(len)?;
            }
            self.copying = Some(Copying { from: source, to, at: 0 });
        }
        let Some(copying) = &mut self.copying else { return Ok(None) };
        let mut buffer = vec![0; PIECE];
        while copying.at < len && *budget > 0 {
            // Holes stay holes: the copy reads as zeroes there, as it was created.
            let data = copying.from.next_data(copying.at).filter(|data| data.start < len);
            let data = data.unwrap_or(len..len);
            // If the file has become shorter meanwhile, so does the copy.
            let end = if data.is_empty() { copying.from.len()?.clamp(copying.at, len) } else { data.end.min(len) };
            copying.at = data.start.min(end);
            let want = PIECE.min((end - copying.at) as usize);
            let n = copying.from.read_at(&mut buffer[..want], copying.at)?;
            if n == 0 {
                if copying.at < len {
                    // Sealed segments give back the space that they do not use.
                    copying.to.shrink(copying.at);
                    if let Some(piece) = self.pieces.last_mut() {
                        piece.len = copying.at;
                    }
                }
                break;
            }
            copying.to.write_at(&buffer[..n], copying.at).map_err(|short| short.fault)?;
            copying.at += n as u64;
            *budget = budget.saturating_sub(n as u64);
        }
        let len = self.pieces.last().map_or(0, |piece| piece.len);
        if copying.at < len {
            return Ok(None);
        }
        copying.to.sync()?;
        self.copying = None;
        self.is_whole(&*from, &file).map(|()| Some(Way::Copy))
    }

    /// Updates `progress` from what has been copied and what is left.
    fn count(&mut self) {
        let came = |by: Way| self.brought.iter().filter(|(_, way, _)| *way == by).count() as u64;
        let (linked, cloned, copied) = (came(Way::Link), came(Way::Clone), came(Way::Copy));
        let segments = self.brought.len() as u64;
        let whole = self.brought.iter().map(|(_, _, len)| len).sum::<u64>();
        let bytes = whole + self.copying.as_ref().map_or(0, |copying| copying.at);
        let total_bytes = whole + self.pieces.iter().map(|piece| piece.len).sum::<u64>();
        let total_segments = segments + self.pieces.len() as u64;
        self.progress = Progress { segments, total_segments, bytes, total_bytes, linked, cloned, copied, ..self.progress };
    }

    /// Fails if a segment lost its name while it was copied, because its file may have been overwritten as another segment.
    fn is_whole(&self, from: &dyn Storage, file: &str) -> std::result::Result<(), Fault> {
        from.open(file, false).map(|_| ())
    }

    /// Handles a segment that has vanished: truncation has passed it, or something is wrong.
    fn passed(&mut self, cut: DurableEnd, id: u64, before: u64) -> Result<()> {
        self.copying = None;
        let low = self.origin.low()?;
        let base = self.pieces.iter().map(|piece| &piece.name).find(|name| name.first <= low).map_or(0, |name| name.id);
        if low > cut.durable.position + 1 || base <= id {
            // Nothing up to the cut is left, or the log was truncated there.
            self.remove(|_| true);
            (self.cut, self.pieces) = (None, Vec::new());
            return self.miss(cut, format!("segment {id:016x} is missing, and the log starts at position {}", low.max(before)));
        }
        self.pieces.retain(|piece| piece.name.id >= base);
        self.remove(|made| made < base);
        (self.low, self.progress.first_position) = (low, low);
        Ok(())
    }

    /// Handles a missing segment that belongs to `cut`. If the log was truncated meanwhile, or publishes later segments only now, that is
    /// not damage, and the backup begins anew with another cut.
    ///
    /// # Errors
    /// `Truncated` if the log has moved on too often, `Corrupt` with `text` if it has not moved.
    fn miss(&mut self, cut: DurableEnd, text: String) -> Result<()> {
        let may_be_behind = self.origin.catch_up();
        let newest = self.origin.cut()?;
        let truncations = (self.origin.low()?, self.origin.cuts());
        let has_moved = self.missed_at.replace(truncations) != Some(truncations) || newest.segment != cut.segment;
        if has_moved {
            (self.overtaken, self.still) = (self.overtaken + 1, 0);
        } else {
            self.still += 1;
        }
        let past = may_be_behind && self.origin.is_past(newest);
        if self.overtaken < CUTS && self.still < if past { BEHIND } else { STILL } {
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
        let mut page = vec![0; PAGE as usize];
        let n = self.to.open(file, false)?.read_at(&mut page, 0)?;
        let header = Header::decode(&page[..n]).map_err(|_| Error::new(Code::Corrupt, format!("the header of {file} is damaged")))?;
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
        let state = ControlState { uuid: header.uuid, sequence: 1, active: cut.segment, low: self.low, mark: Some(mark), fence: None };
        self.made.extend([CREATING, CONTROL].map(|name| (u64::MAX, name.to_owned())));
        create_control(&*self.to, &state)?;
        // The copy became a log between the two checks. If its directory went elsewhere meanwhile, the copy is removed.
        self.is_where_it_is_looked_for()?;
        self.made.clear();
        self.done = true;
        (self.lock, self.place) = (None, None);
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
