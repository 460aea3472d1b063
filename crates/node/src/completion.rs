//! Outcomes of requests, and their conversion to data for JavaScript.

use crate::backup::BackupData;
use crate::block::{BlockData, PackedBlock};
use crate::cursor::Cursor;
use crate::error::ErrorData;
use crate::reports::StandingData;
use crate::salvage::SalvageData;
use crate::state::EnvironmentState;
use crate::verify::VerificationData;
use forelog::{Standing, Verification, Wal};
use napi_derive::napi;

/// The result of an asynchronous request.
pub enum Outcome {
    Opened(u32, forelog::Result<Wal>),
    Closed(forelog::Result<()>),
    Backup(forelog::Result<BackupData>),
    Salvaged(forelog::Result<SalvageData>),
    /// The next block, and whether a follower has caught up with it, or without one.
    Read(forelog::Result<Option<PackedBlock>>, bool),
    Verified(forelog::Result<Verification>),
    Stat(forelog::Result<Standing>),
    Cursor(forelog::Result<forelog::NamedCursor>),
    /// Where the records from a time on begin.
    Position(forelog::Result<u64>),
}

/// The outcome of a request: `error`, or the field that was requested.
#[napi(object, object_from_js = false)]
pub struct Completion {
    pub request: f64,
    pub error: Option<ErrorData>,
    /// Number of the opened log.
    pub log: Option<u32>,
    /// Identity of the log: equal for all handles on one log in this process.
    pub identity: Option<f64>,
    pub block: Option<BlockData>,
    pub backup: Option<BackupData>,
    pub salvage: Option<SalvageData>,
    /// Whether a follower has returned everything that is acknowledged, so that the next block has to be waited for.
    pub caught_up: Option<bool>,
    pub verification: Option<VerificationData>,
    pub standing: Option<StandingData>,
    pub cursor: Option<Cursor>,
    /// Position at which the records from a time on begin.
    pub position: Option<f64>,
}

/// Converts the outcome of a request. A log that was opened is stored in the environment.
pub fn completion(state: &EnvironmentState, request: f64, outcome: Outcome) -> Completion {
    let mut completion = Completion {
        request,
        error: None,
        log: None,
        identity: None,
        block: None,
        backup: None,
        salvage: None,
        caught_up: None,
        verification: None,
        standing: None,
        cursor: None,
        position: None,
    };
    if let Outcome::Read(..) = &outcome {
        state.loans.take_back(request);
    }
    match outcome {
        Outcome::Opened(log, Ok(wal)) => {
            completion.log = Some(log);
            completion.identity = Some(wal.identity() as f64);
            if let Some(writes) = state.writes.get() {
                wal.route_writes(writes.queue.clone(), u64::from(log));
            }
            state.logs.opened(log, wal);
        }
        Outcome::Opened(log, Err(error)) => {
            state.logs.free(log);
            completion.error = Some(error.into());
        }
        Outcome::Read(Ok(block), caught_up) => {
            completion.block = block.map(Into::into);
            completion.caught_up = Some(caught_up);
        }
        Outcome::Verified(Ok(found)) => completion.verification = Some(found.into()),
        Outcome::Stat(Ok(standing)) => completion.standing = Some(standing.into()),
        Outcome::Backup(Ok(backup)) => completion.backup = Some(backup),
        Outcome::Salvaged(Ok(salvage)) => completion.salvage = Some(salvage),
        Outcome::Cursor(Ok(cursor)) => completion.cursor = Some(Cursor::new(state.shared.clone(), cursor)),
        Outcome::Position(Ok(position)) => completion.position = Some(position as f64),
        Outcome::Closed(Ok(())) => {}
        Outcome::Closed(Err(error))
        | Outcome::Backup(Err(error))
        | Outcome::Salvaged(Err(error))
        | Outcome::Read(Err(error), _)
        | Outcome::Verified(Err(error))
        | Outcome::Stat(Err(error))
        | Outcome::Position(Err(error))
        | Outcome::Cursor(Err(error)) => completion.error = Some(error.into()),
    }
    completion
}
