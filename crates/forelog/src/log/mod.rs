//! An open log: its handles, its state, its commit threads, and the log of a writer in another process.

pub mod commit_loop;
pub mod commit_threads;
pub mod open;
pub mod read_only;
pub mod registry;
pub mod remote_writer;
pub mod stat;
pub mod state;
pub mod wal;
