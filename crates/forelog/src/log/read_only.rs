//! Opening a log for reading alone: not a byte is written and no lock is taken, so a damaged log, a read-only file system
//! and a writer in another process do not stand in the way.

use crate::error::{Code, Error, Result};
use crate::format::control::Fence;
use crate::format::header::CONTROL;
use crate::format::horizon::{Horizon, Reach};
use crate::log::open::stopped;
use crate::log::remote_writer::{Peer, Seen};
use crate::log::state::Positions;
use crate::maintenance::backup::Cut;
use crate::maintenance::progress::{Opening, Watch};
use crate::options::Mode;
use crate::recovery::evidence::{glance, survey, Active, Survey};
use crate::recovery::report::Recovery;
use crate::recovery::verdict::{self, Answer, Verdict};
use crate::segments::catalog::{Catalog, Segment};
use crate::storage::zero_on_read_error::Lenient;
use crate::storage::Storage;
use std::sync::Arc;

/// A log as it was found.
pub struct View {
    pub catalog: Arc<Catalog>,
    pub recovery: Recovery,
    pub positions: Positions,
    pub peer: Option<Peer>,
    pub uuid: [u8; 16],
    /// Where the frames of the newest segment end; `None` where it does not read.
    pub end: Option<u64>,
}

/// A writer can move the log on between two looks this often before an end that was seen is taken as it is.
const LOOKS: usize = 32;
/// Truncation can take what is looked at away this often.
const OVERTAKEN: usize = 100;
/// A log that has not moved between so many looks is not what hides a file.
const STILL: usize = 3;

/// Looks at the log in `storage`; its end is where a writer's recovery would find it.
///
/// What is damaged, or the disk fails to read, is in the report: reading meets it where it stands. While `held` says that
/// a writer has the log, no more of it is shown than that has acknowledged. Stopping `watch` ends it with `Closed`.
pub fn beside(storage: &Arc<dyn Storage>, watch: &Arc<Watch>, held: impl FnOnce() -> Result<bool>, clock: fn() -> u64) -> Result<View> {
    let began = clock();
    let page = page(storage);
    let live = held()?;
    let opening: Arc<dyn Storage> = Arc::new(Opening::of(storage.clone(), watch));
    let found = look(&opening).map_err(|error| stopped(watch, error.during("open")))?;
    let answer = verdict::answer(found.verdict, Mode::ReadOnly);
    if let Answer::Refuse(code) = answer {
        return Err(found.refusal(code));
    }
    let last = found.last().max(found.low - 1);
    let durable = found.active.as_ref().map_or(0, |active| active.proven.next - 1).min(last);
    // Read before the look: all that it says was acknowledged is there, unless it is older than a power loss.
    let told_up_to = page.as_ref().map_or(0, |page| page.sequence);
    let left = page.filter(|page| page.uuid == found.state.uuid && page.acknowledged.position <= last);
    let shown = match &left {
        Some(page) if live => page.acknowledged.position.max(found.low - 1),
        // A writer that has not told anything yet is still opening the log: it keeps what is proven durable.
        None if live => durable,
        _ => last,
    };
    // What a living writer told is taken over again at the first reading, names and all.
    let sequence = if live && left.is_some() { 0 } else { told_up_to };
    let peer = peer(storage, &found, left, sequence, live);
    let (last, durable) = (shown, durable.min(shown));
    let positions = Positions { first: found.low, next: last + 1, written: last, acknowledged: last, durable };
    let catalog = Arc::new(Catalog::default());
    catalog.replace(found.live.iter().map(|name| Arc::new(Segment::of_name(name))).collect(), found.low);
    let mut recovery = Recovery::of(&found, answer);
    recovery.next_position = positions.next;
    recovery.volatile = storage.is_volatile();
    recovery.duration_ms = clock().saturating_sub(began) as f64 / 1e6;
    let end = found.active.as_ref().map(|active| active.scan.end.offset);
    Ok(View { catalog, recovery, positions, peer, uuid: found.state.uuid, end })
}

/// The same where nobody can be writing.
#[cfg(any(test, feature = "sim"))]
pub fn open(storage: &Arc<dyn Storage>, clock: fn() -> u64) -> Result<View> {
    beside(storage, &Arc::default(), || Ok(false), clock)
}

/// The page for readers in other processes, as it stands.
fn page(storage: &Arc<dyn Storage>) -> Option<Horizon> {
    Horizon::read(&*storage.open(CONTROL, false).ok()?).ok()?
}

/// What it takes to go along with a writer; `None` without a CONTROL to look at.
fn peer(storage: &Arc<dyn Storage>, found: &Survey, left: Option<Horizon>, sequence: u64, live: bool) -> Option<Peer> {
    let control = storage.open(CONTROL, false).ok()?;
    let generation = left.map(|page| page.generation);
    let whole = |_: &&Active| !live && found.damage().is_none();
    let cut = found.active.as_ref().filter(whole).map(|active| Cut {
        segment: active.segment.header.id,
        durable: Reach { offset: active.scan.end.offset, position: active.scan.end.next - 1 },
    });
    Some(Peer::new(control, Seen { sequence, generation, cut }))
}

/// Looks until a writer at work cannot be what makes the log seem damaged.
///
/// A reader may see a later write and miss an earlier one: then the next look sees both. So damage counts once two looks
/// in a row agree on it, and an end once CONTROL has not moved the log on meanwhile.
///
/// # Errors
/// `Truncated` when truncation takes away what is looked at again and again, `Io` when the disk does not answer.
pub fn look(storage: &Arc<dyn Storage>) -> Result<Survey> {
    let mut before: Option<Survey> = None;
    let (mut missed_at, mut still) = (None, 0);
    for look in 0..OVERTAKEN {
        let lenient = Lenient::new(storage.clone());
        let mut found = match survey(&lenient, Mode::ReadOnly) {
            Ok(found) => found,
            // A segment that was listed has been removed meanwhile.
            Err(fault) if fault.is_not_found() => {
                let stands = glance(&lenient, false).ok().map(|found| told(&found));
                still = if missed_at == Some(stands) { still + 1 } else { 0 };
                missed_at = Some(stands);
                if still < STILL {
                    continue;
                }
                return Err(Error::from(fault).judged("unreadable"));
            }
            Err(fault) => return Err(Error::from(fault).judged("unreadable")),
        };
        match lenient.fault() {
            // Without a segment there is nothing else to go by.
            Some(fault) if !found.evidence.segments => return Err(Error::from(fault).judged("unreadable")),
            fault => found.unreadable(fault.is_some()),
        }
        // What was read of a segment that is gone by now may be another one's. Of one that is missing nothing was read.
        let was_read = !matches!(found.verdict, Verdict::Gap | Verdict::LateStart | Verdict::LostActive);
        if was_read && found.damage().is_some_and(|damage| damage.segment != CONTROL && storage.is_gone(&damage.segment)) {
            continue;
        }
        let same = |before: &Survey| before.verdict == found.verdict && before.damage() == found.damage();
        let confirmed = found.damage().is_none() || before.as_ref().is_some_and(same);
        if confirmed && (look >= LOOKS || !has_moved_on(storage, &found)) {
            return Ok(found);
        }
        before = Some(found);
    }
    Err(Error::new(Code::Truncated, "truncation has overtaken every look at the log"))
}

/// What CONTROL tells that moves with the log.
fn told(survey: &Survey) -> (u64, u64, Option<Fence>) {
    (survey.state.active, survey.state.low, survey.state.fence)
}

fn has_moved_on(storage: &Arc<dyn Storage>, found: &Survey) -> bool {
    match glance(&Lenient::new(storage.clone()), false) {
        Ok(again) => found.evidence.control && again.evidence.control && told(found) != told(&again),
        Err(_) => false,
    }
}
