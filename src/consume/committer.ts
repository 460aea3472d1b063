// Commits of a cursor by its consumers: in groups, one at a time.

import { closed, movedByOther, WalError } from '../errors.js'
import type { Clock } from '../util/timing.js'
import type { Source } from './source.js'

/** Failures after which nothing has changed, and which pass: the commit is tried again. */
const PASSING = new Set(['ERR_WAL_NO_SPACE', 'ERR_WAL_IO', 'ERR_WAL_READ_ONLY'])
const RETRY_MS = 1000

const isPassing = (error: unknown): boolean => error instanceof WalError && PASSING.has(error.code)

/** Only acknowledged records are handled: the end of the log is before one that is committed if a truncation has removed it. */
function asTruncation(error: unknown, position: number): unknown {
  if (!(error instanceof WalError) || error.code !== 'ERR_WAL_OUT_OF_RANGE') return error
  return new WalError('ERR_WAL_TRUNCATED', `position ${position} was removed by a truncation`, {
    operation: 'commit',
    position,
    cause: error,
  })
}

type CommitSource = Pick<Source, 'name' | 'position' | 'firstPosition' | 'commitConsumed'>

interface Flush {
  position: number
  resolve(): void
  reject(error: unknown): void
}

export interface CommitterEvents {
  onCommitted(): void
  /** The failure does not pass. */
  onFailure(error: unknown): void
}

export class Committer {
  /** Last position that this has made durable, or that the cursor had before. */
  committed: number
  readonly #source: CommitSource
  readonly #clock: Clock
  readonly #everyMs: number
  readonly #events: CommitterEvents
  #goal: number
  #isUnderWay = false
  /** The last commit that has begun. Never rejects. */
  #lastCommit: Promise<void> | undefined
  /** No commit begins before this moment of the clock. */
  #notBefore = -Infinity
  #isRetry = false
  #cancelTimer: (() => void) | undefined
  #flushes: Flush[] = []
  #failure: { error: unknown } | undefined
  #isClosed = false

  constructor(source: CommitSource, clock: Clock, everyMs: number, events: CommitterEvents) {
    this.#source = source
    this.#clock = clock
    this.#everyMs = everyMs
    this.#events = events
    this.committed = this.#goal = source.position()
  }

  /** Has a position committed: at once if the last commit began long enough ago, otherwise when it is time. */
  advance(position: number): void {
    if (position <= this.#goal) return
    this.#goal = position
    this.#schedule()
  }

  /** Begins a commit now, unless one is under way or is tried again later. */
  hurry(): void {
    if (this.#isUnderWay || this.#isRetry) return
    this.#notBefore = -Infinity
    this.#schedule()
  }

  /** Commits now what is to be committed. Resolves when it is durable, and rejects if it is not: no commit is tried again for this. */
  flush(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.error)
    if (this.#goal <= this.committed) return Promise.resolve()
    if (this.#isClosed) return Promise.reject(closed('commit'))
    const flushed = new Promise<void>((resolve, reject) => this.#flushes.push({ position: this.#goal, resolve, reject }))
    this.#notBefore = -Infinity
    this.#schedule()
    return flushed
  }

  /** Begins no more commits, and reports nothing more. Resolves when none is under way, which still ends its flushes. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    await this.#lastCommit
    this.#rejectFlushes(closed('commit'))
  }

  #rejectFlushes(error: unknown): void {
    const flushes = this.#flushes
    this.#flushes = []
    for (const { reject } of flushes) reject(error)
  }

  #schedule(): void {
    if (this.#isClosed || this.#failure !== undefined || this.#isUnderWay || this.#goal <= this.committed) return
    const delay = this.#notBefore - this.#clock.now()
    if (delay > 0) {
      this.#cancelTimer ??= this.#clock.after(Math.ceil(delay), () => {
        this.#cancelTimer = undefined
        this.#notBefore = -Infinity
        this.#schedule()
      })
      return
    }
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#lastCommit = this.#commit(this.#goal)
  }

  async #commit(position: number): Promise<void> {
    this.#isUnderWay = true
    this.#isRetry = false
    this.#notBefore = this.#clock.now() + this.#everyMs
    let failure: { error: unknown } | undefined
    try {
      this.#checkUnmoved(this.committed)
      await this.#source.commitConsumed(position)
      this.#checkUnmoved(position)
      this.committed = position
    } catch (error) {
      failure = { error: asTruncation(error, position) }
    }
    this.#isUnderWay = false
    if (failure === undefined) this.#resolveFlushes(position)
    else this.#rejectFlushes(failure.error)
    if (this.#isClosed) return
    if (failure === undefined) {
      this.#events.onCommitted()
      if (this.#flushes.length > 0) this.#notBefore = -Infinity
    } else if (isPassing(failure.error)) {
      this.#isRetry = true
      this.#notBefore = this.#clock.now() + RETRY_MS
    } else {
      this.#failure = failure
      return this.#events.onFailure(failure.error)
    }
    this.#schedule()
  }

  #resolveFlushes(committed: number): void {
    const flushes = this.#flushes
    this.#flushes = flushes.filter(({ position }) => position > committed)
    for (const { position, resolve } of flushes) if (position <= committed) resolve()
  }

  /**
   * Throws if the cursor is past the last commit, and truncation from the front does not explain it. No call of this thread moves a cursor
   * that is consumed, but other threads have the log open too.
   */
  #checkUnmoved(committed: number): void {
    const position = this.#source.position()
    if (position > committed && position > this.#source.firstPosition() - 1) throw movedByOther(this.#source.name, position)
  }
}
