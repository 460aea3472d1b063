//! One error type for the engine. It is data: the binding carries its fields over, nobody parses its message.

use crate::util::healing::On;
use std::fmt;
use std::ops::{Deref, DerefMut};

pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as a caller tells cases apart. `as_str` gives the code that JavaScript sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    Locked,
    NotFound,
    Corrupt,
    Closed,
    Poisoned,
    Detached,
    NoSpace,
    TooLarge,
    Truncated,
    OutOfRange,
    Conflict,
    Backpressure,
    ReadOnly,
    Format,
    InvalidArg,
    Io,
}

impl Code {
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

/// An error with everything that is known about it, read as fields of [`Info`]. Boxed, so that the results of the
/// append path stay small.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Info>);

/// What an [`Error`] knows; fields that do not apply are `None`.
#[derive(Clone, Debug)]
pub struct Info {
    pub code: Code,
    pub message: String,
    /// The public operation that failed: `open`, `append`, `sync`, `read`, `truncateBefore`, `close` …
    pub operation: Option<&'static str>,
    pub position: Option<u64>,
    /// File name of the segment, without its directory.
    pub segment: Option<String>,
    /// Byte offset in that segment.
    pub offset: Option<u64>,
    /// Inclusive range of positions that the damage covers.
    pub lost: Option<(u64, u64)>,
    /// The case of recovery's table that an opening or a reading met, by its label in docs/recovery.md.
    pub verdict: Option<&'static str>,
    /// The one bit that explains a checksum that does not hold.
    pub flipped: Option<Flipped>,
    /// First position that can be read, for `Truncated`.
    pub first_position: Option<u64>,
    /// Position that the next record would have got, for `Conflict`.
    pub actual: Option<u64>,
    /// Process that holds the lock, for `Locked`.
    pub pid: Option<u32>,
    /// The operating system's failure underneath.
    pub cause: Option<Fault>,
}

/// One bit of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flipped {
    /// Of its byte in the file.
    pub offset: u64,
    /// 0 for the lowest to 7.
    pub bit: u8,
}

/// A failed operation of the disk, in the shape Node gives to system errors.
#[derive(Clone, Debug)]
pub struct Fault {
    pub syscall: &'static str,
    /// File name inside the log's directory, or the directory itself.
    pub path: String,
    /// The operating system's error number; `None` when the failure is not the system's.
    pub errno: Option<i32>,
    pub message: String,
}

impl Fault {
    pub fn new(syscall: &'static str, path: impl Into<String>, error: &std::io::Error) -> Self {
        Fault { syscall, path: path.into(), errno: error.raw_os_error(), message: error.to_string() }
    }

    pub fn kind(&self) -> Option<std::io::ErrorKind> {
        self.errno.map(|n| std::io::Error::from_raw_os_error(n).kind())
    }

    /// The disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self.kind(), Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    }

    /// A call or what it was given is not known here; nothing was done.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind(), Some(std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Unsupported))
    }

    pub fn is_read_only(&self) -> bool {
        self.kind() == Some(std::io::ErrorKind::ReadOnlyFilesystem)
    }

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

    /// Everything it knows, to be taken apart.
    pub fn into_info(self) -> Info {
        *self.0
    }

    /// Names the public operation, unless a deeper layer has already done so.
    pub fn during(mut self, operation: &'static str) -> Self {
        self.operation.get_or_insert(operation);
        self
    }

    /// Names the case of recovery's table, unless that has been done.
    pub fn judged(mut self, verdict: &'static str) -> Self {
        self.verdict.get_or_insert(verdict);
        self
    }

    pub fn at_position(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

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
    /// Whether the log is certain after it, and goes on once its cause is gone.
    pub fn heals(&self) -> bool {
        let by_code = matches!(self.code, Code::NoSpace | Code::ReadOnly | Code::Io);
        // A write to a file under its final name that does not heal has poisoned the log where it failed.
        by_code && self.cause.as_ref().is_some_and(|fault| fault.heals(On::Spare) || fault.heals(On::Name))
    }
}

/// A fault of the disk keeps its kind: full is `NoSpace`, a read-only file system `ReadOnly`, the rest `Io`.
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

/// The error of a call on a log that is closed, or closing.
pub fn closed() -> Error {
    Error::new(Code::Closed, "the log is closed")
}

/// The error of a write to a log that is open for reading alone.
pub fn read_only() -> Error {
    Error::new(Code::ReadOnly, "the log is open in mode 'readOnly'")
}

/// The error for a position that is not in the log any more.
pub fn truncated(position: u64, first: u64) -> Error {
    let text = if position < first {
        format!("position {position} is below the first one, {first}")
    } else {
        format!("position {position} was cut off")
    };
    let mut error = Error::new(Code::Truncated, text);
    error.first_position = Some(first);
    error.at_position(position)
}

/// The error for a position that the log has not reached.
pub fn out_of_range(position: u64, next: u64) -> Error {
    Error::new(Code::OutOfRange, format!("position {position} is above the next one, {next}")).at_position(position)
}
