// Counts the operations of one log, keeps the event loop alive while any is in flight, and schedules their commit.

import type { Environment, OpenLog } from '../native/environment.js'

/**
 * Operations are counted from 1, here and in the engine: an append, batch, sync or truncation counts when it is accepted. They settle in
 * order, so two counts say which are in flight.
 */
export class OperationCounter {
  /**
   * Operations accepted. The queue increments this field and `unkicked` itself, without a call: if the stack overflows there, the counts
   * here and in native code still agree.
   */
  issued = 0
  /** Operations settled. */
  settled = 0
  /** Operations accepted since the last scheduled kick. */
  unkicked = 0
  readonly #environment: Environment
  readonly #log: OpenLog
  /** A kick is scheduled. */
  #isKickDue = false
  /** The event loop is kept alive, for operations that have been accepted or are about to be. */
  #isRef = false
  #onIdle: (() => void)[] = []

  constructor(environment: Environment, log: OpenLog) {
    this.#environment = environment
    this.#log = log
  }

  get isIdle(): boolean {
    return this.issued === this.settled
  }

  /** Called before an operation is accepted: keeps the event loop alive, and schedules a kick. */
  prepare(): void {
    if (!this.#isRef) {
      this.#environment.ref()
      this.#isRef = true
    }
    if (!this.#isKickDue) {
      this.#environment.scheduleKick(this.#log, !this.isIdle)
      this.#isKickDue = true
    }
  }

  /** Called when the scheduled kick begins. */
  kicked(): void {
    this.#isKickDue = false
    this.unkicked = 0
  }

  /** Lets the event loop end if no operation is in flight: the one that was about to be accepted was refused. */
  unrefIfIdle(): void {
    if (this.isIdle) this.#unref()
  }

  settle(upTo: number): void {
    if (upTo === this.settled) return
    this.settled = upTo
    this.checkIdle()
  }

  /** Calls the functions that wait for the log to be idle, if it is. */
  checkIdle(): void {
    if (!this.isIdle) return
    this.#unref()
    for (const onIdle of this.#onIdle.splice(0)) onIdle()
  }

  /** Resolves when everything accepted has been settled. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.isIdle) resolve()
      else this.#onIdle.push(resolve)
    })
  }

  #unref(): void {
    if (!this.#isRef) return
    this.#isRef = false
    this.#environment.unref()
  }
}
