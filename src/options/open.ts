// Checks of the options of `Wal.open`.

import { invalid, mustBe } from '../errors.js'
import type { OpenOptions } from '../native/calls.js'
import type { NamedCodec } from '../records/values.js'
import { absoluteDir } from '../util/paths.js'
import { checkCodec } from './codec.js'
import { count, flag, group, known, signalOf, type Fields } from './check.js'
import type { Mode, WalOptions } from './types.js'

function fsync(value: unknown): Pick<OpenOptions, 'fsync' | 'everyMs'> {
  if (value === undefined) return {}
  if (value === 'always' || value === 'os') return { fsync: value }
  const given = group(value, ['everyMs'], 'fsync')
  const everyMs = given && count(given, 'everyMs', 'open', 'options.fsync')
  if (everyMs !== undefined) return { everyMs }
  throw mustBe('options.fsync', "'always', 'os' or { everyMs: milliseconds }", value, 'open')
}

function compression(value: unknown): WalOptions['compression'] {
  if (value === undefined || value === 'none' || value === 'lz4' || value === 'zstd') return value
  throw mustBe('options.compression', "'none', 'lz4' or 'zstd'", value, 'open')
}

function mode(value: unknown): Mode | undefined {
  if (value === undefined || value === 'strict' || value === 'prefix' || value === 'readOnly') return value
  throw mustBe('options.mode', "'strict', 'prefix' or 'readOnly'", value, 'open')
}

function retention(value: unknown): Pick<OpenOptions, 'retentionBytes' | 'retentionAgeMs' | 'retentionOverridesCursors'> {
  if (value === undefined) return {}
  const given = group(value, ['maxBytes', 'maxAgeMs', 'overrideCursors'], 'retention')
  if (given === undefined) {
    const expected = 'an object { maxBytes?: bytes, maxAgeMs?: milliseconds, overrideCursors?: boolean }'
    throw mustBe('options.retention', expected, value, 'open')
  }
  const retentionBytes = count(given, 'maxBytes', 'open', 'options.retention')
  const retentionAgeMs = count(given, 'maxAgeMs', 'open', 'options.retention')
  const retentionOverridesCursors = flag(given, 'overrideCursors', 'open', 'options.retention')
  if (retentionOverridesCursors && retentionBytes === undefined)
    throw invalid('options.retention.overrideCursors has an effect on maxBytes alone: give options.retention.maxBytes too', 'open')
  return { retentionBytes, retentionAgeMs, retentionOverridesCursors }
}

const openNames = new Set([
  'fsync',
  'mode',
  'create',
  'segmentBytes',
  'maxRecordBytes',
  'maxBatchBytes',
  'maxPendingBytes',
  'compression',
  'retention',
  'allowUnsafeFilesystem',
  'captureStacks',
  'signal',
  'codec',
] satisfies (keyof WalOptions)[])

/** Options that belong to one handle. All others must be equal for every handle on a log. */
export interface HandleOptions {
  codec: NamedCodec | undefined
  captureStacks: boolean
  signal: AbortSignal | undefined
}

export function checkOpen(dir: unknown, options: unknown): { dir: string; handle: HandleOptions; log: OpenOptions } {
  const path = absoluteDir(dir, 'open')
  const fields = known(options, openNames, 'open')
  const captureStacks = flag(fields, 'captureStacks', 'open') === true
  const handle = { codec: checkCodec(fields.codec), captureStacks, signal: signalOf(fields, 'open') }
  return { dir: path, handle, log: logOptions(fields) }
}

function logOptions(fields: Fields): OpenOptions {
  return {
    ...fsync(fields.fsync),
    mode: mode(fields.mode),
    create: flag(fields, 'create', 'open'),
    segmentBytes: count(fields, 'segmentBytes', 'open'),
    maxRecordBytes: count(fields, 'maxRecordBytes', 'open'),
    maxBatchBytes: count(fields, 'maxBatchBytes', 'open'),
    maxPendingBytes: count(fields, 'maxPendingBytes', 'open'),
    compression: compression(fields.compression),
    ...retention(fields.retention),
    allowUnsafeFilesystem: flag(fields, 'allowUnsafeFilesystem', 'open'),
  }
}
