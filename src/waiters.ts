// The promises that wait for their operations, oldest first.

import type { Asked } from './errors.js'

export type Resolve = (value: unknown) => void
export type Reject = (reason: unknown) => void

const LEAST_ROOM = 4
const MOST_ROOM = 512

/** Whose functions `enter` keeps. */
let entered: Run
const enter = (resolve: (value: never) => void, reject: Reject): void => entered.add(resolve as Resolve, reject)

/**
 * Consecutive operations and those who wait for them, side by side. They resolve to consecutive positions from `first` on, which is
 * known by the time the first is told; without it, to `value`.
 */
export class Run {
  first: number | undefined
  operation: number
  readonly value: unknown
  /** What the operation is, if not an append. */
  readonly asked: Asked | undefined
  readonly resolves: Resolve[]
  readonly rejects: Reject[]
  /** How many there are; the arrays may be longer. */
  size = 0
  /** How many have been told. */
  told = 0
  next: Run | undefined

  constructor(operation: number, first: number | undefined, value: unknown, asked: Asked | undefined, room: number) {
    this.operation = operation
    this.first = first
    this.value = value
    this.asked = asked
    this.resolves = new Array<Resolve>(room)
    this.rejects = new Array<Reject>(room)
  }

  add(resolve: Resolve, reject: Reject): void {
    const at = this.size++
    this.resolves[at] = resolve
    this.rejects[at] = reject
  }

  /** A promise that waits. No closure is made for it, and nothing of it is written to what the collector knows to be old. */
  wait<T>(): Promise<T> {
    if (entered !== this) entered = this
    return new Promise<T>(enter)
  }

  get end(): number {
    return this.operation + this.size
  }
}

/** A power of two, so that runs of about one size find the same room. */
const roomFor = (size: number): number =>
  size >= MOST_ROOM ? MOST_ROOM : size <= LEAST_ROOM ? LEAST_ROOM : 2 << (31 - Math.clz32(size - 1))

/** A queue of runs. Young arrays side by side: no object per waiter, and nothing that the collector of garbage has to remember. */
export class Waiters {
  #oldest: Run | undefined
  #newest: Run | undefined
  /** Room for as many as the last run had: arrays that grow are copied over and over. */
  #room = LEAST_ROOM

  /** A new run, from `operation` on. It must be given a waiter before anything is told. */
  begin(operation: number, first: number | undefined, value?: unknown, asked?: Asked): Run {
    return this.link(new Run(operation, first, value, asked, this.#room))
  }

  /** A run to be linked later, once its operation is known and it has a waiter. */
  prepare(first: number | undefined): Run {
    return new Run(0, first, undefined, undefined, this.#room)
  }

  /** Makes a run the newest, if it is not that already. */
  link(run: Run): Run {
    if (this.#newest === run) return run
    if (this.#newest === undefined) this.#oldest = run
    else this.#newest.next = run
    return (this.#newest = run)
  }

  /** Adds a waiter that will be resolved with a position. */
  push(operation: number, position: number, resolve: Resolve, reject: Reject): void {
    const run = this.#newest
    if (run?.first !== undefined && run.end === operation && run.first + run.size === position) run.add(resolve, reject)
    else this.begin(operation, position).add(resolve, reject)
  }

  /** Takes away the newest run, of which nobody has been told. */
  withdraw(run: Run): void {
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

  /** Operation of the oldest waiter; only if there is one. */
  get first(): number {
    const run = this.#oldest as Run
    return run.operation + run.told
  }

  /** What the oldest waiter asked for; only if there is one. */
  get asked(): Asked {
    const { first = 0, told, asked } = this.#oldest as Run
    return asked ?? { operation: 'append', position: first + told }
  }

  /** Resolves those of the operations up to this one, `limit` of them at most; gives how many. */
  resolve(upTo: number, limit: number): number {
    let count = 0
    for (let run = this.#oldest; run !== undefined && count < limit && this.has(upTo); run = this.#oldest) {
      const { resolves, first, value } = run
      const from = run.told
      const to = Math.min(run.size, upTo - run.operation + 1, from + limit - count)
      // Before anybody is told, who may look here.
      this.#pass(run, to)
      for (let i = from; i < to; i++) resolves[i](first === undefined ? value : first + i)
      count += to - from
    }
    return count
  }

  rejectFirst(reason: unknown): void {
    const run = this.#oldest as Run
    const reject = run.rejects[run.told]
    this.#pass(run, run.told + 1)
    reject(reason)
  }

  #pass(run: Run, told: number): void {
    run.told = told
    if (told < run.size) return
    this.#room = Math.max(roomFor(run.size), this.#room >> 1)
    this.#oldest = run.next
    // Once it is old and dead it would keep alive, and make old, every run that ever follows.
    run.next = undefined
    if (this.#oldest === undefined) this.#newest = undefined
  }
}
