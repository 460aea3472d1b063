// Standard output with backpressure, for a reader that may leave before the end, and standard error, which may not be there.

import type { Writable } from 'node:stream'
import { OutputError } from './failure.js'

// What a pipe without a reader reports: EPIPE, and on Windows EOF.
const READER_GONE = new Set(['EPIPE', 'EOF'])

export class Output {
  /** Nobody reads any more: stop, there is nothing to report. */
  abandoned = false
  #stopped = false
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

  /** Once `signal` is aborted no write waits for the stream any more. */
  heed(signal: AbortSignal): void {
    const stop = () => {
      this.#stopped = true
      this.#wake?.()
    }
    signal.addEventListener('abort', stop, { once: true })
  }

  /**
   * Resolves when the stream wants more, or never will.
   *
   * @throws `OutputError` for what went wrong with it.
   */
  async write(bytes: Uint8Array | string): Promise<void> {
    this.#check()
    if (this.abandoned || this.#stopped || bytes.length === 0) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      if (this.#stream.write(bytes)) resolve()
    })
    this.#check()
  }

  /** Resolves when all that was written has left the process, or cannot. */
  async flush(): Promise<void> {
    this.#check()
    if (this.abandoned || this.#stopped) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      this.#stream.write('', () => resolve())
    })
    this.#check()
  }

  #check(): void {
    if (this.#failure !== undefined) throw new OutputError(this.#failure)
  }
}

/** The one of this process. */
export const stdout = new Output(process.stdout)

// Where standard error cannot be written, there is no place to say so.
process.stderr.on('error', () => {})

/** Writes to standard error. */
export const say = (text: string): void => void process.stderr.write(text)
