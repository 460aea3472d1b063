//! The contestants, each with the best settings that its documentation offers for the row.

pub mod bare;
pub mod fjall;
pub mod forelog;
pub mod okaywal;
pub mod open_wal;
pub mod raft_engine;
