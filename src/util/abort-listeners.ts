// Abort callbacks of pending calls and open readers.

import { AbortError } from '../errors.js'
import { isAborted, offAbort, onAbort } from './signals.js'

class AbortListeners {
  // Weak, so that this keeps no signal alive that only an unreferenced reader refers to.
  readonly #callbacks = new WeakMap<AbortSignal, Set<() => void>>()

  /** Calls `callback` once the signal is aborted, unless the returned function is called before. */
  add(signal: AbortSignal, callback: () => void): () => void {
    let callbacks = this.#callbacks.get(signal)
    if (callbacks === undefined) {
      onAbort(signal, this.#onAbort)
      // `addEventListener` may have called the log again.
      callbacks = this.#callbacks.get(signal) ?? new Set()
      this.#callbacks.set(signal, callbacks)
    }
    callbacks.add(callback)
    return () => {
      if (callbacks.delete(callback) && callbacks.size === 0 && this.#callbacks.get(signal) === callbacks) this.#unlisten(signal)
    }
  }

  #unlisten(signal: AbortSignal): void {
    this.#callbacks.delete(signal)
    offAbort(signal, this.#onAbort)
  }

  readonly #onAbort = ({ target }: Event): void => {
    const signal = target as AbortSignal
    const callbacks = this.#callbacks.get(signal)
    this.#unlisten(signal)
    for (const callback of callbacks ?? []) callback()
  }
}

/** Abort callbacks, multiplexed onto one listener per signal, for any number of callbacks and logs. */
export const abortListeners = new AbortListeners()

/** Settles like `promise`, unless the signal is aborted first: then it rejects with an `AbortError`, and what `promise` does goes on. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const abort = () => reject(new AbortError(signal))
    const done = isAborted(signal) ? abort() : abortListeners.add(signal, abort)
    promise.then(resolve, reject).finally(() => done?.())
  })
}
