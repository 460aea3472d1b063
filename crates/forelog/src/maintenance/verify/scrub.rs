//! Verification of the sealed segments of a log that this process has open.

use super::{settled, stopped, Verification, Verifier};
use crate::error::{Error, Result};
use crate::format::file_names::Name;
use crate::maintenance::progress::{JobProgress, ProgressStorage};
use crate::recovery::evidence::inspect_directory;
use crate::segments::catalog::Catalog;
use crate::storage::Storage;
use std::sync::Arc;

/// Verifies the sealed segments of an open log. If another process writes the log, `refresh_for` applies what that process has done to the
/// log up to a position.
pub(crate) fn scrub(
    storage: &Arc<dyn Storage>,
    catalog: &Catalog,
    refresh_for: &dyn Fn(u64),
    job: &Arc<JobProgress>,
) -> Result<Verification> {
    settled(&**storage, scrub_sealed(storage, catalog, refresh_for, job))
}

fn scrub_sealed(storage: &Arc<dyn Storage>, catalog: &Catalog, refresh_for: &dyn Fn(u64), job: &Arc<JobProgress>) -> Result<Verification> {
    let control = inspect_directory(&**storage, false).map_err(Error::from)?;
    let storage_of_job: Arc<dyn Storage> = Arc::new(ProgressStorage::new(storage.clone(), job.clone()));
    let live: Vec<Name> = catalog.names();
    let is_live = |name: &Name, last| last >= catalog.low_mark() && catalog.names().iter().any(|live| live.id == name.id);
    // The catalog changes before any name goes, or a moment after that if another process writes the log.
    let counts = |name: &Name, last| {
        is_live(name, last) && {
            refresh_for(last);
            is_live(name, last)
        }
    };
    let mut verifier = Verifier::new(storage_of_job, control.state.uuid, catalog.low_mark(), &counts)?;
    job.begin(verifier.total(live.split_last().map_or(&[], |(_, sealed)| sealed)));
    verifier.sealed_ones(&live).map_err(|fault| stopped(job, fault.into()))?;
    job.finish();
    Ok(verifier.report)
}
