//! The binding: converts calls from JavaScript for the engine, and results of the engine for JavaScript. It has no logic of its own.
//!
//! - `environment` is one JavaScript environment: its wake, its open logs and its requests in flight.
//! - `wal` has the calls made per record or per turn. They bypass the conversions of napi-rs, which take about 370 ns per call, and use
//!   `raw`.
//! - `wire` has the numbers that both sides must agree on.
//! - `events` passes on the events of a log while it has subscribers.
//! - `verify` reports the progress of a long verification and stops it.
//! - `backup` and `salvage` run long jobs step by step.
//! - `cursor` is a handle on a named cursor.
//! - `reader` and `error` convert blocks of records and errors to data. `convert` does so for options and reports.

mod backup;
mod convert;
mod cursor;
mod environment;
mod error;
mod events;
mod raw;
mod reader;
mod salvage;
mod stage;
mod verify;
mod wal;
pub mod wire;
