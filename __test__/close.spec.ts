// Closing loses nothing, and ends everything.

import { inspect } from 'node:util'
import test from 'ava'
import { Wal, type RecordInit } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, fill, numbered, temporaryLog, values } from './helpers/log.js'

const closed = { code: 'ERR_WAL_CLOSED' }

test('close acknowledges everything accepted, under every policy', async (t) => {
  for (const fsync of ['always', 'os', { everyMs: 3_600_000 }] as const) {
    const wal = await temporaryLog(t, { fsync })
    const order: (number | string)[] = []
    const appends = [1, 2, 3].map(() => wal.append('x').then((position) => order.push(position)))
    wal.enqueue('y')
    await wal.close().then(() => order.push('closed'))
    await Promise.all(appends)
    t.deepEqual(order, [1, 2, 3, 'closed'])
    t.is(wal.durablePosition, 4)
    const again = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES, fsync })
    t.true(again.recovery.clean)
    t.deepEqual(await values(again.readFrom('start')), ['x', 'x', 'x', 'y'])
    await again.close()
  }
})

test('close is idempotent: one promise for all callers', async (t) => {
  const wal = await temporaryLog(t)
  const first = wal.close()
  t.is(wal.close(), first)
  await first
  t.is(wal.close(), first)
})

test('a closing log refuses everything new', async (t) => {
  const wal = await temporaryLog(t)
  const closing = wal.close()
  const refused = async () => {
    await t.throwsAsync(wal.append('x'), closed)
    await t.throwsAsync(wal.appendBatch(['x']), closed)
    t.throws(() => wal.enqueue('x'), closed)
    await t.throwsAsync(wal.sync(), closed)
    await t.throwsAsync(wal.readFrom('start').next(), closed)
  }
  await refused()
  await closing
  await refused()
})

test('close ends readers, also in the middle of a block', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  const [fresh, begun, waiting, ended] = [1, 2, 3, 4].map(() => wal.readFrom('start'))
  await begun.next()
  await ended.return()
  const next = waiting.next()
  const closing = wal.close()
  await t.throwsAsync(next, closed)
  await t.throwsAsync(fresh.next(), closed)
  await t.throwsAsync(begun.next(), closed)
  await t.throwsAsync(begun.batches().next(), closed)
  t.true((await ended.next()).done)
  await closing
})

test('a closed log still has its last positions', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  await wal.close()
  t.is(wal.nextPosition, 11)
  t.is(wal.durablePosition, 10)
  t.is(wal.stats().appends, 10)
  t.is(wal.pendingBytes, 0)
  t.regex(inspect(wal), /^Wal \{[^]*nextPosition: 11,[^]*closed: true\s*\}$/)
  await wal.drain()
})

test('Symbol.asyncDispose closes', async (t) => {
  const wal = await temporaryLog(t)
  await wal[Symbol.asyncDispose]()
  await t.throwsAsync(wal.append('x'), closed)
})

test('a log that is opened repeatedly continues at its end', async (t) => {
  const dir = temporaryDirectory(t)
  for (let n = 1; n <= 5; n++) {
    const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
    t.is(wal.recovery.created, n === 1)
    t.is(wal.recovery.nextPosition, n)
    t.is(await wal.append(`value-${n}`), n)
    t.deepEqual(await values(wal.readFrom('start')), numbered(1, n))
    await wal.close()
  }
})

test('a log can be opened while its last handle is closing, and is clean afterwards', async (t) => {
  const dir = temporaryDirectory(t)
  const order: string[] = []
  const old = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  const appends = Array.from({ length: 20_000 }, () => old.append('old').then(() => order.push('old')))
  const reopening = Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  const closing = old.close()
  const wal = await reopening
  t.teardown(() => wal.close())
  const position = await wal.append('new')
  order.push('new')
  await Promise.all([closing, ...appends])
  t.is(position, 20_001)
  t.is(order.indexOf('new'), 20_000)
})

test('a record whose getter closes the log is refused, even if another handle keeps the log open', async (t) => {
  const appends: [string, (wal: Wal, record: RecordInit) => unknown][] = [
    ['append', (wal, record) => wal.append(record)],
    ['append with options', (wal, record) => wal.append(record, { durable: true })],
    ['appendBatch', (wal, record) => wal.appendBatch([record])],
    ['enqueue', (wal, record) => wal.enqueue(record)],
  ]
  for (const isLast of [true, false]) {
    for (const [name, append] of appends) {
      const wal = await temporaryLog(t)
      const other = isLast ? undefined : await temporaryLog(t, {}, wal.dir)
      let closing: Promise<void> | undefined
      const closes = {
        get value() {
          closing = wal.close()
          return 'x'
        },
      }
      await t.throwsAsync(async () => append(wal, closes), closed, name)
      await closing
      t.is(wal.nextPosition, 1, name)
      await other?.close()
    }
  }
})
