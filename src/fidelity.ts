// What the built-in codecs take: values that they give back as they were, and nothing else. A codec that drops or changes a part of a value
// in silence loses it, because the log is all that remembers it.

import { types } from 'node:util'
import { hasMemory, isUint8Array } from './bytes.js'

/** Levels of arrays and objects in a value. More than this is mostly a cycle. */
export const MAX_DEPTH = 1000

/** Keys of a path that a message shows where it goes on without end. */
const SHOWN_KEYS = 8
const SHOWN_CHARACTERS = 40

/** Which notation the value is for. */
type Notation = 'json' | 'msgpack'

type Key = string | number

/** A part of a value that would not come back. */
class Fault {
  readonly what: string
  readonly isTooDeep: boolean
  /** Innermost first. */
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

/**
 * Refuses a value that the codec would not give back equal. A field that is `undefined` is not refused: it is left out, and reads the same.
 *
 * @throws `TypeError` that begins with the path of the first such part.
 */
export function checkFidelity(value: unknown, notation: Notation): void {
  const fault = find(value, notation, 0)
  if (fault !== undefined) throw new TypeError(textOf(value, fault, notation))
}

function find(value: unknown, notation: Notation, depth: number): Fault | undefined {
  switch (typeof value) {
    case 'string':
      // JSON escapes half of a surrogate pair, MessagePack is UTF-8.
      return notation === 'json' || value.isWellFormed() ? undefined : new Fault('text with half of a surrogate pair')
    case 'number':
      if (value === 0) return Object.is(value, -0) ? new Fault('-0') : undefined
      return notation === 'msgpack' || Number.isFinite(value) ? undefined : new Fault(String(value))
    case 'boolean':
      return undefined
    case 'object':
      return value === null ? undefined : findIn(value, notation, depth)
    default:
      return new Fault(value === undefined ? 'undefined' : `a ${typeof value}`)
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
  // The prototype of arrays is one itself, in every realm; that of a subclass is not.
  if (prototype !== Array.prototype && !Array.isArray(prototype)) return new Fault(kindOf(array))
  const { length } = array
  for (let i = 0; i < length; i++) {
    const item = array[i]
    if (item === undefined && !(i in array)) return new Fault('a hole').at(i)
    const fault = find(item, notation, depth + 1)
    if (fault !== undefined) return fault.at(i)
  }
  return Object.keys(array).length === length ? findSymbol(array) : new Fault('an array with fields')
}

function findInFields(object: { [key: string]: unknown }, notation: Notation, depth: number): Fault | undefined {
  for (const key in object) {
    const item = object[key]
    if (item === undefined) continue
    const fault = find(item, notation, depth + 1) ?? (notation === 'msgpack' ? findInKey(key) : undefined)
    // What is inherited is not encoded.
    if (fault !== undefined && Object.hasOwn(object, key)) return fault.at(key)
  }
  return findSymbol(object)
}

/** The decoder of MessagePack refuses a key that would be taken for the prototype. */
function findInKey(key: string): Fault | undefined {
  if (key === '__proto__') return new Fault('a key __proto__')
  return key.isWellFormed() ? undefined : new Fault('a key with half of a surrogate pair')
}

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

/** Whether it has no class: made by a literal, by `JSON.parse` or without a prototype, in whatever realm. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || isRoot(prototype)
}

const isRoot = (prototype: unknown): boolean =>
  typeof prototype === 'object' && prototype !== null && Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf')

/** How many prototypes it has, which tells a Date or a Uint8Array of whatever realm from one of a subclass. */
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
    // The kind is for the message alone.
  }
  if (typeof name !== 'string' || name === '') return 'an object that is not plain'
  if (name === 'Object' || name === 'Array') return `an ${name.toLowerCase()} that is not plain`
  return /^[AEIOU]/.test(name) ? `an ${name}` : `a ${name}`
}

function textOf(value: unknown, { what, isTooDeep, keys }: Fault, notation: Notation): string {
  const path = keys.toReversed()
  const refusal = `cannot be given back: ${notation} knows no such value`
  const end = isTooDeep ? cycleIn(value, path) : undefined
  if (end !== undefined) return `${pathOf(path.slice(0, end))}: a cycle ${refusal}`
  const shown = isTooDeep ? `${pathOf(path.slice(0, SHOWN_KEYS))}…` : pathOf(path)
  return `${shown}: ${what} ${refusal}`
}

/** How many keys of the path lead back to an object that it has come through before. */
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

const pathOf = (path: Key[]): string =>
  path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    if (/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) && key.length <= SHOWN_CHARACTERS) return `${text}.${key}`
    return `${text}[${JSON.stringify(key.length <= SHOWN_CHARACTERS ? key : `${key.slice(0, SHOWN_CHARACTERS)}…`)}]`
  }, 'value')
