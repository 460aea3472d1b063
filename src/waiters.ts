// The promises that wait for their operations, oldest first.

export type Resolve = (value: unknown) => void
export type Reject = (reason: unknown) => void

const INITIAL_CAPACITY = 64

/** A ring of waiters, each for one operation, in the order of the operations. No object per waiter: four arrays side by side. */
export class Waiters {
  #operations = new Float64Array(INITIAL_CAPACITY)
  #values: unknown[] = new Array(INITIAL_CAPACITY).fill(undefined)
  #resolves: (Resolve | undefined)[] = new Array(INITIAL_CAPACITY).fill(undefined)
  #rejects: (Reject | undefined)[] = new Array(INITIAL_CAPACITY).fill(undefined)
  #mask = INITIAL_CAPACITY - 1
  #head = 0
  #size = 0

  /** Adds a waiter that will be resolved with `value`. */
  push(operation: number, value: unknown, resolve: Resolve, reject: Reject): void {
    if (this.#size > this.#mask) this.#grow()
    const at = (this.#head + this.#size) & this.#mask
    this.#operations[at] = operation
    this.#values[at] = value
    this.#resolves[at] = resolve
    this.#rejects[at] = reject
    this.#size++
  }

  /** Whether there is a waiter for an operation up to this one. */
  has(upTo: number): boolean {
    return this.#size > 0 && this.#operations[this.#head] <= upTo
  }

  /** Resolves those of the operations up to this one, `limit` of them at most; gives how many. */
  resolve(upTo: number, limit: number): number {
    const operations = this.#operations
    let count = 0
    while (count < limit && this.#size > 0 && operations[this.#head] <= upTo) {
      const at = this.#head
      const resolve = this.#resolves[at] as Resolve
      const value = this.#values[at]
      this.#drop()
      resolve(value)
      count++
    }
    return count
  }

  /** Operation of the oldest waiter; only if there is one. */
  get first(): number {
    return this.#operations[this.#head]
  }

  rejectFirst(reason: unknown): void {
    const reject = this.#rejects[this.#head] as Reject
    this.#drop()
    reject(reason)
  }

  // What it held must not be kept alive by the ring.
  #drop(): void {
    const at = this.#head
    this.#values[at] = undefined
    this.#resolves[at] = undefined
    this.#rejects[at] = undefined
    this.#head = (at + 1) & this.#mask
    this.#size--
  }

  #grow(): void {
    const capacity = this.#size
    // Unrolled, so that the oldest is first again.
    const unroll = <T>(ring: T[]): T[] => [...ring.slice(this.#head), ...ring.slice(0, this.#head), ...new Array(capacity).fill(undefined)]
    const operations = new Float64Array(capacity * 2)
    operations.set(this.#operations.subarray(this.#head))
    operations.set(this.#operations.subarray(0, this.#head), capacity - this.#head)
    this.#operations = operations
    this.#values = unroll(this.#values)
    this.#resolves = unroll(this.#resolves)
    this.#rejects = unroll(this.#rejects)
    this.#head = 0
    this.#mask = capacity * 2 - 1
  }
}
