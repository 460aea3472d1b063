// Descriptions of values for error messages.

import { types } from 'node:util'

/** Longest string that an error message shows. */
const SHOWN_CHARACTERS = 40

/** Describes an argument for an error message. Runs no code of the caller. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return value.length <= SHOWN_CHARACTERS ? JSON.stringify(value) : `a string of ${value.length} characters`
    case 'bigint':
      return 'a bigint'
    case 'symbol':
      return 'a symbol'
    case 'function':
      return 'a function'
    case 'object':
      return value === null ? 'null' : kindOf(value)
    default:
      return Object.is(value, -0) ? '-0' : String(value)
  }
}

function kindOf(value: object): string {
  // The traps of a Proxy are code of the caller.
  if (types.isProxy(value)) return 'a Proxy'
  if (Array.isArray(value)) return 'an array'
  const name = classOf(value)
  if (name === undefined || name === 'Object') return 'an object'
  return `${/^[AEIO]/.test(name) ? 'an' : 'a'} ${name}`
}

/** Name of the value's class, if it has one that can be read without calling a getter. */
function classOf(value: object): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(value)
  const constructor = dataOf(prototype, 'constructor')
  const name = typeof constructor === 'function' ? dataOf(constructor, 'name') : undefined
  return typeof name === 'string' && name !== '' && name.length <= SHOWN_CHARACTERS ? name : undefined
}

/** Value of an own property that is not a getter. */
function dataOf(object: unknown, key: string): unknown {
  if ((typeof object !== 'object' && typeof object !== 'function') || object === null || types.isProxy(object)) return undefined
  return Object.getOwnPropertyDescriptor(object, key)?.value
}
