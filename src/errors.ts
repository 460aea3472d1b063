// Every error this package makes is made here.

import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import type { ErrorData } from './native.js'
import type { Damage } from './reports.js'
import { reasonOf } from './signals.js'

/**
 * What went wrong, as a program tells cases apart.
 *
 * - `ERR_WAL_LOCKED`: another process has the log open for writing (`pid`, if known).
 * - `ERR_WAL_NOT_FOUND`: there is no log, and `create` is `false` or the mode `'readOnly'`; or the cursor was deleted.
 * - `ERR_WAL_CORRUPT`: bytes that were durable are damaged (`segment`, `offset`, `firstLost`, `lastLost`). Nothing was changed.
 * - `ERR_WAL_CLOSED`: the handle is closed, or closing.
 * - `ERR_WAL_POISONED`: an fsync or a write of unknown outcome failed. What was waiting may or may not be in the log after reopening.
 * - `ERR_WAL_DETACHED`: the log's directory was moved, removed or replaced while it was open. What was acknowledged before is where the
 *   directory is now.
 * - `ERR_WAL_NO_SPACE`: the disk or the quota is full. What was rejected is not in the log; appends work again when there is space.
 * - `ERR_WAL_TOO_LARGE`: a record above `maxRecordBytes` or a batch above `maxBatchBytes`; one cursor more than there can be.
 * - `ERR_WAL_TRUNCATED`: the position is before the first that can be read (`firstPosition`), or was cut off while it was read; or truncation
 *   has overtaken a backup, a verification or an opening in mode `'readOnly'` every time.
 * - `ERR_WAL_OUT_OF_RANGE`: the position is above `nextPosition`, or would be above 2^53 - 1.
 * - `ERR_WAL_CONFLICT`: the next position (`actual`) is not the one expected. Nothing was appended.
 * - `ERR_WAL_BACKPRESSURE`: more than `maxPendingBytes` wait to be written; see `Wal.drain`.
 * - `ERR_WAL_READ_ONLY`: the file system is mounted read-only, or the log is open in mode `'readOnly'`. What was rejected is not in the log.
 * - `ERR_WAL_FORMAT`: the directory holds other files, or a log of a newer format version. Nothing was changed.
 * - `ERR_WAL_INVALID_ARG`: an argument has the wrong type or range; the message names it.
 * - `ERR_WAL_IO`: the operating system failed otherwise (`cause`). A record that was rejected with it is not in the log, and appends work again
 *   once the cause is gone.
 * - `ERR_WAL_NATIVE_NOT_FOUND`: the native module is missing or does not load; the message says what was tried and what mends it.
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
  | 'ERR_WAL_IO'
  | 'ERR_WAL_NATIVE_NOT_FOUND'

/** One bit of a file. */
export interface FlippedBit {
  /** Of its byte in the file. */
  offset: number
  /** From 0, the lowest, to 7. */
  bit: number
}

/** Fields of a {@link WalError} that are there only when they apply; it says what they are. */
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
  /** See {@link WalError.cause}. */
  cause?: unknown
}

/** Marks the errors of every copy of the package in a process; the value counts the versions of what the mark promises. */
const ERROR = Symbol.for('forelog.error')
const ABORT = Symbol.for('forelog.abort')

/** Whether an object, or what it inherits from, has the mark. Runs no code that could throw out of it. */
function isMarked(value: unknown, mark: symbol): boolean {
  try {
    return typeof value === 'object' && value !== null && (value as { [mark]?: unknown })[mark] === 1
  } catch {
    return false
  }
}

/**
 * What every failure of this package is, aborts aside. Tell cases apart by `code`; fields that do not apply are absent.
 *
 * `error instanceof WalError` holds for errors of other copies of the package too.
 */
export class WalError extends Error {
  static {
    this.prototype.name = 'WalError'
    Object.defineProperty(this.prototype, ERROR, { value: 1 })
  }

  /** Errors of every copy of the package in this process are instances. */
  static override [Symbol.hasInstance](value: unknown): value is WalError {
    return this === WalError ? isMarked(value, ERROR) : Function.prototype[Symbol.hasInstance].call(this, value)
  }

  /** Which case it is. */
  readonly code: WalErrorCode
  /**
   * The operation that failed: `open`, `append`, `appendBatch`, `sync`, `read`, `truncateBefore`, `truncateAfter`, `reset`, `cursor`,
   * `commit`, `rewind`, `delete`, `backup`, `salvage`, `scrub`, `verify`, `stats`, `close`.
   */
  declare readonly operation?: string
  /** Position that it was about: for a rejected `append` the one it had been given, for `appendBatch` the first of them. */
  declare readonly position?: number
  /** File name of the segment, without its directory. */
  declare readonly segment?: string
  /** Byte offset in that segment. */
  declare readonly offset?: number
  /** First position that the damage covers. */
  declare readonly firstLost?: number
  /** Last position that the damage covers. */
  declare readonly lastLost?: number
  /** The case of recovery that opening or reading met, by its label in docs/recovery.md. */
  declare readonly verdict?: string
  /** The one bit that explains a checksum that does not hold. */
  declare readonly flipped?: FlippedBit
  /** First position that can be read, for `ERR_WAL_TRUNCATED`. */
  declare readonly firstPosition?: number
  /** Position that the next record would have got, for `ERR_WAL_CONFLICT`. */
  declare readonly actual?: number
  /** Process that holds the log, for `ERR_WAL_LOCKED`. */
  declare readonly pid?: number
  /** For a failure of the operating system an error of Node's shape: `code` (such as `'ENOSPC'`), `errno`, `syscall`, `path`. */
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
 * Of an append that had been accepted it only ends the waiting: the append itself goes on, and its record may still be committed. One whose
 * signal was aborted before the call was not accepted.
 */
export class AbortError extends Error {
  static {
    this.prototype.name = 'AbortError'
    Object.defineProperty(this.prototype, ABORT, { value: 1 })
  }

  /** Those of every copy of the package in this process are instances. */
  static override [Symbol.hasInstance](value: unknown): value is AbortError {
    return this === AbortError ? isMarked(value, ABORT) : Function.prototype[Symbol.hasInstance].call(this, value)
  }

  /** As Node's own aborts have it. */
  readonly code = 'ABORT_ERR'

  /** @internal */
  constructor(signal: AbortSignal, message = 'The operation was aborted') {
    super(message, { cause: reasonOf(signal) })
  }
}

// Windows has numbers of its own; these are the ones a log meets.
const windowsErrors: { [errno: number]: string } = {
  2: 'ENOENT',
  3: 'ENOENT',
  5: 'EPERM',
  32: 'EBUSY',
  33: 'EBUSY',
  80: 'EEXIST',
  112: 'ENOSPC',
  183: 'EEXIST',
}

// Node names the errors that libuv knows, which does not know of quotas.
function errorName(errno: number): string {
  if (process.platform === 'win32') return windowsErrors[errno] ?? 'UNKNOWN'
  return errno === constants.errno.EDQUOT ? 'EDQUOT' : getSystemErrorName(-errno)
}

function systemError({ errno, syscall, path, message }: NonNullable<ErrorData['cause']>): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(message)
  if (errno !== undefined) {
    error.code = errorName(errno)
    error.errno = -errno
  }
  error.syscall = syscall
  error.path = path
  return error
}

/** The error for what the native side tells. */
export function fromNative({ code, message, cause, ...details }: ErrorData): WalError {
  return new WalError(code as WalErrorCode, message, { ...details, cause: cause && systemError(cause) })
}

/** What somebody who looked for damage has found, as the error that a reader would meet there. */
export function damaged({ kind, message, ...where }: Damage & { kind?: string }, operation: string): WalError {
  const code = kind === 'unreadable' ? 'ERR_WAL_IO' : 'ERR_WAL_CORRUPT'
  return new WalError(code, message, { operation, verdict: kind, ...where })
}

/** For who waits no more for what goes on. */
export const abandoned = (signal: AbortSignal, operation: string): AbortError =>
  new AbortError(signal, `The operation was aborted; the ${operation} itself goes on`)

export const invalid = (message: string, operation: string): WalError => new WalError('ERR_WAL_INVALID_ARG', message, { operation })

export const unencodable = (codec: string, operation: string, cause: unknown): WalError =>
  new WalError('ERR_WAL_INVALID_ARG', `the value cannot be encoded (${codec}): ${textOf(cause)}`, { operation, cause })

export const undecodable = (codec: string, position: number, cause: unknown): WalError =>
  new WalError('ERR_WAL_INVALID_ARG', `the value of record ${position} cannot be decoded (${codec}): ${textOf(cause)}`, {
    operation: 'read',
    position,
    cause,
  })

/** The message of whatever was thrown. */
export function textOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error)
  } catch {
    return 'an error whose text cannot be read'
  }
}

/** The error for a value that a getter, a Proxy or an iterator of the caller's threw while an argument was read. */
export const unreadable = (what: string, operation: string, cause: unknown): WalError =>
  new WalError('ERR_WAL_INVALID_ARG', `${what} cannot be read: ${textOf(cause)}`, { operation, cause })

/** Passes this package's errors, and wraps what code of the caller's threw while `what` was read. */
export const whileReading = (what: string, operation: string, error: unknown): Error =>
  error instanceof WalError || error instanceof AbortError ? error : unreadable(what, operation, error)

/** What an operation was, to those who waited for it. */
export interface Asked {
  operation: string
  position?: number
}

/** A failure that befell several operations, as one of them is told. */
export function befell(error: WalError, { operation, position }: Asked): WalError {
  const { code, ...details } = error
  return new WalError(code, error.message, { ...details, operation, position, cause: error.cause })
}

/** Where a call came from. Its text is made when asked for; a program can have V8 make something else of it, or nothing. */
export interface CallSite {
  stack?: unknown
}

/** The frames outside of `callee`. */
export function callSite(callee: (...args: never[]) => unknown): CallSite {
  const site = {}
  Error.captureStackTrace(site, callee)
  return site
}

/** Adds them to the stack of an error that only one caller is told. */
export function calledFrom(error: unknown, { stack }: CallSite): unknown {
  const frames = typeof stack === 'string' ? stack.indexOf('\n') : -1
  if (frames >= 0 && error instanceof Error) error.stack += `\n  called from:${(stack as string).slice(frames)}`
  return error
}

export const transferred = (position: number): WalError =>
  new WalError(
    'ERR_WAL_INVALID_ARG',
    `the memory of record ${position} was transferred away: read with copy: true what is to be transferred`,
    {
      operation: 'read',
      position,
    }
  )

export const streamDestroyed = (): WalError =>
  new WalError('ERR_WAL_CLOSED', 'the stream was destroyed before the record was appended', { operation: 'append' })

export const closed = (operation: string): WalError => new WalError('ERR_WAL_CLOSED', 'the log is closed', { operation })
