// Reading. Blocks of records come from the native side, some of them ahead of the one being consumed.

import { AbortError, closed } from '../errors.js'
import type { BlockData, ReaderOptions } from '../native/calls.js'
import type { Environment } from '../native/environment.js'
import { publishCorruption, publishDamage } from '../observe/publish.js'
import type { ReadStart } from '../options/types.js'
import type { LogQueue } from '../queue/log-queue.js'
import type { Handle, OpenReaders } from '../queue/open-reader.js'
import { Block, DecodedCopy, DecodedView, RecordCopy, RecordView, type WalRecord } from '../records/block.js'
import type { Values } from '../records/codec.js'
import { ExactBlock, type DetailedBlock } from '../records/detailed-block.js'
import { describeHoles, type Hole } from '../reports/damage.js'
import { abortListeners } from '../util/abort-listeners.js'
import { isAborted } from '../util/signals.js'
import { BlocksAhead } from './blocks-ahead.js'
import { openNativeReader, resumeNativeReader } from './native-reader.js'

const END = { done: true, value: undefined } as const

/** Constructor options of a reader. */
export interface ReadRange {
  from: ReadStart
  /** Last position to read, inclusive. `Infinity` is the last one acknowledged at the call, or no limit with `follow`. */
  to: number
  /** Maximum number of records to return. */
  limit: number
  /** Continue after damage. */
  salvage: boolean
  /** The log records holes, so not every position is returned. */
  holed: boolean
  /** Wait for new records at the end. */
  follow: boolean
  copy: boolean
  /** Skip expired records. */
  skipExpired: boolean
  /** Also fetch what only `blocks()` needs. */
  detailed?: boolean
  signal: AbortSignal | undefined
  /** Decoder of the values. */
  values: Values | undefined
  /** Called with the last position kept when a truncation kept every record returned so far and the reader goes on. */
  onKept?: ((kept: number) => void) | undefined
}

/**
 * Adds a reader to these sets and to the signal's listeners. Returns a function that removes it again and holds the reader only weakly too.
 */
function register(self: WeakRef<WalReader<unknown>>, sets: OpenReaders[], signal: AbortSignal | undefined): () => void {
  for (const readers of sets) readers.add(self)
  const unlisten = signal === undefined ? undefined : abortListeners.add(signal, () => self.deref()?.abort())
  return () => {
    for (const readers of sets) readers.delete(self)
    unlisten?.()
  }
}

// Cleans up after readers that were garbage collected without having been released.
const collected = new FinalizationRegistry<() => void>((unregister) => unregister())

/**
 * Reads records in order of position. Made by `Wal.readFrom`.
 *
 * A reader is its own iterator: `for await` continues where the reader is, and leaving the loop releases it. After a failure, every later
 * `next()` rejects with the same error.
 */
export class WalReader<V = Buffer> implements AsyncIterableIterator<WalRecord<V>> {
  readonly #environment: Environment
  readonly #queue: LogQueue
  readonly #copy: boolean
  readonly #values: Values | undefined
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
  #failure: unknown
  #ended = false

  /** @internal */
  constructor(
    environment: Environment,
    queue: LogQueue,
    { from, to, limit, follow, salvage, holed, copy, skipExpired, detailed = false, signal, values, onKept }: ReadRange,
    handle: Handle
  ) {
    this.#environment = environment
    this.#queue = queue
    this.#next = typeof from === 'number' ? from : undefined
    this.#skipExpired = skipExpired
    this.#isCounted = skipExpired || salvage || holed
    this.#to = to
    this.#left = limit
    this.#values = values
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
      collected.register(this, this.#unregister)
    } catch (error) {
      this.#failure = error
      publishCorruption(queue.events.dir, error)
    }
    if (signal !== undefined && isAborted(signal)) this.abort()
  }

  /**
   * Position of the last record returned, or skipped by `skipExpired`; 0 before the first. Reading can be resumed at the position after it.
   */
  get position(): number {
    return this.#at === 0 ? this.#position : (this.#block as Block).firstPosition + this.#at - 1
  }

  /**
   * Positions skipped so far because no record holds them, in order; complete at the end. They are those that the log itself records as
   * lost and, with `salvage`, those that are damaged.
   */
  get holes(): readonly Hole[] {
    return this.#holes
  }

  /**
   * Returns the next record, or `done` at the end. While it waits, it keeps the process alive. Calls may overlap, and resolve in order.
   *
   * Rejects as described at {@link Wal.readFrom}. After a rejection every further call rejects with the same error.
   */
  next(): Promise<IteratorResult<WalRecord<V>, undefined>> {
    if (this.#waiting === 0 && this.#hasRecord()) return Promise.resolve({ done: false, value: this.#take() })
    return this.#wait(() => this.#take())
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

  /** @internal Returns up to `limit` records that are available without waiting. None while a call of `next()` waits. */
  takeNow(limit: number): WalRecord<V>[] {
    const records: WalRecord<V>[] = []
    if (this.#waiting > 0) return records
    while (records.length < limit && this.#hasRecord()) records.push(this.#take())
    return records
  }

  /**
   * Iterates over the records in arrays, which costs far less per record. Each array has all records that are available without waiting, so
   * the arrays differ in length. The iterator shares the position of this reader.
   */
  batches(): AsyncIterableIterator<WalRecord<V>[]> {
    const takeAll = () => {
      // The first one was available when this was called. Take it even if it has expired since.
      const records = [this.#take()]
      while (this.#hasRecord()) records.push(this.#take())
      return records
    }
    return this.#iterate(takeAll)
  }

  /**
   * @internal Iterates like `batches()`, with everything that the log stores about the records. Needs a detailed reader; `limit` is
   * ignored.
   */
  blocks(): AsyncIterableIterator<DetailedBlock> {
    return this.#iterate(() => {
      const block = (this.#block as ExactBlock).detailed(this.#at)
      this.#at = this.#count
      return block
    })
  }

  #iterate<R>(take: () => R): AsyncIterableIterator<R> {
    return {
      next: () => this.#wait(take),
      return: async () => {
        this.#end()
        return END
      },
      throw: async (error) => {
        this.#end()
        throw error
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  /** Options of the native reader. */
  #nativeOptions(): ReaderOptions {
    const maxRecords = this.#isCounted ? Infinity : this.#left
    return { maxRecords, follow: this.#follow, salvage: this.#salvage, detailed: this.#detailed }
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
    if (this.#values !== undefined) return this.#decoded(block, record, this.#values)
    // Without a codec, V is Buffer.
    return (this.#copy ? new RecordCopy(block, record) : new RecordView(block, record)) as WalRecord<unknown> as WalRecord<V>
  }

  #decoded(block: Block, record: number, values: Values): WalRecord<V> {
    return (this.#copy
      ? new DecodedCopy(block, record, values)
      : new DecodedView(new RecordView(block, record), values)) as WalRecord<unknown> as WalRecord<V>
  }

  #wait<T>(take: () => T): Promise<IteratorResult<T, undefined>> {
    this.#waiting++
    const result = this.#calls.then(() => this.#nextResult(take))
    this.#calls = result.catch(() => {})
    return result
  }

  async #nextResult<T>(take: () => T): Promise<IteratorResult<T, undefined>> {
    try {
      while (!this.#hasRecord()) if (!(await this.#nextBlock())) return END
      return { done: false, value: take() }
    } finally {
      this.#waiting--
    }
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
