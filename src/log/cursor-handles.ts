// The cursors that one handle has open.

import { closed } from '../errors.js'
import type { Environment } from '../native/environment.js'
import { Cursor, type CursorLog } from '../read/cursor.js'

/** The promise for a cursor, and the cursor itself once it is open. */
interface CursorEntry<V> {
  opening: Promise<Cursor<V>>
  cursor?: Cursor<V>
}

export class CursorHandles<V> {
  readonly #environment: Environment
  readonly #number: number
  readonly #log: CursorLog<V>
  readonly #entries = new Map<string, CursorEntry<V>>()

  /** `number` is that of the log. */
  constructor(environment: Environment, number: number, log: CursorLog<V>) {
    this.#environment = environment
    this.#number = number
    this.#log = log
  }

  /** Returns the cursor of this name; the same object until the cursor is deleted. */
  async open(name: string, from: number): Promise<Cursor<V>> {
    const known = this.#entries.get(name)
    // Another handle may have deleted the cursor.
    if (known !== undefined && !known.cursor?.isDeleted()) return known.opening
    const entry: CursorEntry<V> = { opening: this.#open(name, from) }
    this.#entries.set(name, entry)
    try {
      entry.cursor = await entry.opening
      return entry.cursor
    } catch (error) {
      if (this.#entries.get(name) === entry) this.#entries.delete(name)
      throw error
    }
  }

  async #open(name: string, from: number): Promise<Cursor<V>> {
    const { cursor } = await this.#environment.request(this.#environment.native.cursor(this.#number, name, from))
    if (cursor === undefined) throw closed('cursor')
    this.#log.checkOpen('cursor')
    return new Cursor(name, this.#log, this.#environment, cursor)
  }

  /** Releases all cursors, when the handle is closed. */
  release(): void {
    for (const { opening } of this.#entries.values()) opening.then((cursor) => cursor.release()).catch(() => {})
  }
}
