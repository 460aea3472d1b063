// Blocks of a native reader, requested ahead of the one that is being consumed, and the memory that is lent for them.

import { Buffer } from 'node:buffer'
import { performance } from 'node:perf_hooks'
import type { BlockData, NativeReader } from '../native/calls.js'
import type { Environment } from '../native/environment.js'

const MIB = 1024 * 1024

// Large enough that a block costs little compared with its records.
const BLOCK_BYTES = 256 * 1024
// A consumer that takes no longer than this is quick. It gets larger blocks, and two of them ahead. They are small enough that it consumes
// both within about a millisecond: the event loop gets its turn only when all blocks that have arrived are consumed.
const QUICK_MS_PER_MIB = 4
const QUICK_BLOCK_BYTES = 512 * 1024
// For large records, of which the other blocks would hold only a few, so that the round trips would dominate.
const LARGE_BLOCK_BYTES = MIB
const FEW_RECORDS = 64

// For a reader that returns one record. A larger frame is read as a whole.
const SINGLE_BLOCK_BYTES = 8 * 1024

const PAGE = 4096

// Captured when the module loads, because test runners replace it by a fake.
const now = performance.now.bind(performance)

/** The answer to a request for a block. */
interface Answer {
  /** Nothing at the end of the range, and for a follower that has caught up. */
  readonly block: BlockData | undefined
  /** A follower has returned everything, so the next block has to be waited for. */
  readonly caughtUp: boolean
}

/** A block that has been requested. */
interface RequestedBlock {
  /** Nothing if the request was given up. */
  readonly answer: Promise<Answer | undefined>
  /** Gives the request up. */
  readonly giveUp: (nothing: undefined) => void
  hasArrived: boolean
}

export class BlocksAhead {
  readonly native: NativeReader
  readonly #environment: Environment
  /** The reader returns one record, so nothing is read ahead. */
  readonly #isSingle: boolean
  /** Requested blocks in order, two at most. */
  #requested: RequestedBlock[] = []
  #blockBytes: number
  /** Size of the memory to lend for a block. None is lent for the first one, and none if blocks are small: a record keeps all of it. */
  #lentBytes = 0
  /** Memory that was lent and has come back unused. */
  #unused: Buffer | undefined
  /** When the last block was returned, and the time in which a quick consumer is done with it. */
  #returnedAt = 0
  #quickMs = -Infinity

  constructor(environment: Environment, native: NativeReader, isSingle: boolean) {
    this.#environment = environment
    this.native = native
    this.#isSingle = isSingle
    this.#blockBytes = isSingle ? SINGLE_BLOCK_BYTES : BLOCK_BYTES
  }

  /** Returns the next block, or nothing at the end or after `release()`. One call at a time. While it waits, it keeps the process alive. */
  async next(): Promise<BlockData | undefined> {
    const isQuick = now() - this.#returnedAt <= this.#quickMs
    for (;;) {
      const request = this.#requested[0] ?? this.#request(true)
      const answer = await request.answer
      if (answer === undefined || request !== this.#requested[0]) return undefined
      this.#requested.shift()
      const { block, caughtUp } = answer
      if (caughtUp) this.#unused = undefined
      if (block !== undefined) {
        this.#adapt(block, isQuick)
        if (!caughtUp && !this.#isSingle) this.#requestAhead(isQuick)
        this.#quickMs = (block.bytes / MIB) * QUICK_MS_PER_MIB
        this.#returnedAt = now()
        return block
      }
      if (!caughtUp) return undefined
    }
  }

  /** Gives up all requests and releases the native reader. */
  release(): void {
    for (const { giveUp } of this.#requested) giveUp(undefined)
    this.#requested = []
    this.#unused = undefined
    this.native.release()
  }

  /**
   * Requests one block, or for a quick consumer two. They are requested together, because a wake of the reading thread costs as much as many
   * records. While that thread is still busy, a further request wakes nobody.
   */
  #requestAhead(isQuick: boolean): void {
    const isRead = this.#requested.length > 0 && this.#requested[0].hasArrived
    while (!isRead && this.#requested.length < (isQuick ? 2 : 1)) this.#request(false)
  }

  /** Requests a block. Only the request of a caller waits for records, because a wait keeps the process alive. */
  #request(waits: boolean): RequestedBlock {
    let giveUp!: (nothing: undefined) => void
    const answer = new Promise<Answer | undefined>((resolve, reject) => {
      // Store `resolve` itself and not a closure: V8 allocates closures that are assigned to a property in the old generation. What they
      // hold, in the end the block, would live until a full garbage collection.
      giveUp = resolve
      // Nobody knows how large the block will be that ends a wait, nor when.
      const memory = waits ? undefined : this.#lend()
      const completion = this.#environment.request(this.native.next(this.#blockBytes, waits, memory))
      completion.then(({ block, caughtUp = false }) => {
        request.hasArrived = true
        if (block === undefined || block.memory !== undefined) this.#unused = memory
        else block.memory = memory
        resolve({ block, caughtUp })
      }, reject)
    })
    // A failure is reported when a caller asks for a record of the block.
    answer.catch(() => {})
    const request = { answer, giveUp, hasArrived: false }
    this.#requested.push(request)
    return request
  }

  #lend(): Buffer | undefined {
    const unused = this.#unused
    this.#unused = undefined
    if (this.#lentBytes === 0) return undefined
    return unused?.length === this.#lentBytes ? unused : Buffer.allocUnsafeSlow(this.#lentBytes)
  }

  /** Adapts the size of the next blocks, and of the memory that is lent for them, to the last block. */
  #adapt({ records, index, bytes }: BlockData, isQuick: boolean): void {
    this.#blockBytes = records < FEW_RECORDS ? LARGE_BLOCK_BYTES : isQuick ? QUICK_BLOCK_BYTES : BLOCK_BYTES
    if (bytes < BLOCK_BYTES / 2) {
      this.#lentBytes = 0
      return
    }
    const room = Math.max(this.#blockBytes, index)
    const indexRoom = (room / index) * (bytes - index)
    const needed = room + indexRoom
    if (needed > this.#lentBytes || needed * 1.5 < this.#lentBytes) this.#lentBytes = Math.ceil((needed + indexRoom / 4) / PAGE) * PAGE
  }
}
