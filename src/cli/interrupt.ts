// Signals that end a command in order.

import { constants } from 'node:os'
import { SIGNALLED } from './exit-codes.js'

const NAMES = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** While it is listening, the first signal aborts `signal`; a second one ends the process at once. */
export class Interrupt {
  readonly #controller = new AbortController()
  /** The signal that came. */
  name: (typeof NAMES)[number] | undefined

  constructor() {
    for (const name of NAMES) process.on(name, this.#heed)
  }

  readonly #heed = (name: (typeof NAMES)[number]): void => {
    this.name = name
    this.stop()
    this.#controller.abort()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The exit code for the signal that came, or `otherwise`. */
  exitCode(otherwise: number): number {
    return this.name === undefined ? otherwise : SIGNALLED + constants.signals[this.name]
  }

  /** Leaves signals to the system again. */
  stop(): void {
    for (const name of NAMES) process.removeListener(name, this.#heed)
  }
}
