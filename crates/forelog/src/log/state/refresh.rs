//! How a log that another process writes keeps up with that writer's page.

use super::LogState;
use crate::error::Result;
use crate::log::remote_writer::{PageChange, RemoteWriter};
use crate::util::locks::locked;
use crate::util::runtime::clock;

impl LogState {
    /// Applies the page that the writer in another process has published, and wakes the clients and followers that the change concerns.
    pub fn refresh(&self, remote: &RemoteWriter) -> Result<PageChange> {
        let change = remote.refresh(self)?;
        self.wake_for(change);
        Ok(change)
    }

    /// Wakes the clients and followers that a change of another process's log concerns.
    pub(super) fn wake_for(&self, change: PageChange) {
        match change {
            PageChange::None => {}
            PageChange::More => self.followers.wake_reached(self.catalog.ends.acknowledged()),
            PageChange::Truncated => {
                // Clients may hold records that are no longer in the log, so they are woken before any follower reads on.
                let clients: Vec<_> = locked(&self.submissions).clients.iter().flatten().map(|client| client.notify.clone()).collect();
                clients.iter().for_each(|client| client.wake());
                self.followers.wake_all();
            }
        }
    }

    /// Applies the writer's page on behalf of waiting followers, and returns whether it brought a change. After an error all followers are
    /// woken, and meet the error when they look themselves.
    pub fn check_page(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        if !remote.bond.holds(&*self.storage, clock()) {
            self.followers.wake_all();
            return false;
        }
        match self.refresh(remote) {
            Ok(change) => change != PageChange::None,
            Err(_) => {
                self.followers.wake_all();
                false
            }
        }
    }
}
