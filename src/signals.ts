// AbortSignals as the runtime has them. A signal's own properties, and Proxies, are code of the caller's: that runs, if at all, before an
// operation is accepted, and what it throws stops nothing later.

import { types } from 'node:util'

const { prototype } = AbortSignal
const getter = (name: string) => Object.getOwnPropertyDescriptor(prototype, name)?.get as (this: unknown) => unknown
const abortedOf = getter('aborted') as (this: unknown) => boolean
const reasonIn = getter('reason')

/** Whether it is a genuine AbortSignal. */
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

/** Promises are settled on the way here: what a method of the caller's throws must not keep the others from theirs. */
export function offAbort(signal: AbortSignal, listener: (event: Event) => void): void {
  try {
    signal.removeEventListener('abort', listener)
  } catch {
    // A listener that stays finds nobody waiting.
  }
}
