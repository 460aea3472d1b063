// A backup is a sequence of steps of the native side.

import { AbortError } from '../errors.js'
import type { NativeBackup } from '../native/calls.js'
import type { Environment } from '../native/environment.js'
import type { BackupOptions } from '../options/types.js'
import type { BackupReport } from '../reports/backup.js'
import { isAborted } from '../util/signals.js'

/** Runs the steps of a backup, and `check` before each. If anything throws, the backup is abandoned. */
export async function runBackup(
  environment: Environment,
  native: NativeBackup,
  { onProgress, signal }: BackupOptions,
  check: () => void
): Promise<BackupReport> {
  try {
    for (;;) {
      if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
      check()
      const { backup } = await environment.request(native.step())
      if (backup === undefined) continue
      const { done, firstPosition, lastPosition, segments, totalSegments, bytes, totalBytes, linked, cloned, copied } = backup
      onProgress?.({ segments, totalSegments, bytes, totalBytes })
      if (done) return { firstPosition, lastPosition, segments, bytes, linked, cloned, copied }
    }
  } catch (error) {
    await environment.request(native.abandon())
    throw error
  }
}
