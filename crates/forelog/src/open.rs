//! Opening: reads what the directory holds, takes recovery's verdict, and does what it says in an order in which a
//! crash at any step leaves the same verdict to the next opening.

use crate::active::{Active, Filling};
use crate::catalog::{Catalog, Segment};
use crate::control::{self, Control, State};
use crate::error::{Code, Error, Result};
use crate::options::{Options, PAGE};
use crate::recovery::{self, Evidence, Joint, Scan, Verdict};
use crate::roll::{Carry, Plan};
use crate::segment::{classify, BadPage, Entry, Header, Name, Predecessor, CONTROL, SPARE};
use crate::spares::Spares;
use crate::storage::window::Window;
use crate::storage::{FileRef, Storage};
use crate::writer::{Start, Writer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// The label of the verdict: `created`, `clean`, `unproven`, `unnamed`, `fenced` or `torn`.
    pub verdict: &'static str,
    /// The log had been closed in order and went on in place.
    pub clean: bool,
    pub created: bool,
    pub first_position: u64,
    pub next_position: u64,
    /// Records found in the segment that was scanned.
    pub records: u64,
    /// Records written again into a new segment, because nothing proved them durable.
    pub carried: u64,
    pub fenced: Option<Fenced>,
    pub scanned_bytes: u64,
    pub duration_ms: f64,
}

/// Bytes that recovery cut off. They stay where they are; nothing reads them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    pub segment: String,
    pub offset: u64,
    pub bytes: u64,
    /// Positions that whole frames among them had, lowest and highest.
    pub positions: Option<(u64, u64)>,
    /// The file was used before: some of the bytes may be older than this segment.
    pub recycled: bool,
}

/// What names in the directory stand for.
#[derive(Default)]
pub struct Listing {
    /// By id.
    pub segments: BTreeMap<u64, Name>,
    pub spares: Vec<String>,
    pub control: bool,
    pub foreign: Option<String>,
}

impl Listing {
    pub fn read(storage: &dyn Storage) -> Result<Listing> {
        let mut listing = Listing::default();
        for name in storage.list()? {
            match classify(&name) {
                Entry::Segment(name) => {
                    if let Some(twin) = listing.segments.insert(name.id, name.clone()) {
                        return Err(corrupt(format!("{} and {} have the same id", twin.file, name.file)).at(name.file, 0));
                    }
                }
                Entry::Control => listing.control = true,
                Entry::Spare(name) => listing.spares.push(name),
                Entry::Foreign => listing.foreign = Some(name),
                Entry::Lock | Entry::Reserve | Entry::Cursors => {}
            }
        }
        Ok(listing)
    }

    /// Refuses a directory that is somebody else's, before anything in it is touched.
    pub fn refuse_foreign(&self) -> Result<()> {
        match &self.foreign {
            Some(name) if self.segments.is_empty() && !self.control => {
                Err(Error::new(Code::Format, format!("the directory is not a log and not empty: it holds {name}")).during("open"))
            }
            _ => Ok(()),
        }
    }
}

fn corrupt(message: String) -> Error {
    Error::new(Code::Corrupt, message).during("open")
}

fn bad_page(what: &str, bad: BadPage) -> Error {
    match bad {
        BadPage::Newer(version) => {
            Error::new(Code::Format, format!("{what} has format version {version} or features that this version of forelog does not know"))
        }
        BadPage::Foreign => Error::new(Code::Format, format!("{what} is not forelog's: its first bytes are another's")),
        BadPage::Damaged => Error::new(Code::Corrupt, format!("{what} is damaged: its checksum does not hold")),
    }
    .during("open")
}

/// CONTROL as it stands in the directory.
struct Found {
    file: FileRef,
    slots: std::result::Result<(State, u64), BadPage>,
    len: u64,
}

fn read_control(storage: &dyn Storage) -> Result<Found> {
    let file = storage.open(CONTROL, true)?;
    let len = file.len()?;
    let mut bytes = vec![0; control::FILE_BYTES as usize];
    let n = file.read_at(&mut bytes, 0)?;
    Ok(Found { slots: control::choose(&bytes[..n]), file, len })
}

/// Refuses, before anything is created or locked, a directory that is not ours to open.
pub fn refuse_unknown(storage: &dyn Storage, listing: &Listing) -> Result<()> {
    listing.refuse_foreign()?;
    if !listing.control {
        return Ok(());
    }
    let file = storage.open(CONTROL, false)?;
    let mut slots = vec![0; 2 * PAGE as usize];
    let n = file.read_at(&mut slots, 0)?;
    match control::choose(&slots[..n]) {
        Err(bad @ (BadPage::Newer(_) | BadPage::Foreign)) => Err(bad_page("CONTROL", bad).at(CONTROL, 0)),
        _ => Ok(()),
    }
}

/// An opened log: the writer, what readers need, and what was found.
pub struct Opened {
    pub writer: Writer,
    pub catalog: Arc<Catalog>,
    pub recovery: Recovery,
}

/// Opens the log in `storage`. The caller holds its lock.
///
/// With no space to roll the log opens all the same: reading works, and appends try again.
pub fn open(storage: Arc<dyn Storage>, options: &Options, clock: fn() -> u64) -> Result<Opened> {
    let began = clock();
    let listing = Listing::read(&*storage)?;
    listing.refuse_foreign()?;
    let mut opened = match existing_control(&*storage, &listing)? {
        None => create(storage, options, &listing, clock)?,
        Some(control) => recover(storage, options, &listing, control, clock)?,
    };
    opened.recovery.duration_ms = clock().saturating_sub(began) as f64 / 1e6;
    Ok(opened)
}

/// The CONTROL to go on from; `None` when the log is to be created anew.
fn existing_control(storage: &dyn Storage, listing: &Listing) -> Result<Option<Control>> {
    if !listing.control {
        return match listing.segments.values().next() {
            Some(name) => Err(corrupt(format!("{} is there, CONTROL is not", name.file)).at(CONTROL, 0)),
            None => Ok(None),
        };
    }
    let found = read_control(storage)?;
    match found.slots {
        Ok((state, _)) if state.active != 0 && !listing.segments.contains_key(&state.active) => {
            Err(corrupt(format!("CONTROL names segment {:016x}, which is absent", state.active)).at(CONTROL, 0))
        }
        // A creation that was cut off. Its CONTROL may have a name that never became durable, after a failed fsync of
        // the directory, and no later one would prove it: a new file takes the name.
        Ok(_) if listing.segments.is_empty() => Ok(None),
        Ok((state, slot)) => Ok(Some(Control::new(found.file, state, slot))),
        // It never named a segment, so nothing was ever acknowledged: unless the file is no CONTROL of ours at all.
        Err(BadPage::Damaged) if listing.segments.is_empty() && found.len == control::FILE_BYTES => Ok(None),
        Err(bad) => Err(bad_page("CONTROL", bad).at(CONTROL, 0)),
    }
}

fn writer(storage: Arc<dyn Storage>, options: &Options, control: Control, highest_id: u64, clock: fn() -> u64) -> Start {
    Start {
        spares: Arc::new(Spares::new(storage.clone(), options.segment_bytes)),
        storage,
        control,
        catalog: Arc::default(),
        highest_id,
        active: None,
        plan: None,
        clock,
    }
}

/// A new log: CONTROL comes first, through a spare, naming no segment; the first segment is then a roll.
fn create(storage: Arc<dyn Storage>, options: &Options, listing: &Listing, clock: fn() -> u64) -> Result<Opened> {
    let mut uuid = [0; 16];
    storage.random(&mut uuid)?;
    let state = State { uuid, sequence: 1, active: 0, low: 1, mark: None, fence: None };
    let name = format!("{SPARE}control");
    match storage.remove(&name) {
        Err(fault) if !fault.is_not_found() => return Err(fault.into()),
        _ => {}
    }
    let file = storage.create(&name, control::FILE_BYTES)?;
    file.write_at(&state.encode(), 0).map_err(|short| short.fault)?;
    file.sync()?;
    storage.rename(&name, CONTROL)?;
    storage.sync_dir()?;
    let control = Control::new(file, state, 0);
    drop_spares(&*storage, listing);
    let mut start = writer(storage, options, control, 0, clock);
    start.plan = Some(Plan { predecessor: None, first: 1, carry: None });
    let catalog = start.catalog.clone();
    let mut writer = Writer::new(start);
    writer.finish_plan(0).map_err(unopened)?;
    writer.spares().remake_reserve()?;
    let recovery = Recovery { verdict: "created", clean: true, created: true, first_position: 1, next_position: 1, ..Recovery::default() };
    Ok(Opened { writer, catalog, recovery })
}

/// A log that never opened is not poisoned: the next opening starts over from what the disk then shows.
fn unopened(error: Error) -> Error {
    match &error.cause {
        Some(fault) if error.code == Code::Poisoned => Error::from(fault.clone()).during("open"),
        _ => error,
    }
}

/// Spares of an earlier process: what they hold is not known, and making new ones costs nothing that matters.
fn drop_spares(storage: &dyn Storage, listing: &Listing) {
    for name in &listing.spares {
        let _ = storage.remove(name);
    }
}

fn read_header(storage: &dyn Storage, name: &Name, uuid: &[u8; 16]) -> Result<(FileRef, Header)> {
    let file = storage.open(&name.file, true)?;
    let mut page = vec![0; PAGE as usize];
    let n = file.read_at(&mut page, 0)?;
    // A segment gets its name only after its header is durable, so a bad one is damage, whatever it looks like.
    let header = match Header::decode(&page[..n]) {
        Ok(header) => header,
        Err(BadPage::Newer(version)) => return Err(bad_page(&name.file, BadPage::Newer(version)).at(&name.file, 0)),
        Err(_) => return Err(bad_page(&format!("the header of {}", name.file), BadPage::Damaged).at(&name.file, 0)),
    };
    if header.id != name.id || header.first != name.first || header.uuid != *uuid {
        return Err(corrupt(format!("the header of {} belongs to another segment", name.file)).at(&name.file, 0));
    }
    Ok((file, header))
}

/// The live segments at or above the low mark, oldest first; names alone decide, but where ids are not consecutive.
fn chain(storage: &dyn Storage, listing: &Listing, newest: &Header, low: u64) -> Result<Vec<Name>> {
    let mut live: Vec<Name> = Vec::new();
    let mut at = newest.clone();
    for name in listing.segments.values().rev() {
        match live.last() {
            None => {}
            // An id below the mark does not count, and a first position at or above a higher id's is dead.
            Some(above) if above.first <= low => break,
            Some(above) if name.first >= above.first => continue,
            Some(above) => {
                if at.id != above.id {
                    at = read_header(storage, above, &newest.uuid)?.1;
                }
                follow(storage, listing, &at, name, newest)?;
            }
        }
        live.push(name.clone());
    }
    match live.last() {
        Some(oldest) if oldest.first > low => {
            Err(corrupt(format!("the log starts at position {low}, but the oldest segment is {}", oldest.file)).at(&oldest.file, 0))
        }
        _ => {
            live.reverse();
            Ok(live)
        }
    }
}

/// Follows predecessor ids from `header` to `name`, through segments that hold nothing any more.
fn follow(storage: &dyn Storage, listing: &Listing, header: &Header, name: &Name, newest: &Header) -> Result<()> {
    let missing = |id: u64| corrupt(format!("segment {id:016x} is missing: its successor names it")).at(&name.file, 0);
    let mut predecessor = header.predecessor;
    loop {
        let Some(p) = predecessor else { return Err(corrupt(format!("no segment continues {}", name.file)).at(&name.file, 0)) };
        if p.id == name.id {
            return Ok(());
        }
        let between = listing.segments.get(&p.id).filter(|_| p.id > name.id).ok_or_else(|| missing(p.id))?;
        predecessor = read_header(storage, between, &newest.uuid)?.1.predecessor;
    }
}

fn recover(storage: Arc<dyn Storage>, options: &Options, listing: &Listing, mut control: Control, clock: fn() -> u64) -> Result<Opened> {
    let state = control.state().clone();
    let Some(newest) = listing.segments.values().next_back() else {
        return Err(corrupt("no segment is there".into()));
    };
    let (file, header) = read_header(&*storage, newest, &state.uuid)?;
    // A header without predecessor (an empty log, a reset) moves the low mark until CONTROL names it.
    let fresh = header.predecessor.is_none() && state.active < header.id;
    let low = if fresh { header.first } else { state.low };
    let live = chain(&*storage, listing, &header, low)?;

    let len = file.len()?;
    let fence = state.fence.filter(|f| f.segment == header.id).map_or(len, |f| f.offset.min(len));
    let mut window = Window::new(&*file, fence);
    let scan = recovery::scan(&mut window, &header)?;
    let evidence = Evidence::of(&header, &state, &scan);
    let verdict = recovery::judge(&evidence);
    let proven = recovery::proven(&header, &state, &scan);
    if verdict == Verdict::Corrupt {
        return Err(damaged(newest, &state, &scan, proven));
    }
    let proven = recovery::joint_at(&mut window, &header, proven)?
        .ok_or_else(|| corrupt(format!("{}: no frame ends at the proven offset {proven}", newest.file)).at(&newest.file, proven))?;

    // The verdict stands. From here on the disk changes, and CONTROL's own page comes first.
    control.confirm()?;
    if evidence.fenced {
        // The fence may have reached one slot only; rot there must not bring back what this opening leaves out.
        control.update(|_| {})?;
    }
    drop_spares(&*storage, listing);
    let mut start = writer(storage.clone(), options, control, newest.id, clock);
    start.catalog.replace(live.iter().map(|name| Arc::new(Segment::of_name(name))).collect());
    let entry = start.catalog.holding(u64::MAX).unwrap_or_else(|| Arc::new(Segment::of_header(&header)));
    let empty = scan.end.next < low;
    let clean = verdict == Verdict::Clean && !empty;
    let mut report = Recovery {
        verdict: verdict.label(),
        clean,
        first_position: low,
        records: scan.records,
        scanned_bytes: fence,
        fenced: fenced(verdict, newest, &scan, fence, len, header.recycled),
        ..Recovery::default()
    };
    if !clean {
        let plan = plan(&file, &header, &evidence, proven, &scan, empty.then_some(low));
        report.carried = plan.carry.as_ref().map_or(0, |carry| scan.end.next - carry.from.next);
        start.plan = Some(plan);
    }
    // Whatever the header proves, nothing is durable in a segment whose name may not be.
    let synced = match (clean, evidence.named) {
        (true, _) => scan.end,
        (false, true) => proven,
        (false, false) => Joint::start(&header),
    };
    let filling = if storage.overwrites_in_place() { Filling::WORTHWHILE } else { Filling::Done };
    // What stands past a fence was not looked at.
    let debris_end = if fence < len || header.recycled { len } else { scan.garbage.map_or(0, |(_, last)| last + 1) };
    start.active = Some(Active { file, header, capacity: len, end: scan.end, synced, entry, filling, debris_end });
    let catalog = start.catalog.clone();
    let mut writer = Writer::new(start);
    match writer.finish_plan(0) {
        Err(error) if error.code != Code::NoSpace => return Err(unopened(error)),
        _ => {}
    }
    writer.spares().remake_reserve()?;
    report.next_position = writer.next_position();
    Ok(Opened { writer, catalog, recovery: report })
}

/// How the log goes on when it does not go on in place.
fn plan(file: &FileRef, header: &Header, evidence: &Evidence, proven: Joint, scan: &Scan, low: Option<u64>) -> Plan {
    if let Some(low) = low {
        // All that was found is below the low mark: an empty log that starts there.
        return Plan { predecessor: None, first: low, carry: None };
    }
    let from = if evidence.named { proven } else { Joint::start(header) };
    let predecessor = if evidence.named {
        Some(Predecessor { id: header.id, salt: header.salt, end: from.offset, crc: from.crc })
    } else {
        // Nothing vouches for this segment's name: the next one takes its place.
        header.predecessor
    };
    let carry = Carry { file: file.clone(), header: header.clone(), from, to: scan.end.offset };
    Plan { predecessor, first: from.next, carry: (carry.to > from.offset).then_some(carry) }
}

fn fenced(verdict: Verdict, newest: &Name, scan: &Scan, fence: u64, len: u64, recycled: bool) -> Option<Fenced> {
    let (offset, end) = match (verdict, scan.garbage) {
        (Verdict::Fenced, _) => (fence, len),
        (Verdict::Torn, Some((_, last))) => (scan.end.offset, last + 1),
        _ => return None,
    };
    Some(Fenced { segment: newest.file.clone(), offset, bytes: end - offset, positions: scan.stray, recycled })
}

/// Bytes that were durable do not hold any more: what is known of the place and of what it held.
fn damaged(newest: &Name, state: &State, scan: &Scan, proven: u64) -> Error {
    let marked = state.mark.filter(|m| m.segment == newest.id).map_or(0, |m| m.position);
    let last = marked.max(scan.stray.map_or(0, |(_, last)| last)).max(scan.end.next);
    let at = scan.end.offset;
    let mut error = corrupt(format!(
        "{} is damaged at offset {at}: bytes up to {proven} were durable; positions {} to {last} are affected",
        newest.file, scan.end.next
    ))
    .at(&newest.file, at);
    error.lost = Some((scan.end.next, last));
    error
}
