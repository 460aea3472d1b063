// Checks of the options of consumers.

import { mustBe } from '../errors.js'
import { MAX_DELAY_MS } from '../util/timing.js'
import { flag, isCount, known, signalOf, type Fields } from './check.js'
import type { BackoffRange, ConsumeBatchOptions, StopOptions } from './consumer-types.js'

const consumeNames = new Set([
  'concurrency',
  'batch',
  'retries',
  'backoff',
  'timeoutMs',
  'deadLetter',
  'signal',
  'follow',
  'skipExpired',
  'share',
  'window',
  'commitEveryMs',
] satisfies (keyof ConsumeBatchOptions)[])

const backoffNames = new Set(['minMs', 'maxMs', 'factor', 'jitter'] satisfies (keyof BackoffRange)[])

const stopNames = new Set(['graceMs'] satisfies (keyof StopOptions)[])

const WINDOW = 1024
const COMMIT_EVERY_MS = 100
const RETRIES = 3
const BACKOFF = { minMs: 100, maxMs: 10_000, factor: 2, jitter: 0.5 }

/** What the consumers of one cursor have in common. */
export interface FeedOptions {
  follow: boolean
  skipExpired: boolean
  window: number
  commitEveryMs: number
}

/** The options of one consumer, with their defaults. */
export interface ConsumerOptions {
  concurrency: number
  /** Undefined if the handler gets single records. */
  batch: number | undefined
  retries: number
  backoff: Required<BackoffRange> | ((attempts: number, error: unknown) => unknown)
  timeoutMs: number | undefined
  /** Not checked: a function, or whatever claims to be a log. */
  deadLetter: unknown
  signal: AbortSignal | undefined
  share: boolean
}

function integer(fields: Fields, name: string, least: number, most = Number.MAX_SAFE_INTEGER): number | undefined {
  const value = fields[name]
  if (value === undefined || (isCount(value) && value >= least && value <= most)) return value
  const limit = most === MAX_DELAY_MS ? '2^31 - 1' : '2^53 - 1'
  throw mustBe(`options.${name}`, `an integer from ${least} to ${limit}`, value, 'consume')
}

function real(fields: Fields, name: string, least: number, most: number, fallback: number): number {
  const value = fields[name] ?? fallback
  if (typeof value === 'number' && value >= least && value <= most) return value
  const range = most === Infinity ? `from ${least}` : `from ${least} to ${most}`
  throw mustBe(`options.backoff.${name}`, `a number ${range}`, value, 'consume')
}

function backoffOf(given: unknown): ConsumerOptions['backoff'] {
  if (typeof given === 'function') return given as (attempts: number, error: unknown) => unknown
  if (given === null || (given !== undefined && typeof given !== 'object'))
    throw mustBe('options.backoff', 'a function or an object', given, 'consume')
  const fields = known(given, backoffNames, 'consume')
  const minMs = real(fields, 'minMs', 0, MAX_DELAY_MS, BACKOFF.minMs)
  const maxMs = real(fields, 'maxMs', minMs, MAX_DELAY_MS, Math.max(minMs, BACKOFF.maxMs))
  const factor = real(fields, 'factor', 1, Number.MAX_VALUE, BACKOFF.factor)
  return { minMs, maxMs, factor, jitter: real(fields, 'jitter', 0, 1, BACKOFF.jitter) }
}

export function checkHandler(handler: unknown): void {
  if (typeof handler !== 'function') throw mustBe('handler', 'a function', handler, 'consume')
}

export function checkConsume(options: unknown): { feed: FeedOptions; consumer: ConsumerOptions } {
  const fields = known(options, consumeNames, 'consume')
  const concurrency = integer(fields, 'concurrency', 1) ?? 1
  const batch = integer(fields, 'batch', 1)
  const { retries = RETRIES, deadLetter } = fields
  if (retries !== Infinity && !isCount(retries)) throw mustBe('options.retries', 'an integer from 0, or Infinity', retries, 'consume')
  if (deadLetter !== undefined && typeof deadLetter !== 'function' && (typeof deadLetter !== 'object' || deadLetter === null))
    throw mustBe('options.deadLetter', 'a function or a log', deadLetter, 'consume')
  return {
    feed: {
      follow: flag(fields, 'follow', 'consume') ?? true,
      skipExpired: flag(fields, 'skipExpired', 'consume') ?? false,
      window: integer(fields, 'window', 1) ?? Math.max(WINDOW, 2 * concurrency * (batch ?? 1)),
      commitEveryMs: integer(fields, 'commitEveryMs', 0, MAX_DELAY_MS) ?? COMMIT_EVERY_MS,
    },
    consumer: {
      concurrency,
      batch,
      retries,
      backoff: backoffOf(fields.backoff),
      timeoutMs: integer(fields, 'timeoutMs', 1, MAX_DELAY_MS),
      deadLetter,
      signal: signalOf(fields, 'consume'),
      share: flag(fields, 'share', 'consume') ?? false,
    },
  }
}

/** Returns the time after which calls that still run are given up, if there is one. */
export function checkStop(options: unknown): number | undefined {
  return integer(known(options, stopNames, 'consume'), 'graceMs', 0, MAX_DELAY_MS)
}
