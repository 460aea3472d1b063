//! A copy of a log that is being written: sealed segments shared where the file system can, the active one copied up to
//! where it is durable, CONTROL last. Until CONTROL is there the directory opens as nothing; from then on as a log.
//!
//! The copy has the original's uuid, ids and salts, because its frames are bound to them: it is the same log up to the
//! cut, and goes on as another one. New segments have new salts, so the two are never taken for each other after it.

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

/// Bytes copied by one step, roughly.
const STEP: u64 = 4 << 20;
const PIECE: usize = 1 << 20;
/// A segment with holes of more than so many bytes in all is copied with its holes.
const SPARSE: u64 = 1 << 20;
/// Segments linked by one step.
const LINKS: usize = 64;
/// Truncation can overtake a cut this often before it is given up.
const CUTS: usize = 32;
/// A log that has not moved between so many looks is not what hides a segment.
const STILL: usize = 3;
/// What another process has done is told within some milliseconds, or so many moments where that one hardly gets to run.
const BEHIND: usize = 400;

/// A log that can be copied while it is written.
pub trait Origin: Send + Sync {
    fn storage(&self) -> &Arc<dyn Storage>;
    /// The durable end as it is now.
    ///
    /// # Errors
    /// `NoSpace` while the log could not roll at opening and nothing in its segment is proven, `Closed`.
    fn cut(&self) -> Result<DurableEnd>;
    /// First position that counts now: what lies wholly below may vanish at any time.
    ///
    /// # Errors
    /// `Closed`: anything may vanish.
    fn low(&self) -> Result<u64>;
    /// How many times positions were taken back.
    fn cuts(&self) -> u64;
    /// Keeps retention off what lies from `first` on for as long as the place is held; truncation by name goes on.
    fn hold(&self, first: u64) -> Arc<ReaderPosition>;
    /// The segments that count now. What lies between two of them may hold nothing any more, and be there all the same.
    fn segments(&self) -> Vec<Name>;
    /// Where the cut may be behind the directory, waits for a moment. False where it never is.
    fn catch_up(&self) -> bool;
    /// Whether the log has gone on in a segment after this cut, of which the cut does not say yet. False where it never is
    /// behind.
    fn is_past(&self, cut: DurableEnd) -> bool;
}

/// What truncation changes of a log: where it starts, and how many times it was cut.
type Truncations = (u64, u64);

/// Whether `dir`, or as much of its path as there is, is the directory of `log` or inside it, wherever that is now.
fn is_inside(dir: &Path, log: &DirHandle) -> bool {
    let existing = |dir: &Path| -> Option<PathBuf> {
        let dir = std::path::absolute(dir).ok()?;
        dir.ancestors().find_map(|part| fs::canonicalize(part).ok())
    };
    existing(dir).is_some_and(|dir| dir.ancestors().any(|part| log.is_at(part)))
}

fn refuse_used(to: &Disk, dir: &Path, job: &str) -> Result<()> {
    match to.list()?.into_iter().find(|name| name != LOCK) {
        Some(name) => Err(Error::new(Code::Format, format!("{job} needs an empty directory: {} holds {name}", dir.display()))),
        None => Ok(()),
    }
}

/// Refuses a directory for a copy that is the one of the log `log`, or inside it.
pub fn refuse_inside(dir: &Path, log: &DirHandle, copy: &str) -> Result<()> {
    if is_inside(dir, log) {
        return Err(Error::new(Code::InvalidArg, format!("{copy} must not be in the directory of its log")));
    }
    Ok(())
}

/// An empty directory of the real disk for the result of `job`, created if need be, and its lock.
pub fn claim(dir: &Path, allow_unsafe: bool, job: &str) -> Result<(Disk, Lock)> {
    if !dir.is_dir() {
        create_dir(dir)?;
    }
    let to = Disk::new(dir, allow_unsafe)?;
    refuse_used(&to, dir, job)?;
    let lock = Lock::acquire(&to.handle())?;
    // Another one may have been at work until just now.
    refuse_used(&to, dir, job)?;
    Ok((to, lock))
}

/// A file in two logs has to be one that nobody writes to any more: a segment is done with once its footer is there.
fn is_finished(from: &dyn Storage, file: &str) -> std::result::Result<bool, Fault> {
    let file = from.open(file, false)?;
    let mut page = vec![0; PAGE as usize];
    let n = file.read_at(&mut page, 0)?;
    let Ok(header) = Header::decode(&page[..n]) else { return Ok(false) };
    Ok(matches!(footer_writer::find_footer(&*file, header.seed())?, FooterState::Footer(_)))
}

/// How far a backup is, and what has become of the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub first_position: u64,
    /// Last position of the copy, the durable one at the cut; the one before the first when the copy is empty.
    pub last_position: u64,
    pub segments: u64,
    pub total_segments: u64,
    pub bytes: u64,
    pub total_bytes: u64,
    /// Segments that are the same file as the original's.
    pub linked: u64,
    /// Segments that share their blocks with the original's.
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

/// How a segment got to the other directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Link,
    Clone,
    Copy,
}

/// A backup under way. Dropping it before it is done removes what it has made.
pub struct Backup {
    origin: Arc<dyn Origin>,
    to: Arc<dyn Storage>,
    cut: Option<DurableEnd>,
    /// How often the log was cut because it had moved on, and how often it had not.
    overtaken: usize,
    still: usize,
    /// The truncations of the log when a segment was last missed.
    missed_at: Option<Truncations>,
    low: u64,
    /// CURSORS at the cut.
    cursors: Option<Vec<u8>>,
    /// What is still to come, newest first.
    pieces: Vec<Piece>,
    copying: Option<Copying>,
    /// Until the file system has shown that it cannot.
    can_link: bool,
    can_clone: bool,
    /// Names in the other directory, with the ids of segments.
    made: Vec<(u64, String)>,
    /// Segments that are there whole: id, way and length.
    brought: Vec<(u64, Way, u64)>,
    place: Option<Arc<ReaderPosition>>,
    progress: Progress,
    done: bool,
    /// Of the other directory: nobody opens it meanwhile.
    lock: Option<Lock>,
}

impl Backup {
    /// A backup into an empty directory. Nothing happens before the first step.
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

    /// A backup into a directory of the real disk, which is created if need be.
    ///
    /// # Errors
    /// `Format` when it is not empty, `InvalidArg` when it is the log's own or inside it, `Locked`.
    pub fn into_dir(origin: Arc<dyn Origin>, dir: &Path, allow_unsafe: bool) -> Result<Backup> {
        if let Some(log) = origin.storage().home() {
            refuse_inside(dir, log, "a backup")?;
        }
        let (to, lock) = claim(dir, allow_unsafe, "a backup")?;
        let mut backup = Backup::new(origin, Arc::new(to));
        backup.lock = Some(lock);
        Ok(backup)
    }

    /// Goes on for a few MiB, blocking. The backup is complete and durable when `is_done`.
    ///
    /// # Errors
    /// `Io`, `NoSpace` and `ReadOnly` from either directory, `Truncated` when truncation has overtaken it again and again,
    /// `Corrupt` when a segment is missing of a log that stands still, `Locked` where another process opens the log and does not
    /// come to an end with it, `Closed`. The backup is over then; dropping it removes what it has made.
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

    /// Cuts the log, and lists what belongs to it.
    fn take(&mut self) -> Result<()> {
        let cuts = self.origin.cuts();
        let cut = match self.origin.cut() {
            Ok(cut) => cut,
            // A writer that just opened the log, or cut it, tells within some milliseconds.
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
        // After the listing: what was removed before it is below this.
        self.low = self.origin.low()?;
        // Names alone do not tell segments that count from those that a cut has left behind.
        if cuts != self.origin.cuts() || !counted.iter().any(|name| name.id == cut.segment) {
            return self.miss(cut, format!("segment {:016x} is missing", cut.segment));
        }
        let base = names.values().rev().find(|name| name.first <= self.low).map(|name| name.id);
        let base = base.filter(|_| names.contains_key(&cut.segment));
        let counts = |name: &&Name| base.is_some_and(|base| (base..=cut.segment).contains(&name.id));
        let missing = counted.iter().filter(counts).find(|name| !names.contains_key(&name.id));
        let base = match (base, missing) {
            (Some(base), None) => base,
            // A reset or a truncation between the cut and the listing, or one that the cut is still to tell of.
            (None, _) => return self.miss(cut, format!("no segment holds position {}", self.low)),
            (_, Some(name)) => return self.miss(cut, format!("{} is missing", name.file)),
        };
        names.retain(|id, _| *id >= base);
        // A reset upwards since the cut leaves of it what it leaves of the log: nothing, and where to go on.
        let last = cut.durable.position.max(self.low - 1);
        self.progress = Progress { first_position: self.low, last_position: last, ..Progress::default() };
        for (_, name) in names.into_iter().rev() {
            let len = match from.open(&name.file, false).and_then(|file| file.len()) {
                Ok(len) => len,
                // It will be missed when its turn comes.
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

    /// Brings some of the next segment over; the way it came when it is there.
    fn bring(&mut self, cut: DurableEnd, budget: &mut u64) -> std::result::Result<Option<Way>, Fault> {
        let Some(Piece { name, len }) = self.pieces.last() else { return Ok(None) };
        let (file, id, len) = (name.file.clone(), name.id, *len);
        let from = self.origin.storage().clone();
        if self.copying.is_none() {
            let sealed = id < cut.segment;
            if sealed && self.can_link && is_finished(&*from, &file)? {
                if self.to.link(&*from, &file)? {
                    self.made.push((id, file.clone()));
                    // Whoever takes the name away later sees the link, and leaves the file alone.
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
            // A hole stays one: the copy reads as zeroes there, as it was made.
            let data = copying.from.next_data(copying.at).filter(|data| data.start < len);
            let data = data.unwrap_or(len..len);
            // Where the file ends meanwhile, so does the copy.
            let end = if data.is_empty() { copying.from.len()?.clamp(copying.at, len) } else { data.end.min(len) };
            copying.at = data.start.min(end);
            let want = PIECE.min((end - copying.at) as usize);
            let n = copying.from.read_at(&mut buffer[..want], copying.at)?;
            if n == 0 {
                if copying.at < len {
                    // Sealed segments give back what they do not use.
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

    /// Tells of what is in the other directory, and what is still to come.
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

    /// A segment that lost its name while it was copied may have been written over as another one.
    fn is_whole(&self, from: &dyn Storage, file: &str) -> std::result::Result<(), Fault> {
        from.open(file, false).map(|_| ())
    }

    /// A segment has vanished: truncation has passed it, or something is wrong.
    fn passed(&mut self, cut: DurableEnd, id: u64, before: u64) -> Result<()> {
        self.copying = None;
        let low = self.origin.low()?;
        let base = self.pieces.iter().map(|piece| &piece.name).find(|name| name.first <= low).map_or(0, |name| name.id);
        if low > cut.durable.position + 1 || base <= id {
            // Nothing of the cut is left, or the log was cut there itself.
            self.remove(|_| true);
            (self.cut, self.pieces) = (None, Vec::new());
            return self.miss(cut, format!("segment {id:016x} is missing, and the log starts at position {}", low.max(before)));
        }
        self.pieces.retain(|piece| piece.name.id >= base);
        self.remove(|made| made < base);
        (self.low, self.progress.first_position) = (low, low);
        Ok(())
    }

    /// A segment is missing that belongs to `cut`. While the log is truncated, or tells of later segments only now, that is no damage: it is cut anew.
    ///
    /// # Errors
    /// `Truncated` when it has moved on too often, `Corrupt` with `text` when it has not moved.
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
            let mut error = Error::new(Code::Truncated, "truncation has overtaken the backup again and again");
            error.first_position = Some(truncations.0);
            return Err(error);
        }
        Err(Error::new(Code::Corrupt, text))
    }

    /// Everything is there but what makes it a log.
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
        // Between the two looks the copy became a log: where its directory went meanwhile, it is taken back.
        self.is_where_it_is_looked_for()?;
        self.made.clear();
        self.done = true;
        (self.lock, self.place) = (None, None);
        Ok(())
    }

    fn is_where_it_is_looked_for(&self) -> Result<()> {
        match self.to.lost() {
            Some(what) => Err(Error::new(Code::Detached, format!("{what}: the backup is not complete, and nothing of it is left"))),
            None => Ok(()),
        }
    }

    fn remove(&mut self, which: impl Fn(u64) -> bool) {
        // CONTROL first: without it what is left is no log.
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
