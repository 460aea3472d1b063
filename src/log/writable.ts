// A log as the end of a stream pipeline.

import { Writable } from 'node:stream'
import { streamDestroyed, WalError } from '../errors.js'

/** The part of a log that the stream uses. */
export interface Sink {
  /** Appends a chunk. Throws if the record is refused; `acknowledged` resolves to its position. */
  append(chunk: unknown): { bytes: number; acknowledged: Promise<number> }
  drain(): Promise<void>
  sync(): Promise<void>
}

type Callback = (error?: Error | null) => void

interface Chunk {
  chunk: unknown
}

/** Counted for every record beside its bytes, so that a million empty records do not count as nothing. */
const RECORD_BYTES = 64

/** Writable stream that appends its chunks in order. Made by `Wal.writable`. */
export class WalWritable extends Writable {
  readonly #sink: Sink
  readonly #maxPendingBytes: number
  #pendingBytes = 0
  /** Sizes of the records that are not acknowledged, oldest first, from index `#oldest` on. */
  #pending: number[] = []
  /** Index of the oldest of them in `#pending`. */
  #oldest = 0
  #position = 0
  /** Resumes appending. Called once no more than half of the limit is pending, or the stream is destroyed. */
  #waiting: (() => void) | undefined

  /** @internal */
  constructor(sink: Sink, maxPendingBytes: number, signal: AbortSignal | undefined) {
    super({ objectMode: true, signal })
    this.#sink = sink
    this.#maxPendingBytes = maxPendingBytes
  }

  /** Position of the last acknowledged record, 0 before the first. */
  get position(): number {
    return this.#position
  }

  /** @internal */
  override _write(chunk: unknown, _encoding: BufferEncoding, callback: Callback): void {
    this.#append([{ chunk }], 0, callback)
  }

  /** @internal Appends the chunks that gathered meanwhile. The records of one turn are committed together. */
  override _writev(chunks: Chunk[], callback: Callback): void {
    this.#append(chunks, 0, callback)
  }

  /** @internal A sync settles after all earlier appends. */
  override _final(callback: Callback): void {
    this.#sink.sync().then(() => callback(), callback)
  }

  /** @internal */
  override _destroy(error: Error | null, callback: Callback): void {
    this.#resume()
    callback(error)
  }

  #append(chunks: Chunk[], from: number, callback: Callback): void {
    for (let i = from; i < chunks.length; i++) {
      if (this.destroyed) return callback(this.errored ?? streamDestroyed())
      const retry = () => this.#append(chunks, i, callback)
      if (this.#pendingBytes > this.#maxPendingBytes) {
        this.#waiting = retry
        return
      }
      try {
        this.#appendOne(chunks[i].chunk)
      } catch (error) {
        if (!(error instanceof WalError) || error.code !== 'ERR_WAL_BACKPRESSURE') return callback(error as Error)
        // Other appenders fill the log. No later chunk may overtake the refused one.
        void this.#sink.drain().then(retry)
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
    // At least half of the array is consumed, so moving the rest costs no more than consuming that half did.
    if (this.#oldest * 2 >= this.#pending.length) {
      this.#pending = this.#pending.slice(this.#oldest)
      this.#oldest = 0
    }
    if (this.#pendingBytes <= this.#maxPendingBytes / 2) this.#resume()
  }

  readonly #rejected = (error: Error): void => {
    this.destroy(error)
  }

  #resume(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.()
  }
}
