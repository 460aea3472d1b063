//! More clients of one handle, each with a queue of operations of its own. The blocking layer gives one to each thread.

use super::Wal;
use crate::error::Result;
use crate::options::Options;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::write::submission_queue::{Client, Resume, Settled, SubmissionQueue};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// The duty of a thread that has submitted operations: if no thread had the log, it is this thread's turn to commit.
#[must_use = "nobody else commits what was submitted"]
pub(crate) struct Turn {
    threads: Option<&'static dyn Resume>,
    identity: u64,
}

impl Turn {
    /// Commits what has gathered, if it is this thread's turn. Call it without any lock.
    pub(crate) fn take(self) {
        if let Some(threads) = self.threads {
            threads.lead(self.identity);
        }
    }
}

impl Wal {
    /// Adds a client, whose operations settle apart from those of the others, and returns its number.
    pub(crate) fn join(&self, notify: Arc<dyn Notify>) -> usize {
        locked(&self.shared.submissions).join(Client::new(notify))
    }

    /// Calls `act` under the lock of the queue, and makes a commit thread take what is queued. If the caller is going to wait for it, which
    /// `leads` says, and no thread has the log, what is queued is left to the caller: see [`Turn`].
    pub(crate) fn submit<T>(
        &self,
        operation: &'static str,
        leads: bool,
        act: impl FnOnce(&mut SubmissionQueue, &Options) -> Result<T>,
    ) -> Result<(T, Turn)> {
        let mut submissions = self.submissions(operation)?;
        let done = act(&mut submissions, &self.shared.options);
        let mut threads = None;
        if !(submissions.kicked || submissions.group.is_empty() && submissions.queue.is_empty()) {
            if leads && done.is_ok() {
                threads = self.shared.claim(submissions);
            } else {
                self.shared.rouse(submissions);
            }
        }
        Ok((done.map_err(|error| error.during(operation))?, Turn { threads, identity: self.shared.identity }))
    }

    /// Passes every settlement of the client that has not been collected to `take`. Its appends are no longer refused because of those.
    pub(crate) fn collect(&self, client: usize, mut take: impl FnMut(Settled)) {
        let mut submissions = locked(&self.shared.submissions);
        let Some(client) = submissions.clients.get_mut(client).and_then(Option::as_mut) else { return };
        let mut collected = u64::MAX;
        loop {
            let settled = client.collect();
            match settled {
                Settled::Done(upto) if upto == collected => return,
                Settled::Done(upto) | Settled::Failed(upto, _) => collected = upto,
            }
            take(settled);
        }
    }

    /// Removes clients whose operations have settled.
    pub(crate) fn leave(&self, clients: impl Iterator<Item = usize>) {
        let mut submissions = locked(&self.shared.submissions);
        for client in clients {
            if let Some(slot) = submissions.clients.get_mut(client) {
                *slot = None;
            }
        }
    }

    /// Whether the log is open for reading only, and written by another process.
    pub(crate) fn is_view(&self) -> bool {
        self.shared.remote.is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
