//! More clients of one handle, each with a queue of operations of its own. The blocking layer gives one to each thread.

use super::Wal;
use crate::error::Result;
use crate::options::Options;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::write::submission_queue::{Client, Settled, SubmissionQueue};
use std::sync::atomic::Ordering;
use std::sync::Arc;

impl Wal {
    /// Adds a client, whose operations settle apart from those of the others, and returns its number.
    pub(crate) fn join(&self, notify: Arc<dyn Notify>) -> usize {
        locked(&self.shared.submissions).join(Client::new(notify))
    }

    /// Calls `act` under the lock of the queue, and makes the commit thread take what is queued.
    pub(crate) fn submit<T>(&self, operation: &'static str, act: impl FnOnce(&mut SubmissionQueue, &Options) -> Result<T>) -> Result<T> {
        let mut submissions = self.submissions(operation)?;
        let done = act(&mut submissions, &self.shared.options);
        if !(submissions.kicked || submissions.group.is_empty() && submissions.queue.is_empty()) {
            self.shared.rouse(submissions);
        }
        done.map_err(|error| error.during(operation))
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
