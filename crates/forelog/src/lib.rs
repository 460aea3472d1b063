//! Forelog's engine: a segmented, checksummed, group-committing write-ahead log, without Node and without an async
//! runtime. Appends copy into memory and return; commit threads, a few for all logs of a process, write,
//! sync and settle them.

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

pub use cursors::Moved;
pub use error::{Code, Error, Fault, Flipped, Info, Result};
pub use format::record::{Parts, RecordRef};
pub use log::stat::{stat, Standing};
pub use log::state::Positions;
pub use log::wal::{Cursor, Wal};
pub use maintenance::backup::{Backup, Progress};
pub use maintenance::progress::Watch;
pub use maintenance::salvage::{salvage, Salvage, Salvaged};
pub use maintenance::verify::{verify, Problem, Verification};
pub use observe::events::Ahead;
pub use observe::events::{Event, Unheard};
pub use observe::stats::{Histogram, Scrubs, Stats};
pub use options::Retention;
pub use options::{Compression, Fsync, Mode, Options};
pub use read::follow::{Lookout, Ticket, Wake};
pub use read::reader::{Block, Hole, Reader, EXTRAS_SHIFT};
pub use recovery::evidence::Damage;
pub use recovery::report::{Fenced, Recovery};
pub use segments::reader_positions::{ReaderPosition as Place, Start};
#[cfg(any(test, feature = "sim"))]
pub use testing::campaign;
pub use util::healing::{Heals, On, Rule, RULES};
pub use util::notify::{Notify, Waiter};
pub use util::pool;
pub use write::group::Batch;
pub use write::submission_queue::{Settled, Terms};
