//! A write-ahead log: records are appended to a directory, survive a crash, and are read back in order.
//!
//! A [`Log`] is opened in a directory and shared by threads. Threads that append at the same time share one write and one fsync.
//!
//! ```
//! use forelog::{Log, RecordRef};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let log = Log::open(dir)?;
//! log.append("survives a power loss once this returns")?;
//! log.append(RecordRef::new("Ada").with_key("user:1"))?;
//! log.append_batch(["all of these", "or none"])?;
//!
//! for record in log.iter() {
//!     let record = record?;
//!     println!("{} {:?} {:?}", record.position(), record.key(), record.value());
//! }
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to begin
//!
//! - [`Log::append`] waits until its record is acknowledged; [`Log::submit`] does not, and returns a [`Pending`] to wait for.
//!   [`Log::append_all`] appends several records, [`Log::append_batch`] several that are atomic.
//! - [`Log::iter`], [`Log::range`] and [`Log::get`] read. [`Log::follow`] waits for more.
//! - [`Log::truncate_before`], [`Log::truncate_after`] and [`Retention`] make the log shorter.
//! - [`Log::cursor`] keeps the durable position of a consumer.
//! - [`Log::backup`] copies a log in use. [`verify()`] checks every byte of a log, [`salvage()`] makes a new log of the good records of a
//!   damaged one, and [`stat()`] describes a log from its directory.
//! - [`Log::options`] has the rest: fsync policy, limits, compression, opening for reading only.
//!
//! # Durability
//!
//! | [`Fsync`]                  | a call returns when its record is | a crash of the process takes | a power loss takes          |
//! | -------------------------- | --------------------------------- | ---------------------------- | --------------------------- |
//! | [`Always`](Fsync::Always)  | durable                           | nothing that was acknowledged | nothing that was acknowledged |
//! | [`Every`](Fsync::Every)    | written                           | nothing that was acknowledged | what was not synced yet     |
//! | [`Os`](Fsync::Os)          | written                           | nothing that was acknowledged | what was not synced yet     |
//!
//! What remains after a crash is a prefix of the log, in which each batch is complete or absent. [`Log::append_durable`] and [`Log::sync`]
//! wait for an fsync under every policy. An fsync that fails poisons the log, because the state of the disk is unknown then: every call
//! that waits fails with [`Code::Poisoned`], and the log accepts nothing more until it is closed and opened again.
//!
//! # Errors
//!
//! [`Error`] is the only error type, and its [`Code`] tells errors apart. Its other fields, such as `position`, say more. Names of
//! operations in errors are those of the JavaScript package, for which this engine was made.
//!
//! # Threads
//!
//! Some threads of the process do the writing for all of its logs. They are started when they are needed. No async runtime is needed. In an
//! async program, call [`Log`] only where blocking is allowed.

#![deny(missing_docs)]

mod blocking;
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
// For the campaign and its program, which are documented where they are.
#[cfg(any(test, feature = "sim"))]
#[allow(missing_docs)]
mod testing;
mod util;
mod write;

// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use blocking::{Follower, Log, LogCursor, LogOptions, Pending, Records, Stopper, StoredRecord, WhenFull};
pub use cursors::CursorMove;
pub use error::{Code, Error, Fault, Flipped, Info, Result};
pub use format::record::RecordRef;
pub use log::stat::{stat, Standing};
pub use log::state::Positions;
pub use maintenance::backup::Progress;
pub use maintenance::progress::JobProgress;
pub use maintenance::salvage::{salvage, Salvage, Salvaged};
pub use maintenance::verify::{verify, Problem, Verification};
pub use observe::stats::{Histogram, Scrubs, Stats};
pub use options::{Compression, Fsync, Mode, Retention};
pub use read::block::Record;
pub use read::reader::Hole;
pub use recovery::report::{Fenced, Recovery};
pub use recovery::survey::Damage;
pub use segments::reader_positions::StartPosition;
pub use write::submission_queue::AppendTerms;

// Not for programs: the Node binding, which must not block, the tests and the campaign work at this level. Its callers have to collect
// settlements and to wake the commit thread themselves, and it changes with the binding.
#[doc(hidden)]
pub use format::record::Parts;
#[doc(hidden)]
pub use log::wal::{NamedCursor, ReadOptions, Wal};
#[doc(hidden)]
pub use maintenance::backup::Backup;
#[doc(hidden)]
pub use observe::events::{Event, PendingEvents, SegmentFromFuture};
#[doc(hidden)]
pub use options::Options;
#[doc(hidden)]
pub use read::block::{Block, BlockRecords, Fields};
#[doc(hidden)]
pub use read::follow::{FollowWait, WaitHandle, Wake};
#[doc(hidden)]
pub use read::reader::Reader;
#[doc(hidden)]
pub use segments::reader_positions::ReaderPosition;
#[doc(hidden)]
pub use storage::disk::write_queue;
#[doc(hidden)]
pub use storage::write_queue::{RawWrite, Refusal, WriteQueue};
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub use testing::campaign;
#[doc(hidden)]
pub use util::arena::Arena;
#[doc(hidden)]
pub use util::healing::{Heals, On, Rule, RULES};
#[doc(hidden)]
pub use util::notify::{Notify, Waiter};
#[doc(hidden)]
pub use util::page_buffer::PageBuffer;
#[doc(hidden)]
pub use util::pool;
#[doc(hidden)]
pub use write::encoded_records::{BodyLayout, EncodedRecords};
#[doc(hidden)]
pub use write::group::Batch;
#[doc(hidden)]
pub use write::submission_queue::Settled;
