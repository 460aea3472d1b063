// A queue whose log is played by hand: the test says which operations succeed, which fail, and what other clients append.

import { WalError } from '../../src/errors.js'
import type { Environment } from '../../src/native/environment.js'
import { RecordBuffer } from '../../src/native/record-buffer.js'
import { POSITIONS_ACKNOWLEDGED, POSITIONS_FIRST, POSITIONS_LAST_FAILING, POSITIONS_NEXT } from '../../src/native/wire.js'
import { POSITIONS_MAX_PENDING_BYTES, POSITIONS_MAX_RECORD_BYTES } from '../../src/native/wire.js'
import { DEFAULT_TERMS } from '../../src/options/append.js'
import { LogQueue } from '../../src/queue/log-queue.js'
import { Entry } from '../../src/records/record.js'
import { bufferMemory } from './buffer-memory.js'

const entry = (): Entry => new Entry(undefined, Buffer.from('x'), false, undefined, undefined)

/** Lets the callbacks of settled promises run. */
async function microtasks(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve()
}

export class PlayedQueue {
  readonly queue: LogQueue
  next = 1
  acknowledgedPosition = 0
  /** Records that are still accepted. */
  room = Infinity
  /** Operations accepted. */
  accepted = 0
  /** Names of the operations other than appends that were passed on. */
  readonly others: string[] = []
  #settled = 0
  #failures: { upTo: number; error: WalError }[] = []
  #lastFailing = 0
  #batch = 0

  constructor() {
    const recordBuffer = new RecordBuffer(bufferMemory, () => true)
    const accept = (records: number, operations = records): number => {
      if (this.#lastFailing > 0 || records > this.room) return -1
      this.room -= records
      this.accepted += operations
      this.next += records
      return this.next - records
    }
    const appendBuffered = () => {
      const first = accept([...recordBuffer.records()].length)
      if (first > 0) recordBuffer.clear(0)
      return first
    }
    const push = (count: number): number => (this.#batch += count)
    const command = (name: string, next?: number) => {
      this.others.push(name)
      this.accepted++
      this.next = next ?? this.next
      return 0
    }
    const none = () => 0
    const environment = {
      calls: {
        append: () => accept(1),
        appendBuffered,
        appendFromBuffer: appendBuffered,
        appendBufferedAndKick: appendBuffered,
        push: () => push(1),
        pushBuffered: () => {
          push([...recordBuffer.records()].length)
          return 0
        },
        commit: () => accept(this.#batch + [...recordBuffer.records()].length, 1),
        abort: none,
        sync: () => command('sync'),
        truncateBefore: () => command('truncateBefore'),
        truncateAfter: (_log: number, last: number) => command('truncateAfter', last + 1),
        reset: (_log: number, first: number) => command('reset', first),
        kick: none,
        settled: () => {
          if (this.#failures.length > 0) return -1
          this.#lastFailing = 0
          return this.#settled
        },
        positions: (_log: number, into: Float64Array) => {
          into[POSITIONS_FIRST] = 1
          into[POSITIONS_NEXT] = this.next
          into[POSITIONS_ACKNOWLEDGED] = this.acknowledgedPosition
          into[POSITIONS_MAX_PENDING_BYTES] = into[POSITIONS_MAX_RECORD_BYTES] = 1e6
          into[POSITIONS_LAST_FAILING] = this.#lastFailing
        },
      },
      recordBuffer,
      beginBatch: () => {
        recordBuffer.clear(undefined)
        this.#batch = 0
      },
      claimBuffer: () => recordBuffer.clear(0),
      abortBatch: none,
      refusal: () => new WalError(this.#lastFailing > 0 ? 'ERR_WAL_NO_SPACE' : 'ERR_WAL_BACKPRESSURE', 'full'),
      failure: () => {
        const failure = this.#failures.shift()
        this.#settled = Math.max(this.#settled, failure?.upTo ?? 0)
        return failure
      },
      ref: none,
      unref: none,
      scheduleKick: none,
    }
    this.queue = new LogQueue(environment as unknown as Environment, 0, 0, '')
  }

  enqueue(): number {
    return this.queue.enqueue(entry(), DEFAULT_TERMS)
  }

  append(): Promise<number> {
    return this.queue.append(entry(), DEFAULT_TERMS)
  }

  appendBatch(size: number): Promise<{ first: number; last: number }> {
    return this.queue.appendBatch(Array.from({ length: size }, entry), DEFAULT_TERMS)
  }

  /** The operations up to this one have succeeded, and the last of their records is at this position. */
  async settle(operation: number, position: number): Promise<void> {
    await this.settleOnce(operation, position)
    await this.deliver()
  }

  /** Like `settle`, for one turn of the event loop. */
  async settleOnce(operation: number, position: number): Promise<void> {
    this.#settled = operation
    this.acknowledgedPosition = position
    this.queue.settle()
    await microtasks()
  }

  /** The operations up to this one have failed, and the positions from `next` on are given again. */
  fail(upTo: number, next: number): void {
    this.#failures.push({ upTo, error: new WalError('ERR_WAL_NO_SPACE', 'full', { cause: new Error('ENOSPC') }) })
    this.#lastFailing = upTo
    this.next = next
  }

  /** The client collects what has settled. */
  async deliver(): Promise<void> {
    while (!this.queue.settle());
    await microtasks()
  }

  /** The turn ends. */
  kick(): void {
    this.queue.kick()
  }
}

/** How a promise has settled so far. */
export class Outcome {
  state: 'pending' | 'resolved' | 'rejected' = 'pending'
  error: WalError | undefined

  constructor(promise: Promise<unknown>) {
    promise.then(
      () => (this.state = 'resolved'),
      (error: WalError) => {
        this.state = 'rejected'
        this.error = error
      }
    )
  }
}
