// An event store. Every event belongs to a stream, a writer says which revision of the stream it has
// seen, and one that is behind is refused. The balances are a projection: a snapshot, and the events
// after it.
//
//     node examples/services/events.mjs [DIRECTORY [EVENTS]]
//
// Three tellers write to three accounts until there are that many events, 200 unless you say more.
// Kill it and run it again with the same directory: it continues where it was.

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod' // npm install zod
import { checkpoint, Record, restore, Wal } from '../../index.js' // in your project: from 'forelog'

const schema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('opened') }),
  z.object({ type: z.literal('deposited'), cents: z.int() }),
  z.object({ type: z.literal('withdrawn'), cents: z.int() }),
])

/** The first version of this program stored `amount`, in euros. */
const upcast = ({ amount, ...event }) => (amount === undefined ? event : { ...event, cents: Math.round(amount * 100) })

export class WrongRevision extends Error {
  constructor(stream, expected, actual) {
    super(`${stream} is at revision ${actual}, not ${expected}`)
    Object.assign(this, { name: 'WrongRevision', stream, expected, actual })
  }
}

export class EventStore {
  #wal
  #snapshots
  // By stream: its revision, its balance, and the positions of the events that are still in the log.
  #streams = new Map()
  // Position of the last event that the streams have the effect of.
  #position = 0
  // By stream: the append that the next one waits for.
  #turns = new Map()
  /** What opening did: position of the snapshot, events replayed, damaged snapshots passed over. */
  opened

  static async open(dir) {
    const store = new EventStore()
    await mkdir(dir, { recursive: true })
    store.#wal = await Wal.open(path.join(dir, 'log'), { codec: { name: 'event', schema, upcast }, segmentBytes: 64 << 10 })
    store.#snapshots = path.join(dir, 'snapshot')
    const { snapshot, from, skipped } = await restore(store.#snapshots, { wal: store.#wal })
    if (snapshot !== undefined) store.#streams = new Map(JSON.parse(await snapshot.text()))
    store.#position = from - 1
    for await (const { position, key, value } of store.#wal.readFrom(from)) store.#apply(position, String(key), value)
    store.opened = { snapshot: from - 1, replayed: store.#position - from + 1, skipped: skipped.length }
    return store
  }

  streams() {
    return [...this.#streams.keys()].sort()
  }

  /** The revision of the last event of a stream; -1 if it has none. */
  revision(stream) {
    return this.#streams.get(stream)?.revision ?? -1
  }

  balance(stream) {
    return this.#streams.get(stream)?.balance ?? 0
  }

  /** Appends all events or none, if the stream is at the revision `expected`. Resolves once they are durable, to the new revision. */
  append(stream, expected, events) {
    const turn = (this.#turns.get(stream) ?? Promise.resolve()).then(async () => {
      const actual = this.revision(stream)
      if (actual !== expected) throw new WrongRevision(stream, expected, actual)
      const { first } = await this.#wal.appendBatch(events.map((event) => Record.put(stream, event)))
      for (const [i, event] of events.entries()) this.#apply(first + i, stream, event)
      return this.revision(stream)
    })
    this.#turns.set(
      stream,
      turn.catch(() => {})
    )
    return turn
  }

  /** The events of a stream with their revisions, as far as the log still has them. */
  async *read(stream) {
    const { revision = -1, positions = [] } = this.#streams.get(stream) ?? {}
    const left = positions.filter((position) => position >= this.#wal.firstPosition)
    for (const [i, position] of left.entries()) {
      const { value: event } = await this.#wal.get(position)
      yield { revision: revision - left.length + 1 + i, event }
    }
  }

  /** Stores the streams, and lets the log forget the events before the last snapshot but one. */
  async snapshot() {
    const { firstPosition } = this.#wal
    for (const state of this.#streams.values()) state.positions = state.positions.filter((position) => position >= firstPosition)
    return checkpoint(this.#wal, this.#snapshots, { position: this.#position, state: JSON.stringify([...this.#streams]) })
  }

  close() {
    return this.#wal.close()
  }

  // Batches are acknowledged in the order of their positions, and so they are applied.
  #apply(position, stream, { type, cents }) {
    const state = this.#streams.get(stream) ?? { revision: -1, balance: 0, positions: [] }
    state.revision += 1
    if (type === 'deposited') state.balance += cents
    if (type === 'withdrawn') state.balance -= cents
    state.positions.push(position)
    this.#streams.set(stream, state)
    this.#position = position
  }
}

/** The event that a teller appends to an account as that revision. */
export function eventAt(revision) {
  if (revision === 0) return { type: 'opened' }
  return { type: revision % 3 === 0 ? 'withdrawn' : 'deposited', cents: 100 + (revision % 7) }
}

async function teller(store, accounts, enough) {
  while (!enough()) {
    const account = accounts[Math.floor(Math.random() * accounts.length)]
    const seen = store.revision(account)
    const events = Array.from({ length: 1 + Math.floor(Math.random() * 3) }, (_, i) => eventAt(seen + 1 + i))
    try {
      console.log(`${account} ${await store.append(account, seen, events)}`)
    } catch (error) {
      // Another teller was faster: look again, and decide again.
      if (!(error instanceof WrongRevision)) throw error
      console.log(`refused: ${error.message}`)
    }
  }
}

async function main(given, events = '200') {
  const dir = given ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))
  const store = await EventStore.open(dir)
  const { snapshot, replayed, skipped } = store.opened
  console.log(`snapshot ${snapshot}, replayed ${replayed}, skipped ${skipped}`)
  const balances = () =>
    store.streams().forEach((stream) => console.log(`${stream} ${store.revision(stream)}: ${store.balance(stream)} cents`))
  balances()

  const accounts = ['ada', 'barbara', 'grace']
  const written = () => accounts.reduce((sum, account) => sum + store.revision(account) + 1, 0)
  const snapshots = []
  let due = written() + 40
  const enough = () => {
    if (written() >= due) {
      due += 40
      snapshots.push(store.snapshot().then(({ position }) => console.log(`snapshot of ${position}`)))
    }
    return written() >= Number(events)
  }
  await Promise.all(accounts.map(() => teller(store, accounts, enough)))
  await Promise.all(snapshots)
  balances()
  await store.close()
  if (given === undefined) await rm(dir, { recursive: true })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(...process.argv.slice(2))
