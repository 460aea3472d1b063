// Reading: blocks come from the native side, one ahead of the one being consumed; records are looked up in them.

import { Block, RecordCopy, RecordView, type WalRecord } from './block.js'
import { FIRST, type Channel } from './channel.js'
import type { Environment } from './environment.js'
import { AbortError, closed, truncated, type FlippedBit } from './errors.js'
import type { BlockData, NativeReader } from './native.js'

// Large enough that a block costs little next to its records, small enough that two of them are consumed within a millisecond or so:
// only between blocks does the event loop get its turn.
const BLOCK_BYTES = 256 * 1024
// For large records, of which the other would hold a few: then the way there and back is what costs.
const LARGE_BLOCK_BYTES = 1024 * 1024
const FEW_RECORDS = 64

const END = { done: true, value: undefined } as const

/** What a reader is made for. */
export interface ReadRange {
  from: number
  /** Inclusive; `Infinity` for what was acknowledged at the call, or without end when it follows. */
  to: number
  /** Go on behind damage. */
  salvage: boolean
  /** Wait at the end for what comes. */
  follow: boolean
  copy: boolean
  signal: AbortSignal | undefined
  /** Called when the log was cut above all that was given out, and the reader goes on: with the last position kept. */
  onKept?: ((kept: number) => void) | undefined
}

/** Positions that nothing readable holds any more, and the bytes where they were. */
export interface Hole {
  first: number
  /** Inclusive. */
  last: number
  /** File name of the segment. */
  segment: string
  offset: number
  /** From `offset` to the next good record, or to the end of the file. */
  bytes: number
  /** The one bit that explains the first of the damage. */
  flipped?: FlippedBit
}

/**
 * Reads records in order of position. Made by `Wal.readFrom`.
 *
 * It is its own iterator: `for await` takes it from where it is. Leaving the loop releases it. A failure is told at every later `next()`.
 */
export class WalReader implements AsyncIterableIterator<WalRecord> {
  readonly #environment: Environment
  readonly #channel: Channel
  readonly #copy: boolean
  readonly #signal: AbortSignal | undefined
  readonly #onKept: ((kept: number) => void) | undefined
  /** The readers of the log that hold something open; a reader that was dropped is not kept alive by that. */
  readonly #readers: Set<WeakRef<WalReader>>
  readonly #self = new WeakRef(this)
  #native: NativeReader | undefined
  #block: Block | undefined
  #at = 0
  #count = 0
  #blockBytes = BLOCK_BYTES
  #position = 0
  #holes: Hole[] = []
  /** Position that is read next. */
  #next: number
  /** Last one to be read. */
  #to: number
  readonly #follow: boolean
  readonly #salvage: boolean
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
    { from, to, follow, salvage, copy, signal, onKept }: ReadRange,
    readers: Set<WeakRef<WalReader>>
  ) {
    this.#environment = environment
    this.#channel = channel
    this.#next = from
    this.#to = to
    this.#follow = follow
    this.#salvage = salvage
    this.#copy = copy
    this.#signal = signal
    this.#onKept = onKept
    this.#readers = readers
    try {
      this.#native = channel.reader(from, to, follow, salvage)
      readers.add(this.#self)
      channel.readers.add(this.#self)
    } catch (error) {
      this.#failure = error
    }
    if (signal?.aborted) this.#onAbort()
    else signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Position of the last record given, 0 before the first. Reading can be resumed at the one after it. */
  get position(): number {
    return this.#position
  }

  /** With `salvage`, what had to be left out so far, in order of positions; complete at the end. */
  get holes(): readonly Hole[] {
    return this.#holes
  }

  next(): Promise<IteratorResult<WalRecord, undefined>> {
    if (this.#waiting === 0 && this.#at < this.#count) return Promise.resolve({ done: false, value: this.#take() })
    return this.#wait(() => this.#take())
  }

  /** Ends the reader and releases what it holds open. */
  return(): Promise<IteratorResult<WalRecord, undefined>> {
    this.#end()
    return Promise.resolve(END)
  }

  /** Like `return()`, and rejects with `error`. */
  throw(error: unknown): Promise<IteratorResult<WalRecord, undefined>> {
    this.#end()
    return Promise.reject(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /**
   * The same records in arrays, which costs far less per record. Shares this reader's place; all the records that are at hand come at
   * once, so the arrays differ in length.
   */
  batches(): AsyncIterableIterator<WalRecord[]> {
    const takeAll = () => {
      const records: WalRecord[] = []
      while (this.#at < this.#count) records.push(this.#take())
      return records
    }
    return {
      next: () => this.#wait(takeAll),
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

  #take(): WalRecord {
    const block = this.#block as Block
    const record = this.#at++
    this.#position = block.firstPosition + record
    this.#next = this.#position + 1
    return this.#copy ? new RecordCopy(block, record) : new RecordView(block, record)
  }

  #wait<T>(take: () => T): Promise<IteratorResult<T, undefined>> {
    this.#waiting++
    const answer = this.#queue.then(() => this.#answer(take))
    this.#queue = answer.catch(() => {})
    return answer
  }

  async #answer<T>(take: () => T): Promise<IteratorResult<T, undefined>> {
    try {
      while (this.#at >= this.#count) if (!(await this.#nextBlock())) return END
      return { done: false, value: take() }
    } finally {
      this.#waiting--
    }
  }

  /** False at the end. */
  async #nextBlock(): Promise<boolean> {
    let data: BlockData | undefined
    let native: NativeReader | undefined
    do {
      native = this.#native
      try {
        if (native !== undefined) data = await (this.#ahead ?? this.#fetch(native))
      } catch (error) {
        if (native === this.#native) this.#fail(error)
      }
      // Another one has taken its place if the log was cut meanwhile.
    } while (native !== this.#native && this.#native !== undefined)
    if (this.#failure !== undefined) throw this.#failure
    if (data === undefined || this.#ended || this.#native === undefined) {
      this.#end()
      return false
    }
    if (data.holes !== undefined) this.#holes.push(...data.holes)
    this.#block = new Block(data)
    this.#at = 0
    this.#count = this.#block.count
    this.#blockBytes = this.#count < FEW_RECORDS ? LARGE_BLOCK_BYTES : BLOCK_BYTES
    this.#ahead = undefined
    if (!this.#caughtUp) this.#fetch(this.#native)
    return true
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

  readonly #onAbort = (): void => this.#fail(new AbortError(this.#signal as AbortSignal))

  /**
   * @internal The log has been cut. What was read ahead may not be in it any more: reading begins anew after the last record given out,
   * and ends where the log was cut.
   */
  cut(): void {
    // What is salvaged is a log that nobody changes.
    const native = this.#salvage ? undefined : this.#native
    const kept = native?.kept()
    if (native === undefined || kept === null || kept === undefined) return
    try {
      const first = this.#channel.positions()[FIRST]
      if (this.#next > kept + 1) throw truncated(this.#next, first)
      if (!this.#follow) this.#to = Math.min(this.#to, kept)
      this.#native = this.#channel.reader(this.#next, this.#to, this.#follow, false)
    } catch (error) {
      return this.#fail(error)
    }
    native.release()
    this.#block = undefined
    this.#at = this.#count = 0
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
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#block = undefined
    this.#at = this.#count = 0
    this.#interrupt?.(undefined)
    this.#native?.release()
    this.#native = undefined
    this.#ahead = this.#interrupt = undefined
    this.#readers.delete(this.#self)
    this.#channel.readers.delete(this.#self)
  }
}
