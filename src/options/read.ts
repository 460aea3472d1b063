// Checks of the options of readers and cursors.

import { isDate } from 'node:util/types'
import { invalid, mustBe, whileReading } from '../errors.js'
import { START_END, START_FIRST } from '../native/wire.js'
import { checkText } from '../util/bytes.js'
import { checkTime, count, flag, isCount, known, signalOf } from './check.js'
import type { CursorOptions, DecodeErrorHandler, PointReadOptions, ReadOptions, ReadStart } from './types.js'

const readNames = new Set([
  'follow',
  'to',
  'limit',
  'skipExpired',
  'signal',
  'salvage',
  'onDecodeError',
  'copy',
] satisfies (keyof ReadOptions)[])

function decodeErrors(value: unknown): ReadOptions<unknown>['onDecodeError'] {
  if (value === undefined || value === 'throw' || value === 'skip') return value
  if (typeof value === 'function') return value as DecodeErrorHandler<unknown>
  throw mustBe('options.onDecodeError', "'throw', 'skip' or a function", value, 'read')
}

const sinceNames: ReadonlySet<string> = new Set(['since'])

/** Checks where reading begins. The time of `{ since }` becomes a number. */
export function checkStart(start: unknown): Exclude<ReadStart, object> | { since: number } {
  if (start === 'start' || start === 'end' || (isCount(start) && start > 0)) return start
  if (typeof start !== 'object' || start === null || isDate(start)) {
    throw mustBe('start', "a position from 1, 'start', 'end' or { since }", start, 'read')
  }
  try {
    for (const name of Object.keys(start)) {
      if (!sinceNames.has(name)) throw invalid(`start.${name} is not a field; the field is since`, 'read')
    }
    return { since: checkTime('start.since', (start as { since?: unknown }).since, 'read') }
  } catch (error) {
    throw whileReading('start', 'read', error)
  }
}

export function checkRead(start: unknown, options: unknown): ReadOptions<unknown> {
  const from = checkStart(start)
  const fields = known(options, readNames, 'read')
  const follow = flag(fields, 'follow', 'read')
  const salvage = flag(fields, 'salvage', 'read')
  if (follow && salvage) throw invalid('options.follow and options.salvage cannot be used together', 'read')
  if (salvage && typeof from === 'object') throw invalid('options.salvage and start.since cannot be used together', 'read')
  return {
    follow,
    to: count(fields, 'to', 'read'),
    limit: count(fields, 'limit', 'read'),
    skipExpired: flag(fields, 'skipExpired', 'read'),
    salvage,
    onDecodeError: decodeErrors(fields.onDecodeError),
    copy: flag(fields, 'copy', 'read'),
    signal: signalOf(fields, 'read'),
  }
}

const pointNames = new Set(['signal'] satisfies (keyof PointReadOptions)[])

export const checkPointRead = (options: unknown): PointReadOptions => ({ signal: signalOf(known(options, pointNames, 'read'), 'read') })

export function checkNewest(n: unknown, options: unknown): PointReadOptions {
  if (!isCount(n)) throw mustBe('n', 'an integer from 0 to 2^53 - 1', n, 'read')
  return checkPointRead(options)
}

const cursorNames = new Set(['start'] satisfies (keyof CursorOptions)[])

const MAX_NAME_BYTES = 255

/** Checks the name and returns the start of a new cursor as the native side takes it. */
export function checkCursor(name: unknown, options: unknown): number {
  if (typeof name !== 'string') throw mustBe('name', 'a string', name, 'cursor')
  checkText('name', name, 'cursor')
  const bytes = Buffer.byteLength(name)
  if (bytes < 1 || bytes > MAX_NAME_BYTES)
    throw invalid(`name must have from 1 to ${MAX_NAME_BYTES} bytes in UTF-8, and has ${bytes}`, 'cursor')
  const { start = 'start' } = known(options, cursorNames, 'cursor')
  if (start === 'start') return START_FIRST
  if (start === 'end') return START_END
  if (isCount(start) && start > 0) return start
  throw mustBe('options.start', "a position from 1, 'start' or 'end'", start, 'cursor')
}
