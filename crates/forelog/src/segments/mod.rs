//! The segment files of an open log. This room holds the catalog that readers use, the active segment, the CONTROL file,
//! and the files that are prepared or finished in the background.

pub mod attachment;
pub mod catalog;
pub mod control_file;
pub mod footer_writer;
pub mod growth;
pub mod horizon_publisher;
pub mod placement;
pub mod prefill;
pub mod reader_positions;
pub mod spare_files;
