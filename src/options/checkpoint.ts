// Checks of the arguments of `checkpoint` and `restore`. The log itself is checked there.

import path from 'node:path'
import { AbortError, invalid, mustBe } from '../errors.js'
import { absolutePath } from '../util/paths.js'
import { isAborted } from '../util/signals.js'
import { checkPosition, flag, isCount, known, signalOf } from './check.js'
import type { CheckpointInit, RestoreOptions } from './types.js'

const checkpointNames = new Set(['position', 'state', 'keep', 'install', 'signal'] satisfies (keyof CheckpointInit)[])

/** What a checkpoint is to do. The state is checked when it is read. */
export interface CheckedCheckpoint {
  position: number
  state: unknown
  keep: number
  install: boolean
  signal: AbortSignal | undefined
}

const KEEP = 2

/** The path that names of snapshots are made of. */
export const snapshotPath = (file: unknown, operation: string): string => absolutePath('file', file, 'a snapshot', operation)

/** Checks that snapshots are not in the directory of the log: opening it refuses files that are not its own. */
export function checkOutside(file: string, dir: string): void {
  const relative = path.relative(dir, path.dirname(file))
  const isOutside = relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative)
  if (!isOutside) throw invalid(`file must not be in the directory of the log, ${dir}`, 'checkpoint')
}

export function checkCheckpoint(init: unknown): CheckedCheckpoint {
  if (init === undefined) throw mustBe('options', 'an object with position and state', init, 'checkpoint')
  const fields = known(init, checkpointNames, 'checkpoint')
  const position = checkPosition(fields.position, 0, 'checkpoint')
  const { state, keep = KEEP } = fields
  if (!isCount(keep) || keep === 0) throw mustBe('options.keep', 'an integer from 1 to 2^53 - 1', keep, 'checkpoint')
  const install = flag(fields, 'install', 'checkpoint') === true
  // The record after the state needs a position too.
  if (position === Number.MAX_SAFE_INTEGER) throw mustBe('position', 'at most 2^53 - 2', position, 'checkpoint')
  return { position, state, keep, install, signal: signal(fields, 'checkpoint') }
}

const restoreNames = new Set(['wal', 'signal'] satisfies (keyof RestoreOptions)[])

export function checkRestore(options: unknown): { wal: unknown; signal: AbortSignal | undefined } {
  const fields = known(options, restoreNames, 'restore')
  return { wal: fields.wal, signal: signal(fields, 'restore') }
}

function signal(fields: { [name: string]: unknown }, operation: string): AbortSignal | undefined {
  const signal = signalOf(fields, operation)
  if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
  return signal
}
