// The error classes of this package, and the errors that the facade itself throws.

import { describe } from './util/describe.js'
import { reasonOf } from './util/signals.js'

/**
 * Code of a {@link WalError}.
 *
 * - `ERR_WAL_LOCKED`: another process has the log open for writing (`pid`, if known).
 * - `ERR_WAL_NOT_FOUND`: there is no log, and `create` is `false` or the mode is `'readOnly'`; or the cursor was deleted, the snapshot
 *   removed, or there is no directory for one.
 * - `ERR_WAL_CORRUPT`: bytes that were durable are damaged (`segment`, `offset`, `firstLost`, `lastLost`). Nothing was changed.
 * - `ERR_WAL_CLOSED`: the handle is closed, or closing.
 * - `ERR_WAL_POISONED`: an fsync failed, or a write with an unknown outcome. Operations that were pending may or may not be in the log
 *   after it is reopened.
 * - `ERR_WAL_DETACHED`: the log's directory was moved, removed or replaced while it was open. Everything acknowledged before is in the
 *   directory, wherever it is now.
 * - `ERR_WAL_NO_SPACE`: the disk or the quota is full. What was rejected is not in the log. Appends work again once there is space.
 * - `ERR_WAL_TOO_LARGE`: a record is above `maxRecordBytes`, a batch is above `maxBatchBytes`, or the log has its maximum of cursors.
 * - `ERR_WAL_TRUNCATED`: the position is before the first that can be read (`firstPosition`), or was cut off while it was read; or
 *   truncation overtook every attempt of a backup, a verification or an opening in mode `'readOnly'`.
 * - `ERR_WAL_OUT_OF_RANGE`: the position is above `nextPosition`, or would be above 2^53 - 1; in `acknowledged`, no record has it.
 * - `ERR_WAL_CONFLICT`: the next position (`actual`) is not the expected one, and nothing was appended; or a checkpoint found a snapshot of
 *   a higher position or of another log.
 * - `ERR_WAL_BACKPRESSURE`: more than `maxPendingBytes` are pending; see `Wal.drain`.
 * - `ERR_WAL_READ_ONLY`: the file system is mounted read-only, or the log is open in mode `'readOnly'`. What was rejected is not in the
 *   log.
 * - `ERR_WAL_FORMAT`: the directory holds other files, or a log of a newer format version. Nothing was changed.
 * - `ERR_WAL_INVALID_ARG`: an argument has the wrong type or range; the message names it.
 * - `ERR_WAL_CODEC`: a value cannot be encoded, decoded, or does not match the schema (`issues`, `cause`); the bytes of a record that was
 *   read are intact.
 * - `ERR_WAL_IO`: the operating system reported another failure (`cause`). A record rejected with it is not in the log. Appends work again
 *   once the cause is gone.
 * - `ERR_WAL_BUSY`: the cursor has a consumer already, or something else moves the cursor of this consumer.
 * - `ERR_WAL_TIMEOUT`: a consumer's handler took longer than `timeoutMs`. It is the failure of that attempt, and the reason of its signal.
 * - `ERR_WAL_HANDLER`: a consumer stopped, because its handler failed for a record (`position`) after all retries, or the codec cannot decode
 *   the record (`cause`), and there is no `deadLetter`.
 * - `ERR_WAL_DEAD_LETTER`: a consumer stopped, because its `deadLetter` did not take a record (`position`, `cause`).
 * - `ERR_WAL_NATIVE_NOT_FOUND`: the native module is missing or does not load. The message says what was tried and how to fix it.
 */
export type WalErrorCode =
  | 'ERR_WAL_LOCKED'
  | 'ERR_WAL_NOT_FOUND'
  | 'ERR_WAL_CORRUPT'
  | 'ERR_WAL_CLOSED'
  | 'ERR_WAL_POISONED'
  | 'ERR_WAL_DETACHED'
  | 'ERR_WAL_NO_SPACE'
  | 'ERR_WAL_TOO_LARGE'
  | 'ERR_WAL_TRUNCATED'
  | 'ERR_WAL_OUT_OF_RANGE'
  | 'ERR_WAL_CONFLICT'
  | 'ERR_WAL_BACKPRESSURE'
  | 'ERR_WAL_READ_ONLY'
  | 'ERR_WAL_FORMAT'
  | 'ERR_WAL_INVALID_ARG'
  | 'ERR_WAL_CODEC'
  | 'ERR_WAL_IO'
  | 'ERR_WAL_BUSY'
  | 'ERR_WAL_TIMEOUT'
  | 'ERR_WAL_HANDLER'
  | 'ERR_WAL_DEAD_LETTER'
  | 'ERR_WAL_NATIVE_NOT_FOUND'

/** One flipped bit of a file. */
export interface FlippedBit {
  /** Offset of the byte in the file. */
  offset: number
  /** Bit of that byte, from 0 (the lowest) to 7. */
  bit: number
}

/** One thing that a schema has found in a value. */
export interface SchemaIssue {
  /** The schema's message. */
  readonly message: string
  /** Keys that lead to the part of the value that does not match. */
  readonly path?:
    | readonly (
        | PropertyKey
        | {
            /** The key. */
            readonly key: PropertyKey
          }
      )[]
    | undefined
}

/** Fields of a {@link WalError} that are present only if they apply. They are described there. */
export interface WalErrorDetails {
  /** See {@link WalError.operation}. */
  operation?: string
  /** See {@link WalError.position}. */
  position?: number
  /** See {@link WalError.segment}. */
  segment?: string
  /** See {@link WalError.offset}. */
  offset?: number
  /** See {@link WalError.firstLost}. */
  firstLost?: number
  /** See {@link WalError.lastLost}. */
  lastLost?: number
  /** See {@link WalError.verdict}. */
  verdict?: string
  /** See {@link WalError.flipped}. */
  flipped?: FlippedBit
  /** See {@link WalError.firstPosition}. */
  firstPosition?: number
  /** See {@link WalError.actual}. */
  actual?: number
  /** See {@link WalError.pid}. */
  pid?: number
  /** See {@link WalError.issues}. */
  issues?: readonly SchemaIssue[]
  /** See {@link WalError.cause}. */
  cause?: unknown
}

/** Marks the errors of every copy of the package in a process. The value is the version of what the mark promises. */
const ERROR = Symbol.for('forelog.error')
const ABORT = Symbol.for('forelog.abort')

/** Whether an object, or a prototype of it, has the mark. Never throws. */
function isMarked(value: unknown, mark: symbol): boolean {
  try {
    return typeof value === 'object' && value !== null && (value as { [mark]?: unknown })[mark] === 1
  } catch {
    return false
  }
}

/**
 * Every failure of this package, except aborts. `code` tells the cases apart; fields that do not apply are absent.
 *
 * `error instanceof WalError` also holds for errors of other copies of the package.
 */
export class WalError extends Error {
  static {
    this.prototype.name = 'WalError'
    Object.defineProperty(this.prototype, ERROR, { value: 1 })
  }

  /** True for errors of every copy of the package in this process. */
  static override [Symbol.hasInstance](value: unknown): value is WalError {
    return this === WalError ? isMarked(value, ERROR) : Function.prototype[Symbol.hasInstance].call(this, value)
  }

  /** Which kind of failure it is. */
  readonly code: WalErrorCode
  /**
   * The operation that failed: `open`, `append`, `appendBatch`, `acknowledged`, `sync`, `read`, `truncateBefore`, `truncateAfter`, `reset`,
   * `cursor`, `commit`, `rewind`, `delete`, `consume`, `backup`, `salvage`, `scrub`, `verify`, `stats`, `close`, `checkpoint`, `restore`.
   */
  declare readonly operation?: string
  /** Position of the operation: for a rejected `append` its record's, for `appendBatch` that of the first record. */
  declare readonly position?: number
  /** File name of the segment, without its directory. */
  declare readonly segment?: string
  /** Byte offset in that segment. */
  declare readonly offset?: number
  /** First position that the damage covers. */
  declare readonly firstLost?: number
  /** Last position that the damage covers. */
  declare readonly lastLost?: number
  /** Case of recovery that opening or reading met, by its label in docs/recovery.md. */
  declare readonly verdict?: string
  /** The single flipped bit that explains a checksum mismatch, if there is one. */
  declare readonly flipped?: FlippedBit
  /** First position that can be read, for `ERR_WAL_TRUNCATED`. */
  declare readonly firstPosition?: number
  /** Position that the next record would have got, for `ERR_WAL_CONFLICT`. */
  declare readonly actual?: number
  /** Process that holds the log, for `ERR_WAL_LOCKED`. */
  declare readonly pid?: number
  /** What a schema has found in a value, for `ERR_WAL_CODEC`. */
  declare readonly issues?: readonly SchemaIssue[]
  /**
   * For a failure of the operating system, an error as Node reports it: `code` (such as `'ENOSPC'`), `errno`, `syscall`, `path`. For an
   * exception of the caller's code, such as a codec, that exception.
   */
  declare readonly cause?: unknown

  /** @internal */
  constructor(code: WalErrorCode, message: string, { cause, ...details }: WalErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    for (const [name, value] of Object.entries(details)) {
      if (value !== undefined) Object.assign(this, { [name]: value })
    }
  }
}

/**
 * The rejection of an operation whose `AbortSignal` was aborted; `cause` is the signal's reason.
 *
 * If the operation is an append that was already accepted, only the waiting ends: the append goes on, and its record may still be
 * committed. If the signal was aborted before the call, nothing was accepted.
 */
export class AbortError extends Error {
  static {
    this.prototype.name = 'AbortError'
    Object.defineProperty(this.prototype, ABORT, { value: 1 })
  }

  /** True for aborts of every copy of the package in this process. */
  static override [Symbol.hasInstance](value: unknown): value is AbortError {
    return this === AbortError ? isMarked(value, ABORT) : Function.prototype[Symbol.hasInstance].call(this, value)
  }

  /** Code that Node's own aborts have. */
  readonly code = 'ABORT_ERR'

  /** @internal */
  constructor(signal: AbortSignal, message = 'The operation was aborted') {
    super(message, { cause: reasonOf(signal) })
  }
}

/** The rejection of a wait that was aborted while the operation itself continues. */
export const abandoned = (signal: AbortSignal, operation: string): AbortError =>
  new AbortError(signal, `Waiting for the ${operation} was aborted; the operation itself goes on`)

export const invalid = (message: string, operation: string): WalError => new WalError('ERR_WAL_INVALID_ARG', message, { operation })

/** The error for an argument of the wrong type or range. */
export const mustBe = (name: string, expected: string, given: unknown, operation: string, cause?: unknown): WalError =>
  new WalError('ERR_WAL_INVALID_ARG', `${name} must be ${expected}, not ${describe(given)}`, { operation, cause })

export const unencodable = (codec: string, operation: string, text: string, details: WalErrorDetails): WalError =>
  new WalError('ERR_WAL_CODEC', `the value cannot be encoded (${codec}): ${text}`, { operation, ...details })

export const undecodable = (codec: string, position: number, text: string, details: WalErrorDetails): WalError =>
  new WalError('ERR_WAL_CODEC', `the value of record ${position} cannot be decoded (${codec}): ${text}`, {
    operation: 'read',
    position,
    ...details,
  })

/** The message of a thrown value. Never throws. */
export function textOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error)
  } catch {
    return 'an error whose text cannot be read'
  }
}

/** The error for an exception of the caller's getter, Proxy or iterator while an argument was read. */
export const unreadable = (what: string, operation: string, cause: unknown): WalError =>
  new WalError('ERR_WAL_INVALID_ARG', `${what} cannot be read: ${textOf(cause)}`, { operation, cause })

/** Returns errors of this package as they are, and wraps an exception of the caller's code while `what` was read. */
export const whileReading = (what: string, operation: string, error: unknown): Error =>
  error instanceof WalError || error instanceof AbortError ? error : unreadable(what, operation, error)

/** Returns an error whose message begins with the place of what it is about. Whatever is no error of this package is returned as it is. */
export function atPlace(place: string, error: unknown): unknown {
  if (!(error instanceof WalError)) return error
  const { code, ...details } = error
  return new WalError(code, `${place}: ${error.message}`, { ...details, cause: error.cause })
}

/** The operation that a promise belongs to, for the errors that reject it. */
export interface OperationContext {
  operation: string
  position?: number
}

/** Copies a shared failure, with the operation and position of one of the affected calls. */
export function forOperation(error: WalError, { operation, position }: OperationContext): WalError {
  const { code, ...details } = error
  return new WalError(code, error.message, { ...details, operation, position, cause: error.cause })
}

export const transferred = (position: number): WalError =>
  new WalError(
    'ERR_WAL_INVALID_ARG',
    `the memory of record ${position} was transferred away: to transfer records, read them with copy: true`,
    {
      operation: 'read',
      position,
    }
  )

export const streamDestroyed = (): WalError =>
  new WalError('ERR_WAL_CLOSED', 'the stream was destroyed before the record was appended', { operation: 'append' })

/** The error for a call that waits for a position that no record has. */
export const outOfRange = (position: number, next: number): WalError =>
  new WalError('ERR_WAL_OUT_OF_RANGE', `no record has position ${position}: the next position is ${next}`, {
    operation: 'acknowledged',
    position,
  })

export const readOnly = (operation: string): WalError =>
  new WalError('ERR_WAL_READ_ONLY', "the log is open in mode 'readOnly'", { operation })

export const closed = (operation: string): WalError => new WalError('ERR_WAL_CLOSED', 'the log is closed', { operation })

export const deleted = (name: string, operation: string): WalError =>
  new WalError('ERR_WAL_NOT_FOUND', `the cursor ${JSON.stringify(name)} was deleted`, { operation })

/** The error for a call that would interfere with the consumers of a cursor. */
export const busy = (name: string, operation: string): WalError =>
  new WalError('ERR_WAL_BUSY', `the cursor ${JSON.stringify(name)} has a consumer: stop it first, or share the cursor`, { operation })

/** The error for a cursor that another thread consumes. */
export const consumedElsewhere = (name: string, operation: string): WalError =>
  new WalError('ERR_WAL_BUSY', `the cursor ${JSON.stringify(name)} has a consumer in another thread: stop it first`, { operation })

/** The error for a cursor that a consumer has not moved itself. */
export const movedByOther = (name: string, position: number): WalError =>
  new WalError(
    'ERR_WAL_BUSY',
    `something else has committed position ${position} of the cursor ${JSON.stringify(name)}: another thread has moved it`,
    { operation: 'consume', position }
  )

export const timedOut = (position: number, milliseconds: number): WalError =>
  new WalError('ERR_WAL_TIMEOUT', `the handler of record ${position} took longer than ${milliseconds} ms`, {
    operation: 'consume',
    position,
  })

export const handlerFailed = (position: number, attempts: number, cause: unknown): WalError =>
  new WalError('ERR_WAL_HANDLER', `the handler of record ${position} failed at attempt ${attempts}, the last one: ${textOf(cause)}`, {
    operation: 'consume',
    position,
    cause,
  })

/** The error for a record that cannot be given to the handler. */
export const unhandled = (position: number, cause: unknown): WalError =>
  new WalError('ERR_WAL_HANDLER', `record ${position} cannot be given to the handler: ${textOf(cause)}`, {
    operation: 'consume',
    position,
    cause,
  })

export const deadLetterFailed = (position: number, cause: unknown): WalError =>
  new WalError('ERR_WAL_DEAD_LETTER', `deadLetter did not take record ${position}: ${textOf(cause)}`, {
    operation: 'consume',
    position,
    cause,
  })

/** The error for a `backoff` function that throws or returns no delay. */
export const backoffFailed = (reason: string, cause?: unknown): WalError =>
  new WalError('ERR_WAL_INVALID_ARG', `options.backoff ${reason}`, { operation: 'consume', cause })
