// Checks of paths: a string, its UTF-8, or a file: URL.

import { isUtf8 } from 'node:buffer'
import type { PathLike } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { invalid, mustBe, WalError, whileReading } from '../errors.js'
import { checkText, hasMemory, isUint8Array } from './bytes.js'

export type { PathLike }

// Taken from the prototype: it runs no code of the caller, and throws for anything that is not a genuine URL.
const hrefOf = Object.getOwnPropertyDescriptor(URL.prototype, 'href')?.get as (this: unknown) => string

/** Returns the text of a genuine URL; `undefined` for anything else. */
function urlText(value: unknown): string | undefined {
  try {
    return hrefOf.call(value)
  } catch {
    return undefined
  }
}

/** Returns the path that a file: URL stands for. */
function ofUrl(name: string, url: string, operation: string): string {
  try {
    return fileURLToPath(url)
  } catch (error) {
    throw whileReading(`${name}, a URL,`, operation, error)
  }
}

/** Returns the path that bytes stand for. The engine takes text, so bytes that are not UTF-8 would become another name. */
function ofBytes(name: string, bytes: Uint8Array, operation: string): string {
  if (!hasMemory(bytes)) throw invalid(`${name} must still have its bytes: its memory is detached (transferred away)`, operation)
  const copy = Buffer.from(new Uint8Array(bytes).buffer)
  if (!isUtf8(copy)) throw invalid(`${name} must be UTF-8`, operation)
  return copy.toString()
}

/**
 * Checks that the argument `name` can be a path, and resolves it to an absolute one. `what` says what it is the path of.
 *
 * @throws `ERR_WAL_INVALID_ARG`, or `ERR_WAL_IO` if the path is relative and the working directory was removed.
 */
export function absolutePath(name: string, value: unknown, what: string, operation: string): string {
  const url = typeof value === 'object' && value !== null ? urlText(value) : undefined
  const path = url !== undefined ? ofUrl(name, url, operation) : isUint8Array(value) ? ofBytes(name, value, operation) : value
  if (typeof path !== 'string' || path === '') throw mustBe(name, `the path of ${what}`, value, operation)
  if (path.includes('\0')) throw invalid(`${name} must be the path of ${what}, without NUL characters`, operation)
  // The operating system would get a different name.
  checkText(name, path, operation)
  try {
    return resolve(path)
  } catch (cause) {
    // The working directory has been removed.
    throw new WalError('ERR_WAL_IO', `${path} is a relative path, and there is no working directory: pass an absolute path`, {
      operation,
      cause,
    })
  }
}

/** Checks that the argument `name` can be the path of a directory, and resolves it to an absolute one. */
export const absoluteDir = (dir: unknown, operation: string, name = 'dir'): string => absolutePath(name, dir, 'a directory', operation)
