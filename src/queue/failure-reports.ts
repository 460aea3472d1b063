// In which order failures reach the caller.
//
// An example: operations 1 to 5 are appends, and the disk is full when 3 is written.
//
// - 1 and 2 resolve. The engine rejects 3, 4 and 5 together, so that no record overtakes a rejected one.
// - Until the facade has collected that failure and asks for the next settlement, the engine refuses further appends with the same error.
// - Such a refusal has no operation number. If its promise rejected at once, the caller would learn of it before 3, 4 and 5, and a caller
//   that appends again in response would be refused in the same turn forever. So the refusal is deferred until 5 is rejected.
// - Appends made by the callbacks of 1 and 2 are refused as well: `LogQueue.settle` rejects 3 to 5 in the next turn.
//
// An operation that fails without a waiting promise, such as one of `enqueue`, is reported by the next `sync()`, by a call of
// `acknowledged()` that its position concerns, or by closing.

import { forOperation, WalError } from '../errors.js'
import type { Failure } from '../native/environment.js'
import type { PendingOperations } from './pending-operations.js'

/** Error codes that refuse an append to a log open for writing only because an earlier operation failed. */
const FAILED_BEFORE = new Set(['ERR_WAL_NO_SPACE', 'ERR_WAL_READ_ONLY', 'ERR_WAL_IO', 'ERR_WAL_CORRUPT', 'ERR_WAL_TRUNCATED'])

/** Returns the first position that operations appended, those after the first number up to the second. */
type FirstAfter = (after: number, upTo: number) => number | undefined

/** Whether a call may have been refused with this error only because an operation before it failed. */
export const mayFollowFailure = (error: unknown): boolean => error instanceof WalError && FAILED_BEFORE.has(error.code)

export class FailureReports {
  /** Refused calls, each to be rejected after the operations up to `after` and before later ones. */
  #refusals: { after: number; reject: () => void }[] = []
  #unreported: WalError | undefined

  /** Failure of an operation without a waiting promise, which is still to be reported. */
  get unreported(): WalError | undefined {
    return this.#unreported
  }

  /** Keeps the first failure of operations without a waiting promise. */
  readonly keep = (error: WalError): void => {
    const first = this.#unreported
    // Failures of one commit may arrive in any order.
    if (first === undefined || (error.code === first.code && (error.position ?? Infinity) < (first.position ?? 0))) this.#unreported = error
  }

  /** Forgets the unreported failure, when it is reported. */
  reported(): void {
    this.#unreported = undefined
  }

  /** Takes the unreported failure if it is of a record at this position or before it, or with `undefined` of any record. */
  report(position: number | undefined): WalError | undefined {
    const failure = this.#unreported
    if (failure?.position === undefined || (position !== undefined && failure.position > position)) return undefined
    this.#unreported = undefined
    return failure
  }

  /** Defers the rejection of a refused call until the operations up to `after` are settled. */
  defer(after: number, reject: () => void): void {
    this.#refusals.push({ after, reject })
  }

  /** Rejects the deferred calls that follow operations up to this one. */
  rejectRefused(upTo: number): void {
    let count = 0
    while (count < this.#refusals.length && this.#refusals[count].after <= upTo) count++
    if (count > 0) for (const { reject } of this.#refusals.splice(0, count)) reject()
  }

  /**
   * Rejects the operations after `settled` up to `upTo`, and in between the calls that were refused because of them.
   *
   * Those up to `told` are reported by calls of `acknowledged`. `firstAfter` returns the first position that operations appended.
   */
  reject(operations: PendingOperations, settled: number, { upTo, error }: Failure, told: number, firstAfter: FirstAfter): void {
    let rejected = settled
    const keepEnqueued = (last: number) => {
      const after = Math.max(rejected, told)
      if (last <= after || this.#unreported !== undefined) return
      this.keep(forOperation(error, { operation: 'append', position: firstAfter(after, last) }))
    }
    while (operations.has(upTo)) {
      this.rejectRefused(operations.first - 1)
      // Operations without a waiter were enqueued.
      keepEnqueued(operations.first - 1)
      rejected = operations.first
      operations.rejectFirst(forOperation(error, operations.context))
    }
    keepEnqueued(upTo)
  }
}
