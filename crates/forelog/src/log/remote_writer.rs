//! Follows a log that another process writes: the horizon page in CONTROL says how far it may be read, the directory says which segments
//! there are. Writes nothing and holds no lock.

use crate::error::{Fault, Result};
use crate::format::control::{self, ControlState};
use crate::format::file_names::Name;
use crate::format::horizon::{self, Horizon};
use crate::log::state::LogState;
use crate::recovery::directory::Listing;
use crate::segments::attachment::Bond;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::log_ends::DurableEnd;
use crate::segments::segment_file::SegmentFile;
use crate::storage::{File, FileRef};
use crate::util::locks::locked;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Bounds of the pause between two reads of the pages of open logs. The pause doubles each time that no followed log has moved.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(10);
/// How often rolls and truncations may overtake a listing of the directory.
const LISTINGS: usize = 8;
/// How often CONTROL is read again at most because its page was being written.
const READINGS: usize = 16;

/// Half the maximum age of a page. An error that a newer page may explain waits for up to `REFRESHES` times this.
const PAGE_AGE: Duration = Duration::from_millis(5);
const REFRESHES: usize = 3;

/// The page that was applied last.
pub struct LastPage {
    /// Pages up to this one are old: they were applied, or left by a writer that is gone.
    pub sequence: u64,
    /// Truncation generation of that page; `None` until a page has been applied.
    pub generation: Option<u64>,
    /// Durable end of the log, up to which a backup may copy; `None` if the log is damaged, or if its writer is still opening it.
    pub durable_end: Option<DurableEnd>,
}

/// The change that a read of the page has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageChange {
    None,
    More,
    /// Positions were taken back by a truncation or a reset.
    Truncated,
}

/// CONTROL as read once.
struct ControlPages {
    page: Option<Horizon>,
    /// The slot that counts. It has a new low mark before a segment is removed; the page has that mark only soon after.
    state: Option<ControlState>,
}

impl ControlPages {
    fn read(control: &dyn File) -> std::result::Result<ControlPages, Fault> {
        let mut bytes = vec![0; control::FILE_BYTES as usize];
        let mut pages = ControlPages { page: None, state: None };
        for _ in 0..READINGS {
            let n = control.read_at(&mut bytes, 0)?;
            let page = bytes[..n].get(horizon::OFFSET as usize..).unwrap_or_default();
            pages = ControlPages { page: Horizon::decode(page), state: control::choose(&bytes[..n]).ok().map(|(state, _)| state) };
            let torn = pages.page.is_none() && page.iter().any(|byte| *byte != 0);
            // A page is written after the slot that it refers to. If the slot was read first, it may be an older one.
            let early = pages.page.as_ref().zip(pages.state.as_ref()).is_some_and(|(page, state)| page.active > state.active);
            if !torn && !early {
                break;
            }
            std::thread::yield_now();
        }
        Ok(pages)
    }

    /// Returns the low mark of the slot if the slot is no older than the segment `active`, otherwise 0. An older slot may be from before a
    /// reset.
    fn low_mark(&self, active: u64) -> u64 {
        self.state.as_ref().filter(|state| state.active >= active).map_or(0, |state| state.low_mark)
    }
}

pub struct RemoteWriter {
    control: FileRef,
    /// Whether the path still leads to this log.
    pub bond: Bond,
    last_page: Mutex<LastPage>,
}

impl RemoteWriter {
    pub fn new(control: FileRef, last_page: LastPage) -> RemoteWriter {
        RemoteWriter { bond: Bond::new(&*control), control, last_page: Mutex::new(last_page) }
    }

    /// Applies the present contents of CONTROL to the log.
    pub fn refresh(&self, shared: &LogState) -> Result<PageChange> {
        let mut last = locked(&self.last_page);
        for left in (0..LISTINGS).rev() {
            let pages = ControlPages::read(&*self.control)?;
            let is_new = |page: &&Horizon| page.sequence > last.sequence && !is_behind_opening(shared, &last, page);
            let Some(page) = pages.page.as_ref().filter(is_new) else { break };
            // If more than one generation passed, this page cannot say what the earlier ones kept: assume nothing.
            let kept = match last.generation {
                Some(before) if before == page.generation => None,
                Some(before) if before + 1 != page.generation => Some(0),
                _ => Some(page.kept),
            };
            // Names before positions, so that a reader that reads up to the horizon finds the segments that hold it.
            if !update_catalog(shared, &*self.control, page, kept, &pages, left == 0)? {
                continue;
            }
            let durable = DurableEnd { segment: page.active, durable: page.durable };
            *last = LastPage { sequence: page.sequence, generation: Some(page.generation), durable_end: Some(durable) };
            show(shared, page.durable.position, page.acknowledged.position);
            return Ok(if kept.is_some() { PageChange::Truncated } else { PageChange::More });
        }
        // The page says nothing new, or describes a log that the directory has left behind. The page will catch up.
        let low_mark = ControlPages::read(&*self.control)?.low_mark(shared.catalog.newest_id().unwrap_or(0));
        if self.begins_in_dead_segment(shared, low_mark)? {
            return Ok(PageChange::Truncated);
        }
        Ok(raise(shared, low_mark))
    }

    /// Applies the state of the directory if the segment of the catalog that holds `low_mark`, to which the log is about to be raised, was cut
    /// off and the page does not say so. A reader would return what was cut off.
    fn begins_in_dead_segment(&self, shared: &LogState, low_mark: u64) -> Result<bool> {
        let acknowledged = shared.catalog.ends.acknowledged();
        if low_mark <= shared.catalog.low_mark() || low_mark > acknowledged {
            return Ok(false);
        }
        let Some((state, names)) = self.named(shared)? else { return Ok(false) };
        let Some(held) = shared.catalog.segment_containing(low_mark) else { return Ok(false) };
        match live(&names, state.active, state.low_mark, &shared.catalog) {
            Some(live) if live.iter().all(|segment| segment.id != held.id) => {
                go_past(shared, live, state.low_mark);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Returns CONTROL's state and the names in the directory that go with it; `None` while CONTROL names no segment after the catalog's
    /// newest one.
    fn named(&self, shared: &LogState) -> Result<Option<(ControlState, BTreeMap<u64, Name>)>> {
        let newest = shared.catalog.newest_id().unwrap_or(0);
        let mut before = ControlPages::read(&*self.control)?.state;
        let mut left = LISTINGS;
        loop {
            let Some(state) = before.take().filter(|state| state.active > newest) else { return Ok(None) };
            let names = Listing::read(&*shared.storage)?.segments;
            let after = ControlPages::read(&*self.control)?.state;
            left -= 1;
            // A truncation meanwhile may have left dead segments that seem to count. The writer can outrun every listing.
            if left == 0 || after.as_ref().is_none_or(|after| after.active == state.active) {
                return Ok(Some((state, names)));
            }
            before = after;
        }
    }

    /// Looks again until an old page can no longer be what hides that `next` was truncated. The page may be a moment too old, or for ever
    /// if the writer stands still.
    ///
    /// # Errors
    /// `Io` if the directory cannot be listed.
    pub fn refresh_for(&self, shared: &LogState, next: u64) -> Result<PageChange> {
        for _ in 0..REFRESHES {
            let change = shared.refresh(self)?;
            if change == PageChange::Truncated || shared.catalog.low_mark() > next {
                return Ok(change);
            }
            self.wait_for_page();
        }
        self.go_past_page(shared, next)
    }

    /// Waits until the page has caught up with the directory. It is only ever a moment too old.
    pub fn wait_for_page(&self) {
        std::thread::sleep(PAGE_AGE);
    }

    pub fn durable_end(&self) -> Option<DurableEnd> {
        locked(&self.last_page).durable_end
    }

    /// Whether CONTROL names a segment with an id above `segment`.
    pub fn names_one_after(&self, segment: u64) -> bool {
        ControlPages::read(&*self.control).is_ok_and(|pages| pages.state.is_some_and(|state| state.active > segment))
    }

    /// Applies the state of the directory if the segment that held `next` is gone and the log does not need it. That segment was cut off,
    /// and the page does not say so. The log then appears empty at its low mark, until the page says once more that positions were taken
    /// back.
    fn go_past_page(&self, shared: &LogState, next: u64) -> Result<PageChange> {
        let _one_at_a_time = locked(&self.last_page);
        let Some(held) = shared.catalog.segment_containing(next) else { return Ok(PageChange::None) };
        let Some((state, names)) = self.named(shared)? else { return Ok(PageChange::None) };
        let goes_on = |name: &Name| name.first <= held.first.max(state.low_mark);
        let is_needed = names.contains_key(&held.id) || !names.range(held.id + 1..).any(|(_, name)| goes_on(name));
        match live(&names, state.active, state.low_mark, &shared.catalog) {
            Some(live) if !is_needed => {
                go_past(shared, live, state.low_mark);
                Ok(PageChange::Truncated)
            }
            _ => Ok(PageChange::None),
        }
    }
}

/// Whether a page is older than what opening has found, as far as the sequence cannot show it: opening read no page, or one that a truncation
/// has overtaken. A truncation from the end or a reset begins a segment after all that opening has found, so a page that shows less of those
/// takes nothing back.
fn is_behind_opening(shared: &LogState, last: &LastPage, page: &Horizon) -> bool {
    let newest = shared.catalog.newest_id().unwrap_or(0);
    last.generation.is_none() && (page.active, page.acknowledged.position) < (newest, shared.catalog.ends.acknowledged())
}

/// Goes on to the segments `live` before the page reports them. The log appears empty at `low_mark` until then.
fn go_past(shared: &LogState, live: Vec<Arc<CatalogSegment>>, low_mark: u64) {
    shared.catalog.replace_from_remote(live, low_mark, Some(0));
    show(shared, 0, 0);
}

/// Publishes how far the log is durable and acknowledged, as far as that is known. Neither is below the position before the first.
fn show(shared: &LogState, durable: u64, acknowledged: u64) {
    let mut next = 0;
    shared.catalog.ends.change(|ends| {
        let none = ends.low_mark - 1;
        ends.durable = durable.max(none);
        ends.acknowledged = acknowledged.max(none);
        ends.written = ends.acknowledged;
        next = ends.acknowledged + 1;
    });
    locked(&shared.submissions).next = next;
}

/// Raises the first position of the log to `low_mark`, if that is higher.
fn raise(shared: &LogState, low_mark: u64) -> PageChange {
    let ends = shared.catalog.ends.get();
    if low_mark <= ends.low_mark {
        return PageChange::None;
    }
    shared.catalog.raise_low_mark(low_mark);
    show(shared, ends.durable, ends.acknowledged);
    PageChange::More
}

/// Returns the segments of a log that starts at `low_mark` and whose newest segment is `active`, as far as they exist; `None` if `active`
/// does not.
fn live(names: &BTreeMap<u64, Name>, active: u64, low_mark: u64, catalog: &Catalog) -> Option<Vec<Arc<CatalogSegment>>> {
    // Nothing in a segment above the active one is acknowledged yet, and the segment may cut off records that still are.
    let mut live: Vec<Arc<CatalogSegment>> = Vec::new();
    for (id, name) in names.range(..=active).rev() {
        match live.last() {
            None if *id != active => return None,
            Some(above) if above.first <= low_mark => break,
            // The segment above has replaced this one.
            Some(above) if name.first >= above.first => {}
            _ => live.push(catalog.with_id(*id).unwrap_or_else(|| Arc::new(CatalogSegment::of_name(name)))),
        }
    }
    live.reverse();
    (!live.is_empty()).then_some(live)
}

/// Brings the catalog to the state of `page`. Returns false if the directory has moved on since. On the last try the directory is taken
/// as it is, unless CONTROL shows that the log has moved on.
fn update_catalog(
    shared: &LogState,
    control: &dyn File,
    page: &Horizon,
    kept: Option<u64>,
    pages: &ControlPages,
    is_last_try: bool,
) -> Result<bool> {
    let catalog = &shared.catalog;
    // Only a truncation or a reset that takes positions back may lower the start of the log.
    let low_mark = if kept.is_some() { page.low_mark } else { page.low_mark.max(catalog.low_mark()) }.max(pages.low_mark(page.active));
    if kept.is_none() && catalog.newest_id() == Some(page.active) {
        if low_mark > catalog.low_mark() {
            catalog.raise_low_mark(low_mark);
        }
        return Ok(true);
    }
    // The log was found at a later segment when it was opened, or because the page was too old. It never goes back.
    if kept.is_none() && catalog.newest_id().is_some_and(|newest| newest > page.active) {
        return Ok(false);
    }
    let names = Listing::read(&*shared.storage)?.segments;
    let Some(live) = live(&names, page.active, low_mark, catalog) else { return Ok(false) };
    // The start is missing: it was truncated since CONTROL was read, or it is lost.
    let is_past = pages.state.as_ref().is_none_or(|state| state.active > page.active);
    if live[0].first > low_mark && (is_past || !is_last_try) {
        return Ok(false);
    }
    let now = ControlPages::read(control)?.state.map_or(page.active, |state| state.active);
    if !goes_on(shared, &names, page, now) {
        return Ok(false);
    }
    catalog.replace_from_remote(live, low_mark, kept);
    Ok(true)
}

/// Whether the log went on from `page` to its active segment without a truncation that the page does not show. Names alone do not
/// distinguish segments of the log from dead ones.
fn goes_on(shared: &LogState, names: &BTreeMap<u64, Name>, page: &Horizon, active: u64) -> bool {
    let mut id = active;
    while id > page.active {
        let Some(name) = names.get(&id).filter(|name| name.first > page.acknowledged.position) else { return false };
        let header = SegmentFile::open(&*shared.storage, &name.file, false).ok().and_then(|found| found.header.ok());
        match header.and_then(|header| header.predecessor) {
            Some(predecessor) if predecessor.id < id => id = predecessor.id,
            _ => return false,
        }
    }
    id == page.active
}

#[derive(Default)]
struct FollowedLogs {
    logs: Vec<Weak<LogState>>,
    running: bool,
    /// A follower has begun to wait.
    hurried: bool,
}

static FOLLOWED: Mutex<FollowedLogs> = Mutex::new(FollowedLogs { logs: Vec::new(), running: false, hurried: false });
static HURRIED: Condvar = Condvar::new();

/// Watches the page for as long as the log is open, in one thread for all logs of the process. So the positions of the log are fresh
/// without I/O in the calling thread, and a waiting follower holds no thread.
pub fn watch_page(shared: &Arc<LogState>) {
    let mut followed = locked(&FOLLOWED);
    if !followed.logs.iter().any(|log| log.as_ptr() == Arc::as_ptr(shared)) {
        followed.logs.push(Arc::downgrade(shared));
    }
    followed.hurried = true;
    HURRIED.notify_one();
    if !followed.running {
        followed.running = std::thread::Builder::new().name("forelog-peer".into()).spawn(watch_pages).is_ok();
        if !followed.running {
            // Without a thread, the waiting followers have to look again themselves.
            drop(followed);
            shared.followers.wake_all();
        }
    }
}

fn watch_pages() {
    let mut pause = SHORTEST;
    loop {
        let logs: Vec<Arc<LogState>> = {
            let waited = HURRIED.wait_timeout_while(locked(&FOLLOWED), pause, |followed| !followed.hurried);
            let mut followed = waited.unwrap_or_else(PoisonError::into_inner).0;
            if std::mem::take(&mut followed.hurried) {
                pause = SHORTEST;
            }
            followed.logs.retain(|log| log.upgrade().is_some_and(|log| !log.ended.load(Ordering::Acquire)));
            if followed.logs.is_empty() {
                followed.running = false;
                return;
            }
            followed.logs.iter().filter_map(Weak::upgrade).collect()
        };
        let mut moved = false;
        for log in logs {
            let is_followed = log.followers.has_waiting();
            moved |= log.check_page() && is_followed;
        }
        pause = if moved { SHORTEST } else { (pause * 2).min(LONGEST) };
    }
}
