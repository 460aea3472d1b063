//! Calls on bare Node-API, for what is called per record. A raw function takes numbers, strings and byte arrays, and returns a number. A
//! negative number means that the call was refused; `Environment.refusal()` then returns the error.

use crate::error::{invalid, panicked};
use crate::state::EnvironmentState;
use forelog::Error;
use napi::bindgen_prelude::Object;
use napi::{check_status, sys, Env, JsValue};
use std::ffi::{c_void, CStr};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::rc::Rc;

pub type RawResult = Result<f64, Error>;

/// The largest integer that a JavaScript number holds exactly.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Strings of up to this many bytes are encoded without an allocation.
const SHORT: usize = 2048;

/// Maximum bytes of one character in UTF-8. If a buffer has no more room than this left, it may have been too short.
const LONGEST_CHARACTER: usize = 4;

/// Whether an argument is absent, a string or a Uint8Array, as encoded in the `flags` argument. Node-API checks it.
pub enum ArgumentKind {
    Nothing,
    String,
    Bytes,
}

/// Scratch space for UTF-8: inline up to 2 KiB, otherwise on the heap.
pub struct Utf8Scratch {
    short: [MaybeUninit<u8>; SHORT],
    long: Vec<u8>,
}

impl Utf8Scratch {
    pub fn new() -> Self {
        Utf8Scratch { short: [MaybeUninit::uninit(); SHORT], long: Vec::new() }
    }
}

/// The arguments of one call from JavaScript.
pub struct Call<'a, const N: usize> {
    env: sys::napi_env,
    arguments: [sys::napi_value; N],
    pub state: &'a EnvironmentState,
}

impl<const N: usize> Call<'_, N> {
    pub fn unsigned(&self, at: usize, name: &str) -> Result<u32, Error> {
        let mut value = 0;
        // SAFETY: `env` and the argument are those of the call under way on this thread.
        let status = unsafe { sys::napi_get_value_uint32(self.env, self.arguments[at], &mut value) };
        if status == sys::Status::napi_ok {
            Ok(value)
        } else {
            Err(invalid(format!("{name} must be a number")))
        }
    }

    /// Reads a safe non-negative integer.
    pub fn integer(&self, at: usize, name: &str) -> Result<u64, Error> {
        let mut value = f64::NAN;
        // SAFETY: as in `unsigned`.
        unsafe { sys::napi_get_value_double(self.env, self.arguments[at], &mut value) };
        if (0.0..=MAX_SAFE_INTEGER).contains(&value) && value.fract() == 0.0 {
            Ok(value as u64)
        } else {
            Err(invalid(format!("{name} must be an integer from 0 to 2^53 - 1")))
        }
    }

    /// Reads a safe non-negative integer, or a `bigint` of up to 64 bits.
    pub fn whole(&self, at: usize, name: &str) -> Result<u64, Error> {
        let (mut value, mut is_exact) = (0, false);
        // SAFETY: as in `unsigned`.
        let status = unsafe { sys::napi_get_value_bigint_uint64(self.env, self.arguments[at], &mut value, &mut is_exact) };
        if status == sys::Status::napi_ok && is_exact {
            return Ok(value);
        }
        self.integer(at, name)
    }

    /// Reads the bytes of an argument. A string is encoded into `scratch`. An array's bytes are not copied, and must be used before
    /// JavaScript runs again.
    pub fn bytes<'s>(&'s self, at: usize, kind: ArgumentKind, scratch: &'s mut Utf8Scratch, name: &str) -> Result<Option<&'s [u8]>, Error> {
        match kind {
            ArgumentKind::Nothing => Ok(None),
            ArgumentKind::String => self.string(at, scratch, name).map(Some),
            ArgumentKind::Bytes => self.array(at, name).map(Some),
        }
    }

    fn string<'s>(&self, at: usize, scratch: &'s mut Utf8Scratch, name: &str) -> Result<&'s [u8], Error> {
        let not_a_string = || invalid(format!("{name} must be a string"));
        let value = self.arguments[at];
        let mut len = 0;
        // SAFETY: as in `unsigned`; at most SHORT bytes are written, the terminator included.
        let status = unsafe { sys::napi_get_value_string_utf8(self.env, value, scratch.short.as_mut_ptr().cast(), SHORT, &mut len) };
        if status != sys::Status::napi_ok {
            return Err(not_a_string());
        }
        if len + LONGEST_CHARACTER < SHORT {
            // SAFETY: Node-API has just written the first `len` bytes.
            return Ok(unsafe { std::slice::from_raw_parts(scratch.short.as_ptr().cast(), len) });
        }
        // SAFETY: without a buffer, Node-API only returns the length.
        let status = unsafe { sys::napi_get_value_string_utf8(self.env, value, ptr::null_mut(), 0, &mut len) };
        if status != sys::Status::napi_ok {
            return Err(not_a_string());
        }
        scratch.long.clear();
        scratch.long.reserve(len + 1);
        let room = scratch.long.capacity();
        // SAFETY: the vector has `room` bytes, more than the string and its terminator take.
        let status = unsafe { sys::napi_get_value_string_utf8(self.env, value, scratch.long.as_mut_ptr().cast(), room, &mut len) };
        if status != sys::Status::napi_ok {
            return Err(not_a_string());
        }
        // SAFETY: the first `len` bytes have just been written, and `len` is below the capacity.
        unsafe { scratch.long.set_len(len) };
        Ok(&scratch.long)
    }

    fn array(&self, at: usize, name: &str) -> Result<&[u8], Error> {
        let mut data = ptr::null_mut();
        let mut len = 0;
        // SAFETY: as in `unsigned`.
        let status = unsafe { sys::napi_get_buffer_info(self.env, self.arguments[at], &mut data, &mut len) };
        if status != sys::Status::napi_ok {
            return Err(invalid(format!("{name} must be a Uint8Array")));
        }
        if len == 0 {
            // An array whose memory was transferred away also has length 0, and must not be stored as empty.
            return if self.is_detached(at) {
                Err(invalid(format!("{name} must still have its bytes: its memory is detached")))
            } else {
                Ok(&[])
            };
        }
        // SAFETY: the view spans `len` bytes, and no JavaScript of this thread can shrink, detach or collect it before the call ends.
        // Another thread may write to shared memory meanwhile; the bytes are only copied, so any content is fine.
        Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
    }

    fn is_detached(&self, at: usize) -> bool {
        let (mut kind, mut len, mut offset) = (0, 0, 0);
        let (mut data, mut buffer) = (ptr::null_mut(), ptr::null_mut());
        let mut detached = false;
        // SAFETY: as in `unsigned`; the buffer is only used if the first call has returned it.
        unsafe {
            let status =
                sys::napi_get_typedarray_info(self.env, self.arguments[at], &mut kind, &mut len, &mut data, &mut buffer, &mut offset);
            status == sys::Status::napi_ok
                && sys::napi_is_detached_arraybuffer(self.env, buffer, &mut detached) == sys::Status::napi_ok
                && detached
        }
    }

    /// Overwrites the first elements of a `Float64Array`.
    pub fn write_float64s(&self, at: usize, numbers: &[f64]) -> Result<(), Error> {
        let (mut kind, mut len, mut data) = (0, 0, ptr::null_mut());
        // SAFETY: as in `unsigned`; pointers for results that are not needed may be null.
        let status = unsafe {
            sys::napi_get_typedarray_info(self.env, self.arguments[at], &mut kind, &mut len, &mut data, ptr::null_mut(), ptr::null_mut())
        };
        if status != sys::Status::napi_ok || kind != sys::TypedarrayType::float64_array || len < numbers.len() {
            return Err(invalid(format!("internal error: a Float64Array of {} elements is needed", numbers.len())));
        }
        // SAFETY: `data` points to `len` aligned doubles, at least as many as are copied.
        unsafe { ptr::copy_nonoverlapping(numbers.as_ptr(), data.cast(), numbers.len()) };
        Ok(())
    }
}

/// Runs one call: collects its arguments, runs `body`, and converts the result to a number.
///
/// # Safety
///
/// `env` and `info` must be the arguments of the current Node-API callback, and its function must have been created by [`define`].
pub unsafe fn enter<const N: usize>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&Call<'_, N>) -> RawResult,
) -> sys::napi_value {
    let mut arguments = [ptr::null_mut(); N];
    let mut count = N;
    let mut data = ptr::null_mut();
    let mut returned = ptr::null_mut();
    // Node-API fills missing arguments with `undefined`.
    let status = sys::napi_get_cb_info(env, info, &mut count, arguments.as_mut_ptr(), ptr::null_mut(), &mut data);
    if status != sys::Status::napi_ok || data.is_null() {
        return returned;
    }
    // The function owns a reference to the state: see `define`.
    let call = Call { env, arguments, state: &*data.cast::<EnvironmentState>() };
    let result = match catch_unwind(AssertUnwindSafe(|| body(&call))) {
        Ok(result) => result,
        Err(panic) => Err(panicked(panic)),
    };
    let number = result.unwrap_or_else(|error| {
        call.state.refuse(error);
        -1.0
    });
    sys::napi_create_double(env, number, &mut returned);
    returned
}

/// Adds a function to `object`. The function keeps the state alive until it is collected.
pub fn define(
    env: &Env,
    object: &Object<'_>,
    name: &CStr,
    callback: unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value,
    state: &Rc<EnvironmentState>,
) -> napi::Result<()> {
    let mut function = ptr::null_mut();
    let data = Rc::into_raw(state.clone()).cast_mut().cast::<c_void>();
    // SAFETY: `env` is the current one. `data` is a reference to the state that the finalizer releases once.
    unsafe {
        let created = sys::napi_create_function(env.raw(), name.as_ptr(), name.count_bytes() as isize, Some(callback), data, &mut function);
        let owned = match created {
            sys::Status::napi_ok => sys::napi_add_finalizer(env.raw(), function, data, Some(release), ptr::null_mut(), ptr::null_mut()),
            failed => failed,
        };
        if owned != sys::Status::napi_ok {
            drop(Rc::from_raw(data.cast::<EnvironmentState>()));
        }
        check_status!(owned)?;
        check_status!(sys::napi_set_named_property(env.raw(), object.raw(), name.as_ptr(), function))
    }
}

/// Finalizer of a function made by [`define`].
///
/// # Safety
///
/// `data` must be a reference that `define` has made, and that nothing has released.
unsafe extern "C" fn release(_: sys::napi_env, data: *mut c_void, _: *mut c_void) {
    drop(Rc::from_raw(data.cast::<EnvironmentState>()));
}
