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
  /** Goes on with what has to wait: for half of the bytes, or for all of them. */
  #waiting: Callback | undefined
  #most = 0

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

  /** @internal */
  override _final(callback: Callback): void {
    this.#whenPending(0, (error) => {
      if (error) callback(error)
      else this.#sink.sync().then(() => callback(), callback)
    })
  }

  /** @internal */
  override _destroy(error: Error | null, callback: Callback): void {
    this.#goOn(error ?? streamDestroyed())
    callback(error)
  }

  #append(chunks: Chunk[], from: number, callback: Callback): void {
    for (let i = from; i < chunks.length; i++) {
      if (this.destroyed) return callback(this.errored ?? streamDestroyed())
      if (this.#pendingBytes > this.#maxPendingBytes) {
        return this.#whenPending(this.#maxPendingBytes / 2, (error) => (error ? callback(error) : this.#append(chunks, i, callback)))
      }
      try {
        this.#appendOne(chunks[i].chunk)
      } catch (error) {
        if (!(error instanceof WalError) || error.code !== 'ERR_WAL_BACKPRESSURE') return callback(error as Error)
        // Others fill the log. Nothing of ours may pass what was refused.
        this.#sink.drain().then(() => this.#append(chunks, i, callback), callback)
        return
      }
    }
    if (this.#pendingBytes <= this.#maxPendingBytes) callback()
    else this.#whenPending(this.#maxPendingBytes / 2, callback)
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
    if (this.#oldest === this.#pending.length) {
      this.#pending = []
      this.#oldest = 0
    }
    if (this.#waiting !== undefined && this.#pendingBytes <= this.#most) this.#goOn()
  }

  readonly #rejected = (error: Error): void => {
    this.destroy(error)
  }

  /** Calls back once no more than so many bytes are pending, or with an error when destroyed. */
  #whenPending(most: number, callback: Callback): void {
    this.#most = most
    this.#waiting = callback
    if (this.#pendingBytes <= most) this.#goOn()
  }

  #goOn(error?: Error): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.(error)
  }
}
