//! A client of a log: one handle's operations, and how they settle.

use crate::error::Error;
use crate::storage::write_queue::WriteQueue;
use crate::util::notify::Notify;
use std::collections::VecDeque;
use std::sync::Arc;

/// A settlement. A client gets its settlements in the order of its operations.
#[derive(Clone, Debug)]
pub enum Settled {
    /// Every operation up to and including this count has succeeded, except those already reported as failed.
    Done(u64),
    /// Every operation after the last count reported, up to and including this one, has failed.
    Failed(u64, Error),
}

/// Where the completions of a client's writes arrive, if its thread submits them itself.
#[derive(Clone)]
pub struct WriteRoute {
    pub queue: Arc<dyn WriteQueue>,
    /// Is handed out by the queue when a write completes.
    pub token: u64,
}

/// The operations of one handle, counted 1, 2, 3 … in the order of its calls.
pub struct Client {
    pub notify: Arc<dyn Notify>,
    /// Number of operations accepted.
    pub submitted: u64,
    /// Number of operations settled, successfully or not.
    pub settled: u64,
    /// Settlements that have not been collected. A failure is an entry of its own, apart from the successes around it.
    pub(super) settlements: VecDeque<Settled>,
    /// The last operation that has failed or will fail, with its error. Until the client has collected that failure its appends are
    /// refused, so that no record overtakes a rejected one.
    pub(super) failing: Option<(u64, Error)>,
    /// Number of operations whose outcome has been collected.
    delivered: u64,
    /// `None` if commit threads write for the client.
    pub route: Option<WriteRoute>,
}

impl Client {
    pub fn new(notify: Arc<dyn Notify>) -> Client {
        Client { notify, submitted: 0, settled: 0, settlements: VecDeque::new(), failing: None, delivered: 0, route: None }
    }

    pub(super) fn succeed(&mut self, ops: u64) {
        self.settled += ops;
        match self.settlements.back_mut() {
            Some(Settled::Done(upto)) => *upto = self.settled,
            _ => self.settlements.push_back(Settled::Done(self.settled)),
        }
    }

    /// Records that the next `ops` operations have failed.
    pub(super) fn fail(&mut self, ops: u64, error: &Error) {
        if ops > 0 {
            self.settled += ops;
            self.settlements.push_back(Settled::Failed(self.settled, error.clone()));
        }
    }

    /// Returns the oldest settlement that has not been collected, or `Done` with the current count if there is none. Calling it again
    /// confirms that the previous settlement has been delivered to the caller's promises.
    pub fn collect(&mut self) -> Settled {
        let delivered = self.delivered;
        self.failing.take_if(|(upto, _)| *upto <= delivered);
        let settled = self.settlements.pop_front().unwrap_or(Settled::Done(self.settled));
        let (Settled::Done(upto) | Settled::Failed(upto, _)) = settled;
        self.delivered = upto;
        settled
    }
}
