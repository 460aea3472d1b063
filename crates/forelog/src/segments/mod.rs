//! The segment files of an open log: the catalog of them, the one being written, and what is prepared or finished in the background.

pub mod active;
pub mod attachment;
pub mod catalog;
pub mod control_file;
pub mod footer_writer;
pub mod growth;
pub mod horizon_publisher;
pub mod prefill;
pub mod reader_positions;
pub mod spare_files;
