//! A cursor as those who hold it share it, and what they are told when truncation moves it.

use crate::error::{Code, Error};
use crate::segments::reader_positions::ReaderPosition;
use crate::util::locks::locked;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

type Wake = Box<dyn FnOnce() + Send>;

/// What truncation did to a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: u64,
    pub to: u64,
}

/// A cursor; all its handles share it.
pub struct Entry {
    pub name: Arc<str>,
    /// Last position done, as it is durable.
    pub stored: AtomicU64,
    pub deleted: AtomicBool,
    /// Deletions that are entered and not done.
    pub deletions: AtomicU64,
    /// What has befallen it before anybody held it.
    pub untold: Mutex<Option<Moved>>,
    pub handles: Mutex<Vec<Weak<Handle>>>,
}

impl Entry {
    pub fn new(name: Arc<str>, stored: u64) -> Arc<Entry> {
        let [stored, deletions] = [stored, 0].map(AtomicU64::new);
        Arc::new(Entry { name, stored, deleted: AtomicBool::new(false), deletions, untold: Mutex::default(), handles: Mutex::default() })
    }

    /// Whether the cursor is deleted, or will be before anything that is entered from now on.
    pub fn is_ending(&self) -> bool {
        self.deletions.load(Ordering::Acquire) > 0 || self.deleted.load(Ordering::Acquire)
    }

    /// Fails for a cursor that is deleted.
    pub fn alive(&self) -> Result<(), Error> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(self.gone());
        }
        Ok(())
    }

    /// Ends all watching.
    pub fn release(&self) {
        let handles: Vec<_> = locked(&self.handles).iter().filter_map(Weak::upgrade).collect();
        handles.iter().for_each(|handle| handle.release());
    }

    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    pub fn gone(&self) -> Error {
        Error::new(Code::NotFound, format!("cursor {:?} has been deleted", self.name))
    }

    /// Tells whoever holds it, or the next one to hold it.
    pub fn tell(&self, moved: Moved) {
        let mut handles = locked(&self.handles);
        handles.retain(|handle| handle.strong_count() > 0);
        if handles.is_empty() {
            return merge(&mut locked(&self.untold), moved);
        }
        let wakes: Vec<Wake> = handles.iter().filter_map(Weak::upgrade).filter_map(|handle| handle.tell(moved)).collect();
        drop(handles);
        wakes.into_iter().for_each(|wake| wake());
    }
}

/// One who holds a cursor, and is told when truncation moves it.
pub struct Handle {
    pub entry: Arc<Entry>,
    /// What cuts have kept since it last began to read.
    pub place: Arc<ReaderPosition>,
    pub news: Mutex<(Option<Moved>, Option<Wake>)>,
}

impl Handle {
    pub fn tell(&self, moved: Moved) -> Option<Wake> {
        let mut news = locked(&self.news);
        merge(&mut news.0, moved);
        news.1.take()
    }

    /// What truncation has done to the cursor since it was last asked.
    pub fn moved(&self) -> Option<Moved> {
        locked(&self.news).0.take()
    }

    /// Calls `wake` once there is such news, at once if there is or never will be.
    pub fn watch(&self, wake: Wake) {
        let mut news = locked(&self.news);
        if news.0.is_none() && self.entry.alive().is_ok() {
            news.1 = Some(wake);
            return;
        }
        drop(news);
        wake();
    }

    /// Ends watching: the one who waits is woken without news.
    pub fn release(&self) {
        let wake = locked(&self.news).1.take();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// What is read from now on is of the log as it is now.
    pub fn heed(&self) {
        self.place.heed();
    }

    /// Who reads goes on over a cut that kept all up to `kept`, and has got nothing above that before it.
    pub fn heed_if(&self, kept: u64) {
        self.place.heed_if(kept);
    }
}

/// Two moves in a row are one.
pub fn merge(news: &mut Option<Moved>, moved: Moved) {
    let from = news.map_or(moved.from, |earlier| earlier.from);
    *news = Some(Moved { from, to: moved.to }).filter(|moved| moved.from != moved.to);
}
