//! An open log: its handles, the state they share, the commit threads that serve it, and the view of a log that another process writes.

pub mod commit_loop;
pub mod commit_threads;
pub mod open;
pub mod read_only;
pub mod registry;
pub mod remote_writer;
pub mod stat;
pub mod state;
pub mod wal;
