// Records whose time has come are passed over, where that is asked for.

import test, { type ExecutionContext } from 'ava'
import { Record, type ReadOptions, type Wal } from '../index.js'
import { temporaryLog } from './helpers/log.js'

// Of the wall clock as these tests set it; they are serial for that.
const NOW = 1_000_000
let clock = NOW
const { now } = Date
test.before(() => {
  Date.now = () => clock
})
test.after.always(() => {
  Date.now = now
})
test.beforeEach(() => {
  clock = NOW
})

const record = (name: string, expiresAt?: number) => Record.put(name, name, { expiresAt })

/** Positions 1 to 8: expired are 1, 3, 4 and 8; 6 expires last of all, 7 never does. */
async function mixedLog(t: ExecutionContext): Promise<Wal> {
  const wal = await temporaryLog(t)
  const expiries = [0, undefined, NOW - 1, NOW, NOW + 1, NOW + 1000, undefined, 5]
  await wal.appendBatch(expiries.map((expiresAt, i) => record(`r${i + 1}`, expiresAt)))
  return wal
}

async function positions(wal: Wal, options: ReadOptions = {}, start: number | 'start' = 'start'): Promise<number[]> {
  const found: number[] = []
  for await (const { position } of wal.readFrom(start, { skipExpired: true, ...options })) found.push(position)
  return found
}

test.serial('an expired record is not returned, not even at its exact millisecond', async (t) => {
  const wal = await mixedLog(t)
  t.deepEqual(await positions(wal), [2, 5, 6, 7])
  t.deepEqual(await positions(wal, { copy: true }), [2, 5, 6, 7])
  t.deepEqual(await positions(wal, { skipExpired: false }), [1, 2, 3, 4, 5, 6, 7, 8])
  clock++
  t.deepEqual(await positions(wal), [2, 6, 7])
})

test.serial('whether a record has expired is decided when it is returned', async (t) => {
  const wal = await mixedLog(t)
  const reader = wal.readFrom('start', { skipExpired: true })
  t.is((await reader.next()).value?.position, 2)
  t.is((await reader.next()).value?.position, 5)
  clock += 1000
  t.is((await reader.next()).value?.position, 7)
})

test.serial('batches() leaves expired records out, and returns no empty array', async (t) => {
  const wal = await mixedLog(t)
  const arrays: number[][] = []
  for await (const records of wal.readFrom('start', { skipExpired: true }).batches()) arrays.push(records.map(({ position }) => position))
  t.deepEqual(arrays, [[2, 5, 6, 7]])
  const none: unknown[] = []
  for await (const records of wal.readFrom('start', { skipExpired: true, to: 1 }).batches()) none.push(records)
  t.deepEqual(none, [])
})

test.serial('limit counts only the returned records', async (t) => {
  const wal = await mixedLog(t)
  for (const [limit, expected] of [
    [0, []],
    [1, [2]],
    [2, [2, 5]],
    [4, [2, 5, 6, 7]],
    [5, [2, 5, 6, 7]],
  ] as const) {
    t.deepEqual(await positions(wal, { limit }), expected)
    const batched: number[] = []
    for await (const records of wal.readFrom('start', { skipExpired: true, limit }).batches()) {
      batched.push(...records.map(({ position }) => position))
    }
    t.deepEqual(batched, expected)
  }
  t.deepEqual(await positions(wal, { limit: 2, to: 4 }), [2])
  t.deepEqual(await positions(wal, { limit: 2 }, 6), [6, 7])
  // It ends there, although there is more, and stays ended.
  const reader = wal.readFrom('start', { skipExpired: true, limit: 1 })
  await reader.next()
  t.is(reader.position, 2)
  for (let i = 0; i < 2; i++) t.true((await reader.next()).done)
})

test.serial('the position of the reader includes expired records, so that reading on after the end repeats nothing', async (t) => {
  const wal = await mixedLog(t)
  const reader = wal.readFrom('start', { skipExpired: true })
  await reader.next()
  t.is(reader.position, 2)
  for await (const _ of reader);
  t.is(reader.position, 8)
  t.deepEqual(await positions(wal, {}, reader.position + 1), [])
  const all = wal.readFrom(3, { skipExpired: true, to: 4 })
  t.true((await all.next()).done)
  t.is(all.position, 4)
})

test.serial('a follower skips expired records as they come, and ends at its limit without waiting for more', async (t) => {
  const wal = await mixedLog(t)
  const reader = wal.readFrom('start', { skipExpired: true, follow: true, limit: 6 })
  const found: number[] = []
  const reading = (async () => {
    for await (const { position } of reader) found.push(position)
  })()
  await wal.append(record('r9', NOW))
  await wal.append(record('r10'))
  await wal.append(record('r11', 1))
  await wal.append(record('r12', NOW + 1))
  await reading
  t.deepEqual(found, [2, 5, 6, 7, 10, 12])
})

test.serial('many expired records are skipped over many blocks and segments', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const value = 'x'.repeat(100)
  for (let n = 1; n <= 20_000; n++) wal.enqueue(Record.put('k', value, n % 1000 === 0 ? {} : { expiresAt: 1 }))
  await wal.sync()
  const expected = Array.from({ length: 20 }, (_, i) => (i + 1) * 1000)
  t.deepEqual(await positions(wal), expected)
  t.deepEqual(await positions(wal, { limit: 3 }), expected.slice(0, 3))
})
