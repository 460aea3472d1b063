// What counts as bytes wherever a key or a value comes in: well-formed text, or a genuine Uint8Array that still has its memory.

import { types } from 'node:util'
import { invalid } from './errors.js'

/** Bytes as they come in: a string stands for its UTF-8. */
export type Bytes = string | Uint8Array

declare global {
  // Of ES2024: Node 20 has it, the library of types for ES2023 does not.
  interface String {
    isWellFormed(): boolean
  }
}

const { prototype } = Uint8Array
const typedArray = Object.getPrototypeOf(prototype)
const getter = (name: string | symbol) => Object.getOwnPropertyDescriptor(typedArray, name)?.get as (this: unknown) => unknown
// Taken from the engine itself: an array's own properties may be getters that call the log again, and a Proxy passes `instanceof`.
const tagOf = getter(Symbol.toStringTag)
const lengthIn = getter('length') as (this: Uint8Array) => number
const { at } = prototype

/** Whether it is a Uint8Array of this realm or another one, and no Proxy or object that only inherits from one. Runs no code of the caller's. */
export const isUint8Array = (value: unknown): value is Uint8Array => tagOf.call(value) === 'Uint8Array'

/** The length of a genuine Uint8Array, whatever its own property of that name says. */
export const lengthOf = (bytes: Uint8Array): number => lengthIn.call(bytes)

/** Whether it is a string or a genuine Uint8Array. */
export const isBytes = (value: unknown): value is Bytes => typeof value === 'string' || isUint8Array(value)

/** Whether it is an array of bytes, a buffer, or something that claims to be a Uint8Array, and no plain object of fields. */
export function isLikeBytes(value: unknown): boolean {
  try {
    if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) === Object.prototype) return false
    return types.isArrayBufferView(value) || types.isAnyArrayBuffer(value) || value instanceof Uint8Array
  } catch {
    return false
  }
}

/**
 * Passes bytes that can be stored as they are.
 *
 * @throws `ERR_WAL_INVALID_ARG` naming the field, for anything else: see {@link checkText} and {@link checkArray}.
 */
export function checkBytes(name: string, value: unknown, operation: string): Bytes {
  if (typeof value === 'string') checkText(name, value, operation)
  else checkArray(name, value, operation)
  return value as Bytes
}

/** Refuses text with half of a surrogate pair: UTF-8 has no bytes for it, and two different strings would become the same ones. */
export function checkText(name: string, text: string, operation: string): void {
  if (!text.isWellFormed())
    throw invalid(`${name} must be well-formed text: it has half of a surrogate pair, which UTF-8 cannot hold`, operation)
}

/** Refuses what is no Uint8Array, and one whose memory was transferred away or shrank below it: that has no bytes, and was not meant to be empty. */
export function checkArray(name: string, value: unknown, operation: string): asserts value is Uint8Array {
  if (!isUint8Array(value)) throw invalid(`${name} must be a string or a Uint8Array${insteadOf(value)}`, operation)
  if (!hasMemory(value)) throw invalid(`${name} must have its bytes: its memory is detached, or was shrunk below it`, operation)
}

/** Whether its memory is still there: it was neither transferred away nor shrunk below the array. */
export function hasMemory(bytes: Uint8Array): boolean {
  if (lengthOf(bytes) > 0) return true
  try {
    // Unlike `length`, it tells an array without memory from an empty one.
    at.call(bytes, 0)
    return true
  } catch {
    return false
  }
}

/** What looks like bytes and is not, for the message. */
function insteadOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return ''
  if (types.isProxy(value)) return ', not a Proxy'
  if (types.isAnyArrayBuffer(value))
    return `, not ${types.isArrayBuffer(value) ? 'an ArrayBuffer' : 'a SharedArrayBuffer'}: wrap it in a Uint8Array`
  if (types.isDataView(value)) return ', not a DataView'
  const tag = tagOf.call(value)
  if (tag !== undefined) return `, not a ${tag as string}`
  return isLikeBytes(value) ? ', not an object that only inherits from it' : ''
}
