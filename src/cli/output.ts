// Standard output with backpressure, and with a reader that may leave before the end.

import type { Writable } from 'node:stream'

// What a pipe without a reader reports: EPIPE, and on Windows EOF.
const READER_GONE = new Set(['EPIPE', 'EOF'])

export class Output {
  /** Nobody reads any more: stop, there is nothing to report. */
  abandoned = false
  #failure: NodeJS.ErrnoException | undefined
  #wake: (() => void) | undefined
  readonly #stream: Writable

  constructor(stream: Writable) {
    this.#stream = stream
    stream.on('drain', () => this.#wake?.())
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (READER_GONE.has(error.code ?? '')) this.abandoned = true
      else this.#failure = error
      this.#wake?.()
    })
  }

  /** Resolves when the stream wants more, or never will. Throws what went wrong with it. */
  async write(bytes: Uint8Array | string): Promise<void> {
    if (this.#failure) throw this.#failure
    if (this.abandoned || bytes.length === 0) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      if (this.#stream.write(bytes)) resolve()
    })
    if (this.#failure) throw this.#failure
  }

  /** Resolves when all that was written has left the process, or cannot. */
  async flush(): Promise<void> {
    if (this.abandoned || this.#failure) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      this.#stream.write('', () => resolve())
    })
    if (this.#failure) throw this.#failure
  }
}
