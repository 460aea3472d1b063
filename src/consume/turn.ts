// How long consumers keep the event loop.

import { clock, later } from '../util/timing.js'

/** After this many milliseconds without a turn of the event loop, its other tasks come first. */
const LONG_MS = 10

/** Handlers that do not wait for anything would otherwise handle all that has been read before a timer or a signal gets its turn. */
export class Turn {
  readonly #resume: () => void
  #began: number | undefined
  #isPaused = false

  /** `resume` is called in the next turn, after `isLong` was true. */
  constructor(resume: () => void) {
    this.#resume = resume
  }

  /** Whether this turn has lasted long. */
  isLong(): boolean {
    const now = clock.now()
    if (this.#began === undefined) {
      this.#began = now
      later(this.#next)
    }
    return (this.#isPaused = now - this.#began >= LONG_MS)
  }

  readonly #next = (): void => {
    this.#began = undefined
    if (this.#isPaused) this.#resume()
  }
}
