//! Surveys a log that a writer may be changing, until the result is stable.

use crate::error::{Code, Error, Result};
use crate::format::control::Fence;
use crate::format::file_names::CONTROL;
use crate::options::Mode;
use crate::recovery::evidence::{inspect_directory, inspect_log};
use crate::recovery::survey::Survey;
use crate::recovery::verdict::Verdict;
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::Storage;
use std::sync::Arc;

/// Number of surveys during which a writer may move the log on before the end that was found is taken as it is.
const SURVEYS: usize = 32;
/// Number of surveys that truncation may overtake.
const OVERTAKEN: usize = 100;
/// If the log has not moved between this many surveys, a writer at work is not the reason why a file is missing.
const STILL: usize = 3;

/// Surveys repeatedly until apparent damage cannot be a race with a concurrent writer.
///
/// A survey may see a later write and miss an earlier one; the next survey then sees both. So damage counts once two surveys in a row agree
/// on it, and an end once CONTROL has not moved the log on meanwhile.
///
/// # Errors
/// `Truncated` if truncation overtakes every survey, `Io` if the disk fails to read.
pub fn survey_until_stable(storage: &Arc<dyn Storage>) -> Result<Survey> {
    let mut before: Option<Survey> = None;
    let (mut missed_at, mut still) = (None, 0);
    for survey in 0..OVERTAKEN {
        let lenient = ZeroOnReadError::new(storage.clone());
        let mut found = match inspect_log(&lenient, Mode::ReadOnly) {
            Ok(found) => found,
            // A segment that was listed has been removed meanwhile.
            Err(fault) if fault.is_not_found() => {
                let position = inspect_directory(&lenient, false).ok().map(|found| control_position(&found));
                still = if missed_at == Some(position) { still + 1 } else { 0 };
                missed_at = Some(position);
                if still < STILL {
                    continue;
                }
                return Err(Error::from(fault).judged("unreadable"));
            }
            Err(fault) => return Err(Error::from(fault).judged("unreadable")),
        };
        match lenient.fault() {
            // Without a segment there is no other evidence.
            Some(fault) if !found.evidence.segments => return Err(Error::from(fault).judged("unreadable")),
            fault => found.unreadable(fault.is_some()),
        }
        // Bytes that were read from a segment that is gone by now may be another segment's. Of a missing segment nothing was read.
        let was_read = !matches!(found.verdict, Verdict::Gap | Verdict::LateStart | Verdict::LostActive);
        if was_read && found.damage().is_some_and(|damage| damage.segment != CONTROL && storage.is_gone(&damage.segment)) {
            continue;
        }
        let same = |before: &Survey| before.verdict == found.verdict && before.damage() == found.damage();
        let confirmed = found.damage().is_none() || before.as_ref().is_some_and(same);
        if confirmed && (survey >= SURVEYS || !has_moved_on(storage, &found)) {
            return Ok(found);
        }
        before = Some(found);
    }
    Err(Error::new(Code::Truncated, "truncation overtook every attempt to read the log: try again"))
}

/// Returns the parts of CONTROL that move with the log.
fn control_position(survey: &Survey) -> (u64, u64, Option<Fence>) {
    (survey.state.active, survey.state.low_mark, survey.state.fence)
}

fn has_moved_on(storage: &Arc<dyn Storage>, found: &Survey) -> bool {
    match inspect_directory(&ZeroOnReadError::new(storage.clone()), false) {
        Ok(again) => found.evidence.control && again.evidence.control && control_position(found) != control_position(&again),
        Err(_) => false,
    }
}
