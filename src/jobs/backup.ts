// A backup is a sequence of steps of the native side.

import type { Environment } from '../native/environment.js'
import { AbortError } from '../errors.js'
import type { NativeBackup } from '../native/load.js'
import type { BackupOptions } from '../options/options.js'
import { isAborted } from '../util/signals.js'

/** Progress of a backup. The totals are known from the first call on, and shrink if truncation overtakes the backup. */
export interface BackupProgress {
  /** Segments in the copy so far. */
  segments: number
  /** Segments that the complete copy will have. */
  totalSegments: number
  /** Bytes in the copy so far, including those of links and clones. */
  bytes: number
  /** Bytes that the complete copy will have. */
  totalBytes: number
}

/** Report of a backup. */
export interface BackupReport {
  /** First position in the copy. */
  firstPosition: number
  /** Last position in the copy: the durable position when the backup began. `firstPosition - 1` if the copy is empty. */
  lastPosition: number
  /** Segments in the copy: the sum of `linked`, `cloned` and `copied`. */
  segments: number
  /** Bytes in the copy, including those of links and clones. */
  bytes: number
  /** Segments that are hard links to the original's files. They take no space of their own. */
  linked: number
  /** Segments that share their blocks with the original's files. */
  cloned: number
  /** Segments that were copied byte for byte. */
  copied: number
}

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
