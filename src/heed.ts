// What some callers ask of the promise they get: to give up waiting on a signal, and to tell where it came from.

import { AbortError, type CallSite } from './errors.js'
import type { Reject } from './waiters.js'

export interface Heed {
  signal: AbortSignal | undefined
  site: CallSite | undefined
}

/** Those who wait until a signal is aborted: one listener per signal, however many they are. */
export class Aborts {
  readonly #waiting = new Map<AbortSignal, Set<Reject>>()

  /** Rejects when the signal is aborted, unless what it returns is called before. */
  add(signal: AbortSignal, reject: Reject, operation: string): () => void {
    const rejects = this.#on(signal)
    const abort = () => reject(new AbortError(signal, `The operation was aborted; the ${operation} itself goes on`))
    rejects.add(abort)
    return () => {
      if (rejects.delete(abort) && rejects.size === 0) this.#off(signal)
    }
  }

  #on(signal: AbortSignal): Set<Reject> {
    let rejects = this.#waiting.get(signal)
    if (rejects === undefined) {
      this.#waiting.set(signal, (rejects = new Set()))
      signal.addEventListener('abort', this.#aborted)
    }
    return rejects
  }

  #off(signal: AbortSignal): void {
    this.#waiting.delete(signal)
    signal.removeEventListener('abort', this.#aborted)
  }

  readonly #aborted = ({ target }: Event): void => {
    const signal = target as AbortSignal
    const rejects = this.#waiting.get(signal)
    this.#off(signal)
    rejects?.forEach((abort) => abort(signal.reason))
  }
}
