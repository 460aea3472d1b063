import fs from 'node:fs'
import { join } from 'node:path'

/**
 * Waits until the disk is itself again. Deleting the files of the run before makes the file system discard their
 * blocks in its next commits, which slows the syncs of the next contestant by a factor of ten.
 */
export class Settle {
  readonly #fd: number
  readonly #page = Buffer.alloc(4096)
  readonly #patience: number
  #quiet = Infinity

  /** `patience` is how long to wait at most, in milliseconds. */
  constructor(directory: string, patience: number) {
    this.#patience = patience
    this.#fd = fs.openSync(join(directory, 'probe'), 'w')
    for (let count = 0; count < 5; count++) this.#quiet = Math.min(this.#quiet, this.#probe())
  }

  /** Three calm probes in a row, or until patience ends. */
  wait(): void {
    const deadline = performance.now() + this.#patience
    for (let calm = 0; calm < 3 && performance.now() < deadline;) {
      const median = this.#probe()
      this.#quiet = Math.min(this.#quiet, median)
      calm = median <= this.#quiet * 1.5 ? calm + 1 : 0
    }
  }

  close(): void {
    fs.closeSync(this.#fd)
  }

  /** Median of ten syncs, in milliseconds. The first fsync also commits the deletions. */
  #probe(): number {
    fs.fsyncSync(this.#fd)
    const times: number[] = []
    for (let count = 0; count < 10; count++) {
      const started = performance.now()
      fs.writeSync(this.#fd, this.#page, 0, this.#page.length, 0)
      fs.fdatasyncSync(this.#fd)
      times.push(performance.now() - started)
    }
    return times.sort((a, b) => a - b)[5]
  }
}
