//! The writes of a queue that are under way or complete, by number, and what the drivers share besides.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Number of writes that may be under way. A log has two, and if more logs are busy than fit, commit threads write.
pub const DEPTH: usize = 64;
/// How long a waiting thread sleeps before it checks whether another thread has taken its completion.
pub const RECHECK: Duration = Duration::from_millis(2);

/// Returns a new eventfd.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no memory, and the descriptor that it returns belongs to the caller.
    unsafe {
        match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Makes an eventfd readable.
pub fn signal(event: &OwnedFd) {
    let count = 1_u64;
    // SAFETY: eight bytes are read from `count`.
    unsafe { libc::write(event.as_raw_fd(), (&raw const count).cast(), 8) };
}

/// Reads an eventfd, which makes it no longer readable.
pub fn clear(event: &OwnedFd) {
    let mut count = 0_u64;
    // SAFETY: eight bytes are written to `count`. If there is nothing to read, the call fails and writes nothing.
    unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    /// Under way, with its token.
    UnderWay(u64),
    /// Complete, with its result.
    Complete(i64),
}

pub struct Completions {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Tokens of completed writes that nobody has taken.
    tokens: Vec<u64>,
}

impl Completions {
    pub fn new(depth: usize) -> Completions {
        Completions { slots: vec![Slot::Free; depth], free: (0..depth as u32).rev().collect(), tokens: Vec::new() }
    }

    /// Returns a number for a write, `None` if too many are under way.
    pub fn reserve(&mut self, token: u64) -> Option<u32> {
        let number = self.free.pop()?;
        self.slots[number as usize] = Slot::UnderWay(token);
        Some(number)
    }

    /// Frees a number whose write was not submitted.
    pub fn release(&mut self, number: u32) {
        self.slots[number as usize] = Slot::Free;
        self.free.push(number);
    }

    /// Records the result of a write. A result of a write that is not under way is ignored.
    pub fn complete(&mut self, number: u32, result: i64) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            if let Slot::UnderWay(token) = *slot {
                *slot = Slot::Complete(result);
                self.tokens.push(token);
            }
        }
    }

    /// Records results of writes by their numbers.
    pub fn complete_all(&mut self, results: impl Iterator<Item = (u32, i64)>) {
        for (number, result) in results {
            self.complete(number, result);
        }
    }

    /// Returns the result of a complete write, and frees its number.
    pub fn take(&mut self, number: u32) -> Option<i64> {
        match self.slots.get(number as usize) {
            Some(Slot::Complete(result)) => {
                let result = *result;
                self.release(number);
                Some(result)
            }
            _ => None,
        }
    }

    pub fn take_tokens(&mut self, tokens: &mut Vec<u64>) {
        tokens.append(&mut self.tokens);
        tokens.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_gets_its_own_result_and_each_completion_is_told_once() {
        let mut all = Completions::new(2);
        let (first, second) = (all.reserve(7), all.reserve(8));
        assert_eq!((first, second, all.reserve(9)), (Some(0), Some(1), None), "no more than two at a time");
        all.complete(1, -5);
        assert_eq!((all.take(0), all.take(1), all.take(1)), (None, Some(-5), None));
        // Its number may be given to another write while its token is still to be told.
        assert_eq!(all.reserve(9), Some(1));
        all.complete(0, 4096);
        all.complete(0, 1);
        let mut tokens = Vec::new();
        all.take_tokens(&mut tokens);
        assert_eq!((tokens, all.take(0)), (vec![8, 7], Some(4096)));
    }
}
