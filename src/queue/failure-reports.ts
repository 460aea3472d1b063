// In which order failures reach the caller.
//
// An operation fails by itself, and with it everything accepted after it. Until the engine knows that the failure was collected, it refuses
// further appends. Such a refusal must not overtake the rejections of the operations that it follows: a caller that appended again in
// response would be refused in the same turn forever. A failed operation without a waiting promise is reported by the next `sync()` or by
// closing.

import { forOperation, WalError } from '../errors.js'
import type { Failure } from '../native/environment.js'
import type { PendingOperations } from './pending-operations.js'

/** Error codes that refuse an append to a log open for writing only because an earlier operation failed. */
const FAILED_BEFORE = new Set(['ERR_WAL_NO_SPACE', 'ERR_WAL_READ_ONLY', 'ERR_WAL_IO', 'ERR_WAL_CORRUPT', 'ERR_WAL_TRUNCATED'])

/** Whether a call may have been refused with this error only because an operation before it failed. */
export const mayFollowFailure = (error: unknown): boolean => error instanceof WalError && FAILED_BEFORE.has(error.code)

export class FailureReports {
  /** Refused calls, each to be rejected after the operations up to `after` and before later ones. */
  #refusals: { after: number; reject: () => void }[] = []
  #unreported: WalError | undefined

  /** Failure of an operation without a waiting promise. The next `sync()` or the closing reports it. */
  get unreported(): WalError | undefined {
    return this.#unreported
  }

  /** Keeps the first failure of operations without a waiting promise. */
  readonly keep = (error: WalError): void => {
    this.#unreported ??= error
  }

  /** Forgets the unreported failure, when it is reported. */
  reported(): void {
    this.#unreported = undefined
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

  /** Rejects the operations after `settled` up to `upTo`, and in between the calls that were refused because of them. */
  reject(operations: PendingOperations, settled: number, { upTo, error }: Failure): void {
    let rejected = settled
    while (operations.has(upTo)) {
      this.rejectRefused(operations.first - 1)
      if (operations.first > rejected + 1) this.#keepEnqueued(error)
      rejected = operations.first
      operations.rejectFirst(forOperation(error, operations.context))
    }
    if (upTo > rejected) this.#keepEnqueued(error)
  }

  /** Operations without a waiter were enqueued. */
  #keepEnqueued(error: WalError): void {
    if (this.#unreported === undefined) this.keep(forOperation(error, { operation: 'append' }))
  }
}
