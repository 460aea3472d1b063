// Retention: the log lets go of its oldest segments by itself.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { channels, Wal, type ClockEvent, type WalOptions } from '../index.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, temporaryLog, until, values } from './helpers/log.js'
import { sealPage } from './helpers/page.js'

const HOUR = 3_600_000
const CREATED = 112

test('with maxBytes the oldest segments are removed, and the rest can be read', async (t) => {
  const wal = await temporaryLog(t, { retention: { maxBytes: 256 * 1024 } })
  for (let n = 1; n <= 400; n++) await wal.append(`${n} `.padEnd(2000, 'x'))
  await wal.sync()
  t.true(wal.firstPosition > 200, `${wal.firstPosition}`)
  t.true(wal.stats().removedSegments > 5)
  const read = await values(wal.readFrom('start'))
  t.true(read[0]?.startsWith(`${wal.firstPosition} `))
  t.is(read.length, 401 - wal.firstPosition)
})

/** A closed log, and where its segments start; they say that they were created so many hours ago. */
async function agedLog(t: ExecutionContext, hours: number[]): Promise<{ dir: string; starts: number[] }> {
  const wal = await temporaryLog(t)
  while (segments(wal.dir).length < hours.length) await wal.append(`${wal.nextPosition} `.padEnd(5000, 'x'))
  await wal.close()
  const names = segments(wal.dir)
  for (const [i, name] of names.entries()) {
    const file = path.join(wal.dir, name)
    const bytes = readFileSync(file)
    bytes.writeBigUInt64LE(Number.isFinite(hours[i]) ? BigInt(Date.now() - hours[i] * HOUR) : 2n ** 64n - 1n, CREATED)
    sealPage(bytes.subarray(0, 4096))
    // The footer would say that the records are of today. Without it, the times of creation count, as in logs without times.
    bytes.fill(0, bytes.length - 64)
    writeFileSync(file, bytes)
  }
  return { dir: wal.dir, starts: names.map((name) => Number.parseInt(name, 10)) }
}

async function open(t: ExecutionContext, dir: string, retention: WalOptions['retention']): Promise<Wal> {
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES, retention })
  t.teardown(() => wal.close())
  return wal
}

test('with maxAgeMs a segment is removed once the next one is older than that, also while the log is idle', async (t) => {
  const { dir, starts } = await agedLog(t, [9, 8, 7, 1, 0.5, 0])
  const names = segments(dir)
  const wal = await open(t, dir, { maxAgeMs: 2 * HOUR })
  await until(() => wal.firstPosition > 1)
  // The third one may hold records that are younger than its own beginning: it stays.
  t.is(wal.firstPosition, starts[2])
  // The files go after the mark.
  await until(() => segments(dir).length <= names.length - 2)
  t.deepEqual(segments(dir), names.slice(2))
  const read = await values(wal.readFrom('start'))
  t.true(read[0]?.startsWith(`${starts[2]} `))
  t.is(read.length, wal.nextPosition - starts[2])
  // Looked at again after a roll, with the same outcome.
  const { rolls } = wal.stats()
  while (wal.stats().rolls < rolls + 2) await wal.append('x'.repeat(5000))
  t.is(wal.firstPosition, starts[2])
  t.is(wal.stats().removedSegments, 2)
})

test('segments of an idle log are removed by age without an append', async (t) => {
  const { dir, starts } = await agedLog(t, [9, 9, 2])
  // A moment after opening the last segment is old enough, and the first two are not needed any more.
  const wal = await open(t, dir, { maxAgeMs: 2 * HOUR + 2000 })
  await until(() => wal.firstPosition === starts[2])
  t.is(segments(dir).length, 1)
})

test('a segment created in the future, however far, makes nothing old', async (t) => {
  const { dir } = await agedLog(t, [9, -Infinity, -5])
  const wal = await open(t, dir, { maxAgeMs: HOUR })
  while (wal.stats().rolls < 2) await wal.append('x'.repeat(5000))
  t.is(wal.firstPosition, 1)
  t.is(wal.stats().removedSegments, 0)
})

test('old segments stay while an open reader needs them', async (t) => {
  const wal = await temporaryLog(t, { retention: { maxAgeMs: 1 } })
  await wal.append('first')
  const reader = wal.readFrom('start', { follow: true })
  while (wal.stats().rolls < 3) await wal.append('x'.repeat(5000))
  t.is(wal.firstPosition, 1)
  let read = 0
  for await (const { position } of reader) {
    t.is(position, ++read)
    if (position === wal.nextPosition - 1) break
  }
  // Some may have gone while it was read.
  await until(() => segments(wal.dir).length === 1)
  const [active] = segments(wal.dir)
  await until(() => wal.firstPosition === Number.parseInt(active, 10))
  t.true(wal.firstPosition > 1)
})

test('without retention nothing is removed', async (t) => {
  const wal = await temporaryLog(t)
  for (let n = 1; n <= 100; n++) await wal.append('x'.repeat(5000))
  t.is(wal.firstPosition, 1)
  t.is(wal.stats().removedSegments, 0)
})

test('the limits of retention are checked', async (t) => {
  const dir = temporaryDirectory(t)
  for (const retention of [5, null, { maxBytes: -1 }, { maxBytes: 0 }, { maxAgeMs: 0 }, { maxAgeMs: '1' }, { bytes: 1 }]) {
    await t.throwsAsync(Wal.open(dir, { retention: retention as never }), { code: 'ERR_WAL_INVALID_ARG', message: /retention/ })
  }
})

test('segments from a clock that was years ahead do not hold retention up, and are reported once', async (t) => {
  const YEARS = 87_600
  const { dir, starts } = await agedLog(t, [9, -YEARS, -YEARS, 7, 1, 0.5])
  const told: ClockEvent[] = []
  const listen = (event: unknown) => {
    if ((event as ClockEvent).dir === dir) told.push(event as ClockEvent)
  }
  subscribe(channels.clock, listen)
  t.teardown(() => unsubscribe(channels.clock, listen))
  const wal = await open(t, dir, { maxAgeMs: 2 * HOUR })
  await until(() => wal.firstPosition > 1)
  t.is(wal.firstPosition, starts[3], 'the age of a segment from the future is that of the next one')
  await until(() => told.length === 2)
  t.true(
    told.every(({ createdAt, now, segment }) => createdAt > now + HOUR && Math.abs(now - Date.now()) < HOUR && segment.endsWith('.wal'))
  )
  t.is(wal.stats().futureSegments, 2)
  const { rolls } = wal.stats()
  while (wal.stats().rolls < rolls + 2) await wal.append('x'.repeat(5000))
  t.is(told.length, 2)
})

test('a segment dated 1970 among others removes no younger one, and a log full of them is not emptied at once', async (t) => {
  const SINCE_1970 = Date.now() / HOUR
  const one = await agedLog(t, [9, 8, SINCE_1970, 1, 0.5])
  const wal = await open(t, one.dir, { maxAgeMs: 2 * HOUR })
  await until(() => wal.firstPosition > 1)
  t.is(wal.firstPosition, one.starts[1], 'what stands before it is as young as what comes after it')
  const all = await agedLog(t, [SINCE_1970, SINCE_1970, SINCE_1970])
  const lost = await open(t, all.dir, { maxAgeMs: 2 * HOUR })
  while (lost.stats().rolls < 2) await lost.append('x'.repeat(5000))
  t.is(lost.firstPosition, 1)
})

test('a log whose segments are all from the future ages from when it was opened', async (t) => {
  const { dir, starts } = await agedLog(t, [-1000, -1000, -1000])
  const wal = await open(t, dir, { maxAgeMs: 1500 })
  await until(() => wal.firstPosition >= starts[2])
  // Another segment was begun at once: later openings go by its stamp.
  t.is(wal.stats().rolls, 1)
})
