// Named cursors: durable consumer positions, stored with the log.

import { EventEmitter } from 'node:events'
import { consume, type Consumer } from '../consume/consumer.js'
import { addConsumer } from '../consume/consumption.js'
import { isConsumed, noticeEnd } from '../consume/registry.js'
import type { Source } from '../consume/source.js'
import { busy, consumedElsewhere, deleted } from '../errors.js'
import type { NativeCursor } from '../native/calls.js'
import type { Environment } from '../native/environment.js'
import { checkPosition } from '../options/check.js'
import type { BatchHandler, ConsumeBatchOptions, ConsumeOptions, Handler } from '../options/consumer-types.js'
import type { ReadOptions } from '../options/types.js'
import type { WalRecord } from '../records/block.js'
import { ageOf } from '../util/age.js'
import { soon } from '../util/timing.js'
import type { ReadRange } from './range.js'
import type { WalReader } from './reader.js'

/** How truncation moved a cursor. Both positions are the last consumed one, inclusive. */
export interface CursorMove {
  /** Position before the move. Below `to` if the front of the log was truncated: the records in between are gone and were not consumed. */
  from: number
  /** Position after the move. Below `from` if the end of the log was truncated: records after it are new and have to be consumed. */
  to: number
}

/** The part of a log handle that its cursors use. */
export interface CursorLog<V> {
  /** Operation queue of the log, which all handles of the environment share. */
  readonly queue: object
  firstPosition(): number
  acknowledgedPosition(): number
  read(from: number, options: ReadOptions<V> | undefined, onKept: ReadRange['onKept']): WalReader<V>
  /** Reads like `read`, with the values as stored. */
  readStored(from: number, options: ReadOptions, onKept: ReadRange['onKept']): WalReader
  /** Returns a record that `readStored` has read with its decoded value. Throws if the value cannot be decoded. */
  view(record: WalRecord): WalRecord<V>
  isOpen(): boolean
  /** Throws if the handle is closed. */
  checkOpen(operation: string): void
}

/** Events of a {@link Cursor}. */
export interface CursorEvents {
  /** Truncation has moved the cursor. */
  truncated: [CursorMove]
}

/**
 * A named, durable position in the log: the records up to it have been consumed. Made by `Wal.cursor`.
 *
 * A consumer that opens the cursor again, also after a crash, continues after the last committed record. Records that it had consumed but
 * not committed are read again. Retention keeps records that the cursor has not consumed. All handles on a log in one process share its
 * cursors.
 *
 * Emits `'truncated'` with a {@link CursorMove} when `truncateBefore`, `truncateAfter`, `reset` or retention has moved the cursor. If that
 * happened while the cursor was not open, the event follows soon after `Wal.cursor`.
 */
export class Cursor<V = Buffer | undefined> extends EventEmitter<CursorEvents> {
  /** Name that the cursor was opened with. */
  readonly name: string
  readonly #log: CursorLog<V>
  readonly #environment: Environment
  readonly #native: NativeCursor
  #released = false
  /** Number of readers that were made. */
  #reads = 0
  readonly #source: Source<V>
  readonly #consumers = new Set<Consumer>()

  /** @internal */
  constructor(name: string, log: CursorLog<V>, environment: Environment, native: NativeCursor) {
    super()
    this.name = name
    this.#log = log
    this.#environment = environment
    this.#native = native
    this.#source = {
      name,
      log: log.queue,
      position: () => this.position,
      firstPosition: () => log.firstPosition(),
      acknowledgedPosition: () => log.acknowledgedPosition(),
      isOpen: () => log.isOpen(),
      isDeleted: () => this.isDeleted(),
      claim: () => native.claim(),
      unclaim: () => native.unclaim(),
      readStored: (from, follow) => log.readStored(from, { follow }, this.#beginReading()),
      commitConsumed: async (position) => {
        log.checkOpen('commit')
        await environment.request(native.commit(position))
      },
      view: (record) => log.view(record),
    }
    void Cursor.#watch(new WeakRef<Cursor<V>>(this), environment, native)
  }

  /**
   * Last consumed position, inclusive, as stored durably; 0 if there is none. Never past the end of the log, and never below
   * `wal.firstPosition - 1`, because truncated records cannot be consumed any more.
   */
  get position(): number {
    return this.#native.position()
  }

  /** Number of acknowledged records that have not been consumed. */
  get lag(): number {
    return Math.max(0, this.#log.acknowledgedPosition() - this.position)
  }

  /**
   * Resolves to how long ago the first record that has not been consumed was committed, in milliseconds: how old a consumer is behind. 0 if
   * all acknowledged records have been consumed, and `undefined` if the record has no time. Reads that record.
   *
   * It compares the clock of the writer, which stamped the record, with the clock of this process. A record from the future counts as 0.
   *
   * @throws `ERR_WAL_TRUNCATED`, `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or `ERR_WAL_DETACHED`: see {@link Wal.readFrom}.
   * @example
   * ```ts
   * if (((await cursor.lagMs()) ?? 0) > 60_000) alert()
   * ```
   */
  async lagMs(): Promise<number | undefined> {
    this.#log.checkOpen('read')
    const to = this.#log.acknowledgedPosition()
    if (to <= this.position) return 0
    const reader = this.#log.readStored(this.position + 1, { to, limit: 1 }, () => {})
    try {
      const { value } = await reader.next()
      return value === undefined ? 0 : ageOf(value.committedAt)
    } finally {
      void reader.return()
    }
  }

  /**
   * Stores that all records up to `position`, inclusive, have been consumed.
   *
   * When the promise resolves, the cursor's position survives power loss, and so does the log up to it, under every `fsync` policy. Commits
   * that wait at the same time, of any cursors, share one fsync. A position that the cursor has already passed changes nothing; to go back
   * use {@link Cursor.rewind}.
   *
   * @throws `ERR_WAL_OUT_OF_RANGE`: `position` is above `acknowledgedPosition`.
   * @throws `ERR_WAL_TRUNCATED`: since the last call of `read()`, `truncateAfter` or `reset` has removed records up to `position` that its reader
   *   had already returned. Another record may be at `position` now.
   * @throws `ERR_WAL_NOT_FOUND`: the cursor was deleted.
   * @throws `ERR_WAL_BUSY`: the cursor has a consumer, which commits by itself.
   * @throws `ERR_WAL_NO_SPACE`: nothing has changed.
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_IO`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`.
   * @example
   * ```ts
   * for await (const { position, value } of cursor.read()) {
   *   await send(value)
   *   await cursor.commit(position)
   * }
   * ```
   */
  async commit(position: number): Promise<void> {
    checkPosition(position, 0, 'commit')
    this.#log.checkOpen('commit')
    this.#checkNotConsumed('commit')
    await this.#environment.request(this.#native.commit(position))
  }

  /**
   * Moves the cursor back, so that the records after `position` are read again. Durable when the promise resolves.
   *
   * @throws `ERR_WAL_OUT_OF_RANGE`: `position` is above the cursor's position.
   * @throws `ERR_WAL_TRUNCATED`: `position` is below `firstPosition - 1`.
   * @throws otherwise the errors of {@link Cursor.commit}.
   */
  async rewind(position: number): Promise<void> {
    checkPosition(position, 0, 'rewind')
    this.#log.checkOpen('rewind')
    this.#checkNotConsumed('rewind')
    await this.#environment.request(this.#native.rewind(position))
  }

  /**
   * Reads the records that have not been consumed: `wal.readFrom(cursor.position + 1, options)`. The caller has to commit.
   *
   * @throws `ERR_WAL_BUSY`: the cursor has a consumer.
   * @throws `ERR_WAL_INVALID_ARG`: an option is invalid. `next()` of the reader rejects as described at {@link Wal.readFrom}.
   */
  read(options?: ReadOptions<V>): WalReader<V> {
    this.#checkNotConsumed('read')
    return this.#log.read(this.position + 1, options, this.#beginReading())
  }

  /** Acknowledges all truncations so far, and returns the function with which the new reader acknowledges later ones. */
  #beginReading(): (kept: number) => void {
    this.#native.acknowledgeTruncations()
    const read = ++this.#reads
    // Only the reader of the last call acknowledges truncations for this cursor.
    return (kept) => read === this.#reads && this.#native.acknowledgeTruncationsIf(kept)
  }

  /**
   * Gives the records that have not been consumed to a handler, at least once each, and commits how far they have been handled.
   *
   * A record has been handled when the handler returns, or when its promise resolves. If it throws or rejects, the record is tried again
   * after a delay. When all attempts have failed, the record goes to `deadLetter`, which then counts as handled. A record whose value the
   * codec cannot decode goes there at once. Everything up to a position has to be handled before that position is committed, so a crash
   * skips nothing. It redelivers what was taken from the log after the last commit, at most `window` records.
   *
   * With `concurrency: 1`, the default, records are handled in the order of their positions. A consumer waits at the end of the log for new
   * records, unless `follow` is `false`.
   *
   * While a cursor has a consumer, `commit`, `rewind`, `read` and a second `consume` fail with `ERR_WAL_BUSY`, through every handle of this
   * process. With `share` in all of them, several consumers of one thread share the records.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid.
   * @throws `ERR_WAL_BUSY`: the cursor has a consumer, in another thread or one of the two does not share it.
   * @throws `ERR_WAL_CLOSED`; `ERR_WAL_NOT_FOUND` if the cursor was deleted. Later failures reject {@link Consumer.done}.
   * @example
   * ```ts
   * const cursor = await wal.cursor('mail')
   * const consumer = cursor.consume(async ({ value }, { signal }) => send(value, signal), { concurrency: 8, timeoutMs: 5000, deadLetter: dead })
   * // …
   * await consumer.stop()
   * ```
   */
  consume(handler: Handler<V>, options?: ConsumeOptions<V> & { batch?: undefined }): Consumer
  consume(handler: BatchHandler<V>, options: ConsumeBatchOptions<V>): Consumer
  consume(handler: Handler<V> | BatchHandler<V>, options?: ConsumeOptions<V>): Consumer {
    this.#log.checkOpen('consume')
    if (this.isDeleted()) throw deleted(this.name, 'consume')
    let hasEnded = (): void => {}
    const consumer = consume(this.#source, handler, options, () => {
      this.#consumers.delete(consumer)
      hasEnded()
    })
    this.#consumers.add(consumer)
    hasEnded = addConsumer(this.#source.log, this.name, consumer)
    return consumer
  }

  /**
   * Stops the consumers that were started through this object, for `await using`. The cursor stays. Rejects, when all of them have ended,
   * if one has failed.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const ends = await Promise.allSettled([...this.#consumers].map((consumer) => consumer.stop()))
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  /**
   * Deletes the cursor, so that retention no longer waits for it. Durable when the promise resolves.
   *
   * From the call on, `Wal.cursor` on any handle in any thread creates a new cursor of that name. Other handles' objects for the deleted
   * cursor stay dead, even if there is a new cursor of the name: their commits reject with `ERR_WAL_NOT_FOUND`, they emit no more events,
   * and deleting them again changes nothing. Its consumers fail with `ERR_WAL_NOT_FOUND`.
   *
   * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_CLOSED`, `ERR_WAL_IO`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`.
   */
  async delete(): Promise<void> {
    this.#log.checkOpen('delete')
    const removed = this.#environment.request(this.#native.remove())
    noticeEnd(this.#log.queue, this.name)
    await removed
    this.release()
  }

  /** Throws if the cursor has a consumer, which reads and commits by itself. */
  #checkNotConsumed(operation: string): void {
    if (this.isDeleted()) return
    if (isConsumed(this.#log.queue, this.name)) throw busy(this.name, operation)
    if (this.#native.isClaimedBeside()) throw consumedElsewhere(this.name, operation)
  }

  /** @internal Whether any handle has deleted the cursor, or has started to. */
  isDeleted(): boolean {
    return this.#native.isDeleted()
  }

  /** @internal Releases the native cursor; no more events are emitted. */
  release(): void {
    this.#released = true
    this.#native.release()
    noticeEnd(this.#log.queue, this.name)
  }

  // Weak, so that the pending wait does not keep the cursor, and with it its log, from being collected.
  static async #watch<V>(weak: WeakRef<Cursor<V>>, environment: Environment, native: NativeCursor): Promise<void> {
    for (;;) {
      await environment.listen(native.watch())
      const cursor = weak.deref()
      if (cursor === undefined || cursor.#released) return
      const move = native.moved()
      // In a turn of its own: an exception of a listener is the program's uncaught exception, as with every emitter.
      if (move !== null) soon(() => cursor.emit('truncated', move))
      else if (native.isDeleted()) return noticeEnd(cursor.#log.queue, cursor.name)
    }
  }
}
