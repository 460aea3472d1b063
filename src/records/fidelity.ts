// Checks that the built-in codecs return a value exactly as it was. A codec that silently dropped or changed a part of a value would lose
// it, because the log holds the only copy.

import { types } from 'node:util'
import { hasMemory, isUint8Array } from '../util/bytes.js'

/** Maximum nesting of arrays and objects in a value. A deeper value is almost always a cycle. */
export const MAX_DEPTH = 1000

/** Keys of a path that an error message shows if the nesting is too deep. */
const SHOWN_KEYS = 8
const SHOWN_CHARACTERS = 40

/** Format that the value is encoded to. */
type Notation = 'json' | 'msgpack'

type Key = string | number

/** A part of a value that decoding would not restore. */
class Fault {
  readonly what: string
  readonly isTooDeep: boolean
  /** Keys on the path to the part, innermost first. */
  readonly keys: Key[] = []

  constructor(what: string, isTooDeep = false) {
    this.what = what
    this.isTooDeep = isTooDeep
  }

  at(key: Key): this {
    this.keys.push(key)
    return this
  }
}

/** Number of `undefined` fields in all values checked so far. It only grows, because a getter may check another value during a check. */
let leftOut = 0

/**
 * Checks that the codec restores a value exactly. `undefined` fields are allowed: they are omitted, and read as `undefined`. Returns
 * whether the value has such a field.
 *
 * @throws `TypeError` that begins with the path of the first part that decoding would not restore.
 */
export function checkFidelity(value: unknown, notation: Notation): boolean {
  const before = leftOut
  const fault = find(value, notation, 0)
  if (fault !== undefined) throw new TypeError(textOf(value, fault, notation))
  return leftOut > before
}

function find(value: unknown, notation: Notation, depth: number): Fault | undefined {
  if (isSimple(value, notation)) return undefined
  if (typeof value === 'object') return findIn(value as object, notation, depth)
  if (typeof value === 'string') return new Fault('text with half of a surrogate pair')
  if (typeof value === 'number') return new Fault(Object.is(value, -0) ? '-0' : String(value))
  return new Fault(value === undefined ? 'undefined' : `a ${typeof value}`)
}

/** Whether the value is a primitive that decoding restores. */
function isSimple(value: unknown, notation: Notation): boolean {
  switch (typeof value) {
    case 'string':
      // JSON escapes half of a surrogate pair, but MessagePack uses UTF-8.
      return notation === 'json' || value.isWellFormed()
    case 'number':
      // Tells -0 from 0: its inverse is negative.
      return value === 0 ? 1 / value > 0 : notation === 'msgpack' || Number.isFinite(value)
    case 'boolean':
      return true
    default:
      return value === null
  }
}

function findIn(value: object, notation: Notation, depth: number): Fault | undefined {
  if (depth === MAX_DEPTH) return new Fault(`more than ${MAX_DEPTH} levels`, true)
  if (notation === 'json' && typeof (value as { toJSON?: unknown }).toJSON === 'function') return new Fault(kindOf(value))
  if (Array.isArray(value)) return findInArray(value, notation, depth)
  return isPlain(value) ? findInFields(value as { [key: string]: unknown }, notation, depth) : findOther(value, notation)
}

function findInArray(array: unknown[], notation: Notation, depth: number): Fault | undefined {
  const prototype: unknown = Object.getPrototypeOf(array)
  // In every realm `Array.prototype` is itself an array; the prototype of a subclass is not.
  if (prototype !== Array.prototype && !Array.isArray(prototype)) return new Fault(kindOf(array))
  const { length } = array
  for (let i = 0; i < length; i++) {
    const item = array[i]
    if (isSimple(item, notation)) continue
    const fault = item === undefined && !(i in array) ? new Fault('a hole') : find(item, notation, depth + 1)
    if (fault !== undefined) return fault.at(i)
  }
  return Object.keys(array).length === length ? findSymbol(array) : new Fault('an array with fields')
}

function findInFields(object: { [key: string]: unknown }, notation: Notation, depth: number): Fault | undefined {
  for (const key in object) {
    const item = object[key]
    if (item === undefined) {
      leftOut++
      continue
    }
    const fault = isSimple(item, notation) ? undefined : find(item, notation, depth + 1)
    if (fault === undefined && (notation === 'json' || isKey(key))) continue
    // Inherited fields are not encoded.
    if (Object.hasOwn(object, key)) return (fault ?? new Fault('such a key')).at(key)
  }
  return findSymbol(object)
}

/** MessagePack keys are UTF-8, and the decoder rejects `__proto__`. */
const isKey = (key: string): boolean => key !== '__proto__' && key.isWellFormed()

function findSymbol(object: object): Fault | undefined {
  const symbols = Object.getOwnPropertySymbols(object)
  if (symbols.length === 0) return undefined
  return symbols.some((symbol) => Object.prototype.propertyIsEnumerable.call(object, symbol)) ? new Fault('a symbol as a key') : undefined
}

function findOther(value: object, notation: Notation): Fault | undefined {
  if (notation === 'msgpack') {
    if (types.isDate(value) && prototypesOf(value) === 2 && Object.keys(value).length === 0) {
      return Number.isNaN(value.getTime()) ? new Fault('an invalid Date') : undefined
    }
    if (isUint8Array(value) && (prototypesOf(value) === 3 || Object.getPrototypeOf(value) === Buffer.prototype)) {
      return hasMemory(value) ? undefined : new Fault('a Uint8Array without its memory')
    }
  }
  return new Fault(kindOf(value))
}

/** Whether the object has no class: made by a literal, by `JSON.parse` or without a prototype, in any realm. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || isRoot(prototype)
}

const isRoot = (prototype: unknown): boolean =>
  typeof prototype === 'object' &&
  prototype !== null &&
  Object.getPrototypeOf(prototype) === null &&
  Object.hasOwn(prototype, 'isPrototypeOf')

/** Length of the prototype chain, which tells a Date or Uint8Array of any realm from one of a subclass. */
function prototypesOf(value: object): number {
  let count = 0
  for (let at: unknown = Object.getPrototypeOf(value); at !== null; at = Object.getPrototypeOf(at)) count++
  return count
}

function kindOf(value: object): string {
  let name: unknown
  try {
    name = (value as { constructor?: { name?: unknown } }).constructor?.name
  } catch {
    // The kind is only used in the message.
  }
  if (typeof name !== 'string' || name === '') return 'an object that is not plain'
  if (name === 'Object' || name === 'Array') return `an ${name.toLowerCase()} that is not plain`
  return /^[AEIO]/.test(name) ? `an ${name}` : `a ${name}`
}

function textOf(value: unknown, { what, isTooDeep, keys }: Fault, notation: Notation): string {
  const path = keys.toReversed()
  const refusal = `cannot be stored exactly: ${notation} has no such value`
  const end = isTooDeep ? cycleIn(value, path) : undefined
  if (end !== undefined) return `${pathOf(path.slice(0, end))}: a cycle ${refusal}`
  const shown = isTooDeep ? `${pathOf(path.slice(0, SHOWN_KEYS))}…` : pathOf(path)
  return `${shown}: ${what} ${refusal}`
}

/** Number of keys in the path up to the first return to an object that was already passed. */
function cycleIn(value: unknown, path: Key[]): number | undefined {
  const passed = new Set([value])
  let at = value
  for (const [i, key] of path.entries()) {
    at = (at as { [key: Key]: unknown })[key]
    if (passed.has(at)) return i + 1
    passed.add(at)
  }
  return undefined
}

/** Writes the path to a part of a value as code would. */
export const pathOf = (path: Key[]): string =>
  path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    if (/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) && key.length <= SHOWN_CHARACTERS) return `${text}.${key}`
    return `${text}[${JSON.stringify(key.length <= SHOWN_CHARACTERS ? key : `${key.slice(0, SHOWN_CHARACTERS)}…`)}]`
  }, 'value')
