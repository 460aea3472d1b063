//! Opens a log read-only. Not a byte is written and no lock is taken, so a damaged log, a read-only file system or a writer in another
//! process is no obstacle.

use crate::error::Result;
use crate::format::file_names::CONTROL;
use crate::format::horizon::{Horizon, LogEnd};
use crate::log::open::stopped;
use crate::log::remote_writer::{LastPage, RemoteWriter};
use crate::log::state::Positions;
use crate::maintenance::progress::{JobProgress, Opening};
use crate::options::Mode;
use crate::recovery::live_evidence::survey_until_stable;
use crate::recovery::report::Recovery;
use crate::recovery::survey::{Survey, SurveyedActive};
use crate::recovery::verdict::{self, Answer};
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::control_file::read_horizon;
use crate::segments::log_ends::DurableEnd;
use crate::storage::Storage;
use std::sync::Arc;

/// A log as opening found it.
pub struct ReadOnlyLog {
    pub catalog: Arc<Catalog>,
    pub recovery: Recovery,
    pub positions: Positions,
    pub remote: Option<RemoteWriter>,
    pub uuid: [u8; 16],
    /// Offset at which the frames of the newest segment end; `None` if it cannot be read.
    pub end: Option<u64>,
}

/// Opens the log in `storage`. Its end is where a writer's recovery would find it.
///
/// Damage is in the report, and so is what the disk fails to read; reading meets both in their places. If `held` says that a writer has the
/// log, only what that writer has acknowledged is shown. Stopping `job` ends the opening with `Closed`.
pub fn open_beside_writer(
    storage: &Arc<dyn Storage>,
    job: &Arc<JobProgress>,
    held: impl FnOnce() -> Result<bool>,
    clock: fn() -> u64,
) -> Result<ReadOnlyLog> {
    let began = clock();
    let page = read_horizon_page(storage);
    let live = held()?;
    let opening: Arc<dyn Storage> = Arc::new(Opening::of(storage.clone(), job));
    let found = survey_until_stable(&opening).map_err(|error| stopped(job, error.during("open")))?;
    let answer = verdict::answer(found.verdict, Mode::ReadOnly);
    if let Answer::Refuse(code) = answer {
        return Err(found.refusal(code));
    }
    let last = found.last().max(found.low_mark - 1);
    let durable = found.active.as_ref().map_or(0, |active| active.proven.next - 1).min(last);
    // The page was read before the survey, so everything that it calls acknowledged is there, unless it is older than a power loss, or a
    // truncation from the end has overtaken it. Other records may be at those positions then.
    let last_sequence = page.as_ref().map_or(0, |page| page.sequence);
    let is_overtaken = |page: &Horizon| found.live.iter().any(|name| name.id > page.active && name.first <= page.acknowledged.position);
    let is_good = |page: &Horizon| page.uuid == found.state.uuid && page.acknowledged.position <= last;
    let left = page.filter(|page| is_good(page) && !(live && is_overtaken(page)));
    let shown = match &left {
        Some(page) if live => page.acknowledged.position.max(found.low_mark - 1),
        // The writer is still opening the log, or its page could not be used. It keeps what is proven durable.
        None if live => durable,
        _ => last,
    };
    // The page of a living writer is applied again at the first read, so that the segment names are as well.
    let sequence = if live && left.is_some() { 0 } else { last_sequence };
    let remote = remote(storage, &found, left, sequence, live);
    let (last, durable) = (shown, durable.min(shown));
    let positions = Positions { first: found.low_mark, next: last + 1, written: last, acknowledged: last, durable };
    let catalog = Arc::new(Catalog::default());
    catalog.replace(found.live.iter().map(|name| Arc::new(CatalogSegment::of_name(name))).collect(), found.low_mark);
    let mut recovery = Recovery::of(&found, answer);
    recovery.next_position = positions.next;
    recovery.volatile = storage.is_volatile();
    recovery.duration_ms = clock().saturating_sub(began) as f64 / 1e6;
    let end = found.active.as_ref().map(|active| active.scan.end.offset);
    Ok(ReadOnlyLog { catalog, recovery, positions, remote, uuid: found.state.uuid, end })
}

/// Opens the log in `storage`, which no writer can have open.
#[cfg(any(test, feature = "sim"))]
pub fn open(storage: &Arc<dyn Storage>, clock: fn() -> u64) -> Result<ReadOnlyLog> {
    open_beside_writer(storage, &Arc::default(), || Ok(false), clock)
}

/// Reads the horizon page.
fn read_horizon_page(storage: &Arc<dyn Storage>) -> Option<Horizon> {
    read_horizon(&*storage.open(CONTROL, false).ok()?).ok()?
}

/// Returns the state with which a writer is followed; `None` if there is no CONTROL to read.
fn remote(storage: &Arc<dyn Storage>, found: &Survey, left: Option<Horizon>, sequence: u64, live: bool) -> Option<RemoteWriter> {
    let control = storage.open(CONTROL, false).ok()?;
    let generation = left.map(|page| page.generation);
    let whole = |_: &&SurveyedActive| !live && found.damage().is_none();
    let durable_end = found.active.as_ref().filter(whole).map(|active| DurableEnd {
        segment: active.segment.header.id,
        durable: LogEnd { offset: active.scan.end.offset, position: active.scan.end.next - 1 },
    });
    Some(RemoteWriter::new(control, LastPage { sequence, generation, durable_end }))
}
