// Types of the native module: those generated from `crates/node`, and the raw calls of `crates/node/src/calls.rs`, which they do not cover.

import type { Environment, Watcher } from '../../native.js'

export type {
  Backup as NativeBackup,
  BlockData,
  Completion,
  Cursor as NativeCursor,
  ErrorData,
  Environment as NativeEnvironment,
  OpenOptions,
  Reader as NativeReader,
  ReaderOptions,
  Resumed,
  Salvage as NativeSalvage,
  Watcher as NativeWatcher,
} from '../../native.js'

type Bytes = string | Uint8Array | undefined

/** Calls made per record or per turn. A log is given by its number. A negative result is a refusal: see `Environment.refusal()`. */
export interface Calls {
  /** Appends a record and returns its position. The bytes have been copied when it returns. */
  append(log: number, key: Bytes, value: Bytes, flags: number, expiresAt?: number, term?: number, index?: number, expect?: number): number
  /** Appends the records of the record buffer to its log and clears it, or refuses all of them. Returns the position of the first. */
  appendBuffered(): number
  /** Appends the only record of the record buffer, which is no log's yet, to this one. Returns its position. */
  appendFromBuffer(log: number): number
  /** Appends like `appendBuffered`, and has what the log has accepted committed. A refusal commits nothing. */
  appendBufferedAndKick(): number
  /** Adds a record to the batch being built. There is one batch per environment. */
  push(log: number, key: Bytes, value: Bytes, flags: number, expiresAt?: number, term?: number, index?: number): number
  /** Adds the records of the record buffer to the batch. */
  pushBuffered(log: number): number
  /** Adds the records of the record buffer to the batch, appends it, and returns the position of its first record. */
  commit(log: number, flags: number, expect?: number): number
  /** Discards the batch. */
  abort(): number
  sync(log: number): number
  truncateBefore(log: number, position: number): number
  truncateAfter(log: number, position: number): number
  reset(log: number, position: number): number
  /** Has what was accepted committed: on this thread as far as that does not block it, and otherwise on a commit thread. */
  kick(log: number): number
  /** Returns how many operations have succeeded; negative if a failure comes next: see `Environment.failure()`. */
  settled(log: number): number
  /** Fills in the numbers that `wire.ts` lists as `POSITIONS_…`. */
  positions(log: number, into: Float64Array): number
  /** Enables the next wake and returns the number of completions to collect. */
  rearm(): number
  /** Returns a log that has something to settle; negative if there is none. */
  nextReadyLog(): number
  /** Keeps the event loop alive. */
  ref(): number
  unref(): number
}

export interface Native {
  Environment: typeof Environment
  Watcher: typeof Watcher
}
