//! The binding: what JavaScript asks is converted, handed to the engine, and the answer converted back. No logic.
//!
//! - `environment` is one JavaScript environment: the one wake it gets, the logs it has open, the blocking requests under way.
//! - `wal` holds the calls made per record or per turn. They bypass the conversions of napi-rs, which take about 370 ns a call, and
//!   go through `raw`.
//! - `events` carries over what a log tells while somebody listens.
//! - `verify` holds what follows and ends a long verification.
//! - `backup` and `salvage` take long jobs step by step.
//! - `cursor` is a handle on a named cursor.
//! - `reader` and `error` carry blocks of records and errors over, as data. `convert` does the same for options and reports.

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
