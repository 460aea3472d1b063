// When `Wal.drain()` resolves.

import { POSITIONS_MAX_PENDING_BYTES, POSITIONS_PENDING_BYTES } from '../native/wire.js'

// Operations and bytes accepted in one turn above which `drain()` ends the turn: a fraction of a millisecond of work.
const LONG_TURN = 1024
const LONG_TURN_BYTES = 1 << 20
// Pending bytes that keep the disk busy until more come. Much larger groups are slower to gather and to write.
const DRAINED_BYTES = 4 << 20

/** Whether more is pending than `drain()` waits for. */
export const isFull = (positions: Float64Array): boolean =>
  positions[POSITIONS_PENDING_BYTES] > Math.min(positions[POSITIONS_MAX_PENDING_BYTES] / 2, DRAINED_BYTES)

/** Whether a turn that has accepted this many operations has lasted long: only calls and microtasks have run since it began. */
export const isLongTurn = (accepted: number, positions: Float64Array): boolean =>
  accepted >= LONG_TURN || (accepted > 0 && positions[POSITIONS_PENDING_BYTES] > LONG_TURN_BYTES)

/** The calls of `drain()` that wait. */
export class DrainWaiters {
  /** An append was refused for want of room, and nothing has been settled since. */
  isOutOfRoom = false
  #waiting: (() => void)[] = []

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  add(resolve: () => void): void {
    this.#waiting.push(resolve)
  }

  resolveAll(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
