//! Recovery: from the files in a directory to a verdict on the log. Nothing here writes.

pub mod directory;
pub mod evidence;
pub mod live_evidence;
pub mod missing;
pub mod report;
pub mod survey;
pub mod verdict;
