//! The campaign: the storage engine against a simulated disk. Seeded random histories are cut at many moments, next to named cases and
//! sweeps of damage. The program `forelog-torture` runs the histories by the million.
//!
//! A failing seed is printed with its trace. `FORELOG_SEEDS=from..to` makes the tests run other and longer ranges.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(test)]
mod ahead;
mod appends;
mod backups;
mod clients;
mod commands;
mod followers;
mod history;
mod images;
mod oracle;
mod rot;
mod salvage;
mod salvaged;
pub mod targets;
mod truncations;
mod views;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod holes;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod modes;
#[cfg(test)]
pub(crate) mod named;
#[cfg(test)]
mod places;
#[cfg(test)]
mod recycling;
#[cfg(test)]
mod seal;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod through;
#[cfg(test)]
mod times;
#[cfg(test)]
mod verify;

pub use history::Policy;
pub use images::{submits_commits, torture, Class, Cut, Failure, Image, Report};

/// Returns the seeds that `FORELOG_SEEDS` asks for, or these.
#[cfg(test)]
pub fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let asked = std::env::var("FORELOG_SEEDS").ok();
    let parsed = asked.as_deref().and_then(|text| text.split_once("..")).map(|(from, to)| (from.parse(), to.parse()));
    match parsed {
        Some((Ok(from), Ok(to))) => from..to,
        Some(_) => panic!("FORELOG_SEEDS is from..to"),
        None => default,
    }
}
