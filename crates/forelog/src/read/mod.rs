//! The read path: verified blocks of records, reading past damage if the caller wants that, and waiting for more at the end of the log.

pub mod block;
pub mod follow;
pub mod reader;
