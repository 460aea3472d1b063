// Makes error objects from the data that the binding passes: `crates/node/src/error.rs`.

import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { WalError, type WalErrorCode } from '../errors.js'
import type { ErrorData } from './calls.js'

// Windows has its own error numbers. These are the ones that a log can meet, with the names that libuv gives them (`uv_translate_sys_error` in
// src/win/error.c), and the quota, which libuv does not know.
const windowsErrors: { [errno: number]: string } = {
  2: 'ENOENT',
  3: 'ENOENT',
  4: 'EMFILE',
  5: 'EPERM',
  8: 'ENOMEM',
  14: 'ENOMEM',
  19: 'EROFS',
  23: 'EIO',
  32: 'EBUSY',
  33: 'EBUSY',
  39: 'ENOSPC',
  80: 'EEXIST',
  112: 'ENOSPC',
  183: 'EEXIST',
  206: 'ENAMETOOLONG',
  1117: 'EIO',
  1295: 'EDQUOT',
}

// `getSystemErrorName` knows the errors of libuv, and EDQUOT is not one of them.
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

/** Converts an error of the native side. */
export function fromNative({ code, message, cause, ...details }: ErrorData): WalError {
  return new WalError(code as WalErrorCode, message, { ...details, cause: cause && systemError(cause) })
}
