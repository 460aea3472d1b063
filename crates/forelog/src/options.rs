//! The options of a log. Every value is checked once, here, before anything touches the disk.

use crate::error::{Code, Error, Result};
use crate::util::limits::MAX_POSITION;
use std::time::Duration;

/// The durability policy: when an append is acknowledged, and when written bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// An append is acknowledged once an fsync that covers it has succeeded. This is the default.
    Always,
    /// An append is acknowledged once it is written. An fsync starts at most this long after the oldest write that is not
    /// synced.
    Every(Duration),
    /// An append is acknowledged once it is written. The operating system decides when it reaches the disk.
    Os,
}

/// How opening treats a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Damage is an error, and nothing is changed. This is the default.
    Strict,
    /// The log continues from the last good frame before the damage, in a new segment. Everything after that frame is left
    /// out of the log and stays on disk. Opening reads the whole log to find the damage.
    Prefix,
    /// The log is opened for reading only. Nothing is written, no lock is taken, and a damaged log can be opened.
    ReadOnly,
}

/// The compression of frame bodies. The values are those that a frame's header stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// No compression. This is the default.
    #[default]
    None = 0,
    /// LZ4: fast, several hundred MB/s on the commit thread.
    Lz4 = 1,
    /// Zstandard at level 3: smaller than LZ4.
    Zstd = 2,
}

/// The range of `segment_bytes`.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 30;

/// The options of [`crate::Wal::open`]. `Default` returns the documented defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The durability policy. Default: [`Fsync::Always`].
    pub fsync: Fsync,
    /// How opening treats a damaged log. Default: [`Mode::Strict`].
    pub mode: Mode,
    /// Whether to create the directory and the log if they do not exist. Otherwise opening fails with `NotFound`. Default:
    /// true.
    pub create: bool,
    /// Target size of a segment file in bytes, from 64 KiB to 4 GiB. A larger frame gets a segment that fits it. Default:
    /// 64 MiB.
    pub segment_bytes: u64,
    /// Size limit of an encoded record in bytes (key, value and a few bytes of framing), at most 1 GiB. Default: 16 MiB.
    pub max_record_bytes: u64,
    /// Size limit of an encoded batch in bytes, at most 1 GiB. Default: 64 MiB.
    pub max_batch_bytes: u64,
    /// Bytes of accepted but unacknowledged records above which appends are refused. Default: 64 MiB.
    pub max_pending_bytes: u64,
    /// How the commit thread compresses frames. A frame that would not become smaller is stored uncompressed. A log written
    /// with one value can be opened with any other. Default: [`Compression::None`].
    pub compression: Compression,
    /// How much of the log is kept. Default: all of it.
    pub retention: Retention,
    /// Whether to open a log on a network file system, although its locks and fsyncs cannot be trusted. Default: false.
    pub allow_unsafe_filesystem: bool,
}

/// How much of a log is kept. Without a limit, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Removes segments, oldest first, while the segment files take more than this many bytes, including the active one.
    pub max_bytes: Option<u64>,
    /// Removes a segment once its successor was created longer ago than this, because then all of its records are older.
    /// This is the only decision that depends on the wall clock.
    pub max_age: Option<Duration>,
    /// Lets `max_bytes` remove segments that a cursor has not consumed yet. Default: false.
    pub override_cursors: bool,
}

impl Retention {
    /// Whether there is no limit.
    pub fn is_off(&self) -> bool {
        self.max_bytes.is_none() && self.max_age.is_none()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fsync: Fsync::Always,
            mode: Mode::Strict,
            create: true,
            segment_bytes: 64 << 20,
            max_record_bytes: 16 << 20,
            max_batch_bytes: 64 << 20,
            max_pending_bytes: 64 << 20,
            compression: Compression::None,
            retention: Retention::default(),
            allow_unsafe_filesystem: false,
        }
    }
}

impl Options {
    /// Checks that all values are within their ranges.
    ///
    /// # Errors
    /// `InvalidArg` for a value outside its range. The message names the option as TypeScript spells it.
    pub fn validate(&self) -> Result<()> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::new(Code::InvalidArg, format!("{name} must be from {low} to {high}, got {value}")).during("open"))
            }
        };
        within("segmentBytes", self.segment_bytes, *SEGMENT_BYTES.start(), *SEGMENT_BYTES.end())?;
        within("maxRecordBytes", self.max_record_bytes, 1, 1 << 30)?;
        within("maxBatchBytes", self.max_batch_bytes, 1, 1 << 30)?;
        within("maxPendingBytes", self.max_pending_bytes, 1 << 10, 1 << 40)?;
        if let Some(bytes) = self.retention.max_bytes {
            within("retention.maxBytes", bytes, 1, MAX_POSITION)?;
        }
        if let Some(age) = self.retention.max_age {
            within("retention.maxAgeMs", millis(age), 1, MAX_POSITION)?;
        }
        if let Fsync::Every(period) = self.fsync {
            within("fsync.everyMs", millis(period), 1, 3_600_000)?;
        }
        Ok(())
    }

    /// Names the options in which `other` differs, as TypeScript spells them, with both values.
    pub(crate) fn differences(&self, other: &Options) -> String {
        let (mine, theirs) = (self.named_values(), other.named_values());
        let differing = mine.iter().zip(&theirs).filter(|(mine, theirs)| mine != theirs);
        differing.map(|((name, mine), (_, theirs))| format!("{name} is {mine}, not {theirs}")).collect::<Vec<_>>().join("; ")
    }

    /// Returns every option by the name and with the value that TypeScript has for it.
    fn named_values(&self) -> [(&'static str, String); 12] {
        let fsync = match self.fsync {
            Fsync::Always => "'always'".to_string(),
            Fsync::Every(period) => format!("{{ everyMs: {} }}", millis(period)),
            Fsync::Os => "'os'".to_string(),
        };
        let mode = match self.mode {
            Mode::Strict => "'strict'",
            Mode::Prefix => "'prefix'",
            Mode::ReadOnly => "'readOnly'",
        };
        let compression = match self.compression {
            Compression::None => "'none'",
            Compression::Lz4 => "'lz4'",
            Compression::Zstd => "'zstd'",
        };
        let limit = |limit: Option<u64>| limit.map_or("no limit".to_string(), |limit| limit.to_string());
        [
            ("fsync", fsync),
            ("mode", mode.to_string()),
            ("create", self.create.to_string()),
            ("segmentBytes", self.segment_bytes.to_string()),
            ("maxRecordBytes", self.max_record_bytes.to_string()),
            ("maxBatchBytes", self.max_batch_bytes.to_string()),
            ("maxPendingBytes", self.max_pending_bytes.to_string()),
            ("compression", compression.to_string()),
            ("retention.maxBytes", limit(self.retention.max_bytes)),
            ("retention.maxAgeMs", limit(self.retention.max_age.map(millis))),
            ("retention.overrideCursors", self.retention.override_cursors.to_string()),
            ("allowUnsafeFilesystem", self.allow_unsafe_filesystem.to_string()),
        ]
    }
}

/// Returns the milliseconds in `time`, saturating at `u64::MAX`.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
