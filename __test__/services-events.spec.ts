// examples/services/events.mjs, killed at random moments, its snapshots torn and removed.

import { cpSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Record, Wal } from '../index.js'
import { EventStore, eventAt, WrongRevision } from '../examples/services/events.mjs'
import { temporaryDirectory } from './helpers/directory.js'
import { random } from './helpers/kill/records.mjs'
import { has } from './helpers/needs.js'
import { live, seed } from './helpers/services.js'

const KILLS = 6
const ACCOUNTS = ['ada', 'barbara', 'grace']

/** The balance of an account at a revision, from its first event on. */
function balanceAt(revision: number): number {
  let balance = 0
  for (let n = 0; n <= revision; n += 1) {
    const { type, cents = 0 } = eventAt(n)
    balance += type === 'withdrawn' ? -cents : cents
  }
  return balance
}

/** The snapshots in a directory, newest first. */
const snapshotsIn = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => /^snapshot\.\d+$/.test(name))
    .sort()
    .reverse()
    .map((name) => path.join(dir, name))

test('after every kill the store is as the acknowledged events made it, with sound, torn and missing snapshots', async (t) => {
  if (!has(t, 'posix')) return
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const next = random(seed)
  const dir = temporaryDirectory(t)
  const acknowledged = new Map<string, number>()
  const wrong: string[] = []
  const seen = { kills: 0, used: 0, torn: 0, missing: 0, refused: 0 }
  // Position of the snapshot that the next run should begin with, and how many damaged ones it should pass over.
  let expected = 0
  let damaged = 0
  let turns = 0
  // By file: the length that the test has left of it.
  const torn = new Map<string, number>()
  for (let ended = false; !ended;) {
    // The kill comes at a random line: an answer, a refusal, or a snapshot that is being made.
    const isLast = seen.kills >= KILLS && seen.torn > 0 && seen.missing > 0
    const events = [...acknowledged.values()].reduce((sum, revision) => sum + revision + 1, 0) + (isLast ? 200 : 100_000)
    const life = await live(t, 'events', [dir, events], isLast ? Infinity : 5 + Math.floor(next() * 200))
    ended = !life.killed
    if (!ended) seen.kills += 1

    const [, from, , skipped] = /^snapshot (\d+), replayed (\d+), skipped (\d+)$/.exec(life.lines[0])!
    if (Number(from) !== expected) wrong.push(`began with ${from}, not ${expected}`)
    if (Number(skipped) !== damaged) wrong.push(`skipped ${skipped} of ${damaged} damaged snapshots`)
    if (Number(from) > 0) seen.used += 1

    const revisions = new Map<string, number>()
    for (const line of life.lines.slice(1)) {
      const [, account, revision, balance] = /^(ada|barbara|grace) (\d+)(?:: (-?\d+) cents)?$/.exec(line) ?? []
      if (line.startsWith('refused')) seen.refused += 1
      if (account === undefined) continue
      const known = revisions.get(account) ?? -1
      if (balance === undefined) {
        // An answer: one to three events more than the answer before it.
        if (Number(revision) <= known || Number(revision) > known + 3) wrong.push(`${line}, after ${known}`)
        acknowledged.set(account, Number(revision))
      } else {
        if (Number(revision) < (acknowledged.get(account) ?? -1)) wrong.push(`${line}, but ${acknowledged.get(account)} was acknowledged`)
        if (Number(balance) !== balanceAt(Number(revision))) wrong.push(`${line}, not ${balanceAt(Number(revision))}`)
      }
      revisions.set(account, Number(revision))
    }
    if (ended) break

    // In turn the newest snapshot is left as it is, torn, and removed. One that stays damaged is passed over until there is a newer one.
    const all = snapshotsIn(dir)
    const isTorn = (file: string) => torn.get(file) === statSync(file).size
    const sound = all.filter((file) => !isTorn(file))
    const turn = sound.length >= 2 ? turns++ % 3 : 0
    if (turn > 0) {
      const newest = sound.shift()!
      if (turn === 1) {
        torn.set(newest, Math.floor(next() * statSync(newest).size))
        truncateSync(newest, torn.get(newest))
        seen.torn += 1
      } else {
        rmSync(newest)
        seen.missing += 1
      }
    }
    expected = sound.length === 0 ? 0 : Number(sound[0].split('.').at(-1))
    damaged = snapshotsIn(dir).filter((file) => isTorn(file) && (sound.length === 0 || file > sound[0])).length
  }
  t.deepEqual(wrong, [])
  t.log(JSON.stringify(seen))
  t.true(seen.used > 0 && seen.refused > 0)

  // The newest snapshot and the one before it lead to the same state, and every event that is left is the right one.
  const copy = path.join(temporaryDirectory(t), 'copy')
  cpSync(dir, copy, { recursive: true })
  const [newest] = snapshotsIn(copy)
  rmSync(newest)
  const stores = [await EventStore.open(dir), await EventStore.open(copy)]
  t.true(stores[1].opened.replayed > stores[0].opened.replayed)
  for (const store of stores) {
    t.deepEqual(store.streams(), ACCOUNTS)
    for (const account of ACCOUNTS) {
      t.is(store.revision(account), acknowledged.get(account))
      t.is(store.balance(account), balanceAt(store.revision(account)))
      const read: { revision: number; event: unknown }[] = []
      for await (const item of store.read(account)) read.push(item)
      t.true(read.length > 0)
      const start = store.revision(account) - read.length + 1
      t.deepEqual(
        read,
        read.map((_, i) => ({ revision: start + i, event: eventAt(start + i) }))
      )
    }
    await store.close()
  }
})

test('of two writers that have seen the same revision one is refused, and nothing of it is stored', async (t) => {
  const store = await EventStore.open(temporaryDirectory(t))
  t.teardown(() => store.close())
  t.is(await store.append('ada', -1, [{ type: 'opened' }]), 0)
  const [one, other, elsewhere] = await Promise.allSettled([
    store.append('ada', 0, [{ type: 'deposited', cents: 5 }]),
    store.append('ada', 0, [
      { type: 'deposited', cents: 7 },
      { type: 'deposited', cents: 7 },
    ]),
    store.append('grace', -1, [{ type: 'opened' }]),
  ])
  t.like(one, { value: 1 })
  t.like(elsewhere, { value: 0 })
  const { reason } = other as PromiseRejectedResult
  t.true(reason instanceof WrongRevision)
  t.like(reason, { stream: 'ada', expected: 0, actual: 1 })
  t.is(store.balance('ada'), 5)

  // An event that is none is refused with all those beside it, and the stream goes on.
  const bad = [
    { type: 'deposited', cents: 1 },
    { type: 'deposited', cents: 'many' },
  ]
  await t.throwsAsync(store.append('ada', 1, bad), { code: 'ERR_WAL_CODEC' })
  t.is(store.balance('ada'), 5)
  t.is(await store.append('ada', 1, [{ type: 'withdrawn', cents: 2 }]), 2)
  t.is(store.balance('ada'), 3)
})

test('a snapshot that is made while events are on their way leaves them to the replay', async (t) => {
  const dir = temporaryDirectory(t)
  const store = await EventStore.open(dir)
  await store.append('ada', -1, [{ type: 'opened' }])
  const pending = store.append('ada', 0, [{ type: 'deposited', cents: 5 }])
  // The append is accepted within these microtasks. Nothing comes back from the disk before the next turn.
  for (let n = 0; n < 10; n += 1) await Promise.resolve()
  const { position } = await store.snapshot()
  t.is(position, 1)
  t.is(await pending, 1)
  await store.close()
  const again = await EventStore.open(dir)
  t.teardown(() => again.close())
  t.deepEqual(again.opened, { snapshot: 1, replayed: 1, skipped: 0 })
  t.deepEqual([again.revision('ada'), again.balance('ada')], [1, 5])
})

test('events of the first version are read as they are written now', async (t) => {
  const dir = temporaryDirectory(t)
  const first = await Wal.open<object>(path.join(dir, 'log'), { codec: 'json' })
  await first.append(Record.put('ada', { type: 'opened' }))
  await first.append(Record.put('ada', { type: 'deposited', amount: 12.34 }))
  await first.close()
  const store = await EventStore.open(dir)
  t.teardown(() => store.close())
  t.is(store.balance('ada'), 1234)
  const events: unknown[] = []
  for await (const { event } of store.read('ada')) events.push(event)
  t.deepEqual(events, [{ type: 'opened' }, { type: 'deposited', cents: 1234 }])
})
