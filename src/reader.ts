// Reading: blocks come from the native side, one ahead of the one being consumed; records are looked up in them.

import { Block, DecodedCopy, DecodedView, RecordCopy, RecordView, type WalRecord } from './block.js'
import type { Channel } from './channel.js'
import type { Values } from './codec.js'
import { ExactBlock, type DetailedBlock } from './detail.js'
import { tellCorrupt, tellDamage } from './diagnostics.js'
import type { Environment } from './environment.js'
import { AbortError, closed, type FlippedBit } from './errors.js'
import { aborts } from './heed.js'
import type { BlockData, Manner, NativeReader } from './native.js'
import type { Damage } from './reports.js'
import { isAborted } from './signals.js'

// Large enough that a block costs little next to its records, small enough that two of them are consumed within a millisecond or so:
// only between blocks does the event loop get its turn.
const BLOCK_BYTES = 256 * 1024
// For large records, of which the other would hold a few: then the way there and back is what costs.
const LARGE_BLOCK_BYTES = 1024 * 1024
const FEW_RECORDS = 64

const END = { done: true, value: undefined } as const

/** Where reading begins: at a position, at the first one there is, or after the last one acknowledged. */
export type ReadStart = number | 'start' | 'end'

/** What a reader is made for. */
export interface ReadRange {
  from: ReadStart
  /** Inclusive; `Infinity` for what was acknowledged at the call, or without end when it follows. */
  to: number
  /** Most records to give. */
  limit: number
  /** Go on behind damage. */
  salvage: boolean
  /** The log records holes: not every position is given. */
  holed: boolean
  /** Wait at the end for what comes. */
  follow: boolean
  copy: boolean
  /** Pass over what has expired. */
  skipExpired: boolean
  /** For `blocks()`. */
  detailed?: boolean
  signal: AbortSignal | undefined
  /** What decodes the values. */
  values: Values | undefined
  /** Called when the log was cut above all that was given out, and the reader goes on: with the last position kept. */
  onKept?: ((kept: number) => void) | undefined
}

/** The damage that holes are, but for those that the log itself records. */
export function describeHoles(holes: readonly Hole[]): Damage[] {
  const damaged = holes.filter(({ recorded }) => recorded !== true)
  return damaged.map(({ first, last, bytes: _, recorded: __, ...where }) => ({
    message: `positions ${first} to ${last} cannot be read: ${where.segment} is damaged at offset ${where.offset}`,
    firstLost: first,
    lastLost: last,
    ...where,
  }))
}

/** Readers that hold something open. One that was dropped is not kept alive by that. */
type Readers = Set<WeakRef<WalReader<unknown>>>

/** The handle that readers are made by. */
export interface Handle {
  /** Closed when it is garbage; so whoever still reads keeps it. */
  readonly owner: object
  readonly readers: Readers
  isClosed: boolean
}

/** Enters a reader everywhere it is to be found; gives what takes it out again, which knows the reader no more than they do. */
function enter(self: WeakRef<WalReader<unknown>>, all: Readers[], signal: AbortSignal | undefined): () => void {
  for (const readers of all) readers.add(self)
  const unlisten = signal === undefined ? undefined : aborts.add(signal, () => self.deref()?.abort())
  return () => {
    for (const readers of all) readers.delete(self)
    unlisten?.()
  }
}

// A reader that was dropped has not been released.
const dropped = new FinalizationRegistry<() => void>((leave) => leave())

/** Positions that nothing readable holds any more, and the bytes where they were. */
export interface Hole {
  /** First position that is missing. */
  first: number
  /** Last position that is missing. */
  last: number
  /** File name of the segment. */
  segment: string
  /** Where the damage begins: byte offset in that segment. */
  offset: number
  /** From `offset` to the next good record, or to the end of the file. */
  bytes: number
  /** The one bit that explains the first of the damage. */
  flipped?: FlippedBit
  /** There where the log itself records the loss, as a salvaged one does: nothing is damaged, and `offset` and `bytes` are 0. */
  recorded?: boolean
}

/**
 * Reads records in order of position. Made by `Wal.readFrom`.
 *
 * It is its own iterator: `for await` takes it from where it is. Leaving the loop releases it. A failure is told at every later `next()`.
 */
export class WalReader<V = Buffer> implements AsyncIterableIterator<WalRecord<V>> {
  readonly #environment: Environment
  readonly #channel: Channel
  readonly #copy: boolean
  readonly #values: Values | undefined
  readonly #skipExpired: boolean
  readonly #signal: AbortSignal | undefined
  readonly #onKept: ((kept: number) => void) | undefined
  /** As long as it holds something open. */
  #handle: Handle | undefined
  #leave: (() => void) | undefined
  #native: NativeReader | undefined
  #block: Block | undefined
  #at = 0
  #count = 0
  #blockBytes = BLOCK_BYTES
  #position = 0
  #holes: Hole[] = []
  /** Position that is read next; unknown where reading begins at an end of the log that may move until the first record is given. */
  #next: number | undefined
  /** Last one to be read, if `#left` does not end it before. */
  #to: number
  /** How many more may be given. */
  #left: number
  /** Not every position is given: only here it shows when enough have been. */
  readonly #isCounted: boolean
  readonly #follow: boolean
  readonly #salvage: boolean
  readonly #detailed: boolean
  /** The block being read, if any. */
  #ahead: Promise<BlockData | undefined> | undefined
  /** The next block has to be waited for: only a `next()` may do that, because it keeps the process alive. */
  #caughtUp = false
  /** Ends the wait for it, with nothing. */
  #interrupt: ((nothing: undefined) => void) | undefined
  /** Calls of `next()` that have to wait answer each other. */
  #queue: Promise<unknown> = Promise.resolve()
  #waiting = 0
  #failure: unknown
  #ended = false

  /** @internal */
  constructor(
    environment: Environment,
    channel: Channel,
    { from, to, limit, follow, salvage, holed, copy, skipExpired, detailed = false, signal, values, onKept }: ReadRange,
    handle: Handle
  ) {
    this.#environment = environment
    this.#channel = channel
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
      this.#native = channel.reader(from, to, this.#manner())
      this.#handle = handle
      this.#leave = enter(new WeakRef(this), [handle.readers, channel.readers], signal)
      dropped.register(this, this.#leave)
    } catch (error) {
      this.#failure = error
      tellCorrupt(channel.diagnostics.dir, error)
    }
    if (signal !== undefined && isAborted(signal)) this.abort()
  }

  /** Position of the last record given, or passed over with `skipExpired`; 0 before the first. Reading can be resumed at the one after it. */
  get position(): number {
    return this.#position
  }

  /**
   * Positions that were passed over so far because nothing holds them, in order; complete at the end. With `salvage` those that are
   * damaged, and always those that the log itself records as lost.
   */
  get holes(): readonly Hole[] {
    return this.#holes
  }

  /**
   * The next record; done at the end. While it waits, it keeps the process alive. Calls may overlap: they are answered in order.
   *
   * Rejects as {@link Wal.readFrom} says; what has rejected rejects again.
   */
  next(): Promise<IteratorResult<WalRecord<V>, undefined>> {
    if (this.#waiting === 0 && this.#isAtHand()) return Promise.resolve({ done: false, value: this.#take() })
    return this.#wait(() => this.#take())
  }

  /** Ends the reader and releases what it holds open. */
  return(): Promise<IteratorResult<WalRecord<V>, undefined>> {
    this.#end()
    return Promise.resolve(END)
  }

  /** Like `return()`, and rejects with `error`. */
  throw(error: unknown): Promise<IteratorResult<WalRecord<V>, undefined>> {
    this.#end()
    return Promise.reject(error)
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this
  }

  /**
   * The same records in arrays, which costs far less per record. Shares this reader's place; all the records that are at hand come at
   * once, so the arrays differ in length.
   */
  batches(): AsyncIterableIterator<WalRecord<V>[]> {
    const takeAll = () => {
      const records: WalRecord<V>[] = []
      // The first is at hand, even if it has expired since.
      do records.push(this.#take())
      while (this.#isAtHand())
      return records
    }
    return this.#iterate(takeAll)
  }

  /** @internal Like `batches()`, with everything that is known of the records. Of a detailed reader; `limit` does not count. */
  blocks(): AsyncIterableIterator<DetailedBlock> {
    return this.#iterate(() => {
      const block = (this.#block as ExactBlock).detailed(this.#at)
      while (this.#at < this.#count) this.#pass()
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

  /** How many positions the native side may give. */
  #manner(): Manner {
    const most = this.#isCounted ? Infinity : this.#left
    return { most, follow: this.#follow, salvage: this.#salvage, detailed: this.#detailed }
  }

  /** Whether there is a record to take. Passes over those that are not wanted. */
  #isAtHand(): boolean {
    if (this.#isCounted) {
      if (this.#left === 0) return false
      while (this.#skipExpired && this.#at < this.#count && this.#hasExpired()) this.#pass()
    }
    return this.#at < this.#count
  }

  #hasExpired(): boolean {
    const expiresAt = this.#block?.expiresAt(this.#at)
    return expiresAt !== undefined && expiresAt <= Date.now()
  }

  #pass(): number {
    const record = this.#at++
    this.#position = (this.#block as Block).firstPosition + record
    this.#next = this.#position + 1
    return record
  }

  #take(): WalRecord<V> {
    const block = this.#block as Block
    const record = this.#pass()
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
    const answer = this.#queue.then(() => this.#answer(take))
    this.#queue = answer.catch(() => {})
    return answer
  }

  async #answer<T>(take: () => T): Promise<IteratorResult<T, undefined>> {
    try {
      while (!this.#isAtHand()) if (!(await this.#nextBlock())) return END
      return { done: false, value: take() }
    } finally {
      this.#waiting--
    }
  }

  /** False at the end. */
  async #nextBlock(): Promise<boolean> {
    if (this.#isCounted && this.#left === 0 && this.#failure === undefined) this.#end()
    let data: BlockData | undefined
    let native: NativeReader | undefined
    do {
      native = this.#native
      try {
        if (native !== undefined) data = await (this.#ahead ?? this.#fetch(native))
      } catch (error) {
        tellCorrupt(this.#channel.diagnostics.dir, error)
        if (native === this.#native) this.#fail(error)
      }
      // Another one has taken its place if the log was cut meanwhile.
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
    this.#ahead = undefined
    if (!this.#caughtUp) this.#fetch(this.#native)
    // At the end: who is told may end the reader.
    if (data.holes !== undefined) this.#addHoles(data.holes)
    return true
  }

  #addHoles(holes: Hole[]): void {
    this.#holes.push(...holes)
    tellDamage(this.#channel.diagnostics.dir, 'read', describeHoles(holes))
  }

  /** Asks for a block. The caller may or may not wait for it. */
  #fetch(native: NativeReader): Promise<BlockData | undefined> {
    const ahead = new Promise<BlockData | undefined>((resolve, reject) => {
      // Not a function written here: V8 makes those that are assigned to a property in the old generation, and what they hold, the
      // block in the end, would live until a full collection of garbage.
      this.#interrupt = resolve
      this.#environment.request(native.next(this.#blockBytes)).then(({ block, caughtUp = false }) => {
        this.#caughtUp = caughtUp
        resolve(block)
      }, reject)
    })
    // If it fails, that is told when somebody asks for what is in it.
    ahead.catch(() => {})
    this.#ahead = ahead
    return ahead
  }

  /** @internal The signal has been aborted. */
  abort(): void {
    this.#fail(new AbortError(this.#signal as AbortSignal))
  }

  /**
   * @internal The log has been cut. What was read ahead may not be in it any more: reading begins anew after the last record given out,
   * and ends where the log was cut.
   */
  cut(): void {
    const native = this.#native
    if (native === undefined || native.kept() === null) return
    // A reader that salvages meets the cut itself: what it left out is known to it alone.
    if (this.#salvage) return
    let kept
    try {
      const resumed = this.#channel.resume(native, this.#next, this.#to, this.#manner())
      kept = resumed.kept
      // What it has given rests on what was kept.
      if (!this.#follow && this.#next !== undefined) this.#to = Math.min(this.#to, kept)
      this.#native = resumed.reader
    } catch (error) {
      return this.#fail(error)
    }
    native.release()
    this.#block = undefined
    this.#at = this.#count = 0
    // Those ahead are met again.
    const next = this.#next ?? 0
    this.#holes = this.#holes.filter(({ first }) => first < next)
    this.#interrupt?.(undefined)
    this.#ahead = this.#interrupt = undefined
    this.#onKept?.(kept)
  }

  /** @internal The log has been closed. */
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
    this.#leave?.()
    this.#handle = this.#leave = undefined
    this.#block = undefined
    this.#at = this.#count = 0
    this.#interrupt?.(undefined)
    this.#native?.release()
    this.#native = undefined
    this.#ahead = this.#interrupt = undefined
  }
}
