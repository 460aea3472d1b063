//! Named cursors. Operations that become durable are requests; all others return at once.

use crate::completion::Outcome;
use crate::wake::WakeState;
use crate::wire;
use forelog::StartPosition;
use napi_derive::napi;
use std::sync::Arc;

/// A cursor and its durable position.
#[napi(object, object_from_js = false)]
pub struct CursorData {
    pub name: String,
    pub position: f64,
}

/// Position of a cursor before and after a truncation moved it.
#[napi(object, object_from_js = false)]
pub struct MovedData {
    pub from: f64,
    pub to: f64,
}

/// Converts the start of a reader or of a new cursor: `START_FIRST`, `START_END` or a position.
pub fn start(given: f64) -> StartPosition {
    match given as i64 {
        wire::START_FIRST => StartPosition::First,
        wire::START_END => StartPosition::End,
        position => StartPosition::At(position as u64),
    }
}

/// A handle on a named cursor. When the handle is garbage collected the cursor stays.
#[napi]
pub struct Cursor {
    shared: Arc<WakeState>,
    cursor: forelog::NamedCursor,
}

impl Cursor {
    pub fn new(shared: Arc<WakeState>, cursor: forelog::NamedCursor) -> Self {
        Cursor { shared, cursor }
    }

    /// Returns the number of a request, and the function that completes it.
    fn request(&self) -> (f64, impl FnOnce(forelog::Result<()>) + Send + 'static) {
        let (id, shared) = (self.shared.number(), self.shared.clone());
        (id, move |outcome| shared.complete(id, Outcome::Closed(outcome)))
    }
}

#[napi]
impl Cursor {
    /// Last consumed position, 0 if there is none.
    #[napi(catch_unwind)]
    pub fn position(&self) -> f64 {
        self.cursor.position() as f64
    }

    /// Whether the cursor has been deleted, or will be before any later operation on it.
    #[napi(catch_unwind)]
    pub fn is_deleted(&self) -> bool {
        self.cursor.is_deleted()
    }

    /// Stores that all records up to `position` have been consumed, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn commit(&self, position: f64) -> f64 {
        let (id, done) = self.request();
        self.cursor.commit(position as u64, done);
        id
    }

    /// Moves the cursor back to `position`, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn rewind(&self, position: f64) -> f64 {
        let (id, done) = self.request();
        self.cursor.rewind(position as u64, done);
        id
    }

    /// Deletes the cursor, and returns the number of the request.
    #[napi(catch_unwind)]
    pub fn remove(&self) -> f64 {
        let (id, done) = self.request();
        self.cursor.delete(done);
        id
    }

    /// Claims the cursor for the consumers of this environment. Returns false if those of another one have it.
    #[napi(catch_unwind)]
    pub fn claim(&self) -> bool {
        self.cursor.claim()
    }

    /// Ends the claim.
    #[napi(catch_unwind)]
    pub fn unclaim(&self) {
        self.cursor.unclaim();
    }

    /// Whether the consumers of another environment have the cursor.
    #[napi(catch_unwind)]
    pub fn is_claimed_beside(&self) -> bool {
        self.cursor.is_claimed_beside()
    }

    /// Acknowledges all truncations so far: reading starts over.
    #[napi(catch_unwind)]
    pub fn acknowledge_truncations(&self) {
        self.cursor.acknowledge_truncations();
    }

    /// Acknowledges the truncations since the last acknowledgement if `kept` is the last position that they kept. The cursor's reader has
    /// then returned no record that they removed.
    #[napi(catch_unwind)]
    pub fn acknowledge_truncations_if(&self, kept: f64) {
        self.cursor.acknowledge_truncation(kept as u64);
    }

    /// Returns the number of a request that completes when truncation moves the cursor, after `release()`, or when the cursor is deleted.
    #[napi(catch_unwind)]
    pub fn watch(&self) -> f64 {
        let (id, done) = self.request();
        self.cursor.watch(move || done(Ok(())));
        id
    }

    /// Returns how truncation has moved the cursor since the last call.
    #[napi(catch_unwind)]
    pub fn moved(&self) -> Option<MovedData> {
        self.cursor.moved().map(|moved| MovedData { from: moved.from as f64, to: moved.to as f64 })
    }

    /// Completes a pending `watch()` request.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.cursor.release();
    }
}
