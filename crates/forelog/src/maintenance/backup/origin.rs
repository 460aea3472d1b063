//! The log that a backup copies.

use crate::error::Result;
use crate::format::file_names::Name;
use crate::segments::log_ends::DurableEnd;
use crate::segments::reader_positions::ReaderPosition;
use crate::storage::Storage;
use std::sync::Arc;

/// A log that can be copied while it is written.
pub trait Origin: Send + Sync {
    fn storage(&self) -> &Arc<dyn Storage>;
    /// Returns the durable end as it is now.
    ///
    /// # Errors
    /// `NoSpace` if the log could not roll at opening and nothing in its segment is proven durable, `Closed`. For a log that another
    /// process writes also `Locked` while that process is still opening it, and `Corrupt` if the log is damaged.
    fn durable_end(&self) -> Result<DurableEnd>;
    /// Returns the first position of the log now. Segments wholly below it may vanish at any time.
    ///
    /// # Errors
    /// `Closed`, after which any segment may vanish.
    fn low_mark(&self) -> Result<u64>;
    /// Returns how many times positions were taken back.
    fn truncation_count(&self) -> u64;
    /// Keeps retention from removing records from `first` on, for as long as the position is held. Explicit truncation still removes them.
    fn hold_retention(&self, first: u64) -> Arc<ReaderPosition>;
    /// Returns the present segments of the log. Files between two of them may exist although they no longer hold anything.
    fn segments(&self) -> Vec<Name>;
    /// Waits a moment if the cut may be older than the directory. Returns false if it never is.
    fn catch_up(&self) -> bool;
    /// Whether the log has gone on in a segment after `cut` that the cut does not show yet. False if the cut is never older than the
    /// directory.
    fn is_past(&self, cut: DurableEnd) -> bool;
}
