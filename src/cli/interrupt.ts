// Handles the signals that end a command in an orderly way.

import { constants } from 'node:os'
import { SIGNALLED } from './exit-codes.js'

const NAMES = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Until `stop()`, the first signal aborts `signal`, and a second one ends the process at once. */
export class Interrupt {
  readonly #controller = new AbortController()
  /** The signal received, if any. */
  name: (typeof NAMES)[number] | undefined

  constructor() {
    for (const name of NAMES) process.on(name, this.#onSignal)
  }

  readonly #onSignal = (name: (typeof NAMES)[number]): void => {
    this.name = name
    this.stop()
    this.#controller.abort()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Returns the exit code for the signal received, or `otherwise` if there was none. */
  exitCode(otherwise: number): number {
    return this.name === undefined ? otherwise : SIGNALLED + constants.signals[this.name]
  }

  /** Restores the default handling of the signals. */
  stop(): void {
    for (const name of NAMES) process.removeListener(name, this.#onSignal)
  }
}
