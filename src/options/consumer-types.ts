// Options of `Cursor.consume`, and the types of the functions that they hold.

import type { WalRecord } from '../records/block.js'

/** One call of a consumer's handler. */
export interface HandlerCall {
  /** Number of calls for this record or batch so far, this one included: 1 for the first. Counted anew by each consumer that gets it. */
  readonly attempt: number
  /** Position of the record, or of the first record of the batch. */
  readonly position: number
  /**
   * Aborted when the call has taken `timeoutMs` (the reason is a `WalError` with the code `ERR_WAL_TIMEOUT`), and when the consumer gives it
   * up at the end of `graceMs`. What the call does afterwards is ignored.
   */
  readonly signal: AbortSignal
}

/** Handles one record. It has been handled when the function returns, or when the promise that it returns resolves. */
export type Handler<V = Buffer | undefined> = (record: WalRecord<V>, call: HandlerCall) => unknown

/** Handles several records at once: all of them, or none. */
export type BatchHandler<V = Buffer | undefined> = (records: WalRecord<V>[], call: HandlerCall) => unknown

/** Why a record goes to `deadLetter`. */
export interface DeadLetter {
  /** Exception or rejection of the last attempt; `ERR_WAL_CODEC` if the value cannot be decoded. */
  readonly error: unknown
  /** Number of calls of the handler; 0 if the value cannot be decoded. */
  readonly attempts: number
  /** Whether the codec cannot decode the value. Then the handler was not called, and the record is passed as it is stored. */
  readonly undecodable: boolean
  /** Aborted when the consumer gives this call up at the end of `graceMs`. */
  readonly signal: AbortSignal
}

/**
 * Takes a record that cannot be handled. It has been taken when the function returns, or when the promise that it returns resolves. If
 * `dead.undecodable` is set, the value of the record is the stored bytes.
 */
export type DeadLetterHandler<V = Buffer | undefined> = (record: WalRecord<V> | WalRecord, dead: DeadLetter) => unknown

/** A log for dead letters: a `Wal`, with or without a codec. */
export interface DeadLetterLog {
  /** See `Wal.dir`. */
  readonly dir: string
  /** See `Wal.durablePosition`. */
  readonly durablePosition: number
  /** See `Wal.sync`. */
  sync(): Promise<void>
}

/** Delays between the attempts for one record: `minMs * factor ** (attempt - 1)`, at most `maxMs`, less a random part. */
export interface BackoffRange {
  /**
   * Delay in milliseconds after the first attempt, from 0 to 2^31 - 1.
   *
   * @defaultValue 100
   */
  minMs?: number
  /**
   * Longest delay in milliseconds, from `minMs` to 2^31 - 1.
   *
   * @defaultValue 10,000, or `minMs` if that is more
   */
  maxMs?: number
  /**
   * Factor from one delay to the next, from 1.
   *
   * @defaultValue 2
   */
  factor?: number
  /**
   * Part of each delay that is random, from 0 (none) to 1 (all of it).
   *
   * @defaultValue 0.5
   */
  jitter?: number
}

/** Options of `Cursor.consume`. */
export interface ConsumeOptions<V = Buffer | undefined> {
  /**
   * Number of handler calls that run at the same time, from 1. With 1, records are handled in the order of their positions: the next one has
   * to wait for all attempts of the one before. With more, records finish in any order, and one that waits for its next attempt holds up no
   * other.
   *
   * @defaultValue 1
   */
  concurrency?: number
  /**
   * Number of attempts for a record after the first, from 0; `Infinity` never gives up. When a batch has used them up, each of its records is
   * given to the handler once more, in an array of its own.
   *
   * @defaultValue 3
   */
  retries?: number
  /**
   * Delay before the next attempt for a record: a range, or a function that returns milliseconds (from 0; more than 2^31 - 1 counts as that).
   * The function gets the number of attempts so far and the error of the last one. If it throws or returns anything else, the consumer stops.
   */
  backoff?: BackoffRange | ((attempts: number, error: unknown) => number)
  /**
   * Longest time in milliseconds that a call of the handler may take, from 1 to 2^31 - 1. After that the attempt has failed.
   *
   * @defaultValue no limit
   */
  timeoutMs?: number
  /**
   * Where a record goes that has failed at every attempt, or whose value the codec cannot decode: a function, or another log, to which its
   * key and its value as stored are appended durably. Without it, the consumer stops with `ERR_WAL_HANDLER`.
   */
  deadLetter?: DeadLetterHandler<V> | DeadLetterLog
  /** Stops the consumer like `stop()` when aborted. */
  signal?: AbortSignal
  /**
   * Wait for new records at the end of the log. With `false` the consumer ends when everything acknowledged at the call has been handled;
   * consumers that share a cursor end where the first one does.
   *
   * @defaultValue `true`
   */
  follow?: boolean
  /**
   * Pass over records whose `expiresAt` has passed, by the wall clock, when they are taken from the log.
   *
   * @defaultValue `false`
   */
  skipExpired?: boolean
  /**
   * Share the cursor: every record goes to one of the consumers that share it. All of them have to say so, in the same thread, through any
   * handles, with the same `follow`, `skipExpired`, `window` and `commitEveryMs`.
   *
   * @defaultValue `false`: a second consumer is refused
   */
  share?: boolean
  /**
   * Number of records, counted in positions, that may be taken from the log beyond the committed position, from 1. A crash redelivers no more
   * than these.
   *
   * @defaultValue 1,024, or twice `concurrency * batch` if that is more
   */
  window?: number
  /**
   * Time in milliseconds from one commit to the next, from 0 to 2^31 - 1. If half of `window` waits to be committed, a commit does not wait.
   *
   * @defaultValue 100
   */
  commitEveryMs?: number
}

/** Options of `Cursor.consume` for a handler of arrays. */
export interface ConsumeBatchOptions<V = Buffer | undefined> extends ConsumeOptions<V> {
  /** Gives the handler arrays of up to this many records, those that are available. From 1. */
  batch: number
}

/** Options of `Consumer.stop`. */
export interface StopOptions {
  /**
   * Time in milliseconds, from 0 to 2^31 - 1, after which calls that still run are given up: their signals are aborted, and their records
   * count as not handled.
   *
   * @defaultValue no limit
   */
  graceMs?: number
}
