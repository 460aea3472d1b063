//! The engine of Forelog: a segmented, checksummed write-ahead log with group commit. It needs neither Node nor an async
//! runtime.
//!
//! An append copies its records into memory and returns. A few commit threads, shared by all logs of the process, write the
//! records, sync them and settle the operations.
//!
//! # Parts
//!
//! - [`Wal`] is a handle on an open log, configured by [`Options`]. [`Wal::settled`] returns the results of its operations,
//!   and a [`Notify`] says when to ask.
//! - [`Batch`] collects records that are in the log as a whole or not at all.
//! - [`Reader`] returns records in order, as [`Block`]s that have been verified.
//! - [`Cursor`] is a named, durable position of a consumer.
//! - [`Backup`] copies a log that may be in use. [`verify`] checks every byte of a log, and [`salvage`] makes a new log of
//!   the good records of a damaged one. [`stat`] describes a log from its directory alone.
//! - [`Recovery`] says what opening found. [`Event`] and [`Stats`] show what the log does afterwards.
//! - [`Error`] is the only error type, and [`RULES`] says which failures a log survives.
//!
//! # Durability
//!
//! Under [`Fsync::Always`] a record is acknowledged when it is durable; under [`Fsync::Every`] and [`Fsync::Os`] it is
//! acknowledged when it is written, and becomes durable with a later fsync. A crash of the process loses no acknowledged
//! record, and a power loss takes at most the records that are not durable yet: what remains is a prefix of the log, in
//! which each batch is complete or absent. After a failed fsync the log is poisoned and accepts nothing more until it is
//! closed and opened again, because the state of the disk is unknown.

mod cursors;
mod error;
mod format;
mod log;
mod maintenance;
mod observe;
mod options;
mod read;
mod recovery;
mod segments;
mod storage;
#[cfg(any(test, feature = "sim"))]
mod testing;
mod util;
mod write;

pub use cursors::CursorMove;
pub use error::{Code, Error, Fault, Flipped, Info, Result};
pub use format::record::{Parts, RecordRef};
pub use log::stat::{stat, Standing};
pub use log::state::Positions;
pub use log::wal::{NamedCursor, ReadOptions, Wal};
pub use maintenance::backup::{Backup, Progress};
pub use maintenance::progress::JobProgress;
pub use maintenance::salvage::{salvage, Salvage, Salvaged};
pub use maintenance::verify::{verify, Problem, Verification};
pub use observe::events::SegmentFromFuture;
pub use observe::events::{Event, PendingEvents};
pub use observe::stats::{Histogram, Scrubs, Stats};
pub use options::Retention;
pub use options::{Compression, Fsync, Mode, Options};
pub use read::block::{Block, Fields, Record, Records};
pub use read::follow::{FollowWait, WaitHandle, Wake};
pub use read::reader::{Hole, Reader};
pub use recovery::report::{Fenced, Recovery};
pub use recovery::survey::Damage;
pub use segments::reader_positions::{ReaderPosition, StartPosition};
#[cfg(any(test, feature = "sim"))]
pub use testing::campaign;
pub use util::healing::{Heals, On, Rule, RULES};
pub use util::notify::{Notify, Waiter};
pub use util::pool;
pub use write::group::Batch;
pub use write::submission_queue::{Settled, Terms};
