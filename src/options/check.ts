// Checks of single options. Types and names are checked here, ranges in the engine.

import { invalid, whileReading } from '../errors.js'
import { isSignal } from '../util/signals.js'

export type Fields = { [name: string]: unknown }

/**
 * Copies the values of the options, whose names must all be known. Each property is read once, so no code of the caller runs after this.
 */
export function known(options: unknown, names: ReadonlySet<string>, operation: string): Fields {
  if (options === undefined) return {}
  if (typeof options !== 'object' || options === null) throw invalid('options must be an object', operation)
  try {
    for (const name of Object.keys(options)) {
      if (!names.has(name)) throw invalid(`options.${name} is not known`, operation)
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

export function count(fields: Fields, name: string, operation: string): number | undefined {
  const value = fields[name]
  if (value === undefined || isCount(value)) return value
  throw invalid(`options.${name} must be a safe non-negative integer`, operation)
}

/** Checks a position; the last possible position is allowed. */
export function checkPosition(value: unknown, least: number, operation: string): number {
  if (isCount(value) && value >= least) return value
  throw invalid(`position must be a safe integer of at least ${least}`, operation)
}

export function flag(fields: Fields, name: string, operation: string): boolean | undefined {
  const value = fields[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw invalid(`options.${name} must be a boolean`, operation)
}

export function signalOf({ signal }: Fields, operation: string): AbortSignal | undefined {
  if (signal === undefined || isSignal(signal)) return signal
  throw invalid('options.signal must be an AbortSignal', operation)
}
