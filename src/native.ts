// The seam to the native module: loads it, and describes the calls that its generated types do not.

import { WalError } from './errors.js'
import type { Environment, Watcher } from '../native.js'

export type {
  Backup as NativeBackup,
  BlockData,
  Completion,
  Cursor as NativeCursor,
  ErrorData,
  Environment as NativeEnvironment,
  OpenOptions,
  Reader as NativeReader,
  Resumed,
  Salvage as NativeSalvage,
  Watcher as NativeWatcher,
} from '../native.js'

// Bits of `flags`; crates/node/src/wal.rs has the same.
export const TOMBSTONE = 1
export const DURABLE = 2
export const EXPIRES = 4
export const VERSION = 8
export const KEY_STRING = 16
export const KEY_BYTES = 32
export const VALUE_STRING = 64
export const VALUE_BYTES = 128
export const EXPECT = 256

// Bits of a record's meta in a block; its upper 27 bits are the index of its first extra.
export const META_KEY = 1
export const META_VALUE = 2
export const META_TOMBSTONE = 4
export const META_EXPIRES = 8
export const META_VERSION = 16
export const META_EXTRA_SHIFT = 5

type Bytes = string | Uint8Array | undefined

/** The calls made per record or per turn. A log is a number; a negative answer is a refusal, see `Environment.refusal()`. */
export interface Calls {
  /** Gives the record's position. The bytes have been copied when it returns. */
  append(log: number, key: Bytes, value: Bytes, flags: number, expiresAt?: number, term?: number, index?: number, expect?: number): number
  /** Appends what is on the stage to the log that it is for, and clears it, or refuses all of it. Gives the position of the first. */
  appendAll(): number
  /** Adds a record to the batch being built; there is one batch per environment. */
  push(log: number, key: Bytes, value: Bytes, flags: number, expiresAt?: number, term?: number, index?: number): number
  /** Adds what is on the stage to it. */
  pushAll(log: number): number
  /** Appends that batch; gives the position of its first record. */
  commit(log: number, flags: number, expect?: number): number
  /** Forgets that batch. */
  abort(): number
  sync(log: number): number
  truncateBefore(log: number, position: number): number
  truncateAfter(log: number, position: number): number
  reset(log: number, position: number): number
  kick(log: number): number
  /** How many operations have succeeded; negative when a failure comes next, see `Environment.failure()`. */
  settled(log: number): number
  /** Fills in first, next, written, acknowledged, durable, pending bytes and their limit, how many times the log was cut, the limit of a record. */
  positions(log: number, into: Float64Array): number
  /** From now on news wakes again; gives how many completions there are. */
  rearm(): number
  /** A log in which something has settled; negative when there is none left. */
  news(): number
  /** Whether the native side keeps the event loop alive. */
  hold(held: 0 | 1): number
}

export interface Native {
  Environment: typeof Environment
  Watcher: typeof Watcher
}

/**
 * The failure that is not about a file that is not there. The loader has tried several, and chains what it got as causes; of these it
 * keeps the messages only.
 */
function otherFailure(error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined
  const { cause: attempts } = error as Error
  if (attempts === undefined) return error
  for (let attempt: unknown = attempts; attempt instanceof Error; attempt = attempt.cause) {
    if (!/^(Cannot find module|Unsupported) /.test(attempt.message)) return attempt
  }
  return undefined
}

/** Loads the native module. Only opening a log needs it, so importing the package works without. */
export async function loadNative(): Promise<Native> {
  try {
    return await import('../native.js')
  } catch (error) {
    const other = otherFailure(error)
    if (other !== undefined) throw other
    throw new WalError(
      'ERR_WAL_NATIVE_NOT_FOUND',
      `there is no native module of forelog for ${process.platform}-${process.arch}: reinstall forelog on this platform with optional dependencies, ` +
        'or build it with `npm run build` in a checkout',
      { operation: 'open', cause: error }
    )
  }
}
