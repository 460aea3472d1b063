//! Conversion of options from JavaScript.

use forelog::{Compression, Error, Fsync, Mode, Options, ReadOptions, Retention, StartPosition};
use napi_derive::napi;
use std::time::Duration;

/// Options of opening. The facade checks their types and the engine their ranges. Absent options have their defaults.
#[napi(object, object_to_js = false)]
pub struct OpenOptions {
    /// 'always' or 'os'. Ignored if `everyMs` is present.
    pub fsync: Option<String>,
    pub every_ms: Option<f64>,
    /// 'strict', 'prefix' or 'readOnly'.
    pub mode: Option<String>,
    pub create: Option<bool>,
    pub segment_bytes: Option<f64>,
    pub max_record_bytes: Option<f64>,
    pub max_batch_bytes: Option<f64>,
    pub max_pending_bytes: Option<f64>,
    /// 'none', 'lz4' or 'zstd'.
    pub compression: Option<String>,
    pub retention_bytes: Option<f64>,
    pub retention_age_ms: Option<f64>,
    pub retention_overrides_cursors: Option<bool>,
    pub allow_unsafe_filesystem: Option<bool>,
}

pub fn open_options(given: &OpenOptions) -> Result<Options, Error> {
    let default = Options::default();
    let bytes = |given: Option<f64>, default: u64| given.map_or(default, |n| n as u64);
    let options = Options {
        fsync: match (given.every_ms, given.fsync.as_deref()) {
            (Some(ms), _) => Fsync::Every(Duration::from_millis(ms as u64)),
            (None, Some("os")) => Fsync::Os,
            _ => Fsync::Always,
        },
        mode: match given.mode.as_deref() {
            Some("prefix") => Mode::Prefix,
            Some("readOnly") => Mode::ReadOnly,
            _ => default.mode,
        },
        create: given.create.unwrap_or(default.create),
        segment_bytes: bytes(given.segment_bytes, default.segment_bytes),
        max_record_bytes: bytes(given.max_record_bytes, default.max_record_bytes),
        max_batch_bytes: bytes(given.max_batch_bytes, default.max_batch_bytes),
        max_pending_bytes: bytes(given.max_pending_bytes, default.max_pending_bytes),
        compression: match given.compression.as_deref() {
            Some("lz4") => Compression::Lz4,
            Some("zstd") => Compression::Zstd,
            _ => default.compression,
        },
        retention: Retention {
            max_bytes: given.retention_bytes.map(|n| n as u64),
            max_age: given.retention_age_ms.map(|ms| Duration::from_millis(ms as u64)),
            override_cursors: given.retention_overrides_cursors.unwrap_or(false),
        },
        allow_unsafe_filesystem: given.allow_unsafe_filesystem.unwrap_or(default.allow_unsafe_filesystem),
    };
    options.validate()?;
    Ok(options)
}

/// Options of a reader.
#[napi(object, object_to_js = false)]
pub struct ReaderOptions {
    /// Begin at the first record that was committed at this time, in ms since 1970, or later.
    pub since: Option<f64>,
    /// Maximum number of records to return; may be infinite.
    pub max_records: f64,
    /// Wait for new records at the end.
    pub follow: bool,
    /// Continue after damage.
    pub salvage: bool,
    /// Fill in what `BlockData` describes for detailed readers.
    pub detailed: bool,
}

impl ReaderOptions {
    /// Returns the options of the engine for a reader from `from` to `to`.
    pub fn reading(&self, from: StartPosition, to: u64) -> ReadOptions {
        let ReaderOptions { since, max_records, follow, salvage, detailed } = *self;
        let since = since.map(|ms| ms as u64);
        ReadOptions { from, since, to, max_records: last_position(max_records), follow, salvage, detailed }
    }
}

/// Converts a position or a number that may be infinite.
pub fn last_position(number: f64) -> u64 {
    if number.is_finite() {
        number as u64
    } else {
        u64::MAX
    }
}
