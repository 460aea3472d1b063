// A log as the end of a pipeline.

import { Writable } from 'node:stream'
import { streamDestroyed, WalError } from './errors.js'

/** What the stream does with the log. */
export interface Sink {
  /** Throws a refusal; `acknowledged` resolves to the position. */
  append(chunk: unknown): { bytes: number; acknowledged: Promise<number> }
  drain(): Promise<void>
  sync(): Promise<void>
}

type Callback = (error?: Error | null) => void

interface Chunk {
  chunk: unknown
}

/** A record counts for so much at least: a million empty ones are not nothing. */
const RECORD_BYTES = 64

/** Appends what is written to it, in order. Made by `Wal.writable`. */
export class WalWritable extends Writable {
  readonly #sink: Sink
  readonly #maxPendingBytes: number
  #pendingBytes = 0
  /** Bytes of the records that are not acknowledged, oldest first. */
  #pending: number[] = []
  /** The oldest of them. */
  #oldest = 0
  #position = 0
  /** Goes on once half of the bytes are acknowledged, or the stream is destroyed. */
  #waiting: (() => void) | undefined

  /** @internal */
  constructor(sink: Sink, maxPendingBytes: number, signal: AbortSignal | undefined) {
    super({ objectMode: true, signal })
    this.#sink = sink
    this.#maxPendingBytes = maxPendingBytes
  }

  /** Position of the last record acknowledged, 0 before the first. */
  get position(): number {
    return this.#position
  }

  /** @internal */
  override _write(chunk: unknown, _encoding: BufferEncoding, callback: Callback): void {
    this.#append([{ chunk }], 0, callback)
  }

  /** @internal What gathered while it waited. The records of one turn are committed together. */
  override _writev(chunks: Chunk[], callback: Callback): void {
    this.#append(chunks, 0, callback)
  }

  /** @internal A sync settles after all that was appended before it. */
  override _final(callback: Callback): void {
    this.#sink.sync().then(() => callback(), callback)
  }

  /** @internal */
  override _destroy(error: Error | null, callback: Callback): void {
    this.#goOn()
    callback(error)
  }

  #append(chunks: Chunk[], from: number, callback: Callback): void {
    for (let i = from; i < chunks.length; i++) {
      if (this.destroyed) return callback(this.errored ?? streamDestroyed())
      const again = () => this.#append(chunks, i, callback)
      if (this.#pendingBytes > this.#maxPendingBytes) {
        this.#waiting = again
        return
      }
      try {
        this.#appendOne(chunks[i].chunk)
      } catch (error) {
        if (!(error instanceof WalError) || error.code !== 'ERR_WAL_BACKPRESSURE') return callback(error as Error)
        // Others fill the log. Nothing of ours may pass what was refused.
        void this.#sink.drain().then(again)
        return
      }
    }
    callback()
  }

  #appendOne(chunk: unknown): void {
    const { bytes, acknowledged } = this.#sink.append(chunk)
    this.#pending.push(bytes + RECORD_BYTES)
    this.#pendingBytes += bytes + RECORD_BYTES
    acknowledged.then(this.#acknowledged, this.#rejected)
  }

  readonly #acknowledged = (position: number): void => {
    this.#position = position
    this.#pendingBytes -= this.#pending[this.#oldest++]
    // Half of the array has gone: moving the rest costs no more than that did.
    if (this.#oldest * 2 >= this.#pending.length) {
      this.#pending = this.#pending.slice(this.#oldest)
      this.#oldest = 0
    }
    if (this.#pendingBytes <= this.#maxPendingBytes / 2) this.#goOn()
  }

  readonly #rejected = (error: Error): void => {
    this.destroy(error)
  }

  #goOn(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.()
  }
}
