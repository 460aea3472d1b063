// Checks of single options. Types and names are checked here, ranges in the engine.

import { isDate } from 'node:util/types'
import { invalid, mustBe, whileReading } from '../errors.js'
import { isSignal } from '../util/signals.js'

export type Fields = { [name: string]: unknown }

/**
 * Copies the values of the options, whose names must all be known. Each property is read once, so no code of the caller runs after this.
 */
export function known(options: unknown, names: ReadonlySet<string>, operation: string): Fields {
  if (options === undefined) return {}
  if (typeof options !== 'object' || options === null) throw mustBe('options', 'an object', options, operation)
  try {
    for (const name of Object.keys(options)) {
      if (!names.has(name)) throw invalid(`options.${name} is not an option; the options are ${[...names].join(', ')}`, operation)
    }
    const values: Fields = {}
    for (const name of names) values[name] = (options as Fields)[name]
    return values
  } catch (error) {
    throw whileReading('options', operation, error)
  }
}

/** Copies the fields of an option that is an object with no other names than these; `undefined` if the option is anything else. */
export function group(value: unknown, names: readonly string[], name: string): Fields | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  try {
    if (Object.keys(value).some((key) => !names.includes(key))) return undefined
    return Object.fromEntries(names.map((key) => [key, (value as Fields)[key]]))
  } catch (error) {
    throw whileReading(`options.${name}`, 'open', error)
  }
}

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

export function count(fields: Fields, name: string, operation: string, parent = 'options'): number | undefined {
  const value = fields[name]
  if (value === undefined || isCount(value)) return value
  throw mustBe(`${parent}.${name}`, 'an integer from 0 to 2^53 - 1', value, operation)
}

/** Checks a position; the last possible position is allowed. */
export function checkPosition(value: unknown, least: number, operation: string): number {
  if (isCount(value) && value >= least) return value
  throw mustBe('position', `an integer from ${least} to 2^53 - 1`, value, operation)
}

/** The last time that a `Date` can hold, in ms since 1970. */
const LAST_TIME = 8.64e15

/** Checks a time, and returns it in whole milliseconds since 1970. No record is committed between two of them. */
export function checkTime(name: string, value: unknown, operation: string): number {
  const ms: unknown = isDate(value) ? Date.prototype.getTime.call(value) : value
  if (typeof ms === 'number' && ms >= 0 && ms <= LAST_TIME) return Math.ceil(ms)
  throw mustBe(name, 'a valid Date or milliseconds since 1970, from 0 to 8.64e15', value, operation)
}

export function flag(fields: Fields, name: string, operation: string, parent = 'options'): boolean | undefined {
  const value = fields[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw mustBe(`${parent}.${name}`, 'a boolean', value, operation)
}

export function signalOf({ signal }: Fields, operation: string): AbortSignal | undefined {
  if (signal === undefined || isSignal(signal)) return signal
  throw mustBe('options.signal', 'an AbortSignal', signal, operation)
}
