// Named cursors: durable consumer positions, stored with the log.

import { EventEmitter } from 'node:events'
import type { NativeCursor } from '../native/calls.js'
import type { Environment } from '../native/environment.js'
import { checkPosition } from '../options/check.js'
import type { ReadOptions } from '../options/types.js'
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
  acknowledgedPosition(): number
  read(from: number, options: ReadOptions<V> | undefined, onKept: ReadRange['onKept']): WalReader<V>
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
  /** Number of calls of `read()`. */
  #reads = 0

  /** @internal */
  constructor(name: string, log: CursorLog<V>, environment: Environment, native: NativeCursor) {
    super()
    this.name = name
    this.#log = log
    this.#environment = environment
    this.#native = native
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
    await this.#environment.request(this.#native.rewind(position))
  }

  /**
   * Reads the records that have not been consumed: `wal.readFrom(cursor.position + 1, options)`. The caller has to commit.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an option is invalid. `next()` of the reader rejects as described at {@link Wal.readFrom}.
   */
  read(options?: ReadOptions<V>): WalReader<V> {
    this.#native.acknowledgeTruncations()
    const read = ++this.#reads
    // Only the reader of the last call acknowledges truncations for this cursor.
    return this.#log.read(this.position + 1, options, (kept) => read === this.#reads && this.#native.acknowledgeTruncationsIf(kept))
  }

  /**
   * Deletes the cursor, so that retention no longer waits for it. Durable when the promise resolves.
   *
   * From the call on, `Wal.cursor` on any handle in any thread creates a new cursor of that name. Other handles' objects for the deleted
   * cursor stay dead, even if there is a new cursor of the name: their commits reject with `ERR_WAL_NOT_FOUND`, they emit no more events,
   * and deleting them again changes nothing.
   *
   * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_CLOSED`, `ERR_WAL_IO`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`.
   */
  async delete(): Promise<void> {
    this.#log.checkOpen('delete')
    await this.#environment.request(this.#native.remove())
    this.release()
  }

  /** @internal Whether any handle has deleted the cursor, or has started to. */
  isDeleted(): boolean {
    return this.#native.isDeleted()
  }

  /** @internal Releases the native cursor; no more events are emitted. */
  release(): void {
    this.#released = true
    this.#native.release()
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
      else if (native.isDeleted()) return
    }
  }
}
