// A small key-value store: a Map for reading, a log for surviving. Every change is appended before
// it is applied. A checkpoint stores the Map and shortens the log; opening restores the Map and
// replays the changes since.
//
//     node examples/key-value.mjs [DIRECTORY]

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { checkpoint, Record, restore, Wal } from '../index.js' // in your project: from 'forelog'

class Store {
  #wal
  #snapshots
  #entries
  // Changes that opening replayed.
  replayed

  static async open(dir) {
    const store = new Store()
    await mkdir(dir, { recursive: true })
    store.#wal = await Wal.open(path.join(dir, 'log'))
    store.#snapshots = path.join(dir, 'snapshot')
    const { snapshot, from } = await restore(store.#snapshots, { wal: store.#wal })
    store.#entries = new Map(snapshot === undefined ? [] : JSON.parse(await snapshot.text()))
    for await (const record of store.#wal.readFrom(from)) store.#apply(record)
    store.replayed = store.#wal.nextPosition - from
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

  // Once it resolves, the next opening replays the changes since. No change may be under way: the
  // Map would not have all of those up to the position.
  checkpoint() {
    const position = this.#wal.acknowledgedPosition
    return checkpoint(this.#wal, this.#snapshots, { position, state: JSON.stringify([...this.#entries]) })
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
await store.checkpoint()
await store.setAll([
  ['barbara', 'abstract data types'],
  ['frances', 'optimizing compilers'],
])
await store.close()

store = await Store.open(dir)
console.log(`${store.replayed} changes replayed, ${store.keys().length} keys`)
for (const key of store.keys()) console.log(`${key}: ${store.get(key)}`)
console.log(`ada: ${store.get('ada')}`)
await store.close()

if (process.argv[2] === undefined) await rm(dir, { recursive: true })
