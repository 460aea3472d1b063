//! Writes by io_uring, with an eventfd for completions.
//!
//! Every write carries `RWF_NOWAIT`, as those of [`super::aio`] do: if it had to block, it fails with EAGAIN, in its completion. It is
//! synced because its file was opened with `O_DSYNC`.
//!
//! The ring has no flags. Any thread submits to it, so it has no single issuer, whose thread alone would see completions. A completion is
//! put into the ring on behalf of the thread that submitted the write, even while that thread computes, and before it ends.

use super::completions::{clear, eventfd, Completions, DEPTH, RECHECK};
use crate::storage::write_queue::{RawWrite, Refusal, WriteQueue};
use crate::util::locks::locked;
use io_uring::{opcode, squeue, types, IoUring};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;

const RWF_NOWAIT: i32 = 8;

/// A ring of io_uring.
pub struct Uring {
    ring: IoUring,
    event: OwnedFd,
    /// Guards the submission queue of the ring. True once an entry is in it that the kernel has not taken.
    submitting: Mutex<bool>,
    /// Guards the completion queue of the ring, too.
    completions: Mutex<Completions>,
}

impl Uring {
    /// # Errors
    /// The system does not allow it or does not have it.
    pub fn new() -> io::Result<Uring> {
        let event = eventfd()?;
        let ring = IoUring::new(DEPTH as u32)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        Ok(Uring { ring, event, submitting: Mutex::new(false), completions: Mutex::new(Completions::new(DEPTH)) })
    }

    /// Takes the completions that are in the ring.
    fn collect(&self, completions: &mut Completions) {
        // SAFETY: whoever reads the completion queue holds the lock of `completions`.
        let queue = unsafe { self.ring.completion_shared() };
        completions.complete_all(queue.map(|entry| (entry.user_data() as u32, i64::from(entry.result()))));
    }

    /// Submits one entry.
    ///
    /// # Errors
    /// The kernel has not taken it.
    ///
    /// # Safety
    /// The memory that the entry names stays in place until its completion.
    unsafe fn enter(&self, entry: &squeue::Entry) -> io::Result<()> {
        let mut is_broken = locked(&self.submitting);
        if *is_broken {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the lock is held, and the caller keeps the memory.
        unsafe { self.ring.submission_shared().push(entry) }.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        loop {
            // SAFETY: no memory is passed.
            match unsafe { self.ring.submitter().enter::<libc::sigset_t>(1, 0, 0, None) } {
                Ok(1..) => return Ok(()),
                Ok(0) => std::thread::yield_now(),
                // The entry is in the queue and cannot be taken back, so the kernel has to take it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ENOMEM)) => {
                    std::thread::yield_now();
                }
                Err(error) => {
                    // The next call would have the kernel take the entry, whose memory the caller has back by then.
                    *is_broken = true;
                    return Err(error);
                }
            }
        }
    }
}

impl WriteQueue for Uring {
    unsafe fn submit(&self, write: RawWrite, token: u64) -> Result<u32, Refusal> {
        let len = u32::try_from(write.len).map_err(|_| Refusal::Busy)?;
        let number = locked(&self.completions).reserve(token).ok_or(Refusal::Busy)?;
        let entry = opcode::Write::new(types::Fd(write.file), write.start, len).offset(write.offset).rw_flags(RWF_NOWAIT);
        // SAFETY: the caller keeps the memory.
        match unsafe { self.enter(&entry.build().user_data(u64::from(number))) } {
            Ok(()) => Ok(number),
            Err(_) => {
                locked(&self.completions).release(number);
                Err(Refusal::Unsupported)
            }
        }
    }

    fn poll(&self, number: u32) -> Option<i64> {
        let mut completions = locked(&self.completions);
        if let Some(result) = completions.take(number) {
            return Some(result);
        }
        self.collect(&mut completions);
        completions.take(number)
    }

    fn wait(&self, number: u32) -> i64 {
        loop {
            if let Some(result) = self.poll(number) {
                return result;
            }
            // Another thread may take the completion meanwhile, so the wait is short.
            let mut ring = libc::pollfd { fd: self.ring.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the kernel reads and writes one structure. A failure is an interruption, after which the ring is looked at again.
            unsafe { libc::poll(&raw mut ring, 1, RECHECK.as_millis() as i32) };
        }
    }

    fn take_tokens(&self, tokens: &mut Vec<u64>) {
        let mut completions = locked(&self.completions);
        self.collect(&mut completions);
        completions.take_tokens(tokens);
    }

    fn descriptor(&self) -> i32 {
        self.event.as_raw_fd()
    }

    fn acknowledge(&self) {
        clear(&self.event);
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}
