// What some callers ask of the promise they get: to give up waiting on a signal, and to tell where it came from.

import type { CallSite } from './errors.js'
import { offAbort, onAbort } from './signals.js'

export interface Heed {
  signal: AbortSignal | undefined
  site: CallSite | undefined
}

class Aborts {
  // Weak: a reader that was dropped, and its signal with it, is not kept alive by this.
  readonly #waiting = new WeakMap<AbortSignal, Set<() => void>>()

  /** Calls `aborted` once the signal is aborted, unless what it returns is called before. */
  add(signal: AbortSignal, aborted: () => void): () => void {
    let waiting = this.#waiting.get(signal)
    if (waiting === undefined) {
      onAbort(signal, this.#aborted)
      // That may have called the log again.
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

/** Those who wait until a signal is aborted: one listener per signal, however many they are and of however many logs. */
export const aborts = new Aborts()
