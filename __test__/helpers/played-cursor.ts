// A cursor whose log and disk are played by hand: the test says what is appended, and how and when commits end.

import { Feed } from '../../src/consume/feed.js'
import { consumerOf, type Consumer } from '../../src/consume/consumer.js'
import { deadLetterOf } from '../../src/consume/dead-letter.js'
import type { Source } from '../../src/consume/source.js'
import { checkConsume } from '../../src/options/consume.js'
import type { ConsumeOptions, HandlerCall } from '../../src/options/consumer-types.js'
import type { WalRecord } from '../../src/records/block.js'
import { ScriptedClock } from './scripted-clock.js'

/** A commit that has begun and not ended. */
export interface PlayedCommit {
  position: number
  succeed(): void
  fail(error: unknown): void
}

export class PlayedCursor {
  readonly clock = new ScriptedClock()
  /** Positions of the commits that have begun. */
  readonly commits: number[] = []
  /** Commits end only when the test says so. */
  isSlow = false
  pending: PlayedCommit[] = []
  stored = 0
  firstPosition = 1
  last = 0
  isOpen = true
  isDeleted = false
  isClosed = false
  feed: Feed | undefined
  #wake: (() => void) | undefined

  readonly source: Source = {
    name: 'played',
    log: this,
    position: () => this.stored,
    firstPosition: () => this.firstPosition,
    acknowledgedPosition: () => this.last,
    isOpen: () => this.isOpen,
    isDeleted: () => this.isDeleted,
    readStored: (from, follow) => this.#reader(from, follow),
    commitConsumed: (position) => this.#commit(position),
    view: (record) => record,
  }

  append(count: number): void {
    this.last += count
    this.#wake?.()
    this.#wake = undefined
  }

  consume(handler: unknown, given: ConsumeOptions & { batch?: number } = {}): Consumer {
    const { feed, consumer } = checkConsume(given)
    if (this.feed === undefined || this.isClosed) {
      this.isClosed = false
      this.feed = new Feed(this.source, feed, this.clock, () => (this.isClosed = true))
    }
    return consumerOf(this.feed, this.source, handler, consumer, deadLetterOf(given.deadLetter, this.source), this.clock)
  }

  #reader(from: number, follow: boolean): ReturnType<Source['readStored']> {
    let next = from
    let ended = false
    const record = () => ({ position: next++, value: Buffer.from('x') }) as WalRecord
    const nextResult = async (): Promise<IteratorResult<WalRecord, undefined>> => {
      while (!ended && next > this.last && follow) await new Promise<void>((resolve) => (this.#wake = resolve))
      return ended || next > this.last ? { done: true, value: undefined } : { done: false, value: record() }
    }
    const end = async () => {
      ended = true
      this.#wake?.()
    }
    return { next: nextResult, takeNow: (limit) => Array.from({ length: Math.min(limit, this.last - next + 1) }, record), return: end }
  }

  #commit(position: number): Promise<void> {
    this.commits.push(position)
    return new Promise((resolve, reject) => {
      const succeed = () => {
        this.stored = Math.max(this.stored, position)
        resolve()
      }
      if (this.isSlow) this.pending.push({ position, succeed, fail: reject })
      else succeed()
    })
  }
}

/** A handler whose calls end when the test says so. */
export function byHand() {
  const calls: { position: number; attempt: number; signal: AbortSignal; done(): void; fail(error?: unknown): void }[] = []
  const handler = ({ position }: { position: number }, { attempt, signal }: HandlerCall) =>
    new Promise<void>((resolve, reject) => {
      calls.push({ position, attempt, signal, done: resolve, fail: (error = new Error('no')) => reject(error) })
    })
  return { calls, handler }
}
