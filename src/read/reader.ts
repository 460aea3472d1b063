// Reading. Blocks of records come from the native side, one block ahead of the one being consumed.

import { AbortError, closed } from '../errors.js'
import type { BlockData, NativeReader, ReaderOptions } from '../native/calls.js'
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
import { openNativeReader, resumeNativeReader } from './native-reader.js'

// Large enough that a block costs little compared with its records, and small enough that two of them are consumed within about a
// millisecond: the event loop gets its turn only between blocks.
const BLOCK_BYTES = 256 * 1024
// For large records, of which `BLOCK_BYTES` would hold only a few, so that the round trips would dominate.
const LARGE_BLOCK_BYTES = 1024 * 1024
const FEW_RECORDS = 64

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
  #native: NativeReader | undefined
  #block: Block | undefined
  #at = 0
  #count = 0
  #blockBytes = BLOCK_BYTES
  #position = 0
  #holes: Hole[] = []
  /** Next position to read. Undefined if reading begins at an end of the log, which may move until the first record is returned. */
  #next: number | undefined
  /** Last position to read, unless `#left` ends the reader before. */
  #to: number
  /** Number of records that may still be returned. */
  #left: number
  /** Not every position is returned, so the limit has to be counted here and not by the native side. */
  readonly #isCounted: boolean
  readonly #follow: boolean
  readonly #salvage: boolean
  readonly #detailed: boolean
  /** The next block, if it has been requested. */
  #prefetched: Promise<BlockData | undefined> | undefined
  /** The next block has to be waited for. Only `next()` may request it then, because the wait keeps the process alive. */
  #caughtUp = false
  /** Ends the wait for the next block, without one. */
  #interrupt: ((nothing: undefined) => void) | undefined
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
      this.#native = openNativeReader(environment, queue, from, to, this.#nativeOptions())
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
    return this.#position
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

  /**
   * Iterates over the records in arrays, which costs far less per record. Each array has all records that are available without waiting, so
   * the arrays differ in length. The iterator shares the position of this reader.
   */
  batches(): AsyncIterableIterator<WalRecord<V>[]> {
    const takeAll = () => {
      const records: WalRecord<V>[] = []
      // The first one was available when this was called. Take it even if it has expired since.
      do records.push(this.#take())
      while (this.#hasRecord())
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
      while (this.#at < this.#count) this.#advance()
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
      while (this.#skipExpired && this.#at < this.#count && this.#hasExpired()) this.#advance()
    }
    return this.#at < this.#count
  }

  #hasExpired(): boolean {
    const expiresAt = this.#block?.expiresAt(this.#at)
    return expiresAt !== undefined && expiresAt <= Date.now()
  }

  #advance(): number {
    const record = this.#at++
    this.#position = (this.#block as Block).firstPosition + record
    this.#next = this.#position + 1
    return record
  }

  #take(): WalRecord<V> {
    const block = this.#block as Block
    const record = this.#advance()
    this.#left--
    if (this.#values !== undefined) return this.#decoded(block, record, this.#values)
    // Without a codec, V is Buffer.
    return (this.#copy ? new RecordCopy(block, record) : new RecordView(block, record)) as WalRecord<unknown> as WalRecord<V>
  }

  #decoded(block: Block, record: number, values: Values): WalRecord<V> {
    return (this.#copy
      ? new DecodedCopy(block, record, values)
      : new DecodedView(block, record, values)) as WalRecord<unknown> as WalRecord<V>
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
    let native: NativeReader | undefined
    do {
      native = this.#native
      try {
        if (native !== undefined) data = await (this.#prefetched ?? this.#fetch(native))
      } catch (error) {
        publishCorruption(this.#queue.events.dir, error)
        if (native === this.#native) this.#fail(error)
      }
      // If the log was truncated meanwhile, `onTruncation()` has replaced the native reader: ask that one.
    } while (native !== this.#native && this.#native !== undefined)
    if (this.#failure !== undefined) throw this.#failure
    if (data === undefined || this.#ended || this.#native === undefined) {
      this.#end()
      return false
    }
    this.#block = this.#detailed ? new ExactBlock(data) : new Block(data)
    this.#at = 0
    this.#count = this.#block.count
    this.#blockBytes = this.#count < FEW_RECORDS ? LARGE_BLOCK_BYTES : BLOCK_BYTES
    this.#prefetched = undefined
    if (!this.#caughtUp) void this.#fetch(this.#native)
    // Last, because a subscriber may close this reader.
    if (data.holes !== undefined) this.#addHoles(data.holes)
    return true
  }

  #addHoles(holes: Hole[]): void {
    this.#holes.push(...holes)
    publishDamage(this.#queue.events.dir, 'read', describeHoles(holes))
  }

  /** Requests the next block. The caller need not wait for it. */
  #fetch(native: NativeReader): Promise<BlockData | undefined> {
    const next = new Promise<BlockData | undefined>((resolve, reject) => {
      // Store `resolve` itself and not a closure: V8 allocates closures that are assigned to a property in the old generation. What they
      // hold, in the end the block, would live until a full garbage collection.
      this.#interrupt = resolve
      this.#environment.request(native.next(this.#blockBytes)).then(({ block, caughtUp = false }) => {
        this.#caughtUp = caughtUp
        resolve(block)
      }, reject)
    })
    // A failure is reported when a caller asks for a record of the block.
    next.catch(() => {})
    this.#prefetched = next
    return next
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
    const native = this.#native
    if (native === undefined || native.kept() === null) return
    // A salvaging reader handles the truncation itself: only its native side knows what it left out.
    if (this.#salvage) return
    let kept
    try {
      const resumed = resumeNativeReader(this.#environment, this.#queue, native, this.#next, this.#to, this.#nativeOptions())
      kept = resumed.kept
      // All records returned so far were kept, so the reader ends at the last position kept.
      if (!this.#follow && this.#next !== undefined) this.#to = Math.min(this.#to, kept)
      this.#native = resumed.reader
    } catch (error) {
      return this.#fail(error)
    }
    native.release()
    this.#block = undefined
    this.#at = this.#count = 0
    // Holes at or after the next position will be met again.
    const next = this.#next ?? 0
    this.#holes = this.#holes.filter(({ first }) => first < next)
    this.#interrupt?.(undefined)
    this.#prefetched = this.#interrupt = undefined
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
    this.#block = undefined
    this.#at = this.#count = 0
    this.#interrupt?.(undefined)
    this.#native?.release()
    this.#native = undefined
    this.#prefetched = this.#interrupt = undefined
  }
}
