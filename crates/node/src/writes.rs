//! Submits the writes of this environment's logs on its own thread, and completes them in its event loop.
//!
//! The kernel signals a completion to a descriptor, which libuv polls. Its functions are looked up in the process: they belong to Node.js,
//! and a runtime that is not Node.js may lack them or have others of the same name. JavaScript therefore asks for this only in Node.js.

use crate::state::EnvironmentState;
use forelog::WriteQueue;
use napi::sys;
use std::cell::Cell;
use std::ffi::{c_int, c_void, CStr};
use std::mem::transmute;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::rc::{Rc, Weak};
use std::sync::{Arc, OnceLock};

/// `UV_POLL` and `UV_READABLE` of uv.h.
const POLL: c_int = 8;
const READABLE: c_int = 1;

type Callback = unsafe extern "C" fn(*mut c_void, c_int, c_int);
type CloseCallback = unsafe extern "C" fn(*mut c_void);

/// The functions of libuv and Node.js that are needed here.
#[derive(Clone, Copy)]
struct Uv {
    get_loop: unsafe extern "C" fn(sys::napi_env, *mut *mut c_void) -> sys::napi_status,
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    poll_init: unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(*mut c_void, c_int, Callback) -> c_int,
    close: unsafe extern "C" fn(*mut c_void, CloseCallback),
    take_ref: unsafe extern "C" fn(*mut c_void),
    drop_ref: unsafe extern "C" fn(*mut c_void),
    set_data: unsafe extern "C" fn(*mut c_void, *mut c_void),
    data: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    add_cleanup: unsafe extern "C" fn(
        sys::napi_env,
        unsafe extern "C" fn(sys::napi_async_cleanup_hook_handle, *mut c_void),
        *mut c_void,
        *mut sys::napi_async_cleanup_hook_handle,
    ) -> sys::napi_status,
    remove_cleanup: unsafe extern "C" fn(sys::napi_async_cleanup_hook_handle) -> sys::napi_status,
}

impl Uv {
    // The fields have the types.
    #[allow(clippy::missing_transmute_annotations)]
    fn look_up() -> Option<Uv> {
        let find = |name: &CStr| {
            // SAFETY: the name is a C string, and the default handle searches the process.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        // SAFETY: each function has the signature that uv.h and node_api.h declare for its name. Both are stable.
        unsafe {
            Some(Uv {
                get_loop: transmute::<*mut c_void, _>(find(c"napi_get_uv_event_loop")?),
                handle_size: transmute::<*mut c_void, _>(find(c"uv_handle_size")?),
                poll_init: transmute::<*mut c_void, _>(find(c"uv_poll_init")?),
                poll_start: transmute::<*mut c_void, _>(find(c"uv_poll_start")?),
                close: transmute::<*mut c_void, _>(find(c"uv_close")?),
                take_ref: transmute::<*mut c_void, _>(find(c"uv_ref")?),
                drop_ref: transmute::<*mut c_void, _>(find(c"uv_unref")?),
                set_data: transmute::<*mut c_void, _>(find(c"uv_handle_set_data")?),
                data: transmute::<*mut c_void, _>(find(c"uv_handle_get_data")?),
                add_cleanup: transmute::<*mut c_void, _>(find(c"napi_add_async_cleanup_hook")?),
                remove_cleanup: transmute::<*mut c_void, _>(find(c"napi_remove_async_cleanup_hook")?),
            })
        }
    }
}

impl Uv {
    /// Returns the functions. They are looked up once, because the dynamic linker's lock may be held for long.
    fn find() -> Option<Uv> {
        static FOUND: OnceLock<Option<Uv>> = OnceLock::new();
        *FOUND.get_or_init(Uv::look_up)
    }
}

/// The submitted writes of one environment. Only its thread touches this.
pub struct Writes {
    pub queue: Arc<dyn WriteQueue>,
    uv: Uv,
    /// The `uv_poll_t`. libuv owns it from `uv_poll_init` until the callback of `uv_close`.
    handle: Cell<*mut c_void>,
}

/// What the handle's callbacks need. Freed by the callback of `uv_close`.
struct Polled {
    env: sys::napi_env,
    state: Weak<EnvironmentState>,
    /// A reference to the function that runs a turn.
    turn: sys::napi_ref,
    uv: Uv,
    memory: Vec<u64>,
    cleanup: sys::napi_async_cleanup_hook_handle,
    /// Keeps the descriptor open as long as libuv polls it.
    queue: Arc<dyn WriteQueue>,
}

impl Writes {
    /// Begins to poll `queue` in the event loop of `env`. `turn` is called when the disk is done with a write. Returns `None` if that is not
    /// possible here.
    pub fn new(env: sys::napi_env, turn: sys::napi_value, queue: Arc<dyn WriteQueue>, state: &Rc<EnvironmentState>) -> Option<Writes> {
        let uv = Uv::find()?;
        let mut polled = Box::new(Polled {
            env,
            state: Rc::downgrade(state),
            turn: ptr::null_mut(),
            uv,
            memory: Vec::new(),
            cleanup: ptr::null_mut(),
            queue: queue.clone(),
        });
        // SAFETY: this is the environment's thread. The handle's memory is as large as libuv asks for, stays in place, and is freed only after
        // libuv has closed the handle. If a step fails, nothing that came before it refers to the memory.
        unsafe {
            let mut event_loop = ptr::null_mut();
            if (uv.get_loop)(env, &mut event_loop) != sys::Status::napi_ok || event_loop.is_null() {
                return None;
            }
            polled.memory = vec![0; (uv.handle_size)(POLL).div_ceil(8)];
            let handle = polled.memory.as_mut_ptr().cast::<c_void>();
            if sys::napi_create_reference(env, turn, 1, &mut polled.turn) != sys::Status::napi_ok {
                return None;
            }
            if (uv.poll_init)(event_loop, handle, queue.descriptor()) != 0 {
                sys::napi_delete_reference(env, polled.turn);
                return None;
            }
            let data = Box::into_raw(polled);
            (uv.set_data)(handle, data.cast());
            // Node.js waits for the handle to be closed before it frees the loop.
            (uv.add_cleanup)(env, close, data.cast(), &mut (*data).cleanup);
            if (uv.poll_start)(handle, READABLE, readable) != 0 {
                // No completion would be noticed. The handle is closed with the environment.
                return None;
            }
            // Pending operations keep the process alive, not the handle.
            (uv.drop_ref)(handle);
            Some(Writes { queue, uv, handle: Cell::new(handle) })
        }
    }

    /// Sets whether the handle keeps the event loop alive.
    pub fn keep_alive(&self, alive: bool) {
        let handle = self.handle.get();
        if !handle.is_null() {
            // SAFETY: on the environment's thread, with a handle that is not closed.
            unsafe {
                if alive {
                    (self.uv.take_ref)(handle)
                } else {
                    (self.uv.drop_ref)(handle)
                }
            }
        }
    }

    /// The environment ends: the handle is about to be closed.
    pub fn end(&self) {
        self.handle.set(ptr::null_mut());
    }
}

/// Called by libuv when writes have completed.
///
/// # Safety
/// libuv calls it on the environment's thread with the handle that was started.
unsafe extern "C" fn readable(handle: *mut c_void, _status: c_int, _events: c_int) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let Some(uv) = Uv::find() else { return };
        // SAFETY: the data is the `Polled` of this handle until the handle is closed.
        let polled = unsafe { &*(uv.data)(handle).cast::<Polled>() };
        polled.queue.acknowledge();
        let Some(state) = polled.state.upgrade().filter(|state| !state.has_ended()) else { return };
        if state.complete_writes(&*polled.queue) {
            // SAFETY: on the environment's thread, outside of any call from JavaScript.
            unsafe { run_turn(polled.env, polled.turn) };
        }
    }));
}

/// Calls the function that runs a turn. What it throws is an uncaught exception.
///
/// # Safety
/// On the environment's thread, outside of any call from JavaScript, with a reference to a function.
unsafe fn run_turn(env: sys::napi_env, turn: sys::napi_ref) {
    let (mut scope, mut function, mut global, mut result) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: promised by the caller. Values live until the scope is closed.
    unsafe {
        if sys::napi_open_handle_scope(env, &mut scope) != sys::Status::napi_ok {
            return;
        }
        sys::napi_get_reference_value(env, turn, &mut function);
        sys::napi_get_global(env, &mut global);
        let called = sys::napi_make_callback(env, ptr::null_mut(), global, function, 0, ptr::null(), &mut result);
        if called == sys::Status::napi_pending_exception {
            let mut thrown = ptr::null_mut();
            sys::napi_get_and_clear_last_exception(env, &mut thrown);
            sys::napi_fatal_exception(env, thrown);
        }
        sys::napi_close_handle_scope(env, scope);
    }
}

/// Called by Node.js when the environment ends. The logs may have been closed before or are closed after this; neither needs the event loop.
///
/// # Safety
/// Node.js calls it once, on the environment's thread, with the data it was given.
unsafe extern "C" fn close(_: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: the data is a `Polled` that `closed` frees.
    unsafe {
        let polled = &mut *data.cast::<Polled>();
        if let Some(writes) = polled.state.upgrade().as_ref().and_then(|state| state.writes.get()) {
            writes.end();
        }
        (polled.uv.close)(polled.memory.as_mut_ptr().cast(), closed);
    }
}

/// Called by libuv when the handle is closed.
///
/// # Safety
/// libuv calls it once, with the handle.
unsafe extern "C" fn closed(handle: *mut c_void) {
    let Some(uv) = Uv::find() else { return };
    // SAFETY: the data is the `Polled` of this handle, and nothing refers to it any more.
    let polled = unsafe { Box::from_raw((uv.data)(handle).cast::<Polled>()) };
    // SAFETY: the hook was added with this handle, and Node.js waits for its removal. Until then the environment exists.
    unsafe {
        sys::napi_delete_reference(polled.env, polled.turn);
        (uv.remove_cleanup)(polled.cleanup);
    }
}
