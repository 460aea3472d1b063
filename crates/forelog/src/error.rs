//! The error type of the engine. An error is data: callers such as the Node binding read its fields and never parse its
//! message.

use crate::util::healing::On;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The result of a fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of failure, by which callers distinguish errors. `as_str` returns the code that JavaScript sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Another process has the log open for writing.
    Locked,
    /// There is no log, or no cursor of that name.
    NotFound,
    /// Durable bytes are damaged.
    Corrupt,
    /// The log is closed or closing.
    Closed,
    /// An fsync failed, or a write with unknown outcome. The state of the rejected records is unknown until the log is
    /// reopened.
    Poisoned,
    /// The directory of the log was moved, removed or replaced while the log was open.
    Detached,
    /// The disk or the quota is full.
    NoSpace,
    /// A record, a batch or the number of cursors is above its limit.
    TooLarge,
    /// The position is no longer in the log.
    Truncated,
    /// The position is above the next one.
    OutOfRange,
    /// The expected position was not the next one. Nothing was appended.
    Conflict,
    /// More bytes than the limit would wait for their commit.
    Backpressure,
    /// The log is open for reading only, or the file system is read-only.
    ReadOnly,
    /// The directory holds other files, or a log of a newer format version.
    Format,
    /// An argument or option is invalid.
    InvalidArg,
    /// Any other failure of the operating system.
    Io,
}

impl Code {
    /// Returns the code that JavaScript sees, such as `ERR_WAL_LOCKED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Locked => "ERR_WAL_LOCKED",
            Code::NotFound => "ERR_WAL_NOT_FOUND",
            Code::Corrupt => "ERR_WAL_CORRUPT",
            Code::Closed => "ERR_WAL_CLOSED",
            Code::Poisoned => "ERR_WAL_POISONED",
            Code::Detached => "ERR_WAL_DETACHED",
            Code::NoSpace => "ERR_WAL_NO_SPACE",
            Code::TooLarge => "ERR_WAL_TOO_LARGE",
            Code::Truncated => "ERR_WAL_TRUNCATED",
            Code::OutOfRange => "ERR_WAL_OUT_OF_RANGE",
            Code::Conflict => "ERR_WAL_CONFLICT",
            Code::Backpressure => "ERR_WAL_BACKPRESSURE",
            Code::ReadOnly => "ERR_WAL_READ_ONLY",
            Code::Format => "ERR_WAL_FORMAT",
            Code::InvalidArg => "ERR_WAL_INVALID_ARG",
            Code::Io => "ERR_WAL_IO",
        }
    }
}

/// An error, with everything known about it in the fields of [`Info`]. It is boxed, so that the results of the append path
/// stay small.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Info>);

/// The contents of an [`Error`]. Fields that do not apply are `None`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The kind of failure.
    pub code: Code,
    /// A sentence for people. Its wording may change.
    pub message: String,
    /// The public operation that failed: `open`, `append`, `sync`, `read`, `truncateBefore`, `close` …
    pub operation: Option<&'static str>,
    /// The position that the failure concerns.
    pub position: Option<u64>,
    /// File name of the segment, without its directory.
    pub segment: Option<String>,
    /// Byte offset in that segment.
    pub offset: Option<u64>,
    /// First and last position that the damage covers.
    pub lost: Option<(u64, u64)>,
    /// The case of recovery that was met when opening or reading, by its label in docs/recovery.md.
    pub verdict: Option<&'static str>,
    /// The single flipped bit that explains a checksum mismatch, if there is one.
    pub flipped: Option<Flipped>,
    /// For `Truncated`: the first position that can be read.
    pub first_position: Option<u64>,
    /// For `Conflict`: the position that the next record would have got.
    pub actual: Option<u64>,
    /// For `Locked`: the id of the process that holds the lock.
    pub pid: Option<u32>,
    /// The failure of the operating system that caused this error.
    pub cause: Option<Fault>,
}

/// A flipped bit of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// Offset of its byte in the file.
    pub offset: u64,
    /// Number of the bit in its byte, from 0 for the lowest to 7.
    pub bit: u8,
}

/// A failed operation of the disk, with the fields of a Node system error.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Name of the system call.
    pub syscall: &'static str,
    /// File name inside the log's directory, or the directory itself.
    pub path: String,
    /// The operating system's error number; `None` when the failure is not the system's.
    pub errno: Option<i32>,
    /// The system's description of the failure.
    pub message: String,
}

impl Fault {
    /// Creates a failed operation from the error that the operating system returned.
    pub fn new(syscall: &'static str, path: impl Into<String>, error: &std::io::Error) -> Self {
        Fault { syscall, path: path.into(), errno: error.raw_os_error(), message: error.to_string() }
    }

    /// Returns the kind of the error, if the operating system reported one.
    pub fn kind(&self) -> Option<std::io::ErrorKind> {
        self.errno.map(|n| std::io::Error::from_raw_os_error(n).kind())
    }

    /// Whether the disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self.kind(), Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    }

    /// Whether the system does not support the call or its arguments. Nothing was done then.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind(), Some(std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Unsupported))
    }

    /// Whether the file system is read-only.
    pub fn is_read_only(&self) -> bool {
        self.kind() == Some(std::io::ErrorKind::ReadOnlyFilesystem)
    }

    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(std::io::ErrorKind::NotFound)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.syscall, self.path, self.message)
    }
}

impl Error {
    /// Creates an error without further fields.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Info {
            code,
            message: message.into(),
            operation: None,
            position: None,
            segment: None,
            offset: None,
            lost: None,
            verdict: None,
            flipped: None,
            first_position: None,
            actual: None,
            pid: None,
            cause: None,
        }))
    }

    /// Returns the fields by value.
    pub fn into_info(self) -> Info {
        *self.0
    }

    /// Sets the public operation, unless it is already set.
    pub fn during(mut self, operation: &'static str) -> Self {
        self.operation.get_or_insert(operation);
        self
    }

    /// Sets the case of recovery, unless it is already set.
    pub fn judged(mut self, verdict: &'static str) -> Self {
        self.verdict.get_or_insert(verdict);
        self
    }

    /// Sets the position.
    pub fn at_position(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// Sets the segment and the offset in it.
    pub fn at(mut self, segment: impl Into<String>, offset: u64) -> Self {
        self.segment = Some(segment.into());
        self.offset = Some(offset);
        self
    }
}

impl Deref for Error {
    type Target = Info;

    fn deref(&self) -> &Info {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Info {
        &mut self.0
    }
}

impl Error {
    /// Whether the state of the log is certain after this error, so that the log goes on once the cause is gone.
    pub fn heals(&self) -> bool {
        let by_code = matches!(self.code, Code::NoSpace | Code::ReadOnly | Code::Io);
        // A failed write to a file under its final name is judged where it happens: if it does not heal, it has already
        // poisoned the log.
        by_code && self.cause.as_ref().is_some_and(|fault| fault.heals(On::Spare) || fault.heals(On::Name))
    }
}

/// Converts a failure of the disk: a full disk becomes `NoSpace`, a read-only file system `ReadOnly`, and everything else
/// `Io`.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let code = if fault.is_no_space() {
            Code::NoSpace
        } else if fault.is_read_only() {
            Code::ReadOnly
        } else {
            Code::Io
        };
        let mut error = Error::new(code, fault.to_string());
        error.cause = Some(fault);
        error
    }
}

/// Returns the error for a call on a log that is closed or closing.
pub fn closed() -> Error {
    Error::new(Code::Closed, "the log is closed")
}

/// Returns the error for a write to a log that is open for reading only.
pub fn read_only() -> Error {
    Error::new(Code::ReadOnly, "the log is open in mode 'readOnly'")
}

/// Returns the error for a position that is no longer in the log. `first` is the first position that is.
pub fn truncated(position: u64, first: u64) -> Error {
    let text = if position < first {
        format!("position {position} is below the first position, {first}")
    } else {
        format!("position {position} was removed by a truncation")
    };
    let mut error = Error::new(Code::Truncated, text);
    error.first_position = Some(first);
    error.at_position(position)
}

/// Returns the error for a position that the log has not reached. `next` is the next position.
pub fn out_of_range(position: u64, next: u64) -> Error {
    Error::new(Code::OutOfRange, format!("position {position} is above the next position, {next}")).at_position(position)
}
