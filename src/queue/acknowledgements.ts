// The promises of `Wal.acknowledged`: one for all calls that a commit is likely to settle together.

import { forOperation, type OperationContext, type WalError } from '../errors.js'
import type { CallOptions } from '../util/call-options.js'
import { callPromise, lastReject, lastResolve, newPromise } from './call-promise.js'
import type { Reject, Resolve } from './pending-operations.js'

/** Most operations that share a promise. With more, fewer promises would be settled while the next records are on their way to the disk. */
const SHARED = 256

/** A promise for the operations from `first` to `last`, settled with the last of them. */
interface Acknowledgement {
  /** `Infinity` if the promise is one call's own. */
  first: number
  last: number
  /** Number of calls that wait for it. */
  calls: number
  readonly promise: Promise<void>
  readonly resolve: Resolve
  readonly reject: Reject
}

/**
 * The calls of `acknowledged` that wait for an operation. Operations accepted since the last kick share a promise, because the next commit
 * takes them together. Every other promise is for one operation, so that no call waits longer than it must.
 */
export class Acknowledgements {
  /** Sorted by `last`. */
  readonly #waiting: Acknowledgement[] = []
  /** The newest promise, if later operations may share it. */
  #open: Acknowledgement | undefined
  /** Number of the last operation that a kick has covered. */
  #kicked = 0
  /** Number of the last operation whose calls were rejected. Failures up to it are reported. */
  #rejected = 0

  /** Called before a kick that covers the operations up to this one. */
  kicked(upTo: number): void {
    this.#kicked = upTo
    this.#open = undefined
  }

  /**
   * Returns a promise that settles with an operation in flight. If the operation fails after the signal was aborted, `onUnreported` gets the
   * error.
   */
  wait(operation: number, call: CallOptions | undefined, onUnreported: (error: WalError) => void): Promise<void> {
    if (call !== undefined) return this.#waitAlone(operation, call, onUnreported)
    const open = this.#open
    if (open === undefined || operation < open.first || operation - open.first >= SHARED) return this.#find(operation)
    if (operation > open.last) open.last = operation
    open.calls++
    return open.promise
  }

  /** Returns the promise that the operation is covered by, or else a new one. */
  #find(operation: number): Promise<void> {
    const at = this.#indexOf(operation)
    const found = at < this.#waiting.length ? this.#waiting[at] : undefined
    // In the turn of its records, calls may come in any order.
    const joins = operation > this.#kicked && found !== undefined && found.first !== Infinity && found.last - operation < SHARED
    if (found !== undefined && (joins || found.first <= operation)) {
      found.first = Math.min(found.first, operation)
      found.calls++
      return found.promise
    }
    const promise = newPromise<void>()
    const waiting = { first: operation, last: operation, calls: 1, promise, resolve: lastResolve, reject: lastReject }
    this.#waiting.splice(at, 0, waiting)
    if (operation > this.#kicked && at + 1 === this.#waiting.length) this.#open = waiting
    return promise
  }

  #waitAlone(operation: number, call: CallOptions, onUnreported: (error: WalError) => void): Promise<void> {
    const { promise, resolve, reject } = callPromise<void>(call, 'acknowledgement', onUnreported)
    this.#waiting.splice(this.#indexOf(operation + 1), 0, { first: Infinity, last: operation, calls: 1, promise, resolve, reject })
    this.#open = undefined
    return promise
  }

  /** Index of the first promise that is not settled before this operation. */
  #indexOf(operation: number): number {
    let [from, to] = [0, this.#waiting.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if (this.#waiting[middle].last < operation) from = middle + 1
      else to = middle
    }
    return from
  }

  /** Whether a call waits for an operation up to this one. */
  has(upTo: number): boolean {
    return this.#waiting.length > 0 && this.#waiting[0].last <= upTo
  }

  /** Returns the last operation up to this one whose failure calls report, 0 if there is none. */
  lastReported(upTo: number): number {
    const at = this.#indexOf(upTo + 1)
    if (this.#isSplit(at, upTo)) return upTo
    return Math.max(at === 0 ? 0 : this.#waiting[at - 1].last, Math.min(upTo, this.#rejected))
  }

  /** Whether a promise is for operations up to this one and for later ones, which another commit has taken. */
  #isSplit(at: number, upTo: number): boolean {
    return at < this.#waiting.length && this.#waiting[at].first <= upTo
  }

  /** Resolves promises of operations up to this one, until as many calls as `limit` have been told. Returns how many that were. */
  resolve(upTo: number, limit: number): number {
    let [count, calls] = [0, 0]
    while (calls < limit && count < this.#waiting.length && this.#waiting[count].last <= upTo) calls += this.#waiting[count++].calls
    if (count > 0) for (const { resolve } of this.#take(count)) resolve(undefined)
    return calls
  }

  /**
   * Rejects the promises of operations up to this one. If a promise is also for later ones, they were accepted before the failure was known, so
   * they fail as well.
   */
  reject(upTo: number, failure: WalError, context: OperationContext): void {
    const at = this.#indexOf(upTo + 1)
    const taken = this.#take(this.#isSplit(at, upTo) ? at + 1 : at)
    this.#rejected = taken.at(-1)?.last ?? this.#rejected
    // The call site is added to the error of a promise that is one call's own.
    for (const { reject } of taken) reject(forOperation(failure, context))
  }

  #take(count: number): Acknowledgement[] {
    const taken = this.#waiting.splice(0, count)
    // The newest promise may be among them: a large group is committed before the end of its turn.
    if (this.#waiting.length === 0) this.#open = undefined
    return taken
  }
}
