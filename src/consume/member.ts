// One consumer's share of a cursor's records: its handler calls, their attempts and what becomes of them.

import { AbortError, deadLetterFailed, handlerFailed, timedOut, unhandled, WalError } from '../errors.js'
import type { ConsumerOptions } from '../options/consume.js'
import type { HandlerCall } from '../options/consumer-types.js'
import type { WalRecord } from '../records/block.js'
import type { Clock } from '../util/timing.js'
import { delayAfter } from './backoff.js'
import { Call, type Failure, type Outcome } from './call.js'
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
      await this.#attempts(unit, unit.taken)
    } catch (error) {
      this.fail(error)
    }
    this.#feed.giveBack(unit.taken.filter(({ record }) => record !== undefined))
    this.#units--
    if (unit.holdsSlot) this.#releaseSlot()
    this.#feed.pump()
    if (this.#isStopping && this.isIdle) this.#becomeIdle()
  }

  /** Returns when these records of a unit have been handled, are dead, or are to be given back. Throws what stops the consumer. */
  async #attempts(unit: Unit, taken: Taken[]): Promise<void> {
    const { retries, backoff } = this.#options
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#call(taken, attempt)
      if (outcome === 'abandoned') return
      if (outcome === 'done') return this.#finish(taken)
      const { undecodable } = outcome
      if (undecodable !== undefined) return this.#around(unit, taken, undecodable, attempt - 1, outcome)
      if (attempt > retries) return taken.length === 1 ? this.#bury(taken[0], attempt, outcome) : this.#oneByOne(taken, attempt + 1)
      if (this.#isStopping) return
      await this.#pause(unit, taken.length, delayAfter(backoff, attempt, outcome.error, Math.random))
      this.#feed.notice()
      if (this.#isStopping || !this.#feed.isCurrent(taken[0])) return
      this.counts.retries++
    }
  }

  /**
   * Puts a record aside whose value cannot be decoded, without a call of the handler. The records of its batch before it are handled first,
   * and those after it next.
   */
  async #around(unit: Unit, taken: Taken[], at: number, attempts: number, failure: Failure): Promise<void> {
    const [before, after] = [taken.slice(0, at), taken.slice(at + 1)]
    if (before.length > 0) {
      await this.#attempts(unit, before)
      if (this.#isStopping || before.some(({ record }) => record !== undefined)) return
    }
    await this.#bury(taken[at], attempts, failure)
    if (after.length > 0 && !this.#isStopping && this.#feed.isCurrent(after[0])) await this.#attempts(unit, after)
  }

  /** The last attempt for the records of a batch. */
  async #oneByOne(taken: Taken[], attempt: number): Promise<void> {
    for (const one of taken) {
      if (this.#isStopping || !this.#feed.isCurrent(one)) return
      this.counts.retries++
      const outcome = await this.#call([one], attempt)
      if (outcome === 'abandoned') return
      if (outcome === 'done') this.#finish([one])
      else await this.#bury(one, outcome.undecodable === undefined ? attempt : attempt - 1, outcome)
    }
  }

  #finish(taken: Taken[]): void {
    this.counts.handled += taken.length
    for (const one of taken) this.#feed.finish(one)
  }

  /** Puts a record aside. It counts as handled only once it has been taken. */
  async #bury(taken: Taken, attempts: number, failure: Failure): Promise<void> {
    const { position } = taken
    const { error } = failure
    const undecodable = failure.undecodable !== undefined
    // A codec that cannot decode any value would make every record a dead letter.
    if (undecodable && !(error instanceof WalError && error.code === 'ERR_WAL_CODEC')) throw error
    const take = this.#deadLetter
    if (take === undefined) throw undecodable ? unhandled(position, error) : handlerFailed(position, attempts, error)
    const call: Call = new Call(() =>
      take(taken.record as WalRecord, {
        error,
        attempts,
        undecodable,
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

  async #call(taken: Taken[], attempt: number): Promise<Outcome> {
    const { position } = taken[0]
    const { batch, timeoutMs } = this.#options
    let undecodable = -1
    // Made anew for each attempt: a handler may have changed the decoded values.
    const view = ({ record }: Taken, at: number) => {
      try {
        return this.source.view(record as WalRecord)
      } catch (error) {
        undecodable = at
        throw error
      }
    }
    const call: Call = new Call(() => {
      const records = taken.map(view)
      return this.#handler(batch === undefined ? records[0] : records, {
        attempt,
        position,
        get signal() {
          return call.signal
        },
      })
    })
    if (timeoutMs !== undefined) call.limit(this.#clock, timeoutMs, () => timedOut(position, timeoutMs))
    const outcome = await this.#outcomeOf(call, taken.length)
    return typeof outcome === 'object' && undecodable >= 0 ? { ...outcome, undecodable } : outcome
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
  async #pause(unit: Unit, records: number, milliseconds: number): Promise<void> {
    // `backoff` may have stopped the consumer.
    if (this.#isStopping) return
    const keepsSlot = this.#options.concurrency === 1
    this.counts.waiting += records
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
    this.counts.waiting -= records
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
