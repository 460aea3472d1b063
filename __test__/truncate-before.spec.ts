// truncateBefore: the log starts later, and what is before takes no room.

import test from 'ava'
import { Wal, type WalError } from '../index.js'
import { segments } from './helpers/directory.js'
import { filledLog, numbered, SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'

test('the position becomes exactly the first one, also after reopening', async (t) => {
  const wal = await filledLog(t, 100)
  await wal.truncateBefore(42)
  t.is(wal.firstPosition, 42)
  t.is(wal.nextPosition, 101)
  t.deepEqual(await values(wal.readFrom('start')), numbered(42, 100))
  const error = await t.throwsAsync<WalError>(wal.readFrom(41).next(), { code: 'ERR_WAL_TRUNCATED' })
  t.is(error.firstPosition, 42)
  t.is(error.position, 41)
  await wal.close()
  const again = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  t.is(again.firstPosition, 42)
  t.is(again.recovery.firstPosition, 42)
  t.deepEqual(await values(again.readFrom('start')), numbered(42, 100))
  await again.close()
})

test('only whole segments below the position are removed from the directory, oldest first', async (t) => {
  const wal = await temporaryLog(t)
  const value = 'x'.repeat(1000)
  for (let i = 0; i < 400; i++) await wal.append(value)
  const before = segments(wal.dir)
  t.true(before.length >= 5)
  const starts = before.map((name) => Number.parseInt(name, 10))
  await wal.truncateBefore(starts[3] - 1)
  t.deepEqual(segments(wal.dir), before.slice(2))
  await wal.truncateBefore(starts[3])
  t.deepEqual(segments(wal.dir), before.slice(3))
  t.is(wal.stats().removedSegments, 3)
})

test('truncating at the next position empties the log, which continues from there', async (t) => {
  const wal = await filledLog(t, 10)
  await wal.truncateBefore(11)
  t.is(wal.firstPosition, 11)
  t.is(wal.nextPosition, 11)
  t.deepEqual(await values(wal.readFrom('start')), [])
  t.is(await wal.append('value-11'), 11)
  t.deepEqual(await values(wal.readFrom('start')), ['value-11'])
})

test('a position at or below the first one changes nothing, and one above the next is out of range', async (t) => {
  const wal = await filledLog(t, 10)
  await wal.truncateBefore(5)
  await wal.truncateBefore(5)
  await wal.truncateBefore(1)
  t.is(wal.firstPosition, 5)
  const error = await t.throwsAsync<WalError>(wal.truncateBefore(12), { code: 'ERR_WAL_OUT_OF_RANGE' })
  t.is(error.position, 12)
  t.is(error.operation, 'truncateBefore')
  for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 53, '3', undefined]) {
    await t.throwsAsync(wal.truncateBefore(bad as number), { code: 'ERR_WAL_INVALID_ARG', message: /position/ })
  }
  t.deepEqual(await values(wal.readFrom('start')), numbered(5, 10))
})

test('truncateBefore may name records that were just appended, and settles in the order of the calls', async (t) => {
  const wal = await temporaryLog(t)
  const order: string[] = []
  await Promise.all([
    wal.append('a').then(() => order.push('append')),
    wal.truncateBefore(2).then(() => order.push('truncate')),
    wal.append('b').then(() => order.push('append again')),
  ])
  t.deepEqual(order, ['append', 'truncate', 'append again'])
  t.deepEqual(await values(wal.readFrom('start')), ['b'])
})

test('a reader below the new first position ends with an error that has it, and reports no hole', async (t) => {
  const wal = await temporaryLog(t)
  for (let i = 0; i < 3000; i++) wal.enqueue('x'.repeat(1000))
  await wal.sync()
  const reader = wal.readFrom('start')
  await reader.next()
  await wal.truncateBefore(2900)
  let last = 1
  const error = await t.throwsAsync<WalError>(
    async () => {
      for await (const { position } of reader) {
        t.is(position, last + 1)
        last = position
      }
    },
    { code: 'ERR_WAL_TRUNCATED' }
  )
  t.is(error.firstPosition, 2900)
  t.is(error.position, last + 1)
})

test('truncateBefore is refused after closing', async (t) => {
  const wal = await filledLog(t, 3)
  const last = wal.truncateBefore(2)
  const closed = wal.close()
  await t.throwsAsync(wal.truncateBefore(3), { code: 'ERR_WAL_CLOSED' })
  await last
  await closed
})
