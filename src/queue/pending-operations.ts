// The promises of operations in flight, oldest first.

import type { OperationContext } from '../errors.js'

export type Resolve = (value: unknown) => void
export type Reject = (reason: unknown) => void

const MIN_ROOM = 4
const MAX_ROOM = 512

/** The run that the shared Promise executor `addToTarget` adds to. */
let target: PendingRun
const addToTarget = (resolve: (value: never) => void, reject: Reject): void => target.add(resolve as Resolve, reject)

/**
 * Consecutive operations with the functions of their promises. With `first` they resolve to consecutive positions from there, and `first`
 * must be set before the first of them is settled. Without it they resolve to `value`.
 */
export class PendingRun {
  first: number | undefined
  operation: number
  readonly value: unknown
  /** Operation and position for errors, if the operations are not single appends. */
  readonly context: OperationContext | undefined
  readonly resolves: Resolve[]
  readonly rejects: Reject[]
  /** Number of waiters. The arrays may be longer. */
  size = 0
  /** Number of waiters settled. */
  settledCount = 0
  next: PendingRun | undefined

  constructor(operation: number, first: number | undefined, value: unknown, context: OperationContext | undefined, room: number) {
    this.operation = operation
    this.first = first
    this.value = value
    this.context = context
    this.resolves = new Array<Resolve>(room)
    this.rejects = new Array<Reject>(room)
  }

  add(resolve: Resolve, reject: Reject): void {
    const at = this.size++
    this.resolves[at] = resolve
    this.rejects[at] = reject
  }

  /** Adds a waiter and returns its promise. Allocates no closure, and writes nothing of it to an object in the old generation. */
  wait<T>(): Promise<T> {
    if (target !== this) target = this
    return new Promise<T>(addToTarget)
  }

  get end(): number {
    return this.operation + this.size
  }
}

/** Rounds up to a power of two, so that runs of similar size get arrays of the same length. */
const roomFor = (size: number): number => (size >= MAX_ROOM ? MAX_ROOM : size <= MIN_ROOM ? MIN_ROOM : 2 << (31 - Math.clz32(size - 1)))

/**
 * A queue of runs. The functions are in parallel young arrays: there is no object per waiter, and no pointer from the old generation for
 * the garbage collector to track.
 */
export class PendingOperations {
  #oldest: PendingRun | undefined
  #newest: PendingRun | undefined
  /** Length of the next run's arrays, from the size of the last run, because growing arrays are copied again and again. */
  #room = MIN_ROOM

  /** Adds a new run that starts at `operation`. A waiter has to be added to it before anything is settled. */
  begin(operation: number, first: number | undefined, value?: unknown, context?: OperationContext): PendingRun {
    return this.link(new PendingRun(operation, first, value, context, this.#room))
  }

  /** Creates a run to be linked later, when its operation is known and it has a waiter. */
  prepare(first: number | undefined): PendingRun {
    return new PendingRun(0, first, undefined, undefined, this.#room)
  }

  /** Appends a run to the queue, unless it is already the newest. */
  link(run: PendingRun): PendingRun {
    if (this.#newest === run) return run
    if (this.#newest === undefined) this.#oldest = run
    else this.#newest.next = run
    return (this.#newest = run)
  }

  /** Adds a waiter that resolves to a position. */
  push(operation: number, position: number, resolve: Resolve, reject: Reject): void {
    const run = this.#newest
    if (run?.first !== undefined && run.end === operation && run.first + run.size === position) run.add(resolve, reject)
    else this.begin(operation, position).add(resolve, reject)
  }

  /** Removes the newest run, of which nothing has been settled. */
  removeNewest(run: PendingRun): void {
    let before
    for (let at = this.#oldest; at !== run; at = at?.next) before = at
    this.#newest = before
    if (before === undefined) this.#oldest = undefined
    else before.next = undefined
  }

  /** Whether there is a waiter for an operation up to this one. */
  has(upTo: number): boolean {
    return this.#oldest !== undefined && this.first <= upTo
  }

  /** Operation of the oldest waiter. Only valid if there is one. */
  get first(): number {
    const run = this.#oldest as PendingRun
    return run.operation + run.settledCount
  }

  /** Name and position of the oldest waiter's operation. Only valid if there is one. */
  get context(): OperationContext {
    const { first = 0, settledCount, context } = this.#oldest as PendingRun
    return context ?? { operation: 'append', position: first + settledCount }
  }

  /** Resolves the waiters of operations up to this one, at most `limit` of them, and returns how many. */
  resolve(upTo: number, limit: number): number {
    let count = 0
    for (let run = this.#oldest; run !== undefined && count < limit && this.has(upTo); run = this.#oldest) {
      const { resolves, first, value } = run
      const from = run.settledCount
      const to = Math.min(run.size, upTo - run.operation + 1, from + limit - count)
      // Advance first, because a callback may look at this queue.
      this.#advance(run, to)
      for (let i = from; i < to; i++) resolves[i](first === undefined ? value : first + i)
      count += to - from
    }
    return count
  }

  rejectFirst(reason: unknown): void {
    const run = this.#oldest as PendingRun
    const reject = run.rejects[run.settledCount]
    this.#advance(run, run.settledCount + 1)
    reject(reason)
  }

  #advance(run: PendingRun, settledCount: number): void {
    run.settledCount = settledCount
    if (settledCount < run.size) return
    this.#room = Math.max(roomFor(run.size), this.#room >> 1)
    this.#oldest = run.next
    // Unlink: a dead run in V8's old generation would keep every later run alive and promote it.
    run.next = undefined
    if (this.#oldest === undefined) this.#newest = undefined
  }
}
