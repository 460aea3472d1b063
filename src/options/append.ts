// Checks of the options of appends, `acknowledged`, `sync` and `writable`.

import { AbortError, mustBe } from '../errors.js'
import type { CallOptions } from '../util/call-options.js'
import { isAborted } from '../util/signals.js'
import { count, flag, known, signalOf, type Fields } from './check.js'
import type { AcknowledgedOptions, AppendOptions, EnqueueOptions, SyncOptions, WritableOptions } from './types.js'

const appendNames = new Set(['durable', 'expect', 'signal'] satisfies (keyof AppendOptions)[])
const enqueueNames = new Set(['durable', 'expect'] satisfies (keyof EnqueueOptions)[])

/** Options of one append, checked. */
export interface AppendTerms {
  durable: boolean
  expect: number | undefined
  call: CallOptions | undefined
}

/** The terms of an append without options. */
export const DEFAULT_TERMS: AppendTerms = { durable: false, expect: undefined, call: undefined }

function callOptions(fields: Fields, operation: string): CallOptions | undefined {
  const signal = signalOf(fields, operation)
  if (signal === undefined) return undefined
  if (isAborted(signal)) throw new AbortError(signal)
  return { signal, site: undefined }
}

function terms(options: unknown, names: ReadonlySet<string>, operation: string): AppendTerms {
  const fields = known(options, names, operation)
  const [durable, expect] = [flag(fields, 'durable', operation) === true, count(fields, 'expect', operation)]
  return { durable, expect, call: callOptions(fields, operation) }
}

export function checkAppend(options: AppendOptions | undefined, operation: string): AppendTerms {
  return options === undefined ? DEFAULT_TERMS : terms(options, appendNames, operation)
}

export function checkEnqueue(options: EnqueueOptions | undefined): AppendTerms {
  return options === undefined ? DEFAULT_TERMS : terms(options, enqueueNames, 'append')
}

const syncNames = new Set(['signal'] satisfies (keyof SyncOptions)[])

export function checkSync(options: SyncOptions | undefined): CallOptions | undefined {
  return options === undefined ? undefined : callOptions(known(options, syncNames, 'sync'), 'sync')
}

const acknowledgedNames = new Set(['signal'] satisfies (keyof AcknowledgedOptions)[])

export function checkAcknowledged(options: AcknowledgedOptions | undefined): CallOptions | undefined {
  return options === undefined ? undefined : callOptions(known(options, acknowledgedNames, 'acknowledged'), 'acknowledged')
}

const WRITABLE_PENDING_BYTES = 1 << 20

const writableNames = new Set(['durable', 'maxPendingBytes', 'signal'] satisfies (keyof WritableOptions)[])

export function checkWritable(options: unknown): { durable: boolean; maxPendingBytes: number; signal: AbortSignal | undefined } {
  const fields = known(options, writableNames, 'append')
  const maxPendingBytes = count(fields, 'maxPendingBytes', 'append') ?? WRITABLE_PENDING_BYTES
  if (maxPendingBytes === 0) throw mustBe('options.maxPendingBytes', 'at least 1', maxPendingBytes, 'append')
  return { durable: flag(fields, 'durable', 'append') === true, maxPendingBytes, signal: signalOf(fields, 'append') }
}
