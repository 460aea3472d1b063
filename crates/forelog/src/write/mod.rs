//! The write path: operations are queued, grouped, and written by a state machine without threads or clocks of its own.

pub mod group;
pub mod retention;
pub mod roll;
pub mod submission_queue;
pub mod truncate;
pub mod writer;
