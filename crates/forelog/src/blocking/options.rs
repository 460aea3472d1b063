//! The options of a log for programs in Rust.

use crate::blocking::log::Log;
use crate::error::{Code, Error, Result};
use crate::options::{Compression, Fsync, Mode, Options, Retention};
use std::path::Path;

/// What a blocking append does while too many bytes wait for their commit, see [`LogOptions::max_pending_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The call waits until there is room. This is the default.
    #[default]
    Wait,
    /// The call fails with [`Code::Backpressure`].
    Fail,
}

/// The options with which a log is opened, made by [`Log::options`].
///
/// ```
/// use forelog::{Compression, Fsync, Log};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir()?;
/// let log = Log::options()
///     .fsync(Fsync::Every(Duration::from_millis(50)))
///     .segment_bytes(16 << 20)
///     .compression(Compression::Lz4)
///     .open(dir.path())?;
/// log.append("hello")?;
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until `open` is called"]
pub struct LogOptions {
    options: Options,
    when_full: WhenFull,
}

impl LogOptions {
    /// Creates the default options.
    pub fn new() -> LogOptions {
        LogOptions::default()
    }

    /// Sets when an append is acknowledged and when written bytes are made durable. `Fsync::Every` takes 1 ms to 1 hour. Default:
    /// [`Fsync::Always`].
    pub fn fsync(mut self, fsync: Fsync) -> LogOptions {
        self.options.fsync = fsync;
        self
    }

    /// Sets how opening treats a damaged log, or opens the log for reading only. Default: [`Mode::Strict`].
    pub fn mode(mut self, mode: Mode) -> LogOptions {
        self.options.mode = mode;
        self
    }

    /// Opens the log for reading only, which writes nothing, takes no lock, and works beside a writer in another process. `false` is
    /// [`Mode::Strict`]. Default: false.
    pub fn read_only(self, read_only: bool) -> LogOptions {
        self.mode(if read_only { Mode::ReadOnly } else { Mode::Strict })
    }

    /// Sets whether the directory and the log are created if they do not exist. Default: true.
    pub fn create(mut self, create: bool) -> LogOptions {
        self.options.create = create;
        self
    }

    /// Sets the target size of a segment file in bytes, from 64 KiB to 4 GiB. A larger frame gets a segment that fits it. Default: 64 MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> LogOptions {
        self.options.segment_bytes = bytes;
        self
    }

    /// Sets the size limit of an encoded record in bytes (key, value and a few bytes of framing), from 1 to 1 GiB. Default: 16 MiB.
    pub fn max_record_bytes(mut self, bytes: u64) -> LogOptions {
        self.options.max_record_bytes = bytes;
        self
    }

    /// Sets the size limit of an encoded batch in bytes, from 1 to 1 GiB. Default: 64 MiB.
    pub fn max_batch_bytes(mut self, bytes: u64) -> LogOptions {
        self.options.max_batch_bytes = bytes;
        self
    }

    /// Sets how many bytes may be accepted and not yet acknowledged, from 1 KiB to 1 TiB. Default: 64 MiB.
    pub fn max_pending_bytes(mut self, bytes: u64) -> LogOptions {
        self.options.max_pending_bytes = bytes;
        self
    }

    /// Sets what a blocking append does above [`LogOptions::max_pending_bytes`]. [`Log::submit`] fails in either case. Default:
    /// [`WhenFull::Wait`].
    pub fn when_full(mut self, when_full: WhenFull) -> LogOptions {
        self.when_full = when_full;
        self
    }

    /// Sets how new frames are compressed. A log can be opened with another compression than it was written with. Default:
    /// [`Compression::None`].
    pub fn compression(mut self, compression: Compression) -> LogOptions {
        self.options.compression = compression;
        self
    }

    /// Sets how much of the log is kept. Default: all of it.
    pub fn retention(mut self, retention: Retention) -> LogOptions {
        self.options.retention = retention;
        self
    }

    /// Allows a log on a network file system, although its locks and fsyncs cannot be trusted. Default: false.
    pub fn allow_unsafe_filesystem(mut self, allow: bool) -> LogOptions {
        self.options.allow_unsafe_filesystem = allow;
        self
    }

    /// Opens the log in `dir` and recovers it if necessary. If this process has the log open already, with equal options, the two share it.
    ///
    /// # Errors
    /// - [`Code::InvalidArg`]: an option is out of range, or differs from those that the log is open with in this process.
    /// - [`Code::NotFound`]: there is no log, and [`LogOptions::create`] is off or the log is opened for reading only.
    /// - [`Code::Locked`]: another process has the log open for writing.
    /// - [`Code::Detached`]: this process has the log open from a path that no longer leads to it.
    /// - [`Code::Corrupt`]: the log is damaged.
    /// - [`Code::Format`]: the directory holds other files, or the log was written by a newer version.
    /// - [`Code::NoSpace`], [`Code::ReadOnly`], [`Code::Io`]: the file system failed.
    ///
    /// A failed opening changes nothing of what the log contains.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Log> {
        Log::open_with(dir.as_ref(), self.options, self.when_full).map_err(rust_names)
    }
}

/// The JavaScript names that messages of the engine use, each with its name in Rust.
const NAMES: [(&str, &str); 9] = [
    ("segmentBytes", "segment_bytes"),
    ("maxRecordBytes", "max_record_bytes"),
    ("maxBatchBytes", "max_batch_bytes"),
    ("maxPendingBytes", "max_pending_bytes"),
    ("retention.maxBytes", "retention.max_bytes"),
    ("retention.maxAgeMs", "retention.max_age in ms"),
    ("fsync.everyMs", "fsync in ms"),
    ("allowUnsafeFilesystem", "allow_unsafe_filesystem"),
    ("mode 'readOnly'", "mode ReadOnly"),
];

/// Makes a message name options as this module does. Only the messages of these codes name options.
pub fn rust_names(mut error: Error) -> Error {
    if error.cause.is_none() && matches!(error.code, Code::InvalidArg | Code::TooLarge | Code::Backpressure | Code::ReadOnly) {
        for (name, ours) in NAMES {
            if error.message.contains(name) {
                error.message = error.message.replace(name, ours);
            }
        }
    }
    error
}
