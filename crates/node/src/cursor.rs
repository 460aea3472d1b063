//! Named cursors: what is to become durable is a request, everything else is answered at once.

use crate::environment::{Outcome, Shared};
use forelog::Start;
use napi_derive::napi;
use std::sync::Arc;

/// A cursor and its position, as it is durable.
#[napi(object, object_from_js = false)]
pub struct CursorData {
    pub name: String,
    pub position: f64,
}

/// What truncation did to a cursor.
#[napi(object, object_from_js = false)]
pub struct MovedData {
    pub from: f64,
    pub to: f64,
}

/// Where a reader begins and a new cursor stands: before the first position for 0, after the last one acknowledged for a negative number, otherwise before
/// this position.
pub fn start(given: f64) -> Start {
    match given as i64 {
        0 => Start::First,
        position if position < 0 => Start::End,
        position => Start::At(position as u64),
    }
}

/// A handle on a named cursor. When it is collected the cursor stays.
#[napi]
pub struct Cursor {
    shared: Arc<Shared>,
    cursor: forelog::Cursor,
}

impl Cursor {
    pub fn new(shared: Arc<Shared>, cursor: forelog::Cursor) -> Self {
        Cursor { shared, cursor }
    }

    /// The number of a request, and what completes it.
    fn request(&self) -> (f64, impl FnOnce(forelog::Result<()>) + Send + 'static) {
        let (id, shared) = (self.shared.number(), self.shared.clone());
        (id, move |outcome| shared.complete(id, Outcome::Closed(outcome)))
    }
}

#[napi]
impl Cursor {
    /// Last position done, 0 when none.
    #[napi(catch_unwind)]
    pub fn position(&self) -> f64 {
        self.cursor.position() as f64
    }

    /// Whether it has been deleted, or will be before anything that is asked from now on.
    #[napi(catch_unwind)]
    pub fn is_deleted(&self) -> bool {
        self.cursor.is_deleted()
    }

    /// Says that all up to `position` is done; gives the number of the request.
    #[napi(catch_unwind)]
    pub fn commit(&self, position: f64) -> f64 {
        let (id, done) = self.request();
        self.cursor.commit(position as u64, done);
        id
    }

    /// Goes back to `position`; gives the number of the request.
    #[napi(catch_unwind)]
    pub fn rewind(&self, position: f64) -> f64 {
        let (id, done) = self.request();
        self.cursor.rewind(position as u64, done);
        id
    }

    /// Ends the cursor; gives the number of the request.
    #[napi(catch_unwind)]
    pub fn remove(&self) -> f64 {
        let (id, done) = self.request();
        self.cursor.delete(done);
        id
    }

    /// What is read from now on is of the log as it is now.
    #[napi(catch_unwind)]
    pub fn heed(&self) {
        self.cursor.heed();
    }

    /// The one who reads goes on over a cut that kept all up to `kept`.
    #[napi(catch_unwind)]
    pub fn heed_if(&self, kept: f64) {
        self.cursor.heed_if(kept as u64);
    }

    /// Gives the number of a request that completes once truncation has moved the cursor, after `release()`, or once it is deleted.
    #[napi(catch_unwind)]
    pub fn watch(&self) -> f64 {
        let (id, done) = self.request();
        self.cursor.watch(move || done(Ok(())));
        id
    }

    /// What truncation has done to it since the last call.
    #[napi(catch_unwind)]
    pub fn moved(&self) -> Option<MovedData> {
        self.cursor.moved().map(|moved| MovedData { from: moved.from as f64, to: moved.to as f64 })
    }

    /// Ends watching.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.cursor.release();
    }
}
