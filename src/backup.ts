// A copy of a log that is being written: steps of the native side, one after the other.

import type { Environment } from './environment.js'
import { AbortError } from './errors.js'
import type { NativeBackup } from './native.js'
import type { BackupOptions } from './options.js'
import { isAborted } from './signals.js'

/** How far a backup is. Its totals are known from the first call on, and shrink where truncation overtakes it. */
export interface BackupProgress {
  /** Segments in the copy. */
  segments: number
  /** Segments that it is to have. */
  totalSegments: number
  /** Bytes in the copy, those of links and clones included. */
  bytes: number
  /** Bytes that it is to have. */
  totalBytes: number
}

/** What a backup has made. */
export interface BackupReport {
  /** First position in the copy. */
  firstPosition: number
  /** Last position in the copy: the durable one at the cut. `firstPosition - 1` when the copy is empty. */
  lastPosition: number
  /** Segments in the copy: `linked`, `cloned` and `copied` together. */
  segments: number
  /** Bytes in the copy, those of links and clones included. */
  bytes: number
  /** Segments that are the same file as the original's: they take no space of their own. */
  linked: number
  /** Segments that share their blocks with the original's. */
  cloned: number
  /** Segments that were copied byte for byte. */
  copied: number
}

/** Takes the steps; gives up between two of them when `check` throws. */
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
