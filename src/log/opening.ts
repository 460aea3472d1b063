// How `Wal.open` opens a log.

import { AbortError, closed } from '../errors.js'
import type { OpenOptions } from '../native/calls.js'
import { currentEnvironment, type Environment } from '../native/environment.js'
import { publishCorruption, publishRecovery } from '../observe/publish.js'
import type { HandleOptions } from '../options/open.js'
import { joinLog } from '../queue/join.js'
import type { LogQueue } from '../queue/log-queue.js'
import { valuesOf, type Values } from '../records/values.js'
import { recoveryReport, type RecoveryReport } from '../reports/recovery.js'
import { abortListeners } from '../util/abort-listeners.js'
import { isAborted } from '../util/signals.js'

/** An open log, as its handle needs it. */
export interface Opened {
  environment: Environment
  queue: LogQueue
  dir: string
  recovery: RecoveryReport
  values: Values | undefined
  captureStacks: boolean
  isReadOnly: boolean
}

/** Opens the log in a directory, and joins the handles that this environment already has on it. */
export async function openLog(dir: string, options: OpenOptions, { codec, captureStacks, signal }: HandleOptions): Promise<Opened> {
  const [environment, values] = await Promise.all([currentEnvironment(), valuesOf(codec)])
  const { native } = environment
  if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
  // The watcher lets the signal end a long scan. The scan does not keep the process alive.
  const watcher = signal && new environment.Watcher()
  const done = signal && abortListeners.add(signal, () => watcher?.stop())
  const { fsync = 'always', everyMs, mode } = options
  if (fsync === 'always' && everyMs === undefined && mode !== 'readOnly') environment.submitWrites()
  const opening = environment.request(native.open(dir, options, watcher)).finally(done)
  const { log, identity } = await opening.catch((error: unknown) => {
    publishCorruption(dir, error)
    throw error
  })
  if (log === undefined || identity === undefined) throw closed('open')
  const recovery = recoveryReport(native.recovery(log))
  const queue = await joinLog(environment, log, identity, dir)
  // Only the handle that opened the log in this environment reports a recovery. Further handles recovered nothing.
  if (queue.log === log) publishRecovery(dir, recovery)
  return { environment, queue, dir, recovery, values, captureStacks, isReadOnly: options.mode === 'readOnly' }
}

/** Settles like `opening`, unless the signal is aborted first: then it rejects, and the handle is closed as soon as it is open. */
export function unlessAborted<W extends { close(): Promise<void> }>(opening: Promise<W>, signal: AbortSignal): Promise<W> {
  return new Promise((resolve, reject) => {
    const done = abortListeners.add(signal, () => {
      reject(new AbortError(signal))
      opening.then((wal) => wal.close()).catch(() => {})
    })
    // Remove the abort listener and resolve together, so that a handle already returned is never closed.
    opening.then(
      (wal) => (done(), resolve(wal)),
      (error: unknown) => (done(), reject(error))
    )
  })
}
