// Optimistic concurrency: an append that expects a position gets it, or nothing is appended.

import test from 'ava'
import { Record, type WalError } from '../index.js'
import { fill, temporaryLog, values } from './helpers/log.js'

test('an append that gets the position it expects succeeds', async (t) => {
  const wal = await temporaryLog(t)
  t.is(await wal.append('a', { expect: 1 }), 1)
  t.is(await wal.append(Record.put('k', 'b', { ttlMs: 5 }), { expect: wal.nextPosition, durable: true }), 2)
  t.deepEqual(await wal.appendBatch(['c', 'd'], { expect: 3 }), { first: 3, last: 4 })
  t.is(wal.enqueue('e', { expect: 5 }), 5)
  await wal.sync()
  t.deepEqual(await values(wal.readFrom('start')), ['a', 'b', 'c', 'd', 'e'])
})

test('an append that would get another position is a conflict that states the position, and nothing is appended', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 3)
  for (const expect of [0, 3, 5, Number.MAX_SAFE_INTEGER]) {
    const error = await t.throwsAsync<WalError>(wal.append('x', { expect }), { code: 'ERR_WAL_CONFLICT' })
    t.is(error.actual, 4)
    t.is(error.position, expect)
    t.is(error.operation, 'append')
  }
  await t.throwsAsync(wal.appendBatch(['x', 'y'], { expect: 5 }), { code: 'ERR_WAL_CONFLICT' })
  t.throws(() => wal.enqueue('x', { expect: 5 }), { code: 'ERR_WAL_CONFLICT' })
  t.is(wal.nextPosition, 4)
  t.deepEqual(await wal.appendBatch(['y'], { expect: 4 }), { first: 4, last: 4 })
  t.deepEqual(await values(wal.readFrom(4)), ['y'])
})

test('of several appends that expect the same position, the first one called succeeds', async (t) => {
  const wal = await temporaryLog(t)
  const expect = wal.nextPosition
  const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((value) => wal.append(value, { expect })))
  t.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected']
  )
  t.deepEqual(await values(wal.readFrom('start')), ['a'])
})

test('expect must be a position', async (t) => {
  const wal = await temporaryLog(t)
  for (const expect of [-1, 1.5, '1', null, Number.NaN]) {
    await t.throwsAsync(wal.append('x', { expect: expect as number }), { code: 'ERR_WAL_INVALID_ARG', message: /expect/ })
  }
  t.is(await wal.append('x', { expect: undefined }), 1)
})
