// The log that a snapshot belongs to.

import { mustBe } from '../errors.js'
import { stat } from '../jobs/stat.js'
import { Wal } from '../log/wal.js'
import type { CheckpointLog } from '../options/types.js'

/** Checks that an argument is a log handle. */
export function checkLog(wal: unknown, name: string, operation: string): CheckpointLog {
  let isWal = false
  try {
    isWal = wal instanceof Wal
  } catch {
    // A Proxy.
  }
  if (!isWal) throw mustBe(name, 'a Wal', wal, operation)
  return wal as CheckpointLog
}

// A log never gets another UUID.
const uuids = new WeakMap<CheckpointLog, string>()

/** The UUID of a log. */
export async function uuidOf(wal: CheckpointLog): Promise<string> {
  const known = uuids.get(wal)
  if (known !== undefined) return known
  const { uuid } = await stat(wal.dir)
  uuids.set(wal, uuid)
  return uuid
}
