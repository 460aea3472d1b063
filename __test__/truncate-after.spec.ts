// truncateAfter and reset: the log ends earlier, or goes on elsewhere.

import test from 'ava'
import { Wal, type WalError } from '../index.js'
import { filledLog, numbered, SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'

test('the position becomes the last one, and the next append follows it', async (t) => {
  const wal = await filledLog(t, 100)
  await wal.truncateAfter(60)
  t.is(wal.nextPosition, 61)
  t.is(wal.acknowledgedPosition, 60)
  t.is(wal.durablePosition, 60)
  t.is(wal.writtenPosition, 60)
  t.is(await wal.append('other'), 61)
  t.deepEqual(await values(wal.readFrom('start')), [...numbered(1, 60), 'other'])
  await wal.close()
  const again = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  t.deepEqual(await values(again.readFrom('start')), [...numbered(1, 60), 'other'])
  await again.close()
})

test('truncateAfter can reach back over several segments', async (t) => {
  const wal = await temporaryLog(t)
  for (let n = 1; n <= 300; n++) wal.enqueue(`${n} `.padEnd(1000, 'x'))
  await wal.sync()
  for (const last of [299, 150, 64, 63, 1]) {
    await wal.truncateAfter(last)
    const read = await values(wal.readFrom('start'))
    t.is(read.length, last)
    t.true(read.every((value, i) => value?.startsWith(`${i + 1} `)))
  }
})

test('the kept part of a batch is still a batch', async (t) => {
  const wal = await temporaryLog(t)
  await wal.appendBatch(['a', 'b', 'c', 'd'])
  await wal.truncateAfter(2)
  await wal.close()
  const again = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  t.deepEqual(await values(again.readFrom('start')), ['a', 'b'])
  await again.close()
})

test('positions change at the call: the next append follows the new end', async (t) => {
  const wal = await filledLog(t, 10)
  const order: string[] = []
  const truncated = wal.truncateAfter(4).then(() => order.push('truncated'))
  t.is(wal.nextPosition, 5)
  const appended = wal.append('five', { expect: 5 }).then((position) => order.push(`appended at ${position}`))
  await Promise.all([truncated, appended])
  t.deepEqual(order, ['truncated', 'appended at 5'])
  t.deepEqual(await values(wal.readFrom('start')), [...numbered(1, 4), 'five'])
})

test('truncateAfter at the end changes nothing, before the first position it empties the log, elsewhere it is refused', async (t) => {
  const wal = await filledLog(t, 10)
  await wal.truncateBefore(4)
  await wal.truncateAfter(10)
  t.is(wal.nextPosition, 11)
  await t.throwsAsync(wal.truncateAfter(11), { code: 'ERR_WAL_OUT_OF_RANGE' })
  const error = await t.throwsAsync<WalError>(wal.truncateAfter(2), { code: 'ERR_WAL_TRUNCATED' })
  t.is(error.firstPosition, 4)
  t.is(error.operation, 'truncateAfter')
  for (const bad of [-1, 0.5, '3', 2 ** 53]) {
    await t.throwsAsync(wal.truncateAfter(bad as number), { code: 'ERR_WAL_INVALID_ARG', message: /position/ })
  }
  await wal.truncateAfter(3)
  t.is(wal.firstPosition, 4)
  t.is(wal.nextPosition, 4)
  t.deepEqual(await values(wal.readFrom('start')), [])
})

test('a reader past truncateAfter ends with an error, one before it ends at the new end', async (t) => {
  const wal = await filledLog(t, 50)
  const past = wal.readFrom('start')
  const before = wal.readFrom('start')
  const fresh = wal.readFrom(40)
  for (let i = 0; i < 30; i++) await past.next()
  for (let i = 0; i < 5; i++) await before.next()
  await wal.truncateAfter(20)
  await wal.append('other')
  const error = await t.throwsAsync<WalError>(past.next(), { code: 'ERR_WAL_TRUNCATED' })
  t.is(error.position, 31)
  await t.throwsAsync(fresh.next(), { code: 'ERR_WAL_TRUNCATED' })
  t.deepEqual(await values(before), numbered(6, 20))
  t.deepEqual(await values(wal.readFrom(20)), ['value-20', 'other'])
})

test('a reader far below truncateAfter reads all kept records, across segments', async (t) => {
  const wal = await temporaryLog(t)
  for (let n = 1; n <= 4000; n++) wal.enqueue(`${n} `.padEnd(500, 'x'))
  await wal.sync()
  const reader = wal.readFrom('start')
  await reader.next()
  await wal.truncateAfter(3000)
  const rest = await values(reader)
  t.is(rest.length, 2999)
  t.true(rest.every((value, i) => value?.startsWith(`${i + 2} `)))
})

test('reset empties the log, which continues at any given position', async (t) => {
  const wal = await filledLog(t, 10)
  const reader = wal.readFrom(3)
  await reader.next()
  await wal.reset(1000)
  t.is(wal.firstPosition, 1000)
  t.is(wal.nextPosition, 1000)
  await t.throwsAsync(reader.next(), { code: 'ERR_WAL_TRUNCATED' })
  await t.throwsAsync(wal.readFrom(3).next(), { code: 'ERR_WAL_TRUNCATED' })
  t.is(await wal.append('a'), 1000)
  const reset = wal.reset(7)
  t.is(wal.nextPosition, 7)
  t.is(wal.enqueue('b'), 7)
  await reset
  await wal.close()
  const again = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  t.is(again.firstPosition, 7)
  t.deepEqual(await values(again.readFrom('start')), ['b'])
  await again.reset(Number.MAX_SAFE_INTEGER)
  t.is(await again.append('last'), Number.MAX_SAFE_INTEGER)
  await t.throwsAsync(again.append('one too many'), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await t.throwsAsync(again.reset(0), { code: 'ERR_WAL_INVALID_ARG' })
  await again.close()
})
