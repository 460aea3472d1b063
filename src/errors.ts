// Every error this package makes is made here.

import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import type { ErrorData } from './native.js'

/**
 * What went wrong, as a program tells cases apart.
 *
 * - `ERR_WAL_LOCKED`: another process has the log open (`pid`, if known).
 * - `ERR_WAL_NOT_FOUND`: there is no log, and `create` is `false`; or the cursor was deleted.
 * - `ERR_WAL_CORRUPT`: bytes that were durable are damaged (`segment`, `offset`, `firstLost`, `lastLost`). Nothing was changed.
 * - `ERR_WAL_CLOSED`: the handle is closed, or closing.
 * - `ERR_WAL_POISONED`: an fsync failed. What was waiting may or may not be in the log after reopening.
 * - `ERR_WAL_NO_SPACE`: the disk or the quota is full. What was rejected is not in the log; appends work again when there is space.
 * - `ERR_WAL_TOO_LARGE`: a record above `maxRecordBytes` or a batch above `maxBatchBytes`; one cursor more than there can be.
 * - `ERR_WAL_TRUNCATED`: the position is before the first that can be read (`firstPosition`), or was cut off while it was read.
 * - `ERR_WAL_OUT_OF_RANGE`: the position is after the end of the log.
 * - `ERR_WAL_CONFLICT`: the next position (`actual`) is not the one expected. Nothing was appended.
 * - `ERR_WAL_BACKPRESSURE`: more than `maxPendingBytes` wait to be written; see `Wal.drain`.
 * - `ERR_WAL_READ_ONLY`: the file system or the log is read-only.
 * - `ERR_WAL_FORMAT`: the directory holds something that is not a log of this version.
 * - `ERR_WAL_INVALID_ARG`: an argument has the wrong type or range; the message names it.
 * - `ERR_WAL_IO`: the operating system failed otherwise (`cause`).
 * - `ERR_WAL_NATIVE_NOT_FOUND`: the native module for this platform is not installed.
 */
export type WalErrorCode =
  | 'ERR_WAL_LOCKED'
  | 'ERR_WAL_NOT_FOUND'
  | 'ERR_WAL_CORRUPT'
  | 'ERR_WAL_CLOSED'
  | 'ERR_WAL_POISONED'
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

/** Fields of a {@link WalError} that are there only when they apply. */
export interface WalErrorDetails {
  operation?: string
  position?: number
  segment?: string
  offset?: number
  firstLost?: number
  lastLost?: number
  verdict?: string
  flipped?: FlippedBit
  firstPosition?: number
  actual?: number
  pid?: number
  cause?: unknown
}

/** What every failure of this package is, aborts aside. Tell cases apart by `code`; fields that do not apply are absent. */
export class WalError extends Error {
  static {
    this.prototype.name = 'WalError'
  }

  readonly code: WalErrorCode
  /** The operation that failed: `open`, `append`, `sync`, `read`, `truncateBefore`, `truncateAfter`, `reset`, `cursor`, `commit`, `close` … */
  declare readonly operation?: string
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

/** The rejection of an operation whose `AbortSignal` was aborted; `cause` is the signal's reason. */
export class AbortError extends Error {
  static {
    this.prototype.name = 'AbortError'
  }

  readonly code = 'ABORT_ERR'

  /** @internal */
  constructor(signal: AbortSignal) {
    super('The operation was aborted', { cause: signal.reason })
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

export const invalid = (message: string, operation: string): WalError => new WalError('ERR_WAL_INVALID_ARG', message, { operation })

export const truncated = (position: number, firstPosition: number): WalError =>
  new WalError('ERR_WAL_TRUNCATED', `position ${position} was cut off`, { operation: 'read', position, firstPosition })

export const closed = (operation: string): WalError => new WalError('ERR_WAL_CLOSED', 'the log is closed', { operation })
