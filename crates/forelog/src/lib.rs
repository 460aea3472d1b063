//! Forelog's engine: a segmented, checksummed, group-committing write-ahead log, without Node and without an async
//! runtime. Appends copy into memory and return; one commit thread per log writes, syncs and settles them.

mod active;
mod ahead;
mod bytes;
#[cfg(any(test, feature = "sim"))]
pub mod campaign;
mod catalog;
mod commit;
mod control;
mod error;
#[cfg(test)]
mod format_page;
mod frame;
mod group;
mod intake;
mod notify;
mod open;
mod options;
pub mod pool;
mod reader;
mod record;
mod recovery;
mod registry;
mod roll;
mod segment;
mod shared;
mod spares;
mod stats;
mod storage;
mod wal;
mod writer;

pub use error::{Code, Error, Info, Result};
pub use group::Batch;
pub use intake::Settled;
pub use notify::{Notify, Waiter};
pub use open::{Fenced, Recovery};
pub use options::{Fsync, Mode, Options};
pub use reader::{Block, Reader};
pub use record::{Parts, RecordRef};
pub use shared::Positions;
pub use stats::{Histogram, Stats};
pub use storage::Fault;
pub use wal::Wal;
