// What is durable, and when.

import { truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalError } from '../index.js'
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

test('under os appends are acknowledged without an fsync, and durable: true adds one', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await wal.append('x')
  t.is(wal.acknowledgedPosition, 1)
  t.is(wal.durablePosition, 0)
  await wal.append('y', { durable: true })
  t.is(wal.durablePosition, 2)
})

test('everyMs makes the last records of an idle log durable by itself', async (t) => {
  const wal = await temporaryLog(t, { fsync: { everyMs: 5 } })
  await wal.append('x')
  while (wal.durablePosition < 1) await setImmediate()
  t.pass()
})

/** A log on a small disk, and how to fill that and make room again. */
async function logOnSmallDisk(t: ExecutionContext) {
  const disk = smallDisk(t, '2m')
  const wal = await Wal.open(path.join(disk, 'log'), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  await wal.append('kept')
  const ballast = path.join(disk, 'ballast')
  const fillUp = async (): Promise<Failure> => {
    t.throws(() => writeFileSync(ballast, Buffer.alloc(4 << 20)), { code: 'ENOSPC' })
    // What the log has set aside is used up first.
    const failure = await t.throwsAsync<Failure>(async () => {
      for (;;) await wal.append(Buffer.alloc(16 << 10))
    })
    return failure
  }
  return { wal, fillUp, makeRoom: () => truncateSync(ballast, 0) }
}

/** A log that could not keep a record that was enqueued, and has space again. */
async function enqueuedInVain(t: ExecutionContext): Promise<Wal> {
  const { wal, fillUp, makeRoom } = await logOnSmallDisk(t)
  await fillUp()
  wal.enqueue(Buffer.alloc(16 << 10))
  // Settles behind it.
  await wal.truncateBefore(1)
  makeRoom()
  return wal
}

type Failure = WalError & { cause?: NodeJS.ErrnoException }

const full = { code: 'ERR_WAL_NO_SPACE' }

test('a full disk rejects pending appends and loses nothing, and appends succeed when there is space', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, fillUp, makeRoom } = await logOnSmallDisk(t)
  const failure = await fillUp()
  t.is(failure.code, 'ERR_WAL_NO_SPACE')
  t.is(failure.cause?.code, 'ENOSPC')
  t.true((failure.cause?.errno ?? 0) < 0)
  const kept = wal.acknowledgedPosition
  const large = Buffer.alloc(16 << 10)
  const results = await Promise.allSettled([wal.append(large), wal.appendBatch([large, large]), wal.append(large)])
  for (const result of results) t.is(result.status === 'rejected' && result.reason.code, 'ERR_WAL_NO_SPACE')
  t.is(wal.acknowledgedPosition, kept)
  makeRoom()
  t.is(await wal.append('again'), kept + 1)
  const read = await values(wal.readFrom('start'))
  t.is(read[0], 'kept')
  t.is(read.at(-1), 'again')
  await wal.close()
})

test('the failure of an enqueued record is reported by the next sync, once', async (t) => {
  if (!has(t, 'mount')) return
  const wal = await enqueuedInVain(t)
  t.is(await wal.append('again'), wal.acknowledgedPosition)
  await t.throwsAsync(wal.sync(), full)
  await wal.sync()
  await wal.close()
})

test('the failure of an enqueued record is reported by close if there was no sync', async (t) => {
  if (!has(t, 'mount')) return
  const wal = await enqueuedInVain(t)
  await wal.append('again')
  await t.throwsAsync(wal.close(), full)
})
