// Verification: reads and checks every byte of a log, and changes nothing.

import { AbortError } from '../errors.js'
import type { Completion, NativeWatcher } from '../native/calls.js'
import { currentEnvironment, type Environment } from '../native/environment.js'
import { PROGRESS_DONE, PROGRESS_TOTAL } from '../native/wire.js'
import { publishDamage } from '../observe/publish.js'
import { checkScrub, checkVerify } from '../options/jobs.js'
import type { VerifyOptions } from '../options/types.js'
import type { Verification } from '../reports/verification.js'
import { abortListeners } from '../util/abort-listeners.js'
import { absoluteDir, type PathLike } from '../util/paths.js'
import { isAborted } from '../util/signals.js'
import { every } from '../util/timing.js'

// Often enough for a progress bar.
const PROGRESS_EVERY_MS = 100

/**
 * Reads a whole log and checks it: headers, the checksum of every frame, the chain of segments, footers, CONTROL.
 *
 * Needs no handle on the log and takes no lock. A concurrent writer, in this process or another, is never mistaken for damage. Nothing is
 * changed. On Linux sealed segments are read from the disk itself, and their pages are dropped from the page cache.
 *
 * Damage is not an error: it is in the report's `problems`.
 *
 * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_NOT_FOUND` or `ERR_WAL_FORMAT`.
 * @throws `ERR_WAL_IO`: the directory cannot be listed.
 * @throws `ERR_WAL_TRUNCATED`: a writer truncated the log during every attempt.
 * @throws `AbortError`: `signal` was aborted.
 * @example
 * ```ts
 * const { problems } = await verify('./data/wal')
 * ```
 */
export async function verify(dir: PathLike, options?: VerifyOptions): Promise<Verification> {
  const from = absoluteDir(dir, 'verify')
  const checked = checkVerify(options)
  const environment = await currentEnvironment()
  const found = await new VerificationJob(environment, checked).run((watcher) => environment.native.verify(from, watcher))
  publishDamage(from, 'verify', found.problems)
  return found
}

/** A running verification. */
export class VerificationJob {
  readonly #environment: Environment
  readonly #options: VerifyOptions
  readonly #watcher: NativeWatcher
  #failure: unknown
  #reported = 0

  constructor(environment: Environment, options: ReturnType<typeof checkScrub>) {
    this.#environment = environment
    this.#options = options
    this.#watcher = new environment.Watcher(options.bytesPerSecond)
  }

  async run(start: (watcher: NativeWatcher) => number): Promise<Verification> {
    const { signal } = this.#options
    const onAbort = () => this.stop(new AbortError(signal as AbortSignal))
    if (signal !== undefined && isAborted(signal)) onAbort()
    const done = signal === undefined ? undefined : abortListeners.add(signal, onAbort)
    const stopReporting = every(PROGRESS_EVERY_MS, () => this.#reportProgress())
    try {
      const { verification } = await this.#environment.request(start(this.#watcher))
      this.#reportProgress()
      if (this.#failure !== undefined) throw this.#failure
      return report(verification)
    } catch (error) {
      throw this.#failure ?? error
    } finally {
      stopReporting()
      done?.()
    }
  }

  /** Stops the verification soon; it then rejects with `reason`. */
  stop(reason: unknown): void {
    this.#failure ??= reason
    this.#watcher.stop()
  }

  #reportProgress(): void {
    const progress = this.#watcher.progress()
    const [done, total] = [progress[PROGRESS_DONE], progress[PROGRESS_TOTAL]]
    if (total === 0 || done === this.#reported || this.#failure !== undefined) return
    this.#reported = done
    try {
      this.#options.onProgress?.(done, total)
    } catch (error) {
      this.stop(error)
    }
  }
}

function report(verification: Completion['verification']): Verification {
  if (verification === undefined) throw new TypeError('the native module returned no report')
  return verification
}
