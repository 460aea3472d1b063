// Per-call promise options: an AbortSignal, and the call site for stack traces.

import type { CallSite } from '../errors.js'
import { offAbort, onAbort } from './signals.js'

export interface Heed {
  signal: AbortSignal | undefined
  site: CallSite | undefined
}

class Aborts {
  // Weak, so that this keeps no signal alive that only an unreferenced reader refers to.
  readonly #waiting = new WeakMap<AbortSignal, Set<() => void>>()

  /** Calls `aborted` once the signal is aborted, unless the returned function is called before. */
  add(signal: AbortSignal, aborted: () => void): () => void {
    let waiting = this.#waiting.get(signal)
    if (waiting === undefined) {
      onAbort(signal, this.#aborted)
      // `addEventListener` may have called the log again.
      waiting = this.#waiting.get(signal) ?? new Set()
      this.#waiting.set(signal, waiting)
    }
    waiting.add(aborted)
    return () => {
      if (waiting.delete(aborted) && waiting.size === 0 && this.#waiting.get(signal) === waiting) this.#off(signal)
    }
  }

  #off(signal: AbortSignal): void {
    this.#waiting.delete(signal)
    offAbort(signal, this.#aborted)
  }

  readonly #aborted = ({ target }: Event): void => {
    const signal = target as AbortSignal
    const waiting = this.#waiting.get(signal)
    this.#off(signal)
    for (const aborted of waiting ?? []) aborted()
  }
}

/** Abort callbacks, multiplexed onto one listener per signal, for any number of callbacks and logs. */
export const aborts = new Aborts()
