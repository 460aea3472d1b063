// Checks of keys and values: bytes are well-formed text, or a genuine Uint8Array that still has its memory.

import { types } from 'node:util'
import { invalid } from '../errors.js'

/** A key or value; a string stands for its UTF-8. */
export type Bytes = string | Uint8Array

declare global {
  // ES2024. Node 20 has it, but the type library for ES2023 does not.
  interface String {
    isWellFormed(): boolean
  }
}

const { prototype } = Uint8Array
const typedArray = Object.getPrototypeOf(prototype) as object
const getter = (name: string | symbol) => Object.getOwnPropertyDescriptor(typedArray, name)?.get as (this: unknown) => unknown
// Taken from the prototypes: an array's own properties may be getters that call the log again, and a Proxy passes `instanceof`.
const tagOf = getter(Symbol.toStringTag)
const lengthIn = getter('length') as (this: Uint8Array) => number
const bufferIn = getter('buffer') as (this: Uint8Array) => ArrayBufferLike
const offsetIn = getter('byteOffset') as (this: Uint8Array) => number
const { at } = prototype

/** Whether the value is a Uint8Array of any realm, and not a Proxy or an object that only inherits from one. Runs no code of the caller. */
export const isUint8Array = (value: unknown): value is Uint8Array => tagOf.call(value) === 'Uint8Array'

/** The length of a genuine Uint8Array, even if it has a `length` property of its own. */
export const lengthOf = (bytes: Uint8Array): number => lengthIn.call(bytes)

/** A view of the bytes from `from` to `to` of a genuine Uint8Array. Throws if they have no memory any more. */
export const viewOf = (bytes: Uint8Array, from: number, to: number): Uint8Array =>
  new Uint8Array(bufferIn.call(bytes), offsetIn.call(bytes) + from, to - from)

/** Whether the value is a string or a genuine Uint8Array. */
export const isBytes = (value: unknown): value is Bytes => typeof value === 'string' || isUint8Array(value)

/** Whether the value is a typed array, a buffer or an object that claims to be a Uint8Array, and not a plain object of fields. */
export function isLikeBytes(value: unknown): boolean {
  try {
    if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) === Object.prototype) return false
    return types.isArrayBufferView(value) || types.isAnyArrayBuffer(value) || value instanceof Uint8Array
  } catch {
    return false
  }
}

/**
 * Returns a key or value that can be stored as it is.
 *
 * @throws `ERR_WAL_INVALID_ARG`, naming the field, for anything else: see {@link checkText} and {@link checkArray}.
 */
export function checkBytes(name: string, value: unknown, operation: string): Bytes {
  if (typeof value === 'string') checkText(name, value, operation)
  else checkArray(name, value, operation)
  return value
}

/** Rejects text with half of a surrogate pair. UTF-8 has no bytes for it, so different strings would be stored as the same bytes. */
export function checkText(name: string, text: string, operation: string): void {
  if (!text.isWellFormed())
    throw invalid(`${name} must be well-formed Unicode: it has half of a surrogate pair, which has no form in UTF-8`, operation)
}

/**
 * Rejects anything but a Uint8Array, and a Uint8Array whose memory was transferred away or shrunk below it: it would be stored as empty.
 */
export function checkArray(name: string, value: unknown, operation: string): asserts value is Uint8Array {
  if (!isUint8Array(value)) throw invalid(`${name} must be a string or a Uint8Array${insteadOf(value)}`, operation)
  if (!hasMemory(value))
    throw invalid(`${name} must still have its bytes: its memory is detached (transferred away), or was shrunk below it`, operation)
}

/** Whether the array's memory was neither transferred away nor shrunk below the array. */
export function hasMemory(bytes: Uint8Array): boolean {
  if (lengthOf(bytes) > 0) return true
  try {
    // Unlike `length`, this distinguishes an array without memory from an empty one.
    at.call(bytes, 0)
    return true
  } catch {
    return false
  }
}

/** Names a type that is easily confused with Uint8Array, for the error message. */
function insteadOf(value: unknown): string {
  if (value === null) return ', not null'
  if (typeof value !== 'object') return value === undefined ? '' : `, not a ${typeof value}`
  if (types.isProxy(value)) return ', not a Proxy'
  if (types.isAnyArrayBuffer(value))
    return `, not ${types.isArrayBuffer(value) ? 'an ArrayBuffer' : 'a SharedArrayBuffer'}: wrap it in a Uint8Array`
  if (types.isDataView(value)) return ', not a DataView'
  const tag = tagOf.call(value)
  if (tag !== undefined) return `, not a ${tag as string}`
  return isLikeBytes(value) ? ', not an object that only inherits from it' : ''
}
