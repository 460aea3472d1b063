//! A log that another process writes, as a reader of it goes along: the page in CONTROL says how far it may read, the
//! names in the directory say where. Nothing is written, and no lock is held.

use crate::attachment::Bond;
use crate::backup::Cut;
use crate::catalog::Segment;
use crate::control;
use crate::directory::Listing;
use crate::error::Result;
use crate::horizon::Horizon;
use crate::options::PAGE;
use crate::shared::{locked, Shared};
use crate::storage::FileRef;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// How long the pages of logs that somebody follows are left alone: doubled each time that none has moved.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(20);
/// A reading of names can be overtaken by rolls and truncations this often.
const LISTINGS: usize = 8;

/// A page is no older than twice this, and an error that it may explain waits so long.
const PAGE_AGE: Duration = Duration::from_millis(5);
const LOOKS: usize = 3;

/// What the page said last.
pub struct Seen {
    /// Pages up to this one say nothing new: they were read, or left by a writer that is gone.
    pub sequence: u64,
    /// `None` until a page has told.
    pub generation: Option<u64>,
    /// Where a backup may cut the log; `None` for a log that is damaged, or that its writer is still opening.
    pub cut: Option<Cut>,
}

/// What a look at the page has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    None,
    More,
    /// Positions were taken back.
    Cut,
}

pub struct Peer {
    control: FileRef,
    /// Whether the path leads to this log still.
    pub bond: Bond,
    seen: Mutex<Seen>,
}

impl Peer {
    pub fn new(control: FileRef, seen: Seen) -> Peer {
        Peer { bond: Bond::new(&*control), control, seen: Mutex::new(seen) }
    }

    /// Takes over what the page says now.
    pub fn refresh(&self, shared: &Shared) -> Result<News> {
        let mut seen = locked(&self.seen);
        for _ in 0..LISTINGS {
            let page = Horizon::read(&*self.control)?.filter(|page| page.sequence > seen.sequence);
            let Some(page) = page else { return Ok(News::None) };
            // What more than one generation kept, one page cannot tell.
            let kept = match seen.generation {
                Some(before) if before == page.generation => None,
                Some(before) if before + 1 != page.generation => Some(0),
                _ => Some(page.kept),
            };
            // Names before numbers: whoever reads up to the horizon finds the segments that hold it.
            if !catalogue(shared, &page, kept)? {
                continue;
            }
            let durable = Cut { segment: page.active, durable: page.durable };
            *seen = Seen { sequence: page.sequence, generation: Some(page.generation), cut: Some(durable) };
            let acknowledged = page.acknowledged.position;
            let h = &shared.horizons;
            h.first.store(shared.catalog.first(), Ordering::Release);
            h.durable.store(page.durable.position, Ordering::Release);
            h.written.store(acknowledged, Ordering::Release);
            h.acknowledged.store(acknowledged, Ordering::Release);
            locked(&shared.intake).next = acknowledged + 1;
            return Ok(if kept.is_some() { News::Cut } else { News::More });
        }
        Ok(News::None)
    }

    /// Looks until the page cannot be what hides that `next` was truncated: it may be a moment behind.
    pub fn look_again(&self, shared: &Shared, next: u64) {
        for _ in 0..LOOKS {
            let news = shared.refresh(self);
            let low = self.low(shared);
            if news.is_err() || matches!(news, Ok(News::Cut)) || low.is_err() || low.is_ok_and(|low| low > next) {
                return;
            }
            std::thread::sleep(PAGE_AGE);
        }
    }

    /// Lets the page catch up with the directory; it is only ever a moment behind.
    pub fn wait_for_page(&self) {
        std::thread::sleep(PAGE_AGE);
    }

    pub fn cut(&self) -> Option<Cut> {
        locked(&self.seen).cut
    }

    /// First position that counts now, by CONTROL itself: it says so before a segment goes, the page only soon after.
    pub fn low(&self, shared: &Shared) -> Result<u64> {
        let mut slots = vec![0; 2 * PAGE as usize];
        let n = self.control.read_at(&mut slots, 0)?;
        // One that does not name the newest segment yet may be from before a reset.
        let newest = shared.catalog.newest().unwrap_or(0);
        let low = control::choose(&slots[..n]).ok().filter(|(state, _)| state.active >= newest).map_or(0, |(state, _)| state.low);
        if low > shared.catalog.first() {
            shared.catalog.raise(low);
            shared.horizons.first.store(low, Ordering::Release);
        }
        Ok(shared.catalog.first())
    }
}

/// Brings the catalog to where the page is; false when the directory has moved on since.
fn catalogue(shared: &Shared, page: &Horizon, kept: Option<u64>) -> Result<bool> {
    let catalog = &shared.catalog;
    // Only a cut may move the start of the log back.
    let low = if kept.is_some() { page.low } else { page.low.max(catalog.first()) };
    if kept.is_none() && catalog.newest() == Some(page.active) {
        if low > catalog.first() {
            catalog.raise(low);
        }
        return Ok(true);
    }
    let names = Listing::read(&*shared.storage)?.segments;
    // A segment above the active one is not acknowledged yet, and may cut off what still is.
    let mut live: Vec<Arc<Segment>> = Vec::new();
    for (id, name) in names.range(..=page.active).rev() {
        match live.last() {
            None if *id != page.active => return Ok(false),
            Some(above) if above.first <= low => break,
            // Superseded by a higher one.
            Some(above) if name.first >= above.first => {}
            _ => live.push(catalog.with_id(*id).unwrap_or_else(|| Arc::new(Segment::of_name(name)))),
        }
    }
    live.reverse();
    let Some(oldest) = live.first() else { return Ok(false) };
    // Truncated since the page was written: what is left is in order.
    let low = low.max(oldest.first.min(page.acknowledged.position + 1));
    catalog.move_on(live, low, kept);
    Ok(true)
}

#[derive(Default)]
struct Watched {
    logs: Vec<Weak<Shared>>,
    running: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { logs: Vec::new(), running: false });

/// Has the page looked at for as long as somebody waits for it: one thread for all logs of the process.
pub fn attend(shared: &Arc<Shared>) {
    let mut watched = locked(&WATCHED);
    if !watched.logs.iter().any(|log| log.as_ptr() == Arc::as_ptr(shared)) {
        watched.logs.push(Arc::downgrade(shared));
    }
    if !watched.running {
        watched.running = std::thread::Builder::new().name("forelog-peer".into()).spawn(look).is_ok();
        if !watched.running {
            // Without a thread, whoever waits has to look again itself.
            drop(watched);
            shared.followers.wake_all();
        }
    }
}

fn look() {
    let mut pause = SHORTEST;
    loop {
        std::thread::sleep(pause);
        let logs: Vec<Arc<Shared>> = {
            let mut watched = locked(&WATCHED);
            watched.logs.retain(|log| log.upgrade().is_some_and(|log| !log.followers.is_empty()));
            if watched.logs.is_empty() {
                watched.running = false;
                return;
            }
            watched.logs.iter().filter_map(Weak::upgrade).collect()
        };
        let mut moved = false;
        for log in logs {
            moved |= log.look();
        }
        pause = if moved { SHORTEST } else { (pause * 2).min(LONGEST) };
    }
}
