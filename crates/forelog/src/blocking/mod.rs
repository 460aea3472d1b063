//! The log for programs in Rust: calls that block until their operation is settled, and iterators over records.
//!
//! Each thread that uses a [`Log`] is a client of the engine, with a queue of operations of its own, so a failure reaches the threads whose
//! operations failed and no others. A thread waits in one place, `Lane::wait`.

mod append;
mod cursor;
mod lane;
mod log;
mod options;
mod records;
#[cfg(test)]
mod tests;

pub use append::Pending;
pub use cursor::LogCursor;
pub use log::Log;
pub use options::{LogOptions, WhenFull};
pub use records::{Follower, Records, Stopper, StoredRecord};
