// A log as the start of a stream pipeline.

import { Readable } from 'node:stream'
import { AbortError } from '../errors.js'
import type { WalRecord } from '../records/block.js'
import type { Hole } from '../reports/damage.js'
import { abortListeners } from '../util/abort-listeners.js'
import { isAborted } from '../util/signals.js'
import type { WalReader } from './reader.js'

/** Readable stream of records in object mode. Made by `Wal.readable`. */
export class WalReadable<V = Buffer | undefined> extends Readable {
  readonly #reader: WalReader<V>
  readonly #batches: AsyncIterator<WalRecord<V>[], undefined>
  /** Records that were read and not passed on yet, from index `#at` on. */
  #records: WalRecord<V>[] = []
  #at = 0
  #unlisten: (() => void) | undefined

  /** @internal */
  constructor(reader: WalReader<V>, signal: AbortSignal | undefined) {
    super({ objectMode: true })
    this.#reader = reader
    this.#batches = reader.batches()
    if (signal === undefined) return
    const abort = () => void this.destroy(new AbortError(signal))
    if (isAborted(signal)) abort()
    else this.#unlisten = abortListeners.add(signal, abort)
  }

  /** Positions skipped so far because no record holds them: see {@link WalReader.holes}. */
  get holes(): readonly Hole[] {
    return this.#reader.holes
  }

  /** Number of records skipped so far by `onDecodeError`: see {@link WalReader.undecodable}. */
  get undecodable(): number {
    return this.#reader.undecodable
  }

  /** @internal */
  override _read(): void {
    if (this.#at < this.#records.length) this.#pass()
    else void this.#readOn()
  }

  /** @internal Closes the reader, even while it waits. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#unlisten?.()
    this.#records = []
    void this.#reader.return()
    callback(error)
  }

  async #readOn(): Promise<void> {
    try {
      const { value } = await this.#batches.next()
      if (this.destroyed) return
      if (value === undefined) {
        this.push(null)
        return
      }
      this.#records = value
      this.#at = 0
    } catch (error) {
      this.destroy(error as Error)
      return
    }
    this.#pass()
  }

  /** Passes records on while the stream takes them. A consumer may call the stream again, or destroy it. */
  #pass(): void {
    while (this.#at < this.#records.length && this.push(this.#records[this.#at++]));
  }
}
