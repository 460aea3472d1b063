// Figures of a log: each counts what it is named after.

import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Wal, type Histogram } from '../index.js'
import { segments } from './helpers/directory.js'
import { collect, fill, temporaryLog, until } from './helpers/log.js'

const value = 'v'.repeat(3000)

/** Sizes of all segment files together. */
const sizes = (dir: string): number => segments(dir).reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0)

function isOrdered(histogram: Histogram): boolean {
  const { min, p50, p90, p99, p999, max } = histogram
  return [0, min, p50, p90, p99, p999].every((at, i, all) => at <= (all[i + 1] ?? max))
}

test('every commit is measured once: its records, its duration, and how long its oldest record waited', async (t) => {
  const wal = await temporaryLog(t)
  for (let n = 0; n < 20; n++) await wal.append('alone')
  await fill(wal, 1000)
  const { commits, appends, group, commitUs, fsyncUs, waitUs } = wal.stats()
  t.is(appends, 1020)
  for (const histogram of [group, commitUs, waitUs]) t.is(histogram.count, commits)
  for (const histogram of [group, commitUs, fsyncUs, waitUs]) t.true(isOrdered(histogram), JSON.stringify(histogram))
  t.is(group.min, 1)
  t.is(group.sum, 1020)
  // A record is accepted before the commit that takes it begins.
  t.true(waitUs.min >= commitUs.min && waitUs.mean >= commitUs.mean, JSON.stringify({ waitUs, commitUs }))
  t.true(waitUs.min > 0 && commitUs.min > 0 && fsyncUs.min > 0)
})

test('a sync without records is not counted as a commit', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await wal.append('x')
  await wal.sync()
  await wal.sync()
  const { commits, waitUs, fsyncs } = wal.stats()
  t.deepEqual([commits, waitUs.count, fsyncs > 0], [1, 1, true])
})

test('segments and their bytes on the disk, as the log grows, is reopened and truncated', async (t) => {
  const wal = await temporaryLog(t)
  const agrees = (log: Wal) => log.stats().diskBytes === sizes(log.dir) && log.stats().segments === segments(log.dir).length
  t.like(wal.stats(), { segments: 1, activeCapacity: 8192 }, 'nothing shows yet that more will be used')
  const { activeBytes } = wal.stats()
  await wal.append(value)
  t.true(wal.stats().activeBytes > activeBytes + 3000)
  while (wal.stats().rolls < 4) await wal.append(value)
  // The footer of the last one may be on its way still.
  await until(() => agrees(wal))
  const { activeBytes: used, activeCapacity } = wal.stats()
  t.true(used > 3000 && used < activeCapacity, 'of the segment that has just been started')
  await wal.close()
  t.is(wal.stats().segments, segments(wal.dir).length)

  const again = await temporaryLog(t, {}, wal.dir)
  await until(() => agrees(again))
  t.is(again.stats().activeBytes >= used, true)
  await again.truncateBefore(again.nextPosition)
  await until(() => agrees(again))
  t.is(again.stats().segments, 1)
  await again.close()

  const view = await temporaryLog(t, { mode: 'readOnly' }, wal.dir)
  await until(() => agrees(view))
  t.like(view.stats(), { activeBytes: 0, activeCapacity: 0, commits: 0 })
})

test('readers are counted until they end or are left, followers while they wait', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  const counts = () => [wal.stats().readers, wal.stats().followers]
  t.deepEqual(counts(), [0, 0])
  const reader = wal.readFrom('start')
  const follower = wal.readFrom('end', { follow: true })
  const next = follower.next()
  await until(() => wal.stats().followers === 1)
  t.deepEqual(counts(), [2, 1])
  const unread = wal.readFrom('start')
  t.deepEqual(counts(), [3, 1])
  void unread.return()
  t.deepEqual(counts(), [2, 1], 'not only once it is collected as garbage')
  await reader.next()
  await reader.return()
  await until(() => wal.stats().readers === 1)
  await collect(wal.readFrom('start'))
  await until(() => wal.stats().readers === 1)
  await wal.append('more')
  await next
  await follower.return()
  await until(() => wal.stats().readers === 0)
  t.deepEqual(counts(), [0, 0])
})

test('completed scrubs and their findings are counted', async (t) => {
  const wal = await temporaryLog(t)
  t.deepEqual(wal.stats().scrub, { runs: 0, segments: 0, bytes: 0, problems: 0 })
  while (wal.stats().rolls < 3) await wal.append(value)
  const began = Date.now()
  const { segments: scrubbed, bytes } = await wal.scrub()
  const { finishedAt, ...first } = wal.stats().scrub
  t.deepEqual(first, { runs: 1, segments: scrubbed, bytes, problems: 0 })
  t.true(scrubbed > 0 && finishedAt! >= began && finishedAt! <= Date.now())
  await t.throwsAsync(wal.scrub({ signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.is(wal.stats().scrub.runs, 1, 'one that was aborted does not count')
  const fd = openSync(path.join(wal.dir, segments(wal.dir)[0]), 'r+')
  writeSync(fd, Buffer.from([0xee]), 0, 1, 10_000)
  closeSync(fd)
  await wal.scrub()
  t.like(wal.stats().scrub, { runs: 2, segments: 2 * scrubbed, problems: 1 })
})

test('stats() has the figures of the recovery report', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  await wal.close()
  const again = await temporaryLog(t, {}, wal.dir)
  const { verdict, records, carried, durationMs } = again.recovery
  t.deepEqual(again.stats().recovery, { verdict, records, carried, durationMs })
  t.like(again.stats(), { recovery: { verdict: 'clean', records: 10, carried: 0 }, poisoned: false })
  t.true(durationMs > 0)
})

test('after closing, stats() returns the last figures', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  t.false(wal.closed)
  const closing = wal.close()
  t.true(wal.closed)
  await closing
  t.like(wal.stats(), { appends: 10, pendingBytes: 0, readers: 0 })
  t.is(wal.stats(), wal.stats())
})

test('a handle that is closed before the last one keeps its figures too', async (t) => {
  const wal = await temporaryLog(t)
  const other = await temporaryLog(t, {}, wal.dir)
  await fill(wal, 10)
  await wal.close()
  t.is(wal.stats().appends, 10)
  await fill(other, 5)
  await other.close()
  t.like(wal.stats(), { appends: 15, pendingBytes: 0 })
  t.deepEqual(wal.stats(), other.stats())
})
