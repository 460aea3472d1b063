// Salvage makes a new log of every intact record of a damaged one, in a sequence of steps of the native side.

import { AbortError } from '../errors.js'
import { currentEnvironment } from '../native/environment.js'
import { publishDamage } from '../observe/publish.js'
import { checkSalvage } from '../options/jobs.js'
import type { SalvageOptions } from '../options/types.js'
import { describeHoles } from '../reports/damage.js'
import type { SalvageReport } from '../reports/salvage.js'
import { absoluteDir, type PathLike } from '../util/paths.js'
import { isAborted } from '../util/signals.js'

/**
 * Makes a new log in `dest` of every intact record of the damaged log in `dir`.
 *
 * Positions do not change and batches stay whole. Missing positions become holes: readers of the new log skip them, and `reader.holes`,
 * `wal.recovery.holes` and `verify` report them. When the promise resolves the new log is durable.
 *
 * The damaged log is not changed, and must not be open for writing. `dest` is created if it does not exist, and must be empty otherwise.
 * CONTROL of the new log is written last, and the log does not open without it. If the salvage fails or is aborted, what it has written is
 * removed.
 *
 * Damage is not an error: it is in the report's `holes`.
 *
 * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid, or `dest` is inside `dir` or on a network file system.
 * @throws `ERR_WAL_NOT_FOUND`: there is no log in `dir`.
 * @throws `ERR_WAL_FORMAT`: `dir` holds no log or one of a newer version, or `dest` is not empty.
 * @throws `ERR_WAL_LOCKED`: a writer has the log open, or opened it meanwhile.
 * @throws `ERR_WAL_DETACHED`: the files of the log were removed meanwhile, or `dest` was moved.
 * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_READ_ONLY`, `ERR_WAL_IO` or an `AbortError`.
 * @example
 * ```ts
 * const { holes } = await salvage('./data/damaged', './data/salvaged')
 * ```
 */
export async function salvage(dir: PathLike, dest: PathLike, options?: SalvageOptions): Promise<SalvageReport> {
  const [from, to] = [absoluteDir(dir, 'salvage'), absoluteDir(dest, 'salvage', 'dest')]
  const { onProgress, signal, allowUnsafeFilesystem = false } = checkSalvage(options)
  const environment = await currentEnvironment()
  const native = environment.native.salvage(from, to, allowUnsafeFilesystem)
  try {
    for (;;) {
      if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
      const { salvage } = await environment.request(native.step())
      if (salvage === undefined) continue
      const { done, doneBytes: bytes, totalBytes, ...report } = salvage
      onProgress?.({ bytes, totalBytes, records: report.records })
      if (!done) continue
      const { holes } = report
      publishDamage(from, 'salvage', describeHoles(holes))
      return { ...report, holes }
    }
  } catch (error) {
    await environment.request(native.abandon())
    throw error
  }
}
