//! The write path: queues and groups operations, and writes them with a state machine that has no threads or clocks of its own.

pub mod group;
pub mod retention;
pub mod roll;
pub mod submission_queue;
pub mod truncate;
pub mod writer;
