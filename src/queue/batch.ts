// Passes the records of a batch to native code.

import type { Environment } from '../native/environment.js'
import { FLAG_EXPIRES, FLAG_VERSION } from '../native/wire.js'
import type { AppendTerms } from '../options/append.js'
import type { Entry } from '../records/record.js'
import { recordFlags, termFlags } from './record-flags.js'

/** Clears the record buffer, whose records are now in the batch; throws if they were refused. */
function checkPushed(environment: Environment, result: number): void {
  if (result < 0) throw environment.refusal()
  environment.recordBuffer.clear(undefined)
}

/**
 * Submits the entries as one batch, and returns the position of the first; negative if the batch was refused. Call `beginBatch()` before. If
 * this throws, or the batch was refused, call `abortBatch()`.
 */
export function submitBatch(environment: Environment, log: number, entries: Entry[], terms: AppendTerms): number {
  const { calls, recordBuffer } = environment
  for (const { key, value, tombstone, expiresAt, version } of entries) {
    if (recordBuffer.full) checkPushed(environment, calls.pushBuffered(log))
    if (expiresAt === undefined && version === undefined && recordBuffer.put(key, value, tombstone, recordBuffer.largest) > 0) continue
    checkPushed(environment, calls.pushBuffered(log))
    let flags = recordFlags(key, value, tombstone, 0)
    if (expiresAt !== undefined) flags |= FLAG_EXPIRES
    if (version !== undefined) flags |= FLAG_VERSION
    checkPushed(environment, calls.push(log, key, value, flags, expiresAt, version?.term, version?.index))
  }
  const first = calls.commit(log, termFlags(terms), terms.expect)
  environment.isBatchLeft = false
  return first
}
