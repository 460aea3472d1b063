// The `flags` argument of the raw calls that take a record.

import {
  FLAG_DURABLE,
  FLAG_EXPECT,
  FLAG_KEY_BYTES,
  FLAG_KEY_STRING,
  FLAG_TOMBSTONE,
  FLAG_VALUE_BYTES,
  FLAG_VALUE_STRING,
} from '../native/wire.js'
import type { AppendTerms } from '../options/append.js'
import { checkShape } from '../records/record.js'
import { checkArray, checkText, lengthOf, type Bytes } from '../util/bytes.js'

/** Flags of the terms of an append. */
export const termFlags = ({ durable, expect }: AppendTerms): number =>
  (durable ? FLAG_DURABLE : 0) | (expect === undefined ? 0 : FLAG_EXPECT)

/** Checks a key or value that is passed to native code by itself, and returns its flag. Native code would misread a value that fails. */
export function bytesFlag(name: string, bytes: Bytes, ifString: number, ifBytes: number): number {
  if (typeof bytes === 'string') {
    checkText(name, bytes, 'append')
    return ifString
  }
  let length = 0
  try {
    length = lengthOf(bytes)
  } catch {
    // Not a typed array, or an object that only inherits from one.
  }
  if (length === 0) checkArray(name, bytes, 'append')
  return ifBytes
}

/** Checks the fields of a record and returns its flags, with those of `terms`. */
export function recordFlags(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, terms: number): number {
  checkShape(key, value, tombstone, 'append')
  let flags = tombstone ? terms | FLAG_TOMBSTONE : terms
  if (key !== undefined) flags |= bytesFlag('key', key, FLAG_KEY_STRING, FLAG_KEY_BYTES)
  if (value !== undefined) flags |= bytesFlag('value', value, FLAG_VALUE_STRING, FLAG_VALUE_BYTES)
  return flags
}
