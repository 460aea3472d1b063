// How long consumers keep the event loop.

import { clock, later } from '../util/timing.js'

/** After this many milliseconds without a turn of the event loop, its other tasks come first. */
const LONG_MS = 10

/** Handlers that do not wait for anything would otherwise handle all that has been read before a timer or a signal gets its turn. */
export class Turn {
  #began: number | undefined
  #resume: (() => void) | undefined

  /** Whether this turn has lasted long. Then `resume` is called in the next one. */
  isLong(resume: () => void): boolean {
    const now = clock.now()
    if (this.#began === undefined) {
      this.#began = now
      later(this.#next)
    }
    const isLong = now - this.#began >= LONG_MS
    if (isLong) this.#resume = resume
    return isLong
  }

  readonly #next = (): void => {
    const resume = this.#resume
    this.#began = this.#resume = undefined
    resume?.()
  }
}
