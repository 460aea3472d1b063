// The watermark: the highest position up to which every record has been handled, whatever the order in which they are.

import type { WalRecord } from '../records/block.js'

/** A record that was taken from the log, until everything up to it has been handled. */
export class Taken {
  readonly position: number
  readonly owner: Watermark
  /** Undefined once it has been handled, so that its block can be collected. */
  record: WalRecord | undefined
  next: Taken | undefined

  constructor(record: WalRecord, owner: Watermark) {
    this.position = record.position
    this.record = record
    this.owner = owner
  }
}

export class Watermark {
  /** Everything up to here has been handled, inclusive. */
  position: number
  /** Position of the last record taken. */
  head: number
  // The records after the watermark, in order.
  #oldest: Taken | undefined
  #newest: Taken | undefined

  constructor(position: number) {
    this.position = this.head = position
  }

  /** The first record after the watermark that was taken, which has not been handled. */
  get oldest(): WalRecord | undefined {
    return this.#oldest?.record
  }

  /** Adds a record after all records taken before. */
  take(record: WalRecord): Taken {
    const taken = new Taken(record, this)
    if (this.#newest === undefined) this.#oldest = taken
    else this.#newest.next = taken
    this.#newest = taken
    this.head = taken.position
    return taken
  }

  /** Notes that a record has been handled. */
  finish(taken: Taken): void {
    taken.record = undefined
    let oldest = this.#oldest
    while (oldest !== undefined && oldest.record === undefined) {
      this.position = oldest.position
      oldest = oldest.next
    }
    this.#oldest = oldest
    if (oldest === undefined) this.#newest = undefined
  }
}
