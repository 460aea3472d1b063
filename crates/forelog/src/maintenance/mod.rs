//! Jobs on a whole log, with or without a writer at work: backup, verification and salvage, and the progress of each.

pub mod backup;
pub mod progress;
pub mod salvage;
pub mod verify;
