// The numbers that the facade and the binding must agree on: bits of flags, indexes of arrays, and the layout of shared memory. Their
// other half is `crates/node/src/wire.rs`. `__test__/wire.spec.ts` compares both.

// Bits of the `flags` argument of `append`, `push` and `commit`.
export const FLAG_TOMBSTONE = 1
export const FLAG_DURABLE = 2
export const FLAG_EXPIRES = 4
export const FLAG_VERSION = 8
export const FLAG_KEY_STRING = 16
export const FLAG_KEY_BYTES = 32
export const FLAG_VALUE_STRING = 64
export const FLAG_VALUE_BYTES = 128
export const FLAG_EXPECT = 256

// Indexes of the array that `positions` fills, and its length.
export const POSITIONS_FIRST = 0
export const POSITIONS_NEXT = 1
export const POSITIONS_WRITTEN = 2
export const POSITIONS_ACKNOWLEDGED = 3
export const POSITIONS_DURABLE = 4
export const POSITIONS_PENDING_BYTES = 5
export const POSITIONS_MAX_PENDING_BYTES = 6
/** How many times the end of the log was truncated. */
export const POSITIONS_TRUNCATIONS = 7
export const POSITIONS_MAX_RECORD_BYTES = 8
/** The last operation whose failure the client has not collected yet, 0 if there is none. */
export const POSITIONS_LAST_FAILING = 9
/** 1 while a truncation of the end or a reset waits, so that a position may have been assigned again that still counts as acknowledged. */
export const POSITIONS_HAS_CUT = 10
export const POSITIONS_LENGTH = 11

// The words of the record buffer, of 32 bits each. These are their indexes.
/** End of the records in the arena. */
export const BUFFER_END = 0
/** Number of the log that the records are for. */
export const BUFFER_LOG = 1
/** 1 if any record must be durable before it is acknowledged. */
export const BUFFER_DURABLE = 2
/** 1 once JavaScript has written to the memory. */
export const BUFFER_PROBE = 3
/** Index of the arena that the records are in. */
export const BUFFER_ARENA = 4
/** Start of the body that is being filled. It ends at the end of the records. */
export const BUFFER_BODY = 5
/** Number of bodies before it. */
export const BUFFER_BODIES = 6
/** Start and end of the first of these, followed by those of the others. */
export const BUFFER_RANGES = 8
export const BUFFER_WORDS = 40
/** Number of the log while the records belong to a batch. */
export const BUFFER_NO_LOG = 0xffffffff

// An arena, laid out as it goes to the disk.
/** Byte at which the first body begins. */
export const BUFFER_START = 4144
/** Room for a frame's header before each body. */
export const BODY_HEADER = 48
/** Each header begins at a multiple of this. */
export const BODY_ALIGN = 8
/** Size of the largest body of several single records. */
export const BODY_MOST = 65488

// The flags of a record in its final form.
export const RECORD_KEY = 1
export const RECORD_VALUE = 2
export const RECORD_TOMBSTONE = 4

// The index of a block has this many numbers for each record, in this order.
export const INDEX_ENTRIES = 4
export const INDEX_KEY = 0
/** Start of the value, which is the end of the key. */
export const INDEX_VALUE = 1
/** End of the value. */
export const INDEX_END = 2
export const INDEX_META = 3

// Bits of a record's meta entry in that index.
export const META_KEY = 1
export const META_VALUE = 2
export const META_TOMBSTONE = 4
export const META_EXPIRES = 8
export const META_VERSION = 16
/** The bits of a meta entry from this one on are the index of the record's first extra. */
export const META_EXTRA_SHIFT = 5

// The batches of a block have this many numbers each, in this order.
export const BATCH_ENTRIES = 2
export const BATCH_FIRST = 0
export const BATCH_RECORDS = 1

// The times of a block have this many numbers each, in this order: the index of the first record that was committed then, and when that was
// in ms since 1970, 0 if it is not known.
export const TIME_ENTRIES = 2
export const TIME_FIRST = 0
export const TIME_MS = 1

// Where a reader or a new cursor starts, if not at a position.
export const START_FIRST = 0
export const START_END = -1

// The array that `Watcher.progress` returns.
export const PROGRESS_DONE = 0
export const PROGRESS_TOTAL = 1

// Bits of the kinds of events that an environment listens to.
export const EVENT_APPEND = 1
export const EVENT_SYNC = 2
export const EVENT_ROLL = 4
export const EVENT_TRUNCATE = 8
export const EVENT_POISONED = 16
export const EVENT_DETACHED = 32
export const EVENT_CLOCK = 64
