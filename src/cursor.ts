// Named cursors: how far somebody has worked the log off, kept in the log.

import { EventEmitter } from 'node:events'
import type { Environment } from './environment.js'
import type { NativeCursor } from './native.js'
import { checkPosition, type ReadOptions } from './options.js'
import type { ReadRange, WalReader } from './reader.js'
import { soon } from './timing.js'

/** What truncation did to a cursor: it stood at `from`, and stands at `to`. Both are the last position done, inclusive. */
export interface CursorMove {
  /** Below `to` when the beginning of the log went: the records in between are gone, and were not done. */
  from: number
  /** Below `from` when the end of the log was cut: what comes in between is new, and to be done. */
  to: number
}

/** A cursor of a log and where it stands. */
export interface CursorPosition {
  /** From 1 to 255 bytes of UTF-8. */
  name: string
  /** Last position done, 0 when none. */
  position: number
}

/** What a cursor asks of the log that it is of. */
export interface CursorLog<V> {
  acknowledgedPosition(): number
  read(from: number, options: ReadOptions | undefined, onKept: ReadRange['onKept']): WalReader<V>
  /** Throws once the handle is closed. */
  checkOpen(operation: string): void
}

/** What a {@link Cursor} emits. */
export interface CursorEvents {
  /** Truncation has moved it. */
  truncated: [CursorMove]
}

/**
 * A named place in the log that outlives the process: up to where its records are done. Made by `Wal.cursor`.
 *
 * Whoever opens the cursor again, after a crash too, goes on at the record after the last one committed; what was done and not committed
 * yet is given again. Retention keeps what a cursor has not done. All handles on a log in one process share its cursors.
 *
 * Emits `'truncated'` with a {@link CursorMove} when `truncateBefore`, `truncateAfter`, `reset` or retention has moved it; soon after
 * `Wal.cursor` also for what truncation did to it while nobody held it.
 */
export class Cursor<V = Buffer> extends EventEmitter<CursorEvents> {
  /** As it was opened by. */
  readonly name: string
  readonly #log: CursorLog<V>
  readonly #environment: Environment
  readonly #native: NativeCursor
  #released = false
  /** Times that reading began. */
  #turn = 0

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
   * Last position done, inclusive, as it is durable; 0 when none. Never past the end of the log, and never below
   * `wal.firstPosition - 1`: what truncation removed cannot be done any more.
   */
  get position(): number {
    return this.#native.position()
  }

  /** How many acknowledged records are not done. */
  get lag(): number {
    return Math.max(0, this.#log.acknowledgedPosition() - this.position)
  }

  /**
   * Says that all records up to `position`, inclusive, are done. When it resolves that survives power loss, and so does the log up to
   * there, under every `fsync` policy. Commits that wait together, of whatever cursors, share one fsync. A position that the cursor has
   * passed already changes nothing; to go back see {@link Cursor.rewind}.
   *
   * Rejects with `ERR_WAL_OUT_OF_RANGE` above `acknowledgedPosition`, with `ERR_WAL_TRUNCATED` when `truncateAfter` or `reset` has taken
   * records up to there back since `read()` was last called, and that reader has given out what is above the cut (what it was may be
   * another record now),
   * `ERR_WAL_NOT_FOUND` (the cursor was deleted), `ERR_WAL_NO_SPACE` (nothing has changed), `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`,
   * `ERR_WAL_IO`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`.
   */
  async commit(position: number): Promise<void> {
    checkPosition(position, 0, 'commit')
    this.#log.checkOpen('commit')
    await this.#environment.request(this.#native.commit(position))
  }

  /**
   * Goes back: the records after `position` are to be done again. Durable when it resolves.
   *
   * Rejects with `ERR_WAL_OUT_OF_RANGE` above the cursor's position, with `ERR_WAL_TRUNCATED` below `firstPosition - 1`, and otherwise
   * like {@link Cursor.commit}.
   */
  async rewind(position: number): Promise<void> {
    checkPosition(position, 0, 'rewind')
    this.#log.checkOpen('rewind')
    await this.#environment.request(this.#native.rewind(position))
  }

  /** Reads the records that are not done: `wal.readFrom(cursor.position + 1, options)`. Committing is up to the caller. */
  read(options?: ReadOptions): WalReader<V> {
    this.#native.heed()
    const turn = ++this.#turn
    // Of several, the last one counts.
    return this.#log.read(this.position + 1, options, (kept) => turn === this.#turn && this.#native.heedIf(kept))
  }

  /**
   * Deletes the cursor, durably when it resolves: retention does not wait for it any more. From the call on `Wal.cursor` of every handle,
   * in every thread, makes a new one. What other handles hold of the deleted one stays dead, also once there is another of its name: its
   * commits reject with `ERR_WAL_NOT_FOUND`, it is told of no truncation, and deleting it again changes nothing.
   *
   * Rejects with `ERR_WAL_NO_SPACE`, `ERR_WAL_CLOSED`, `ERR_WAL_IO`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`.
   */
  async delete(): Promise<void> {
    this.#log.checkOpen('delete')
    await this.#environment.request(this.#native.remove())
    this.release()
  }

  /** @internal Whether some handle has deleted it, or has asked to. */
  isDeleted(): boolean {
    return this.#native.isDeleted()
  }

  /** @internal Nothing more is told. */
  release(): void {
    this.#released = true
    this.#native.release()
  }

  // What waits here must not keep the cursor, and with it its log, from being collected.
  static async #watch<V>(held: WeakRef<Cursor<V>>, environment: Environment, native: NativeCursor): Promise<void> {
    for (;;) {
      await environment.listen(native.watch())
      const cursor = held.deref()
      if (cursor === undefined || cursor.#released) return
      const move = native.moved()
      // On its own: what a listener throws is the program's uncaught exception, as with every emitter.
      if (move !== null) soon(() => cursor.emit('truncated', move))
      else if (native.isDeleted()) return
    }
  }
}
