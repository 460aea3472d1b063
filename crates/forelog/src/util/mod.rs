//! The base that every room uses: locks and clocks, threads for blocking jobs, wake-ups of clients, fields of bytes, and
//! the rules that say which failures a log survives.

pub mod arena;
pub mod bytes;
pub mod healing;
pub mod limits;
pub mod locks;
pub mod notify;
pub mod page_buffer;
pub mod pool;
pub mod runtime;
