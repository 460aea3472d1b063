//! The write path: queues and groups operations, and writes them with a state machine that has no threads or clocks of its own.

pub mod ahead;
pub mod encoded_records;
pub mod frame_bytes;
pub mod group;
pub mod health;
pub mod horizons;
pub mod meter;
pub mod retention;
pub mod roll;
pub mod segment_writer;
pub mod submission_queue;
pub mod tail;
pub mod truncate;
pub mod writer;
