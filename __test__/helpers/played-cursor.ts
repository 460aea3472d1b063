// A cursor whose log and disk are played by hand: the test says what is appended, and how and when commits end.

import { Feed } from '../../src/consume/feed.js'
import { consumerOf, type Consumer } from '../../src/consume/consumer.js'
import { deadLetterOf } from '../../src/consume/dead-letter.js'
import type { Source } from '../../src/consume/source.js'
import { closed } from '../../src/errors.js'
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

/** A handle on the log of a played cursor. */
export interface PlayedHandle {
  readonly source: Source
  close(): void
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
  isDeleted = false
  isClosed = false
  feed: Feed | undefined
  #wakes: (() => void)[] = []
  readonly handle = this.open()

  /** Opens one more handle on the log. */
  open(): PlayedHandle {
    let isOpen = true
    const whileOpen = <R>(what: () => R) => {
      if (!isOpen) throw closed('played')
      return what()
    }
    const source: Source = {
      name: 'played',
      log: this,
      position: () => this.stored,
      firstPosition: () => this.firstPosition,
      acknowledgedPosition: () => this.last,
      isOpen: () => isOpen,
      isDeleted: () => this.isDeleted,
      claim: () => true,
      unclaim: () => {},
      readStored: (from, follow) => this.#reader(from, follow, whileOpen),
      commitConsumed: async (position) => whileOpen(() => this.#commit(position)),
      view: (record) => record,
    }
    const close = () => {
      isOpen = false
      this.#wake()
    }
    return { source, close }
  }

  append(count: number): void {
    this.last += count
    this.#wake()
  }

  #wake(): void {
    const wakes = this.#wakes
    this.#wakes = []
    for (const wake of wakes) wake()
  }

  consume(handler: unknown, given: ConsumeOptions & { batch?: number } = {}, { source } = this.handle): Consumer {
    const { feed, consumer } = checkConsume(given)
    const before = this.isClosed ? undefined : this.feed
    if (before === undefined || before.failure !== undefined) {
      this.isClosed = false
      const onClosed = () => (this.isClosed ||= opened === this.feed)
      // Turns pass only where a test says so.
      const opened: Feed = new Feed(source, feed, this.clock, onClosed, before?.closed, { isLong: () => false })
      this.feed = opened
    }
    return consumerOf(this.feed as Feed, source, handler, consumer, deadLetterOf(given.deadLetter, source), this.clock)
  }

  #reader(from: number, follow: boolean, whileOpen: <R>(what: () => R) => R): ReturnType<Source['readStored']> {
    let next = from
    let ended = false
    const record = () => ({ position: next++, value: Buffer.from('x') }) as WalRecord
    const nextResult = async (): Promise<IteratorResult<WalRecord, undefined>> => {
      while (whileOpen(() => !ended) && next > this.last && follow) await new Promise<void>((resolve) => this.#wakes.push(resolve))
      return ended || next > this.last ? { done: true, value: undefined } : { done: false, value: record() }
    }
    const takeNow = (limit: number) => {
      try {
        return whileOpen(() => Array.from({ length: Math.min(limit, this.last - next + 1) }, record))
      } catch {
        return []
      }
    }
    const end = async () => {
      ended = true
      this.#wake()
    }
    return { next: nextResult, takeNow, failure: undefined, return: end }
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
