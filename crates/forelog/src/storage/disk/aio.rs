//! Writes by Linux AIO: `io_submit` and `io_getevents` of the kernel, with an eventfd for completions.
//!
//! Every write carries `RWF_NOWAIT`: if it had to block, it fails with EAGAIN, at the submission or in its completion. It is synced because
//! its file was opened with `O_DSYNC`. The structures are those of include/uapi/linux/aio_abi.h of Linux.

use super::completions::{clear, eventfd, signal, Completions, DEPTH, RECHECK};
use crate::storage::write_queue::{RawWrite, Refusal, WriteQueue};
use crate::util::locks::locked;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;

const IOCB_CMD_PWRITE: u16 = 1;
const IOCB_FLAG_RESFD: u32 = 1;
const RWF_NOWAIT: i32 = 8;

/// `struct iocb` on a little-endian machine.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    reqprio: i16,
    fildes: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct IoEvent {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

/// A context of Linux AIO.
pub struct Aio {
    context: libc::c_ulong,
    event: OwnedFd,
    completions: Mutex<Completions>,
}

impl Aio {
    /// # Errors
    /// The system does not allow it, or has no context left (fs.aio-max-nr).
    pub fn new() -> io::Result<Aio> {
        let event = eventfd()?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one number to `context`.
        match unsafe { libc::syscall(libc::SYS_io_setup, DEPTH as libc::c_long, &raw mut context) } {
            0 => Ok(Aio { context, event, completions: Mutex::new(Completions::new(DEPTH)) }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes completions from the kernel, and waits up to `nanos` for the first one if there is none.
    fn events(&self, nanos: i64) -> impl Iterator<Item = IoEvent> {
        let mut events = [IoEvent::default(); DEPTH];
        let mut timeout = libc::timespec { tv_sec: 0, tv_nsec: nanos };
        let (least, most) = (libc::c_long::from(nanos > 0), DEPTH as libc::c_long);
        // SAFETY: the kernel writes at most `DEPTH` events to the array.
        let count = unsafe { libc::syscall(libc::SYS_io_getevents, self.context, least, most, events.as_mut_ptr(), &raw mut timeout) };
        events.into_iter().take(usize::try_from(count).unwrap_or(0))
    }
}

impl WriteQueue for Aio {
    unsafe fn submit(&self, write: RawWrite, token: u64) -> Result<u32, Refusal> {
        let number = locked(&self.completions).reserve(token).ok_or(Refusal::Busy)?;
        let mut block = Iocb {
            data: u64::from(number),
            rw_flags: RWF_NOWAIT,
            opcode: IOCB_CMD_PWRITE,
            fildes: write.file as u32,
            buf: write.start as u64,
            nbytes: write.len as u64,
            offset: write.offset as i64,
            flags: IOCB_FLAG_RESFD,
            resfd: self.event.as_raw_fd() as u32,
            ..Iocb::default()
        };
        let mut list = [&raw mut block];
        // SAFETY: the kernel copies the block during the call. The caller keeps the memory that it names.
        if unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1 as libc::c_long, list.as_mut_ptr()) } == 1 {
            return Ok(number);
        }
        let error = io::Error::last_os_error();
        locked(&self.completions).release(number);
        Err(if error.kind() == io::ErrorKind::WouldBlock { Refusal::Busy } else { Refusal::Unsupported })
    }

    fn poll(&self, number: u32) -> Option<i64> {
        let mut completions = locked(&self.completions);
        if let Some(result) = completions.take(number) {
            return Some(result);
        }
        completions.complete_all(self.events(0).map(|event| (event.data as u32, event.res)));
        completions.take(number)
    }

    fn wait(&self, number: u32) -> i64 {
        loop {
            if let Some(result) = self.poll(number) {
                return result;
            }
            // Without the lock. Another thread may take the completion meanwhile, so the wait is short.
            let events: Vec<IoEvent> = self.events(RECHECK.as_nanos() as i64).collect();
            locked(&self.completions).complete_all(events.iter().map(|event| (event.data as u32, event.res)));
            if events.iter().any(|event| event.data as u32 != number) {
                // The event loop may have looked for them in between.
                signal(&self.event);
            }
        }
    }

    fn take_tokens(&self, tokens: &mut Vec<u64>) {
        let mut completions = locked(&self.completions);
        completions.complete_all(self.events(0).map(|event| (event.data as u32, event.res)));
        completions.take_tokens(tokens);
    }

    fn descriptor(&self) -> i32 {
        self.event.as_raw_fd()
    }

    fn acknowledge(&self) {
        clear(&self.event);
    }

    fn name(&self) -> &'static str {
        "Linux AIO"
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: the context belongs to this value. No write is under way: each holds a reference to the queue.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}
