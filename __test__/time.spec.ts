// When records were committed: what they say, and what is found by it. The campaign of the engine sets the clock back.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalRecord } from '../index.js'
import { forelog } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, fixtureLog, temporaryLog, until } from './helpers/log.js'

const time = (record: WalRecord | undefined): number => record?.committedAt ?? NaN
const positions = (records: WalRecord[]): number[] => records.map(({ position }) => position)

/** A log with `count` records, each of them committed in a millisecond of its own. */
async function spreadLog(t: ExecutionContext, count: number): Promise<{ wal: Wal; times: number[] }> {
  const wal = await temporaryLog(t)
  const times: number[] = []
  for (let n = 1; n <= count; n++) {
    await until(() => Date.now() > (times.at(-1) ?? 0))
    const position = await wal.append(`${n} `.padEnd(9000, 'x'))
    times.push(time(await wal.get(position)))
  }
  return { wal, times }
}

/** An open log of a version that did not record times. */
const oldLog = (t: ExecutionContext): Promise<Wal> => fixtureLog(t, 'v1/several-segments')

test('a record says when it was committed, the same by every way of reading it, and after reopening', async (t) => {
  const wal = await temporaryLog(t)
  const before = Date.now()
  await wal.appendBatch(['a', 'b', 'c'])
  await wal.append({ key: 'k', value: 'd' })
  const after = Date.now()
  const records = await collect(wal.readFrom('start'))
  const times = records.map(time)
  t.true(
    times.every((ms) => before <= ms && ms <= after && Number.isInteger(ms)),
    `${before} ${times.join(' ')} ${after}`
  )
  t.deepEqual(times.slice(0, 3), Array<number>(3).fill(times[0]))
  const same = async (log: Wal) => {
    t.deepEqual((await collect(log.readFrom('start', { copy: true }))).map(time), times)
    const read: number[] = []
    for await (const record of log.readable()) read.push(time(record as WalRecord))
    t.deepEqual(read, times)
    t.is(time(await log.get(4)), times[3])
    t.deepEqual((await log.last(2)).map(time), times.slice(2))
  }
  await same(wal)
  await wal.backup(path.join(temporaryDirectory(t), 'copy'))
  await wal.close()
  await same(await temporaryLog(t, {}, wal.dir))
})

test('records with decoded values say when they were committed', async (t) => {
  const wal = await Wal.open(temporaryDirectory(t), { codec: 'json' })
  t.teardown(() => wal.close())
  await wal.append({ n: 1 })
  for (const copy of [false, true]) for await (const { committedAt } of wal.readFrom('start', { copy })) t.is(typeof committedAt, 'number')
})

test('positionAt finds the first record of a time or later, through a writer and a view', async (t) => {
  const { wal, times } = await spreadLog(t, 25)
  const view = await Wal.open(wal.dir, { mode: 'readOnly' })
  t.teardown(() => view.close())
  for (const log of [wal, view]) {
    for (const [i, ms] of times.entries()) {
      t.is(await log.positionAt(ms), i + 1)
      t.is(await log.positionAt(new Date(ms)), i + 1)
      t.is(await log.positionAt(ms - 0.5), i + 1)
      t.is(await log.positionAt(ms + 0.5), i + 2)
    }
    t.is(await log.positionAt(0), 1)
    t.is(await log.positionAt(8.64e15), 26)
  }
  await wal.truncateBefore(10)
  t.is(await wal.positionAt(0), 10)
  t.is(await wal.positionAt(times[11]), 12)
  await wal.truncateAfter(15)
  t.is(await wal.positionAt(times[20]), 16)
})

test('readFrom begins at a time, and a follower goes on from there', async (t) => {
  const { wal, times } = await spreadLog(t, 12)
  t.deepEqual(positions(await collect(wal.readFrom({ since: times[8] }))), [9, 10, 11, 12])
  t.deepEqual(positions(await collect(wal.readFrom({ since: new Date(times[8]) }, { limit: 2 }))), [9, 10])
  t.deepEqual(positions(await collect(wal.readFrom({ since: times[8] }, { to: 10 }))), [9, 10])
  t.deepEqual(positions(await collect(wal.readFrom({ since: 0 }, { limit: 3 }))), [1, 2, 3])
  t.deepEqual(positions(await collect(wal.readFrom({ since: times[11] + 1 }))), [])
  const follower = wal.readFrom({ since: times[11] + 1 }, { follow: true })
  const next = follower.next()
  await wal.append('later')
  t.is((await next).value?.position, 13)
  await follower.return()
})

test('a reader that begins at a time begins there again after the end of the log was truncated', async (t) => {
  const { wal, times } = await spreadLog(t, 8)
  const fresh = wal.readFrom({ since: times[4] }, { follow: true })
  const used = wal.readFrom({ since: times[2] }, { follow: true })
  t.is((await used.next()).value?.position, 3)
  await wal.truncateAfter(6)
  t.is((await fresh.next()).value?.position, 5)
  t.is((await used.next()).value?.position, 4)
  await fresh.return()
  await used.return()
})

test('what is no time is refused, with its name', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('a')
  const wrong = [NaN, -1, -0.1, 8.64e15 + 1, Infinity, new Date(NaN), '2026-01-01', 5n, null, undefined, {}, [0], true]
  for (const value of wrong as never[]) {
    t.like(await t.throwsAsync(wal.positionAt(value)), { code: 'ERR_WAL_INVALID_ARG', operation: 'read' })
    for (const call of [() => wal.readFrom({ since: value }), () => wal.readable({ since: value })]) {
      const error = t.throws(call)
      t.like(error, { code: 'ERR_WAL_INVALID_ARG' })
      t.regex(error.message, /start\.since/)
    }
  }
  for (const start of [new Date(), {}, { since: 1, from: 2 }, { position: 1 }] as never[]) {
    t.like(
      t.throws(() => wal.readFrom(start)),
      { code: 'ERR_WAL_INVALID_ARG' }
    )
  }
  const throwing = Object.defineProperty({}, 'since', {
    enumerable: true,
    get: () => {
      throw new Error('mine')
    },
  }) as never
  t.like(
    t.throws(() => wal.readFrom(throwing)),
    { code: 'ERR_WAL_INVALID_ARG' }
  )
  t.regex(t.throws(() => wal.readFrom({ since: 0 }, { salvage: true })).message, /since/)
  await wal.close()
  t.like(await t.throwsAsync(wal.positionAt(0)), { code: 'ERR_WAL_CLOSED' })
})

test('records of a version that did not record times have none, and what is appended to their log has', async (t) => {
  const wal = await oldLog(t)
  const old = wal.acknowledgedPosition
  t.true((await collect(wal.readFrom('start'))).every((record) => record.committedAt === undefined))
  t.is(await wal.positionAt(0), old + 1)
  const cursor = await wal.cursor('c')
  t.is(await cursor.lagMs(), undefined)
  const position = await wal.append('new')
  const read = await collect(wal.readFrom({ since: 0 }))
  t.deepEqual(positions(read), [position])
  t.true(Math.abs(Date.now() - time(read[0])) < 600_000)
  await wal.close()
  const again = await temporaryLog(t, {}, wal.dir)
  t.true(again.recovery.clean)
  t.deepEqual((await collect(again.readFrom('start'))).map(({ committedAt }) => committedAt).slice(-2), [undefined, time(read[0])])
})

test('lag is the age of the first record that is not done, and 0 once all are', async (t) => {
  const wal = await temporaryLog(t)
  const cursor = await wal.cursor('c')
  t.is(await cursor.lagMs(), 0)
  await wal.append('a')
  await wal.append('b')
  const first = await wal.get(1)
  const aged = (ms: number | undefined, record: WalRecord | undefined) =>
    t.true(ms !== undefined && ms > 0 && ms <= Date.now() - time(record))
  await until(() => Date.now() > time(first) + 5)
  aged(await cursor.lagMs(), first)
  await cursor.commit(1)
  aged(await cursor.lagMs(), await wal.get(2))

  const reader = wal.readFrom(1, { follow: true })
  t.is(reader.lagMs, undefined)
  await reader.next()
  aged(reader.lagMs, await wal.get(2))
  await reader.next()
  t.is(reader.lagMs, 0)
  await reader.return()

  let release: () => void = () => {}
  const consumer = cursor.consume(() => new Promise<void>((resolve) => (release = resolve)))
  await until(() => consumer.stats().inFlight === 1)
  aged(consumer.stats().lagMs, await wal.get(2))
  release()
  await until(() => consumer.stats().lag === 0)
  t.is(consumer.stats().lagMs, 0)
  await consumer.stop()
  t.is(await cursor.lagMs(), 0)
})

test('forelog cat --since begins at a time in ISO 8601 or in milliseconds', async (t) => {
  const { wal, times } = await spreadLog(t, 5)
  const printed = async (...args: string[]) => {
    const { stdout, stderr, code } = await forelog(['cat', wal.dir, '--json', ...args])
    t.is(code, 0, stderr)
    return stdout
      .toString()
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { position: number; committedAt: number })
  }
  for (const since of [String(times[3]), new Date(times[3]).toISOString()]) {
    t.deepEqual(
      (await printed('--since', since)).map(({ position, committedAt }) => [position, committedAt]),
      [
        [4, times[3]],
        [5, times[4]],
      ]
    )
  }
  t.is((await printed('--since', '1970-01-02')).length, 5)
  for (const wrong of ['yesterday', '-5', '2026-13-01', '8640000000000001', '']) {
    t.is((await forelog(['cat', wal.dir, '--since', wrong])).code, 2, wrong)
  }
  for (const other of [['--from', '2'], ['--salvage']]) t.is((await forelog(['cat', wal.dir, '--since', '0', ...other])).code, 2)
})

test('forelog cat --since takes a time without a zone for local time, also a day alone', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('a')
  const committed = time(await wal.get(1))
  // This day has begun in the east, and not in the west. It depends on the time of day whether it has in UTC.
  const day = new Date(committed + 12 * 3_600_000).toISOString().slice(0, 10)
  for (const [zone, printed] of [
    ['Etc/GMT-12', 'a'],
    ['Etc/GMT+12', ''],
  ]) {
    for (const since of [day, `${day}T00:00`]) {
      const { stdout, code } = await forelog(['cat', wal.dir, '--since', since], { env: { ...process.env, TZ: zone } })
      t.is(code, 0)
      t.is(stdout.toString().trim(), printed, `${since} in ${zone}`)
    }
  }
})
