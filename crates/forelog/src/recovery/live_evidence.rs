//! The evidence of a log that a writer may be changing: gathered until it holds still.

use crate::error::{Code, Error, Result};
use crate::format::control::Fence;
use crate::format::file_names::CONTROL;
use crate::options::Mode;
use crate::recovery::evidence::{inspect_directory, inspect_log, Survey};
use crate::recovery::verdict::Verdict;
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::Storage;
use std::sync::Arc;

/// A writer can move the log on between two looks this often before an end that was seen is taken as it is.
const LOOKS: usize = 32;
/// Truncation can take what is looked at away this often.
const OVERTAKEN: usize = 100;
/// A log that has not moved between so many looks is not what hides a file.
const STILL: usize = 3;

/// Looks until a writer at work cannot be what makes the log seem damaged.
///
/// A reader may see a later write and miss an earlier one: then the next look sees both. So damage counts once two looks
/// in a row agree on it, and an end once CONTROL has not moved the log on meanwhile.
///
/// # Errors
/// `Truncated` when truncation takes away what is looked at again and again, `Io` when the disk does not answer.
pub fn survey_until_stable(storage: &Arc<dyn Storage>) -> Result<Survey> {
    let mut before: Option<Survey> = None;
    let (mut missed_at, mut still) = (None, 0);
    for look in 0..OVERTAKEN {
        let lenient = ZeroOnReadError::new(storage.clone());
        let mut found = match inspect_log(&lenient, Mode::ReadOnly) {
            Ok(found) => found,
            // A segment that was listed has been removed meanwhile.
            Err(fault) if fault.is_not_found() => {
                let stands = inspect_directory(&lenient, false).ok().map(|found| control_position(&found));
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
fn control_position(survey: &Survey) -> (u64, u64, Option<Fence>) {
    (survey.state.active, survey.state.low, survey.state.fence)
}

fn has_moved_on(storage: &Arc<dyn Storage>, found: &Survey) -> bool {
    match inspect_directory(&ZeroOnReadError::new(storage.clone()), false) {
        Ok(again) => found.evidence.control && again.evidence.control && control_position(found) != control_position(&again),
        Err(_) => false,
    }
}
