// A consumer of a named cursor, as the program has it.

import { checkConsume, checkHandler, checkStop, type ConsumerOptions } from '../options/consume.js'
import type { StopOptions } from '../options/consumer-types.js'
import { abortListeners } from '../util/abort-listeners.js'
import { ageOf } from '../util/age.js'
import { isAborted } from '../util/signals.js'
import { clock, type Clock } from '../util/timing.js'
import { deadLetterOf } from './dead-letter.js'
import type { Feed } from './feed.js'
import { Member } from './member.js'
import { openFeed } from './registry.js'
import type { Source } from './source.js'

/** Figures of a {@link Consumer}. Those of the cursor cover all consumers that share it. */
export interface ConsumerStats {
  /** Position up to which all records have been handled, inclusive. The cursor gets there with the next commit. */
  watermark: number
  /** Position up to which this has been committed, inclusive: a consumer continues after it, also after a crash. */
  committed: number
  /** Acknowledged records after the watermark. */
  lag: number
  /**
   * How long ago the first of these was committed, in milliseconds; 0 if there is none. `undefined` if that is not known: the record has no
   * time, or the consumer has not read it yet. Compares the clocks of the writer and of this process.
   */
  lagMs: number | undefined
  /** Records that were passed over because they had expired, with `skipExpired`. */
  expired: number
  /** Records in calls of this consumer's handler, or of `deadLetter`, that are running. */
  inFlight: number
  /** Records of this consumer that wait for their next attempt. */
  waiting: number
  /** Records that this consumer's handler has handled. */
  handled: number
  /** Attempts after the first that this consumer has made. A batch counts once. */
  retries: number
  /** Records of this consumer that `deadLetter` has taken. */
  dead: number
}

/**
 * Hands the records of a log to a handler, at least once, and commits how far they have been handled. Made by `Cursor.consume`.
 *
 * It runs until it is stopped or fails. Meanwhile it keeps the process alive.
 */
export class Consumer {
  /**
   * Resolves when the consumer has stopped, or with `follow: false` has reached the end, and what it has handled is committed.
   *
   * Rejects when it has failed. Even then the calls that were running have ended, and what was handled has been committed if that was still
   * possible. Records that were not handled are delivered again by the next consumer. A rejection that nothing handles ends the process,
   * like every other.
   *
   * - `ERR_WAL_HANDLER`: the handler has failed for a record at every attempt, or the codec cannot decode the record (`cause`), and there is
   *   no `deadLetter`.
   * - `ERR_WAL_DEAD_LETTER`: `deadLetter` did not take a record.
   * - `ERR_WAL_TRUNCATED`: truncation, a reset or retention has removed records that were not handled, or that were in hand.
   * - `ERR_WAL_NOT_FOUND`: the cursor was deleted.
   * - `ERR_WAL_CLOSED`: the log was closed.
   * - `ERR_WAL_BUSY`: a commit that was under way when the consumer began has moved the cursor.
   * - `ERR_WAL_INVALID_ARG`: `backoff` threw, or returned no delay; or the codec cannot decode any value.
   * - `ERR_WAL_NO_SPACE`, `ERR_WAL_IO` or `ERR_WAL_READ_ONLY`: the last commit failed. Before the consumer is stopped, such a commit is tried
   *   again every second.
   * - `ERR_WAL_CORRUPT`, `ERR_WAL_POISONED` or `ERR_WAL_DETACHED`: see `Wal.readFrom` and `Cursor.commit`.
   */
  readonly done: Promise<void>
  readonly #feed: Feed
  readonly #member: Member
  readonly #clock: Clock
  readonly #cancels: (() => void)[] = []

  /** @internal */
  constructor(feed: Feed, member: Member, signal: AbortSignal | undefined, clock: Clock, onEnd: () => void) {
    this.#feed = feed
    this.#member = member
    this.#clock = clock
    this.done = this.#end(onEnd)
    if (signal !== undefined && isAborted(signal)) member.stop()
    else if (signal !== undefined) this.#cancels.push(abortListeners.add(signal, () => member.stop()))
    feed.join(member)
  }

  /**
   * Takes no more records, lets the handler calls that are running end, and commits. Returns `done`.
   *
   * A record that fails now is not tried again, and one that waits for its next attempt is left: the next consumer gets them. May be called
   * again, with a shorter `graceMs`. Do not await it in the handler: it waits for the handler.
   *
   * @throws `ERR_WAL_INVALID_ARG` for invalid options, as a rejection.
   */
  stop(options?: StopOptions): Promise<void> {
    try {
      const graceMs = checkStop(options)
      if (graceMs !== undefined && !this.#member.isIdle) this.#cancels.push(this.#clock.after(graceMs, () => this.#member.abandon()))
    } catch (error) {
      return Promise.reject(error)
    }
    this.#member.stop()
    return this.done
  }

  /** Returns the current figures. After the end only `lag` and `lagMs` change, as records are appended. */
  stats(): ConsumerStats {
    const { watermark, committed, expired, oldest } = this.#feed
    const lag = Math.max(0, this.#member.source.acknowledgedPosition() - watermark)
    const lagMs = lag === 0 ? 0 : ageOf(oldest?.committedAt)
    return { watermark, committed, lag, lagMs, expired, ...this.#member.counts }
  }

  /** Stops the consumer, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** `onEnd` is no callback of `done`: a rejection that the program does not handle must stay unhandled. */
  async #end(onEnd: () => void): Promise<void> {
    await this.#member.idle
    for (const cancel of this.#cancels) cancel()
    try {
      await this.#feed.leave(this.#member)
    } catch (error) {
      // A failure of the consumer comes first.
      this.#member.failure ??= { error }
    }
    onEnd()
    if (this.#member.failure !== undefined) throw this.#member.failure.error
  }
}

/** Starts a consumer of a cursor. */
export function consume<V>(source: Source<V>, handler: unknown, given: unknown, onEnd: () => void): Consumer {
  checkHandler(handler)
  const { feed: feedOptions, consumer: options } = checkConsume(given)
  const deadLetter = deadLetterOf(options.deadLetter, source)
  const feed = openFeed(source, feedOptions, options.share)
  try {
    return consumerOf(feed, source, handler, options, deadLetter, clock, onEnd)
  } catch (error) {
    // Listening to the signal runs code of the caller if it has an `addEventListener` of its own.
    feed.closeIfEmpty()
    throw error
  }
}

/** Adds a consumer to a feed. */
export function consumerOf(
  feed: Feed,
  source: Source,
  handler: unknown,
  options: ConsumerOptions,
  deadLetter: ReturnType<typeof deadLetterOf>,
  clock: Clock,
  onEnd: () => void = () => {}
): Consumer {
  return new Consumer(feed, new Member(source, handler, options, deadLetter, feed, clock), options.signal, clock, onEnd)
}
