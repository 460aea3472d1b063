//! The files of a log. This room reads the frames of a segment, and holds the catalog that readers use, the active segment,
//! the CONTROL file, and the files that are prepared or finished in the background.

pub mod attachment;
pub mod catalog;
pub mod control_file;
pub mod footer_writer;
pub mod frame_scan;
pub mod growth;
pub mod horizon_publisher;
pub mod log_ends;
pub mod placement;
pub mod prefill;
pub mod reader_positions;
pub mod segment_file;
pub mod spare_files;
