// Standard output with backpressure, whose reader may close the pipe early, and standard error, which may be closed.

import type { Writable } from 'node:stream'
import { OutputError } from './failure.js'

// Error codes of a pipe without a reader: EPIPE, and EOF on Windows.
const READER_GONE = new Set(['EPIPE', 'EOF'])

export class Output {
  /** The reader has closed the pipe: stop, without reporting a failure. */
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

  /** Makes writes no longer wait for the stream once `signal` is aborted. */
  stopOn(signal: AbortSignal): void {
    const stop = () => {
      this.#stopped = true
      this.#wake?.()
    }
    signal.addEventListener('abort', stop, { once: true })
  }

  /**
   * Writes to the stream, and resolves when the stream accepts more or never will.
   *
   * @throws `OutputError` if the stream has failed.
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

  /** Resolves when everything written has left the process, or cannot. */
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

/** Standard output of this process. */
export const stdout = new Output(process.stdout)

// If standard error cannot be written, there is nowhere to report it.
process.stderr.on('error', () => {})

/** Writes to standard error. */
export const say = (text: string): void => void process.stderr.write(text)
