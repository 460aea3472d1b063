//! Writes that are submitted and complete later. Whoever submits one never blocks, and learns of its completion from the queue.
//!
//! The memory of such a write belongs to the kernel until it is complete. A [`SubmittedWrite`] therefore owns it: it gives the memory
//! back with the outcome, and dropping it waits for the completion.

use crate::error::Fault;
use crate::util::page_buffer::PageBuffer;

/// What became of a write that was submitted.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All of it is durable.
    Written,
    /// It would have had to block, or stopped early. It has to be written again by a thread that may block.
    Unfinished,
    /// As after a failed sync, it is unknown what is on the disk.
    Failed(Fault),
}

/// A completed write: its memory, and what became of it.
pub struct Completed {
    pub bytes: PageBuffer,
    pub outcome: Outcome,
}

/// A write between its submission and its completion.
pub trait SubmittedWrite: Send + Sync {
    /// Returns the completed write, once. Never blocks.
    fn poll(&mut self) -> Option<Completed>;
    /// Waits for the completion, if it has not been returned yet.
    fn wait(&mut self) -> Option<Completed>;
}

/// Why a write was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now: it would have had to block.
    Busy,
    /// The file or the system does not support it.
    Unsupported,
}

/// The memory and the place of a write.
#[derive(Clone, Copy, Debug)]
pub struct RawWrite {
    /// The descriptor of the file.
    pub file: i32,
    /// The first byte of the memory.
    pub start: *const u8,
    /// Number of bytes.
    pub len: usize,
    /// Where they go in the file.
    pub offset: u64,
}

/// A queue of the kernel for writes that complete later. It signals completions to one event loop, and any thread may submit and wait.
pub trait WriteQueue: Send + Sync {
    /// Submits a write past the page cache, without blocking. Returns the number by which [`WriteQueue::poll`] and [`WriteQueue::wait`] know
    /// it. `token` is handed out by [`WriteQueue::take_tokens`] when it completes.
    ///
    /// # Safety
    /// The memory of the write stays in place and unchanged until `poll` or `wait` has returned its result.
    unsafe fn submit(&self, write: RawWrite, token: u64) -> Result<u32, Refusal>;
    /// Returns how many bytes a complete write has written, or a negative error number, and frees its number. `None` until it is complete.
    fn poll(&self, number: u32) -> Option<i64>;
    /// Waits until a write is complete, and returns what `poll` does.
    fn wait(&self, number: u32) -> i64;
    /// Takes the tokens of the writes that have completed since the last call.
    fn take_tokens(&self, tokens: &mut Vec<u64>);
    /// Returns the descriptor that becomes readable when a write completes. Call [`WriteQueue::acknowledge`] before
    /// [`WriteQueue::take_tokens`], so that no completion in between goes unnoticed.
    fn descriptor(&self) -> i32;
    /// Makes the descriptor no longer readable until the next completion.
    fn acknowledge(&self);
    /// Returns the name of the kernel's interface, for people.
    fn name(&self) -> &'static str;
}

/// A write that was not submitted. Nothing is under way, and its memory stays where it is.
pub struct NotSubmitted;

impl SubmittedWrite for NotSubmitted {
    fn poll(&mut self) -> Option<Completed> {
        None
    }

    fn wait(&mut self) -> Option<Completed> {
        None
    }
}
