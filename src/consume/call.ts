// One call of a function of the program: it may throw, hang, or settle long after it has been given up.

import type { Clock } from '../util/timing.js'

/** How a call ended. `'abandoned'`: it was given up, and nothing is known about it. */
export type Outcome = 'done' | 'abandoned' | Failure

export interface Failure {
  error: unknown
  /** Index of the record whose value could not be decoded, so that the handler was not called. */
  undecodable?: number
}

export class Call {
  readonly outcome: Promise<Outcome>
  #settle!: (outcome: Outcome) => void
  #isSettled = false
  #controller: AbortController | undefined
  #cancelTimer: (() => void) | undefined

  /** Calls `run` in a later microtask, so that no code of the caller runs during this. */
  constructor(run: () => unknown) {
    this.outcome = new Promise((resolve) => (this.#settle = resolve))
    Promise.resolve()
      .then(() => (this.#isSettled ? undefined : run()))
      .then(
        () => this.#end('done'),
        (error: unknown) => this.#end({ error })
      )
  }

  /** Signal of the call. Created when it is asked for: most handlers do not. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    return this.#controller.signal
  }

  /** Fails the call with `timeout()` if it has not ended after so many milliseconds. */
  limit(clock: Clock, milliseconds: number, timeout: () => unknown): void {
    this.#cancelTimer = clock.after(milliseconds, () => {
      const error = timeout()
      this.#end({ error })
      this.#abort(error)
    })
  }

  /** Gives the call up, and aborts its signal. */
  abandon(reason: unknown): void {
    if (this.#isSettled) return
    this.#end('abandoned')
    this.#abort(reason)
  }

  #abort(reason: unknown): void {
    // A signal that is asked for later has to be aborted too.
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
  }

  #end(outcome: Outcome): void {
    this.#isSettled = true
    this.#cancelTimer?.()
    this.#settle(outcome)
  }
}
