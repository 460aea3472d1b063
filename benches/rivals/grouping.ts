/**
 * Group commit for a package that has transactions but does not group single appends by itself: what arrives while
 * one commit is under way, or in the same turn, becomes the next. All its callers share one promise.
 */
export class Grouping<T> {
  readonly #commit: (items: T[]) => Promise<unknown>
  #items: T[] = []
  #next: Promise<void> | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(commit: (items: T[]) => Promise<unknown>) {
    this.#commit = commit
  }

  add(item: T): Promise<void> {
    this.#items.push(item)
    this.#next ??= this.#run(this.#running)
    return this.#next
  }

  async #run(previous: Promise<void>): Promise<void> {
    await previous
    // The continuations of the commit that just ended run before this, and join.
    await new Promise(setImmediate)
    const items = this.#items
    this.#items = []
    this.#running = this.#next!
    this.#next = undefined
    await this.#commit(items)
  }
}
