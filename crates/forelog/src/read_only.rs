//! Opening a log for reading alone: not a byte is written and no lock is taken, so a damaged log, a read-only file system
//! and a writer in another process do not stand in the way.

use crate::catalog::{Catalog, Segment};
use crate::control::Fence;
use crate::error::{Code, Error, Result};
use crate::options::Mode;
use crate::recovery::{self, Answer};
use crate::report::Recovery;
use crate::shared::Positions;
use crate::storage::lenient::Lenient;
use crate::storage::Storage;
use crate::survey::{glance, survey, Survey};
use std::sync::Arc;

/// A log as it was found.
pub struct View {
    pub catalog: Arc<Catalog>,
    pub recovery: Recovery,
    pub positions: Positions,
}

/// A writer can move the log on between two looks this often before what was seen last is taken as it is.
const LOOKS: usize = 32;

/// Looks at the log in `storage`; its end is where a writer's recovery would find it.
///
/// What is damaged, or the disk fails to read, is in the report: reading meets it where it stands.
pub fn open(storage: &Arc<dyn Storage>, clock: fn() -> u64) -> Result<View> {
    let began = clock();
    let found = look(storage).map_err(|error| error.during("open"))?;
    let answer = recovery::answer(found.verdict, Mode::ReadOnly);
    if let Answer::Refuse(code) = answer {
        return Err(found.refusal(code));
    }
    let last = found.last().max(found.low - 1);
    let durable = found.active.as_ref().map_or(0, |active| active.proven.next - 1).min(last);
    let positions = Positions { first: found.low, next: last + 1, written: last, acknowledged: last, durable };
    let catalog = Arc::new(Catalog::default());
    catalog.replace(found.live.iter().map(|name| Arc::new(Segment::of_name(name))).collect(), found.low);
    let mut recovery = Recovery::of(&found, answer);
    recovery.next_position = positions.next;
    recovery.duration_ms = clock().saturating_sub(began) as f64 / 1e6;
    Ok(View { catalog, recovery, positions })
}

/// Looks until a writer at work cannot be what makes the log seem damaged.
///
/// A reader may see a later write and miss an earlier one: then the next look sees both. So damage counts once two looks
/// in a row agree on it, and an end once CONTROL has not moved the log on meanwhile.
pub fn look(storage: &Arc<dyn Storage>) -> Result<Survey> {
    let mut before: Option<Survey> = None;
    for left in (0..LOOKS).rev() {
        let lenient = Lenient::new(storage.clone());
        let mut found = match survey(&lenient, Mode::ReadOnly) {
            Ok(found) => found,
            // A segment that was listed has been removed meanwhile.
            Err(fault) if fault.is_not_found() && left > 0 => continue,
            Err(fault) => return Err(Error::from(fault).judged("unreadable")),
        };
        match lenient.fault() {
            // Without a segment there is nothing else to go by.
            Some(fault) if !found.evidence.segments => return Err(Error::from(fault).judged("unreadable")),
            fault => found.unreadable(fault.is_some()),
        }
        let same = |before: &Survey| before.verdict == found.verdict && before.damage() == found.damage();
        let confirmed = found.damage().is_none() || before.as_ref().is_some_and(same);
        if left == 0 || confirmed && !has_moved_on(storage, &found) {
            return Ok(found);
        }
        before = Some(found);
    }
    Err(Error::new(Code::Io, "the log changes faster than it can be looked at"))
}

fn has_moved_on(storage: &Arc<dyn Storage>, found: &Survey) -> bool {
    let told = |survey: &Survey| -> (u64, u64, Option<Fence>) { (survey.state.active, survey.state.low, survey.state.fence) };
    match glance(&Lenient::new(storage.clone()), false) {
        Ok(again) => found.evidence.control && again.evidence.control && told(found) != told(&again),
        Err(_) => false,
    }
}
