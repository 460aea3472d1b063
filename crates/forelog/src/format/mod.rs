//! The format of a log on disk: records, frames, pages and file names. The modules of this room turn bytes into values and
//! back. docs/format.md describes the same bytes.

pub mod bit_flip;
pub mod commit_times;
pub mod compression;
pub mod control;
pub mod file_names;
pub mod footer;
pub mod frame;
pub mod frame_boundary;
pub mod header;
pub mod horizon;
pub mod page;
pub mod record;
