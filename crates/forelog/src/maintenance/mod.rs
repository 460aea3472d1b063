//! Work on a whole log, beside its writer or without one: backup, verification, salvage, and the progress of each.

pub mod backup;
pub mod progress;
pub mod salvage;
pub mod verify;
