// Checks of the options of `verify`, `scrub`, `backup` and `salvage`.

import { mustBe } from '../errors.js'
import { count, flag, known, signalOf, type Fields } from './check.js'
import type { BackupOptions, SalvageOptions, ScrubOptions, VerifyOptions } from './types.js'

function progressOptions(fields: Fields, operation: string): VerifyOptions {
  const { onProgress } = fields
  if (onProgress !== undefined && typeof onProgress !== 'function') throw mustBe('options.onProgress', 'a function', onProgress, operation)
  return { onProgress: onProgress as VerifyOptions['onProgress'], signal: signalOf(fields, operation) }
}

const verifyNames = new Set(['onProgress', 'signal'] satisfies (keyof VerifyOptions)[])

export function checkVerify(options: unknown): ScrubOptions {
  return progressOptions(known(options, verifyNames, 'verify'), 'verify')
}

const SCRUB_BYTES_PER_SECOND = 16 << 20

const scrubNames = new Set(['bytesPerSecond', 'onProgress', 'signal'] satisfies (keyof ScrubOptions)[])

export function checkScrub(options: unknown): ScrubOptions {
  const fields = known(options, scrubNames, 'scrub')
  const bytesPerSecond = count(fields, 'bytesPerSecond', 'scrub') ?? SCRUB_BYTES_PER_SECOND
  if (bytesPerSecond === 0) throw mustBe('options.bytesPerSecond', 'at least 1', bytesPerSecond, 'scrub')
  return { ...progressOptions(fields, 'scrub'), bytesPerSecond }
}

const backupNames = new Set(['onProgress', 'signal'] satisfies (keyof BackupOptions)[])

export function checkBackup(options: unknown): BackupOptions {
  const fields = known(options, backupNames, 'backup')
  const { onProgress } = fields
  if (onProgress !== undefined && typeof onProgress !== 'function') throw mustBe('options.onProgress', 'a function', onProgress, 'backup')
  return { onProgress: onProgress as BackupOptions['onProgress'], signal: signalOf(fields, 'backup') }
}

const salvageNames = new Set(['onProgress', 'signal', 'allowUnsafeFilesystem'] satisfies (keyof SalvageOptions)[])

export function checkSalvage(options: unknown): SalvageOptions {
  const fields = known(options, salvageNames, 'salvage')
  const { onProgress } = fields
  if (onProgress !== undefined && typeof onProgress !== 'function') throw mustBe('options.onProgress', 'a function', onProgress, 'salvage')
  return {
    onProgress: onProgress as SalvageOptions['onProgress'],
    signal: signalOf(fields, 'salvage'),
    allowUnsafeFilesystem: flag(fields, 'allowUnsafeFilesystem', 'salvage') === true,
  }
}
