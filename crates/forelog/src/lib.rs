//! Forelog's engine: a segmented, checksummed, group-committing write-ahead log, without Node and without an async
//! runtime. Appends copy into memory and return; commit threads, a few for all logs of a process, write,
//! sync and settle them.

mod active;
mod ahead;
mod attachment;
mod backup;
mod bytes;
#[cfg(any(test, feature = "sim"))]
pub mod campaign;
mod catalog;
mod commit;
mod compress;
mod control;
mod cursors;
mod directory;
mod error;
mod events;
mod flipped;
mod follow;
mod footer;
#[cfg(test)]
mod format_page;
mod frame;
mod group;
mod horizon;
mod host;
mod intake;
mod notify;
mod open;
mod options;
mod peer;
mod places;
pub mod pool;
mod read_only;
mod reader;
mod record;
mod recovery;
mod registry;
mod report;
mod retention;
mod roll;
mod scan;
mod seal;
mod segment;
mod shared;
mod spares;
mod stats;
mod storage;
mod survey;
mod threads;
mod truncate;
mod verify;
mod wal;
mod watch;
mod writer;

pub use backup::{Backup, Progress};
pub use cursors::{Moved, Start};
pub use error::{Code, Error, Flipped, Info, Result};
pub use events::{Event, Unheard};
pub use follow::{Lookout, Ticket, Wake};
pub use group::Batch;
pub use intake::{Settled, Terms};
pub use notify::{Notify, Waiter};
pub use options::{Compression, Fsync, Mode, Options};
pub use places::Place;
pub use reader::{Block, Hole, Reader, EXTRAS_SHIFT};
pub use record::{Parts, RecordRef};
pub use report::{Fenced, Recovery};
pub use retention::Retention;
pub use shared::Positions;
pub use stats::{Histogram, Scrubs, Stats};
pub use storage::Fault;
pub use survey::Damage;
pub use verify::{verify, Problem, Verification};
pub use wal::{Cursor, Wal};
pub use watch::Watch;
