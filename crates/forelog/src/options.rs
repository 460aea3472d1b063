//! What a caller may ask of a log. Every value is checked once, here, before anything touches the disk.

use crate::error::{Code, Error, Result};
use crate::util::limits::MAX_POSITION;
use std::time::Duration;

/// When an append is acknowledged and when written bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Acknowledged once an fsync that covers the record has succeeded. The default.
    Always,
    /// Acknowledged once written; an fsync starts no later than this long after the oldest unsynced write.
    Every(Duration),
    /// Acknowledged once written; the operating system decides when it reaches the disk.
    Os,
}

/// What opening does about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Corruption is an error and changes nothing. The default.
    Strict,
    /// The log goes on in front of the damage, in a new segment; what is behind it is left out, and stays on disk. Reads
    /// the whole log to find it.
    Prefix,
    /// For reading alone: nothing is written, nothing is locked, and damage is no obstacle.
    ReadOnly,
}

/// How frame bodies are compressed, and the codec that a frame says it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// Not at all. The default.
    #[default]
    None = 0,
    /// Fast: several hundred MB/s on the commit thread.
    Lz4 = 1,
    /// Smaller, at zstd's level 3.
    Zstd = 2,
}

/// Smallest and largest values of `segment_bytes`.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 30;

/// Options of [`crate::Wal::open`]. `Default` gives the documented defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub fsync: Fsync,
    pub mode: Mode,
    /// Create the directory and the log when they are absent; otherwise their absence is `NotFound`.
    pub create: bool,
    /// Target size of a segment file in bytes, 64 KiB to 4 GiB; a frame that is larger gets a segment grown to fit it.
    pub segment_bytes: u64,
    /// Largest encoded record in bytes (key, value and a few bytes of framing), up to 1 GiB.
    pub max_record_bytes: u64,
    /// Largest encoded batch in bytes, up to 1 GiB.
    pub max_batch_bytes: u64,
    /// Bytes of accepted but unacknowledged records above which appends are refused.
    pub max_pending_bytes: u64,
    /// How frames are compressed, by the commit thread; one that would not become smaller is stored raw. Logs written
    /// with one value open with every other.
    pub compression: Compression,
    /// How much is kept. Off by default.
    pub retention: Retention,
    /// Open on NFS or SMB although their locks and fsyncs cannot be trusted.
    pub allow_unsafe_filesystem: bool,
}

/// How much of a log is kept. Without a limit, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments go while their files take more than this many bytes, that of the active one included.
    pub max_bytes: Option<u64>,
    /// A segment goes once the one after it is older than this: all of its records are then. The one place where the
    /// wall clock decides something.
    pub max_age: Option<Duration>,
    /// Whether `max_bytes` lets go of what a cursor has not done.
    pub override_cursors: bool,
}

impl Retention {
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
    /// Refuses values outside their ranges with `InvalidArg`, naming the option as the TypeScript face spells it.
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
}

/// As many as there are, or as 64 bits hold.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
