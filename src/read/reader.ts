// Reading. Blocks of records come from the native side, some of them ahead of the one being consumed.

import { AbortError, closed } from '../errors.js'
import type { BlockData, ReaderOptions } from '../native/calls.js'
import type { Environment } from '../native/environment.js'
import { POSITIONS_ACKNOWLEDGED } from '../native/wire.js'
import { publishCorruption, publishDamage } from '../observe/publish.js'
import type { LogQueue } from '../queue/log-queue.js'
import type { Handle } from '../queue/open-reader.js'
import { Block, RecordCopy, RecordView, type WalRecord } from '../records/block.js'
import { ExactBlock, type DetailedBlock } from '../records/detailed-block.js'
import { describeHoles, type Hole } from '../reports/damage.js'
import { ageOf } from '../util/age.js'
import { isAborted } from '../util/signals.js'
import { BlocksAhead } from './blocks-ahead.js'
import { Undecodable, type Decoder } from './decoder.js'
import { END, iterator } from './iterator.js'
import { openNativeReader, resumeNativeReader } from './native-reader.js'
import type { ReadRange } from './range.js'
import { register, unregisterWhenCollected } from './registration.js'

/**
 * Reads records in order of position. Made by `Wal.readFrom`.
 *
 * A reader is its own iterator: `for await` continues where the reader is, and leaving the loop releases it. After a failure, every later
 * `next()` rejects with the same error.
 */
export class WalReader<V = Buffer | undefined> implements AsyncIterableIterator<WalRecord<V>> {
  readonly #environment: Environment
  readonly #queue: LogQueue
  readonly #copy: boolean
  readonly #decoder: Decoder | undefined
  readonly #skipExpired: boolean
  readonly #signal: AbortSignal | undefined
  readonly #onKept: ((kept: number) => void) | undefined
  /** Set while the reader has resources to release. */
  #handle: Handle | undefined
  #unregister: (() => void) | undefined
  #blocks: BlocksAhead | undefined
  #block: Block | undefined
  /** Number of records of the block that were returned or skipped. */
  #at = 0
  #count = 0
  /** See `position`, at the begin of the block. */
  #position = 0
  #holes: Hole[] = []
  /**
   * Next position to read, at the begin of the block. Undefined if reading begins at an end of the log, which may move until the first record
   * is returned.
   */
  #next: number | undefined
  readonly #since: number | undefined
  /** Last position to read, unless `#left` ends the reader before. */
  #to: number
  /** Number of records that may still be returned. If the native side counts them, at the begin of the block. */
  #left: number
  /** Not every position is returned, so the limit has to be counted here and not by the native side. */
  readonly #isCounted: boolean
  readonly #follow: boolean
  readonly #salvage: boolean
  readonly #detailed: boolean
  /** Chain of the calls of `next()` that have to wait, so that they resolve in order. */
  #calls: Promise<unknown> = Promise.resolve()
  #waiting = 0
  #undecodable = 0
  #failure: unknown
  #ended = false

  /** @internal */
  constructor(
    environment: Environment,
    queue: LogQueue,
    { from, since, to, limit, follow, salvage, holed, copy, skipExpired, detailed = false, signal, decoder, onKept }: ReadRange,
    handle: Handle
  ) {
    this.#environment = environment
    this.#queue = queue
    this.#next = typeof from === 'number' ? from : undefined
    this.#skipExpired = skipExpired
    this.#isCounted = skipExpired || salvage || holed || decoder?.maySkip === true
    this.#since = since
    this.#to = to
    this.#left = limit
    this.#decoder = decoder
    this.#follow = follow
    this.#salvage = salvage
    this.#detailed = detailed
    this.#copy = copy
    this.#signal = signal
    this.#onKept = onKept
    try {
      const native = openNativeReader(environment, queue, from, to, this.#nativeOptions())
      this.#blocks = new BlocksAhead(environment, native, limit === 1)
      this.#handle = handle
      this.#unregister = register(new WeakRef(this), [handle.readers, queue.readers], signal)
      unregisterWhenCollected(this, this.#unregister)
    } catch (error) {
      this.#failure = error
      publishCorruption(queue.events.dir, error)
    }
    if (signal !== undefined && isAborted(signal)) this.abort()
  }

  /**
   * Position of the last record returned, or skipped by `skipExpired` or `onDecodeError`; 0 before the first. Reading can be resumed at the
   * position after it.
   */
  get position(): number {
    return this.#at === 0 ? this.#position : (this.#block as Block).firstPosition + this.#at - 1
  }

  /**
   * How long ago the next record was committed, in milliseconds: how old a follower is behind. 0 if every acknowledged record has been
   * returned. `undefined` if that is not known: the record has no time, or it has not been read from the disk yet.
   *
   * It compares the clock of the writer, which stamped the record, with the clock of this process. A record from the future counts as 0.
   */
  get lagMs(): number | undefined {
    if (this.#at < this.#count) return ageOf((this.#block as Block).committedAt(this.#at))
    const acknowledged = this.#queue.positions()[POSITIONS_ACKNOWLEDGED]
    return this.position >= acknowledged || (this.#next ?? 0) > acknowledged ? 0 : undefined
  }

  /**
   * Positions skipped so far because no record holds them, in order; complete at the end. They are those that the log itself records as
   * lost and, with `salvage`, those that are damaged.
   */
  get holes(): readonly Hole[] {
    return this.#holes
  }

  /** Number of records skipped so far by `onDecodeError`, because their values could not be decoded. */
  get undecodable(): number {
    return this.#undecodable
  }

  /**
   * Returns the next record, or `done` at the end. While it waits, it keeps the process alive. Calls may overlap, and resolve in order.
   *
   * @throws the errors of {@link Wal.readFrom}. After a rejection every further call rejects with the same error.
   */
  next(): Promise<IteratorResult<WalRecord<V>, undefined>> {
    const decoder = this.#decoder
    if (decoder !== undefined) return this.#nextDecoded(decoder)
    if (this.#waiting === 0 && this.#hasRecord()) return Promise.resolve({ done: false, value: this.#take() })
    return this.#wait(() => this.#nextResult(() => this.#take()))
  }

  /** Ends the reader and releases its resources. */
  return(): Promise<IteratorResult<WalRecord<V>, undefined>> {
    this.#end()
    return Promise.resolve(END)
  }

  /** Ends the reader like `return()`, and rejects with `error`. */
  throw(error: unknown): Promise<IteratorResult<WalRecord<V>, undefined>> {
    this.#end()
    return Promise.reject(error)
  }

  /** Returns this reader. */
  [Symbol.asyncIterator](): this {
    return this
  }

  /** Ends the reader like `return()`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end()
  }

  /** @internal Why `next()` rejects from now on; undefined as long as it does not. */
  get failure(): unknown {
    return this.#failure
  }

  /**
   * @internal Returns up to `limit` records that are available without waiting. None while a call of `next()` waits. Needs a reader without a
   * decoder.
   */
  takeNow(limit: number): WalRecord<V>[] {
    const records: WalRecord<V>[] = []
    if (this.#waiting > 0) return records
    while (records.length < limit && this.#hasRecord()) records.push(this.#take())
    return records
  }

  /**
   * Iterates over the records in arrays, which costs far less per record. Each array has all records that are available without waiting, so
   * the arrays differ in length. The iterator shares the position of this reader.
   *
   * @throws the errors of {@link Wal.readFrom}, from `next()` of the iterator. Records before the failure are returned first.
   * @example
   * ```ts
   * for await (const records of wal.readFrom('start').batches()) index.add(records)
   * ```
   */
  batches(): AsyncIterableIterator<WalRecord<V>[]> {
    const decoder = this.#decoder
    if (decoder !== undefined) return this.#iterate(() => this.#allDecoded(decoder))
    const takeAll = () => {
      // The first one was available when this was called. Take it even if it has expired since.
      const records = [this.#take()]
      while (this.#hasRecord()) records.push(this.#take())
      return records
    }
    return this.#iterate(() => this.#nextResult(takeAll))
  }

  /**
   * @internal Iterates like `batches()`, with everything that the log stores about the records. Needs a detailed reader; `limit` is
   * ignored.
   */
  blocks(): AsyncIterableIterator<DetailedBlock> {
    const takeBlock = () => {
      const block = (this.#block as ExactBlock).detailed(this.#at)
      this.#at = this.#count
      return block
    }
    return this.#iterate(() => this.#nextResult(takeBlock))
  }

  #iterate<R>(next: () => Promise<IteratorResult<R, undefined>>): AsyncIterableIterator<R> {
    return iterator(
      () => this.#wait(next),
      () => this.#end()
    )
  }

  /** Options of the native reader. */
  #nativeOptions(): ReaderOptions {
    const maxRecords = this.#isCounted ? Infinity : this.#left
    return { since: this.#since, maxRecords, follow: this.#follow, salvage: this.#salvage, detailed: this.#detailed }
  }

  /** Whether a record is available without waiting. Skips expired records if asked to. */
  #hasRecord(): boolean {
    if (this.#isCounted) {
      if (this.#left === 0) return false
      while (this.#skipExpired && this.#at < this.#count && this.#hasExpired()) this.#at++
    }
    return this.#at < this.#count
  }

  #hasExpired(): boolean {
    const expiresAt = this.#block?.expiresAt(this.#at)
    return expiresAt !== undefined && expiresAt <= Date.now()
  }

  #take(): WalRecord<V> {
    const block = this.#block as Block
    const record = this.#at++
    if (this.#isCounted) this.#left--
    // Without a codec, V is the type of bytes.
    return (this.#copy
      ? new RecordCopy(new RecordView(block, record))
      : new RecordView(block, record)) as WalRecord<unknown> as WalRecord<V>
  }

  /** Calls `next` once all calls before are settled. */
  #wait<T>(next: () => Promise<T>): Promise<T> {
    this.#waiting++
    const result = this.#calls.then(next)
    const settled = () => void this.#waiting--
    // This runs before whatever follows the result, as it is the first to be added.
    this.#calls = result.then(settled, settled)
    return result
  }

  async #nextResult<T>(take: () => T): Promise<IteratorResult<T, undefined>> {
    while (!this.#hasRecord()) if (!(await this.#nextBlock())) return END
    return { done: false, value: take() }
  }

  #nextDecoded(decoder: Decoder): Promise<IteratorResult<WalRecord<V>, undefined>> {
    if (this.#waiting > 0 || !this.#hasRecord()) return this.#wait(() => this.#decodedResult(decoder))
    const decoded = this.#decode(decoder)
    if (!(decoded instanceof Undecodable)) return Promise.resolve({ done: false, value: decoded })
    return this.#wait(() => this.#decodedResult(decoder, decoded))
  }

  /** Returns the next record that is not skipped. The value of the first one may have been found to be undecodable already. */
  async #decodedResult(decoder: Decoder, first?: Undecodable): Promise<IteratorResult<WalRecord<V>, undefined>> {
    for (let known = first; ; known = undefined) {
      if (known === undefined) while (!this.#hasRecord()) if (!(await this.#nextBlock())) return END
      const decoded = known ?? this.#decode(decoder)
      const value = decoded instanceof Undecodable ? await this.#settle(decoder, decoded) : decoded
      if (value !== undefined) return { done: false, value }
    }
  }

  /** Returns all records that are available, up to the first one that fails the reader. */
  async #allDecoded(decoder: Decoder): Promise<IteratorResult<WalRecord<V>[], undefined>> {
    const first = await this.#decodedResult(decoder)
    if (first.done) return END
    const records = [first.value]
    while (this.#hasRecord()) {
      const decoded = this.#decode(decoder)
      try {
        const record = decoded instanceof Undecodable ? await this.#settle(decoder, decoded) : decoded
        if (record !== undefined) records.push(record)
      } catch {
        // The reader has failed: the next call rejects.
        break
      }
    }
    return { done: false, value: records }
  }

  /** Takes a record and decodes its value. The record is taken first, because the codec may call this reader. */
  #decode(decoder: Decoder): WalRecord<V> | Undecodable {
    const block = this.#block as Block
    const record = this.#at++
    try {
      const decoded = decoder.decode(block, record) as WalRecord<V>
      if (this.#isCounted) this.#left--
      return decoded
    } catch (error) {
      return new Undecodable(block, record, error, record === 0 ? this.#position : block.firstPosition + record - 1)
    }
  }

  /** Has the decoder decide about a record that was taken; `undefined` if it is skipped. If the reader fails, it stands before the record. */
  async #settle(decoder: Decoder, undecodable: Undecodable): Promise<WalRecord<V> | undefined> {
    const settled = await decoder.settle(undecodable).catch((error: unknown) => this.#fail(error))
    const record = settled as WalRecord<V> | undefined
    // The reader may also have been closed or aborted while a function decided.
    if (this.#failure !== undefined) {
      this.#position = undecodable.before
      throw this.#failure
    }
    if (this.#ended) return undefined
    if (record === undefined) this.#undecodable++
    else if (this.#isCounted) this.#left--
    return record
  }

  /** Waits for the next block; false at the end. */
  async #nextBlock(): Promise<boolean> {
    if (this.#isCounted && this.#left === 0 && this.#failure === undefined) this.#end()
    let data: BlockData | undefined
    let blocks: BlocksAhead | undefined
    do {
      blocks = this.#blocks
      try {
        data = await blocks?.next()
      } catch (error) {
        publishCorruption(this.#queue.events.dir, error)
        if (blocks === this.#blocks) this.#fail(error)
      }
      // If the log was truncated meanwhile, `onTruncation()` has replaced the native reader: ask that one.
    } while (blocks !== this.#blocks && this.#blocks !== undefined)
    if (this.#failure !== undefined) throw this.#failure
    if (data === undefined || this.#ended || this.#blocks === undefined) {
      this.#end()
      return false
    }
    this.#leaveBlock()
    this.#block = this.#detailed ? new ExactBlock(data) : new Block(data)
    this.#count = this.#block.count
    // Last, because a subscriber may close this reader.
    if (data.holes !== undefined) this.#addHoles(data.holes)
    return true
  }

  /** Leaves the block, and notes how far it was read. */
  #leaveBlock(): void {
    if (this.#at > 0) {
      this.#position = this.position
      this.#next = this.#position + 1
      if (!this.#isCounted) this.#left -= this.#at
    }
    this.#block = undefined
    this.#at = this.#count = 0
  }

  #addHoles(holes: Hole[]): void {
    this.#holes.push(...holes)
    publishDamage(this.#queue.events.dir, 'read', describeHoles(holes))
  }

  /** @internal Fails the reader because its signal was aborted. */
  abort(): void {
    this.#fail(new AbortError(this.#signal as AbortSignal))
  }

  /**
   * @internal Reacts to a truncation of the end of the log. Blocks that were read ahead may no longer be part of the log, so reading starts
   * over after the last record returned, and ends where the log was truncated.
   */
  onTruncation(): void {
    const replaced = this.#blocks
    if (replaced === undefined || replaced.native.kept() === null) return
    // A salvaging reader handles the truncation itself: only its native side knows what it left out.
    if (this.#salvage) return
    this.#leaveBlock()
    let kept
    try {
      const resumed = resumeNativeReader(this.#environment, this.#queue, replaced.native, this.#next, this.#to, this.#nativeOptions())
      kept = resumed.kept
      // All records returned so far were kept, so the reader ends at the last position kept.
      if (!this.#follow && this.#next !== undefined) this.#to = Math.min(this.#to, kept)
      this.#blocks = new BlocksAhead(this.#environment, resumed.reader, this.#left === 1)
    } catch (error) {
      return this.#fail(error)
    }
    replaced.release()
    // Holes at or after the next position will be met again.
    const next = this.#next ?? 0
    this.#holes = this.#holes.filter(({ first }) => first < next)
    this.#onKept?.(kept)
  }

  /** @internal Fails the reader because the log was closed. */
  close(): void {
    this.#fail(closed('read'))
  }

  #fail(error: unknown): void {
    if (!this.#ended) this.#failure ??= error
    this.#release()
  }

  #end(): void {
    this.#ended = true
    this.#failure = undefined
    this.#release()
  }

  #release(): void {
    if (this.#handle === undefined) return
    this.#unregister?.()
    this.#handle = this.#unregister = undefined
    this.#leaveBlock()
    this.#blocks?.release()
    this.#blocks = undefined
  }
}
