//! Errors are passed on as data. The facade constructs the error objects, so that they are of its class and have its caller's stack.

use crate::reports::FlippedData;
use forelog::{Code, Error};
use napi_derive::napi;

/// The fields of an engine error, from which the facade constructs a `WalError`.
#[napi(object, object_from_js = false)]
pub struct ErrorData {
    pub code: String,
    pub message: String,
    pub operation: Option<String>,
    pub position: Option<f64>,
    pub segment: Option<String>,
    pub offset: Option<f64>,
    pub first_lost: Option<f64>,
    pub last_lost: Option<f64>,
    pub verdict: Option<String>,
    pub flipped: Option<FlippedData>,
    pub first_position: Option<f64>,
    pub actual: Option<f64>,
    pub pid: Option<u32>,
    pub cause: Option<CauseData>,
}

/// The failure of the operating system that caused an error.
#[napi(object, object_from_js = false)]
pub struct CauseData {
    /// The error number of the system, positive.
    pub errno: Option<i32>,
    pub syscall: String,
    pub path: String,
    pub message: String,
}

/// A failure with `error` of all operations after the last settled one, up to and including `up_to`.
#[napi(object, object_from_js = false)]
pub struct FailureData {
    pub up_to: f64,
    pub error: ErrorData,
}

impl From<Error> for ErrorData {
    fn from(error: Error) -> Self {
        let error = error.into_info();
        ErrorData {
            code: error.code.as_str().to_owned(),
            message: error.message,
            operation: error.operation.map(str::to_owned),
            position: error.position.map(|n| n as f64),
            segment: error.segment,
            offset: error.offset.map(|n| n as f64),
            first_lost: error.lost.map(|(first, _)| first as f64),
            last_lost: error.lost.map(|(_, last)| last as f64),
            verdict: error.verdict.map(str::to_owned),
            flipped: error.flipped.map(Into::into),
            first_position: error.first_position.map(|n| n as f64),
            actual: error.actual.map(|n| n as f64),
            pid: error.pid,
            cause: error.cause.map(|fault| CauseData {
                errno: fault.errno,
                syscall: fault.syscall.to_owned(),
                path: fault.path,
                message: fault.message,
            }),
        }
    }
}

pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArg, message)
}

/// Converts a panic, which is a bug of Forelog, to an error of the call instead of ending the process.
pub fn panicked(panic: Box<dyn std::any::Any + Send>) -> Error {
    let what = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "no message",
    };
    Error::new(Code::Io, format!("internal error: {what}"))
}
