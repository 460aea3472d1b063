//! The binding: converts calls from JavaScript for the engine, and results of the engine for JavaScript. It has no logic of its own.
//!
//! A module here and the module of the facade that is its other half have the same name.
//!
//! - `wire` has the numbers that both sides must agree on.
//! - `environment` is what JavaScript can ask of one environment. `state` is the part that only its thread touches, `logs` has its open logs,
//!   and `wake` is how other threads reach it. `completion` converts the outcomes of requests.
//! - `calls` has the calls made per record or per turn. They bypass the conversions of napi-rs, which take about 370 ns per call, and use
//!   `raw`. `record_buffer` is the memory that collects small records.
//! - `reader` reads blocks of records, `block` packs them, and `loan` is the memory that JavaScript lends for them. `cursor` is a handle on a named cursor.
//! - `backup`, `salvage` and `verify` run long jobs.
//! - `writes` submits the writes of logs on this thread, where the system allows it.
//! - `events` passes on the events of a log while it has subscribers.
//! - `options`, `reports` and `error` convert options, reports and errors.

mod backup;
mod block;
mod calls;
mod completion;
mod cursor;
mod environment;
mod error;
mod events;
mod loan;
mod logs;
mod options;
mod raw;
mod reader;
mod record_buffer;
mod reports;
mod salvage;
mod state;
mod verify;
mod wake;
pub mod wire;
#[cfg(target_os = "linux")]
mod writes;
#[cfg(not(target_os = "linux"))]
#[path = "no_writes.rs"]
mod writes;
