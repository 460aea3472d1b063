//! The end of an open log: what is accepted becomes durable, the commit thread ends, and the caller that closes waits for it.

use super::LogState;
use crate::error::Result;
use crate::util::locks::locked;
use crate::util::notify::Waiter;
use crate::write::submission_queue::{Client, LogPhase, Settled};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

impl LogState {
    /// Waits until everything accepted so far is durable.
    pub fn flush(&self) -> Result<()> {
        let latch = Arc::new(Waiter::default());
        let client = {
            let mut submissions = locked(&self.submissions);
            let client = submissions.join(Client::new(latch.clone()));
            let entered = submissions.sync(client, &self.options);
            if let Err(error) = entered {
                submissions.clients[client] = None;
                return Err(error);
            }
            self.rouse(submissions);
            client
        };
        let settled = latch.wait_for(|| {
            let mut submissions = locked(&self.submissions);
            let client = submissions.clients.get_mut(client).and_then(Option::as_mut)?;
            (client.settled == client.submitted).then(|| client.collect())
        });
        locked(&self.submissions).clients[client] = None;
        match settled {
            Settled::Done(_) => Ok(()),
            Settled::Failed(_, error) => Err(error),
        }
    }

    pub fn shut_down(&self) -> Result<()> {
        {
            let mut submissions = locked(&self.submissions);
            if matches!(submissions.phase, LogPhase::Open) {
                submissions.phase = LogPhase::Closing;
            }
            self.stop.store(true, Ordering::Release);
            self.rouse(submissions);
        }
        let ended = self.await_end();
        // Everything accepted has been settled before this.
        self.ended.store(true, Ordering::Release);
        self.followers.wake_all();
        ended
    }

    fn await_end(&self) -> Result<()> {
        let mut left = locked(&self.left);
        loop {
            if let Some(closed) = &*left {
                return closed.clone();
            }
            left = self.has_left.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records the result of closing, after the commit thread has released everything.
    pub fn has_ended(&self, closed: Result<()>) {
        *locked(&self.left) = Some(closed);
        self.has_left.notify_all();
    }
}
