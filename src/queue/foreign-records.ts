// How this environment waits for records that other clients have appended: it gets no settlement for them.

import { outOfRange } from '../errors.js'
import { POSITIONS_ACKNOWLEDGED, POSITIONS_FIRST, POSITIONS_HAS_CUT, POSITIONS_NEXT } from '../native/wire.js'
import type { CallOptions } from '../util/call-options.js'
import { callPromise } from './call-promise.js'

/** What this needs of the log's queue. */
interface Log {
  positions(): Float64Array
  truncateBefore(position: number): Promise<void>
}

export class ForeignRecords {
  readonly #log: Log
  /** An operation of this client that settles after everything accepted before it, until the kick that covers it. */
  #barrier: Promise<void> | undefined

  constructor(log: Log) {
    this.#log = log
  }

  /** Called before a kick: what is accepted later may settle after the barrier. */
  kicked(): void {
    this.#barrier = undefined
  }

  /** Whether the record at this position is acknowledged or truncated. Throws if no record has the position. */
  isAcknowledged(position: number): boolean {
    const positions = this.#log.positions()
    // The record may have got the position after a truncation that is still to be made.
    if (positions[POSITIONS_HAS_CUT] !== 0 && position < positions[POSITIONS_NEXT]) return false
    if (position <= positions[POSITIONS_ACKNOWLEDGED] || position < positions[POSITIONS_FIRST]) return true
    if (position >= positions[POSITIONS_NEXT]) throw outOfRange(position, positions[POSITIONS_NEXT])
    return false
  }

  /** Waits for the record at this position. Its rejection is not told, only that the position is free again. */
  wait(position: number, call: CallOptions | undefined): Promise<void> {
    if (call === undefined) return this.#wait(position)
    const { promise, resolve, reject } = callPromise<void>(call, 'acknowledgement', () => {})
    this.#wait(position).then(resolve, reject)
    return promise
  }

  async #wait(position: number): Promise<void> {
    // Truncating before the first possible position neither syncs nor changes anything. A record that another client has appended since the
    // barrier was accepted, or to which the position went, takes another round.
    do await (this.#barrier ??= this.#log.truncateBefore(1))
    while (!this.isAcknowledged(position))
  }
}
