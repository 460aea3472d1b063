// A new log of everything that holds in a damaged one: steps of the native side, one after the other.

import { resolve } from 'node:path'
import { tellDamage } from './diagnostics.js'
import { currentEnvironment } from './environment.js'
import { AbortError } from './errors.js'
import { checkSalvage, type SalvageOptions } from './options.js'
import { describeHoles, type Hole } from './reader.js'

/** How far a salvage is. */
export interface SalvageProgress {
  /** Bytes of the damaged log's segments that were read. */
  bytes: number
  /** All there are to read. */
  totalBytes: number
  /** Records found so far. */
  records: number
}

/** What a salvage has made. */
export interface SalvageReport {
  /** What opening the damaged log meets, by its label in docs/recovery.md: `'damaged-active'`, `'gap'` … */
  verdict: string
  /** First position of the new log: that of the first record that holds. */
  firstPosition: number
  /** Position that the next record of the new log gets: above every position that is known to have been given. */
  nextPosition: number
  /** Records in the new log. */
  records: number
  /** Segments in the new log. */
  segments: number
  /** What is missing, in order of positions: where it was in the damaged log. */
  holes: Hole[]
  /** Named cursors that came along. */
  cursors: number
  /** The named cursors are damaged: they did not come along, and have to be made again. */
  cursorsLost: boolean
}

/**
 * Makes a new log in `dest` of every record that holds in the damaged log in `dir`. Positions stay what they were, batches stay whole,
 * and what is missing becomes a hole: readers of the new log pass over it, and `reader.holes`, `wal.recovery.holes` and `verify` report
 * it. When the promise resolves the new log is durable.
 *
 * The damaged log is not changed. It is refused while a writer has it open. `dest` is created when it is absent, and must be empty
 * otherwise. Without its CONTROL, which is written last, the new log does not open; what fails or is aborted is removed.
 *
 * Damage is no error: it is in the report's `holes`. Rejects with `ERR_WAL_INVALID_ARG` (also for a `dest` inside `dir`, or on a network
 * file system), `ERR_WAL_NOT_FOUND` (no log in `dir`), `ERR_WAL_FORMAT` (`dir` is no log or of a newer version; `dest` is not empty),
 * `ERR_WAL_LOCKED` (a writer has the log open, or opened it meanwhile), `ERR_WAL_DETACHED` (the files of the log were removed
 * meanwhile, or `dest` was moved), `ERR_WAL_NO_SPACE`, `ERR_WAL_READ_ONLY`, `ERR_WAL_IO` or an
 * `AbortError`.
 */
export async function salvage(dir: string, dest: string, options?: SalvageOptions): Promise<SalvageReport> {
  const { onProgress, signal, allowUnsafeFilesystem = false } = checkSalvage(dir, dest, options)
  const environment = await currentEnvironment()
  const absolute = resolve(dir)
  const native = environment.native.salvage(absolute, resolve(dest), allowUnsafeFilesystem)
  try {
    for (;;) {
      if (signal?.aborted) throw new AbortError(signal)
      const { salvage } = await environment.request(native.step())
      if (salvage === undefined) continue
      const { done, doneBytes: bytes, totalBytes, ...report } = salvage
      onProgress?.({ bytes, totalBytes, records: report.records })
      if (!done) continue
      const { holes } = report
      tellDamage(absolute, 'salvage', describeHoles(holes))
      return { ...report, holes }
    }
  } catch (error) {
    await environment.request(native.abandon())
    throw error
  }
}
