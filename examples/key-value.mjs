// A small key-value store: a Map for reading, a log for surviving. Every change is appended before
// it is applied; opening replays the log into the Map.
//
//     node examples/key-value.mjs [DIRECTORY]

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Record, Wal } from '../index.js' // in your project: from 'forelog'

class Store {
  #wal
  #entries = new Map()

  static async open(dir) {
    const store = new Store()
    store.#wal = await Wal.open(dir)
    for await (const record of store.#wal.readFrom('start')) store.#apply(record)
    return store
  }

  get(key) {
    return this.#entries.get(key)
  }

  keys() {
    return [...this.#entries.keys()].sort()
  }

  // Resolved means durable: the default policy acknowledges after the fsync. Calls made at the same
  // time share one.
  async set(key, value) {
    await this.#wal.append(Record.put(key, value))
    this.#entries.set(key, value)
  }

  // A deletion is a record too, a tombstone: without it, replay would bring the key back.
  async delete(key) {
    await this.#wal.append(Record.delete(key))
    this.#entries.delete(key)
  }

  // All or nothing, also after a crash in the middle.
  async setAll(entries) {
    await this.#wal.appendBatch(entries.map(([key, value]) => Record.put(key, value)))
    for (const [key, value] of entries) this.#entries.set(key, value)
  }

  get changes() {
    return this.#wal.nextPosition - this.#wal.firstPosition
  }

  close() {
    return this.#wal.close()
  }

  // What is kept is made into strings: a record's bytes are a view of the block it was read from,
  // which would stay in memory with it.
  #apply({ key, value, tombstone }) {
    if (tombstone) this.#entries.delete(key.toString())
    else this.#entries.set(key.toString(), value.toString())
  }
}

const dir = process.argv[2] ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))

let store = await Store.open(dir)
await Promise.all([
  store.set('ada', 'first programmer'),
  store.set('grace', 'first compiler'),
  store.set('margaret', 'first software engineer'),
])
await store.set('grace', 'first linker, too')
await store.delete('ada')
await store.setAll([
  ['barbara', 'abstract data types'],
  ['frances', 'optimizing compilers'],
])
await store.close()

store = await Store.open(dir)
console.log(`${store.changes} changes in the log, ${store.keys().length} keys after replay`)
for (const key of store.keys()) console.log(`${key}: ${store.get(key)}`)
console.log(`ada: ${store.get('ada')}`)
await store.close()

if (process.argv[2] === undefined) await rm(dir, { recursive: true })
