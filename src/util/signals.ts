// Access to AbortSignals through the runtime's own getters. A signal's own properties, and Proxies, may run code of the caller. Such code
// runs, if at all, before an operation is accepted, and an exception of it stops nothing later.

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

/** Removes a listener, while promises are settled: an exception of the caller's method must not keep the others from settling. */
export function offAbort(signal: AbortSignal, listener: (event: Event) => void): void {
  try {
    signal.removeEventListener('abort', listener)
  } catch {
    // A listener that stays has no callbacks left to run.
  }
}
