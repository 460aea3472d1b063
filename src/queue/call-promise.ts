// Promises of operations, with the options of the call.

import { abandoned, AbortError, type WalError } from '../errors.js'
import { abortListeners } from '../util/abort-listeners.js'
import { calledFrom, type CallOptions } from '../util/call-options.js'
import { isAborted } from '../util/signals.js'
import type { Reject, Resolve } from './pending-operations.js'

// The functions of the promise that `newPromise` returned last. Its executor stores them in variables, so that no closure is made per
// promise.
export let lastResolve: Resolve
export let lastReject: Reject
let isCaptured = false
const capture = (res: (value: never) => void, rej: Reject): void => {
  lastResolve = res as Resolve
  lastReject = rej
  isCaptured = true
}

/** Creates a promise and captures its functions in `lastResolve` and `lastReject`. */
export function newPromise<T>(): Promise<T> {
  isCaptured = false
  const promise = new Promise<T>(capture)
  if (!isCaptured) throw stackOverflow(promise)
  return promise
}

/**
 * The error if a promise's executor did not run: when the stack overflows there, `new Promise` returns a rejected promise instead of
 * throwing.
 */
export function stackOverflow(promise: Promise<unknown>): Error {
  promise.catch(() => {})
  return new RangeError('Maximum call stack size exceeded')
}

/** A promise with the functions that settle it. */
export interface CallPromise<T> {
  promise: Promise<T>
  resolve: Resolve
  reject: Reject
  /** Removes the listener from the signal, for a promise that will not be settled. */
  cancel(): void
}

/**
 * Creates a promise with the caller's options. Call this before the operation is accepted, because the signal is an object of the caller
 * whose methods may throw or call the log again. If the operation fails after the signal has rejected the promise, `onUnreported` gets the
 * error.
 *
 * @throws AbortError if the signal is already aborted.
 */
export function callPromise<T>(call: CallOptions | undefined, operation: string, onUnreported: (error: WalError) => void): CallPromise<T> {
  const promise = newPromise<T>()
  const [resolved, rejected] = [lastResolve, lastReject]
  const { signal, site } = call ?? { signal: undefined, site: undefined }
  const rejectWithSite = site === undefined ? rejected : (reason: unknown) => rejected(calledFrom(reason, site))
  if (signal === undefined) return { promise, resolve: resolved, reject: rejectWithSite, cancel: () => {} }
  const cancel = abortListeners.add(signal, () => rejectWithSite(abandoned(signal, operation)))
  if (isAborted(signal)) {
    cancel()
    promise.catch(() => {})
    throw new AbortError(signal)
  }
  return {
    promise,
    resolve: (value) => {
      cancel()
      resolved(value)
    },
    reject: (reason) => {
      cancel()
      if (isAborted(signal)) onUnreported(reason as WalError)
      rejectWithSite(reason)
    },
    cancel,
  }
}
