// Access to AbortSignals through the runtime's own getters. A signal's own properties, and Proxies, may run code of the caller. Only
// `addEventListener` does here, before an operation is accepted.

import { types } from 'node:util'

const { prototype } = AbortSignal
const getter = (name: string) => Object.getOwnPropertyDescriptor(prototype, name)?.get as (this: unknown) => unknown
const abortedOf = getter('aborted') as (this: unknown) => boolean
const reasonIn = getter('reason')

/** Whether the value is a genuine AbortSignal. */
export function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return false
  try {
    return typeof abortedOf.call(value) === 'boolean'
  } catch {
    return false
  }
}

export const isAborted = (signal: AbortSignal): boolean => abortedOf.call(signal)

export const reasonOf = (signal: AbortSignal): unknown => reasonIn.call(signal)

export const onAbort = (signal: AbortSignal, listener: (event: Event) => void): void => signal.addEventListener('abort', listener)

const remove: (this: AbortSignal, type: string, listener: (event: Event) => void) => void = Reflect.get(
  EventTarget.prototype,
  'removeEventListener'
)

/** Removes a listener, while promises are settled or records are passed on: code of the caller must not run then. */
export const offAbort = (signal: AbortSignal, listener: (event: Event) => void): void => {
  remove.call(signal, 'abort', listener)
}
