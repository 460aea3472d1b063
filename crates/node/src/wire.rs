//! The numbers that this crate and the facade must agree on: bits of flags, indexes of arrays, and the layout of shared memory. Their
//! other half is `src/native/wire.ts`. `__test__/wire.spec.ts` compares both through [`wire_layout`].

use forelog::{BodyLayout, Event, Fields};
use napi_derive::napi;
use std::collections::HashMap;

/// Declares constants, and a function that returns all of them by name.
macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*

        /// Returns every constant of this module by name.
        #[napi(catch_unwind)]
        pub fn wire_layout() -> HashMap<String, f64> {
            HashMap::from([$((stringify!($name).to_owned(), $name as f64),)*])
        }
    };
}

wire! {
    // Bits of the `flags` argument of `append`, `push` and `commit`.
    FLAG_TOMBSTONE: u32 = 1;
    FLAG_DURABLE: u32 = 2;
    FLAG_EXPIRES: u32 = 4;
    FLAG_VERSION: u32 = 8;
    FLAG_KEY_STRING: u32 = 16;
    FLAG_KEY_BYTES: u32 = 32;
    FLAG_VALUE_STRING: u32 = 64;
    FLAG_VALUE_BYTES: u32 = 128;
    FLAG_EXPECT: u32 = 256;

    // Indexes of the array that `positions` fills, and its length.
    POSITIONS_FIRST: usize = 0;
    POSITIONS_NEXT: usize = 1;
    POSITIONS_WRITTEN: usize = 2;
    POSITIONS_ACKNOWLEDGED: usize = 3;
    POSITIONS_DURABLE: usize = 4;
    POSITIONS_PENDING_BYTES: usize = 5;
    POSITIONS_MAX_PENDING_BYTES: usize = 6;
    /// How many times the end of the log was truncated.
    POSITIONS_TRUNCATIONS: usize = 7;
    POSITIONS_MAX_RECORD_BYTES: usize = 8;
    /// The last operation whose failure the client has not collected yet, 0 if there is none.
    POSITIONS_LAST_FAILING: usize = 9;
    /// 1 while a truncation of the end or a reset waits, so that a position may have been assigned again that still counts as acknowledged.
    POSITIONS_HAS_CUT: usize = 10;
    POSITIONS_LENGTH: usize = 11;

    // The words of the record buffer, of 32 bits each. These are their indexes.
    /// End of the records in the arena.
    BUFFER_END: usize = 0;
    /// Number of the log that the records are for.
    BUFFER_LOG: usize = 1;
    /// 1 if any record must be durable before it is acknowledged.
    BUFFER_DURABLE: usize = 2;
    /// 1 once JavaScript has written to the memory.
    BUFFER_PROBE: usize = 3;
    /// Index of the arena that the records are in.
    BUFFER_ARENA: usize = 4;
    /// Start of the body that is being filled. It ends at the end of the records.
    BUFFER_BODY: usize = 5;
    /// Number of bodies before it.
    BUFFER_BODIES: usize = 6;
    /// Start and end of the first of these, followed by those of the others.
    BUFFER_RANGES: usize = 8;
    BUFFER_WORDS: usize = 8 + 2 * BodyLayout::MOST_BODIES;
    /// Number of the log while the records belong to a batch.
    BUFFER_NO_LOG: u32 = u32::MAX;

    // An arena, laid out as it goes to the disk.
    /// Byte at which the first body begins.
    BUFFER_START: u32 = BodyLayout::FIRST as u32;
    /// Room for a frame's header before each body.
    BODY_HEADER: usize = BodyLayout::HEADER;
    /// Each header begins at a multiple of this.
    BODY_ALIGN: usize = BodyLayout::ALIGN;
    /// Size of the largest body of several single records.
    BODY_MOST: usize = BodyLayout::MOST_BYTES;

    // The flags of a record in its final form.
    RECORD_KEY: u32 = Fields::HAS_KEY as u32;
    RECORD_VALUE: u32 = Fields::HAS_VALUE as u32;
    RECORD_TOMBSTONE: u32 = Fields::TOMBSTONE as u32;

    // The index of a block has this many numbers for each record, in this order.
    INDEX_ENTRIES: usize = 4;
    INDEX_KEY: usize = 0;
    /// Start of the value, which is the end of the key.
    INDEX_VALUE: usize = 1;
    /// End of the value.
    INDEX_END: usize = 2;
    INDEX_META: usize = 3;

    // Bits of a record's meta entry in that index.
    META_KEY: u32 = Fields::HAS_KEY as u32;
    META_VALUE: u32 = Fields::HAS_VALUE as u32;
    META_TOMBSTONE: u32 = Fields::TOMBSTONE as u32;
    META_EXPIRES: u32 = Fields::HAS_EXPIRY as u32;
    META_VERSION: u32 = Fields::HAS_VERSION as u32;
    /// The bits of a meta entry from this one on are the index of the record's first extra.
    META_EXTRA_SHIFT: u32 = 5;

    // The batches of a block have this many numbers each, in this order.
    BATCH_ENTRIES: usize = 2;
    BATCH_FIRST: usize = 0;
    BATCH_RECORDS: usize = 1;

    // The times of a block have this many numbers each, in this order: the index of the first record that was committed then, and when that was
    // in ms since 1970, 0 if it is not known.
    TIME_ENTRIES: usize = 2;
    TIME_FIRST: usize = 0;
    TIME_MS: usize = 1;

    // Where a reader or a new cursor starts, if not at a position.
    START_FIRST: i64 = 0;
    START_END: i64 = -1;

    // The array that `Watcher.progress` returns.
    PROGRESS_DONE: usize = 0;
    PROGRESS_TOTAL: usize = 1;

    // Bits of the kinds of events that an environment listens to.
    EVENT_APPEND: u32 = Event::APPEND;
    EVENT_SYNC: u32 = Event::SYNC;
    EVENT_ROLL: u32 = Event::ROLL;
    EVENT_TRUNCATE: u32 = Event::TRUNCATE;
    EVENT_POISONED: u32 = Event::POISONED;
    EVENT_DETACHED: u32 = Event::DETACHED;
    EVENT_CLOCK: u32 = Event::CLOCK;
}
