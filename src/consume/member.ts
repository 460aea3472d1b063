// One consumer's share of a cursor's records: its handler calls, their attempts and what becomes of them.

import { AbortError, deadLetterFailed, handlerFailed, timedOut } from '../errors.js'
import type { ConsumerOptions } from '../options/consume.js'
import type { HandlerCall } from '../options/consumer-types.js'
import type { WalRecord } from '../records/block.js'
import type { Clock } from '../util/timing.js'
import { delayAfter } from './backoff.js'
import { Call, type Outcome } from './call.js'
import type { TakeDeadLetter } from './dead-letter.js'
import type { Source } from './source.js'
import type { Taken } from './watermark.js'

/** The feed that a member gets its records from. */
export interface MemberFeed {
  /** Whether these records are still to be handled: the feed may have started over. */
  isCurrent(taken: Taken): boolean
  finish(taken: Taken): void
  /** Takes records back that were not handled. */
  giveBack(taken: Taken[]): void
  /** Hands out records to members that have room. */
  pump(): void
  /** Stops members whose records can no longer be committed, although they take no more of them. */
  notice(): void
}

/** Counters of a member. */
export interface MemberCounts {
  inFlight: number
  waiting: number
  handled: number
  retries: number
  dead: number
}

/** Records that are handled by one call. */
interface Unit {
  readonly taken: Taken[]
  holdsSlot: boolean
}

type AnyHandler = (records: unknown, call: HandlerCall) => unknown

export class Member {
  readonly source: Source
  readonly isShared: boolean
  readonly counts: MemberCounts = { inFlight: 0, waiting: 0, handled: 0, retries: 0, dead: 0 }
  /** Resolves when the member has stopped and nothing is in its hands any more. */
  readonly idle: Promise<void>
  /** Why the member has stopped, if not because it was asked to. */
  failure: { error: unknown } | undefined
  readonly #handler: AnyHandler
  readonly #options: ConsumerOptions
  readonly #deadLetter: TakeDeadLetter | undefined
  readonly #feed: MemberFeed
  readonly #clock: Clock
  #becomeIdle!: () => void
  #isStopping = false
  #isAbandoned = false
  #slots = 0
  #units = 0
  readonly #calls = new Set<Call>()
  /** Ends the pauses between attempts. */
  readonly #pauses = new Set<() => void>()
  /** Attempts whose pause is over, and that wait for a slot. */
  #due: (() => void)[] = []

  constructor(
    source: Source,
    handler: unknown,
    options: ConsumerOptions,
    deadLetter: TakeDeadLetter | undefined,
    feed: MemberFeed,
    clock: Clock
  ) {
    this.source = source
    this.isShared = options.share
    this.#handler = handler as AnyHandler
    this.#options = options
    this.#deadLetter = deadLetter
    this.#feed = feed
    this.#clock = clock
    this.idle = new Promise((resolve) => (this.#becomeIdle = resolve))
  }

  /** Most records of one call. */
  get batch(): number {
    return this.#options.batch ?? 1
  }

  get hasRoom(): boolean {
    return !this.#isStopping && this.#slots < this.#options.concurrency && this.#due.length === 0
  }

  /** Whether no record is in the hands of the member. */
  get isIdle(): boolean {
    return this.#units === 0
  }

  /** Handles records. The member must have room. Calls no code of the program before it returns. */
  start(taken: Taken[]): void {
    this.#slots++
    this.#units++
    void this.#handle({ taken, holdsSlot: true })
  }

  /** Takes no more records, and makes no more attempts. Running calls go on. */
  stop(): void {
    if (this.#isStopping) return
    this.#isStopping = true
    for (const end of this.#pauses) end()
    const due = this.#due
    this.#due = []
    for (const resume of due) resume()
    if (this.isIdle) this.#becomeIdle()
  }

  /** Stops because of an error. The first one counts. */
  fail(error: unknown): void {
    this.failure ??= { error }
    this.stop()
  }

  /** Gives up the calls that are running. */
  abandon(): void {
    this.#isAbandoned = true
    for (const call of this.#calls) this.#abandon(call)
  }

  #abandon(call: Call): void {
    call.abandon(new AbortError(AbortSignal.abort(), 'The consumer has stopped'))
  }

  async #handle(unit: Unit): Promise<void> {
    try {
      await this.#attempts(unit)
    } catch (error) {
      this.fail(error)
    }
    this.#feed.giveBack(unit.taken.filter(({ record }) => record !== undefined))
    this.#units--
    if (unit.holdsSlot) this.#releaseSlot()
    this.#feed.pump()
    if (this.#isStopping && this.isIdle) this.#becomeIdle()
  }

  /** Returns when the records have been handled, are dead, or are to be given back. Throws what stops the consumer. */
  async #attempts(unit: Unit): Promise<void> {
    const { taken } = unit
    const { retries, backoff } = this.#options
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#call(taken, attempt)
      if (outcome === 'abandoned') return
      if (outcome === 'done') return this.#finish(taken)
      if (attempt > retries) return taken.length === 1 ? this.#bury(taken[0], attempt, outcome.error) : this.#oneByOne(taken, attempt + 1)
      if (this.#isStopping) return
      await this.#pause(unit, delayAfter(backoff, attempt, outcome.error, Math.random))
      this.#feed.notice()
      if (this.#isStopping || !this.#feed.isCurrent(taken[0])) return
      this.counts.retries++
    }
  }

  /** The last attempt for the records of a batch. */
  async #oneByOne(taken: Taken[], attempt: number): Promise<void> {
    for (const one of taken) {
      if (this.#isStopping || !this.#feed.isCurrent(one)) return
      this.counts.retries++
      const outcome = await this.#call([one], attempt)
      if (outcome === 'abandoned') return
      if (outcome === 'done') this.#finish([one])
      else await this.#bury(one, attempt, outcome.error)
    }
  }

  #finish(taken: Taken[]): void {
    this.counts.handled += taken.length
    for (const one of taken) this.#feed.finish(one)
  }

  /** Puts a record aside. It counts as handled only once it has been taken. */
  async #bury(taken: Taken, attempts: number, error: unknown): Promise<void> {
    const { position } = taken
    const take = this.#deadLetter
    if (take === undefined) throw handlerFailed(position, attempts, error)
    const call: Call = new Call(() =>
      take(taken.record as WalRecord, {
        error,
        attempts,
        get signal() {
          return call.signal
        },
      })
    )
    const outcome = await this.#outcomeOf(call, 1)
    if (outcome === 'abandoned') return
    if (outcome !== 'done') throw deadLetterFailed(position, outcome.error)
    this.counts.dead++
    this.#feed.finish(taken)
  }

  #call(taken: Taken[], attempt: number): Promise<Outcome> {
    const { position } = taken[0]
    const { batch, timeoutMs } = this.#options
    // Made anew for each attempt: a handler may have changed the decoded values.
    const call: Call = new Call(() => {
      const records = taken.map(({ record }) => this.source.view(record as WalRecord))
      return this.#handler(batch === undefined ? records[0] : records, {
        attempt,
        position,
        get signal() {
          return call.signal
        },
      })
    })
    if (timeoutMs !== undefined) call.limit(this.#clock, timeoutMs, () => timedOut(position, timeoutMs))
    return this.#outcomeOf(call, taken.length)
  }

  async #outcomeOf(call: Call, records: number): Promise<Outcome> {
    this.counts.inFlight += records
    this.#calls.add(call)
    if (this.#isAbandoned) this.#abandon(call)
    const outcome = await call.outcome
    this.#calls.delete(call)
    this.counts.inFlight -= records
    return outcome
  }

  /** Waits before the next attempt. With `concurrency` above 1, others use the slot meanwhile. Ends early when the member stops. */
  async #pause(unit: Unit, milliseconds: number): Promise<void> {
    // `backoff` may have stopped the consumer.
    if (this.#isStopping) return
    const keepsSlot = this.#options.concurrency === 1
    this.counts.waiting += unit.taken.length
    const paused = new Promise<void>((resolve) => {
      const cancel = this.#clock.after(milliseconds, () => end())
      const end = () => {
        cancel()
        this.#pauses.delete(end)
        resolve()
      }
      this.#pauses.add(end)
    })
    if (!keepsSlot) {
      unit.holdsSlot = false
      this.#releaseSlot()
      this.#feed.pump()
    }
    await paused
    if (!keepsSlot && !this.#isStopping) await this.#takeSlot(unit)
    this.counts.waiting -= unit.taken.length
  }

  async #takeSlot(unit: Unit): Promise<void> {
    if (this.#slots === this.#options.concurrency) await new Promise<void>((resolve) => this.#due.push(resolve))
    else this.#slots++
    // A stop resumes all that wait, without a slot.
    unit.holdsSlot = !this.#isStopping
  }

  /** Gives the slot to the attempt that has waited longest for one, or makes it free. */
  #releaseSlot(): void {
    const next = this.#due.shift()
    if (next === undefined) this.#slots--
    else next()
  }
}
