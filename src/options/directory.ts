// Checks of directories.

import { resolve } from 'node:path'
import { invalid, mustBe, WalError } from '../errors.js'
import { checkText } from '../util/bytes.js'

/** Resolves the path of a checked directory to an absolute path. */
export function absolute(dir: string, operation: string): string {
  try {
    return resolve(dir)
  } catch (cause) {
    // The working directory has been removed.
    throw new WalError('ERR_WAL_IO', `${dir} is a relative path, and there is no working directory: pass an absolute path`, {
      operation,
      cause,
    })
  }
}

/** Checks that `dir`, the argument with this name, can be the path of a directory. */
export function checkDir(dir: unknown, operation: string, name = 'dir'): void {
  if (typeof dir !== 'string' || dir === '') throw mustBe(name, 'the path of a directory', dir, operation)
  if (dir.includes('\0')) throw invalid(`${name} must be the path of a directory, without NUL characters`, operation)
  // The operating system would get a different name.
  checkText(name, dir, operation)
}
