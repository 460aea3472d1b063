// What is durable, and when.

import { readdirSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import test from 'ava'
import { Wal } from '../index.js'
import { SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

test('an append is durable when it resolves', async (t) => {
  const wal = await temporaryLog(t)
  t.is(wal.durablePosition, 0)
  for (let n = 1; n <= 3; n++) {
    await wal.append('x')
    t.is(wal.durablePosition, n)
  }
})

test('sync makes everything accepted durable', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  wal.enqueue('x')
  const last = wal.enqueue('y')
  await wal.sync()
  t.is(wal.durablePosition, last)
  t.is(wal.acknowledgedPosition, last)
  t.is(wal.writtenPosition, last)
})

test('sync of a log with nothing to sync resolves', async (t) => {
  const wal = await temporaryLog(t)
  await wal.sync()
  await wal.append('x')
  await Promise.all([wal.sync(), wal.sync()])
  t.is(wal.durablePosition, 1)
})

test('sync settles after the appends before it', async (t) => {
  const wal = await temporaryLog(t)
  const settled: string[] = []
  await Promise.all([
    wal.append('x').then(() => settled.push('first')),
    wal.sync().then(() => settled.push('sync')),
    wal.append('y').then(() => settled.push('second')),
  ])
  t.deepEqual(settled, ['first', 'sync', 'second'])
})

test('os acknowledges without an fsync, durable: true asks for one', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await wal.append('x')
  t.is(wal.acknowledgedPosition, 1)
  t.is(wal.durablePosition, 0)
  await wal.append('y', { durable: true })
  t.is(wal.durablePosition, 2)
})

test('everyMs makes an idle tail durable by itself', async (t) => {
  const wal = await temporaryLog(t, { fsync: { everyMs: 5 } })
  await wal.append('x')
  while (wal.durablePosition < 1) await setImmediate()
  t.pass()
})

test('a full disk is told, to appends as well as to the next sync after enqueue, and appends work again when there is space', async (t) => {
  if (!has(t, 'mount')) return
  const disk = smallDisk(t, '2m')
  const wal = await Wal.open(path.join(disk, 'log'), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  await wal.append('kept')
  const ballast = path.join(disk, 'ballast')
  writeFileSync(ballast, '')
  t.throws(() => writeFileSync(ballast, Buffer.alloc(4 << 20)), { code: 'ENOSPC' })

  // Whatever is left in the segment and its spares is used up first.
  const failure = await t.throwsAsync<NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException }>(async () => {
    for (;;) await wal.append(Buffer.alloc(16 << 10))
  })
  t.is(failure.code, 'ERR_WAL_NO_SPACE')
  t.is(failure.cause?.code, 'ENOSPC')
  t.true(failure.cause !== undefined && (failure.cause.errno ?? 0) < 0)
  const kept = wal.acknowledgedPosition

  const refusedOrLost = async () => {
    wal.enqueue(Buffer.alloc(16 << 10))
    await wal.sync()
  }
  await t.throwsAsync(refusedOrLost, { code: 'ERR_WAL_NO_SPACE' })
  t.is(wal.acknowledgedPosition, kept)

  truncateSync(ballast, 0)
  t.is(await wal.append('again'), kept + 1)
  await wal.sync()
  t.is((await values(wal.readFrom('start'))).at(-1), 'again')
  await wal.close()
  t.true(readdirSync(path.join(disk, 'log')).length > 0)
})
