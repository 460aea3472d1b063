// A batch is one append of many records.

import test from 'ava'
import { Record } from '../index.js'
import { temporaryLog, values } from './helpers/log.js'

test('a batch gets consecutive positions and is read back record by record', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('before')
  t.deepEqual(await wal.appendBatch(['a', Buffer.from('b'), Record.put('k', 'c'), { value: 'd' }]), { first: 2, last: 5 })
  t.is(await wal.append('after'), 6)
  t.deepEqual(await values(wal.readFrom('start')), ['before', 'a', 'b', 'c', 'd', 'after'])
})

test('a batch accepts any iterable, which may append while it is read', async (t) => {
  const wal = await temporaryLog(t)
  function* records() {
    yield 'one'
    void wal.append('in between')
    yield 'two'
  }
  t.deepEqual(await wal.appendBatch(records()), { first: 2, last: 3 })
  t.deepEqual(await wal.appendBatch(new Set(['three'])), { first: 4, last: 4 })
  t.deepEqual(await values(wal.readFrom('start')), ['in between', 'one', 'two', 'three'])
})

test('one bad record refuses its batch, and the next batch contains nothing of it', async (t) => {
  const wal = await temporaryLog(t, { maxRecordBytes: 100 })
  await t.throwsAsync(wal.appendBatch(['fine', 'x'.repeat(101)]), { code: 'ERR_WAL_TOO_LARGE' })
  await t.throwsAsync(wal.appendBatch(['fine', { value: 1 } as never]), { code: 'ERR_WAL_INVALID_ARG', message: /value/ })
  t.deepEqual(await wal.appendBatch(['alone']), { first: 1, last: 1 })
  t.deepEqual(await values(wal.readFrom('start')), ['alone'])
})

test('a batch above maxBatchBytes is refused', async (t) => {
  const wal = await temporaryLog(t, { maxBatchBytes: 1000 })
  await t.throwsAsync(wal.appendBatch(Array(11).fill('x'.repeat(100))), { code: 'ERR_WAL_TOO_LARGE' })
  t.deepEqual(await wal.appendBatch(Array(9).fill('x'.repeat(100))), { first: 1, last: 9 })
})

test('a batch that is not an iterable of records is refused', async (t) => {
  const wal = await temporaryLog(t)
  for (const records of [[], 'text', undefined, null, 7, {}]) {
    await t.throwsAsync(wal.appendBatch(records as never), { code: 'ERR_WAL_INVALID_ARG', message: /records/ })
  }
  t.is(wal.nextPosition, 1)
})

test('batches and single appends are settled in the order of positions', async (t) => {
  const wal = await temporaryLog(t)
  const settled: number[] = []
  const appends = Array.from({ length: 200 }, (_, i) =>
    i % 2 === 0 ? wal.append('x').then((at) => settled.push(at)) : wal.appendBatch(['x', 'y']).then(({ first }) => settled.push(first))
  )
  await Promise.all(appends)
  t.deepEqual(
    settled,
    Array.from({ length: 200 }, (_, i) => 1 + i + Math.floor(i / 2))
  )
})
