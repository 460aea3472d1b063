// Checks of directories.

import { resolve } from 'node:path'
import { invalid, WalError } from '../errors.js'
import { checkText } from '../util/bytes.js'

/** Resolves the path of a checked directory to an absolute path. */
export function absolute(dir: string, operation: string): string {
  try {
    return resolve(dir)
  } catch (cause) {
    // The working directory has been removed.
    throw new WalError('ERR_WAL_IO', `${dir} is relative, and the working directory cannot be told`, { operation, cause })
  }
}

export function checkDir(dir: unknown, operation: string): void {
  if (typeof dir !== 'string' || dir === '' || dir.includes('\0')) throw invalid('dir must be the path of a directory', operation)
  // The operating system would get a different name.
  checkText('dir', dir, operation)
}
