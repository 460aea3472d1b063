// Handles that only read, and readers, beside a writer that appends and truncates.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { verify, Wal, type WalReader } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, fill, temporaryLog, until } from './helpers/log.js'

const turn = () => new Promise(setImmediate)

async function viewOf(t: ExecutionContext, { dir }: Wal): Promise<Wal> {
  const view = await Wal.open(dir, { mode: 'readOnly' })
  t.teardown(() => view.close())
  return view
}

/** What they have failed with, by code. */
const failures = new WeakMap<ExecutionContext, Map<unknown, string>>()
const told = (t: ExecutionContext) => (error: { code: unknown; message: string }) => {
  const seen = failures.get(t) ?? new Map<unknown, string>()
  failures.set(t, seen.set(error.code, error.message))
}
/** What may not happen to those who are truncated away or aborted. */
const strange = (t: ExecutionContext) =>
  [...(failures.get(t) ?? [])].filter(([code]) => code !== 'ERR_WAL_TRUNCATED' && code !== 'ABORT_ERR')

test('the positions of a read-only handle follow the writer even without a reader', async (t) => {
  const wal = await temporaryLog(t)
  const view = await viewOf(t, wal)
  const isFresh = () =>
    until(
      () =>
        view.firstPosition === wal.firstPosition &&
        view.nextPosition === wal.nextPosition &&
        view.writtenPosition === wal.writtenPosition &&
        view.acknowledgedPosition === wal.acknowledgedPosition &&
        view.durablePosition === wal.durablePosition
    )
  for (const step of [() => fill(wal, 3000), () => wal.truncateBefore(2000), () => wal.truncateAfter(2500), () => wal.reset(9)]) {
    await step()
    await isFresh()
  }
  await wal.append('one more')
  await until(() => view.nextPosition === 10)
  t.deepEqual([view.firstPosition, view.acknowledgedPosition, view.durablePosition], [9, 9, 9])
  await until(() => view.stats().segments === wal.stats().segments)
})

test("on a read-only handle 'start' is the first position after a truncation, and 'end' is after the last record", async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  const view = await viewOf(t, wal)
  for (let round = 0; round < 60; round++) {
    for (let n = 0; n < 50; n++) wal.enqueue('x'.repeat(900))
    await wal.sync()
    const first = wal.nextPosition - 20
    await wal.truncateBefore(first)
    // What the writer has acknowledged is told a moment later; that the log begins there is not.
    for (let given: number | undefined; given === undefined;) {
      given = (await view.readFrom('start').next()).value?.position
      t.true(given === undefined || given === first, `${given} of ${first}`)
    }
    t.is(view.firstPosition, first)
    t.deepEqual(await collect(view.readFrom('end')), [])
  }
})

/** Truncates in every way, all the time, until the test is over. */
async function truncate(wal: Wal, isOver: () => boolean): Promise<void> {
  for (let round = 0; !isOver(); round++) {
    for (let n = 0; n < 30; n++) wal.append('x'.repeat(2000)).catch(() => {})
    const { firstPosition: first, nextPosition: next } = wal
    if (round % 4 === 0) wal.truncateAfter(next - 10).catch(() => {})
    if (round % 4 === 1) await wal.truncateBefore(Math.max(first, next - 5))
    if (round % 4 === 2) await wal.reset(round % 8 === 2 ? next + 100 : 1)
    await turn()
  }
}

for (const beside of ['of the same process', 'opened with readOnly']) {
  test(`a reader from 'start' never fails as truncated before its first record, on a handle ${beside}`, async (t) => {
    const wal = await temporaryLog(t)
    const other = beside === 'opened with readOnly' ? await viewOf(t, wal) : await temporaryLog(t, {}, wal.dir)
    let over = false
    const truncating = truncate(wal, () => over)
    let given = 0
    for (let round = 0; round < 400; round++) {
      const stop = new AbortController()
      const readers = [
        other.readFrom('start'),
        other.readFrom('start', { limit: 3 }),
        other.readFrom('start', { follow: true, signal: stop.signal }),
      ]
      const firsts = readers.map((reader) => reader.next())
      firsts[2].then(() => stop.abort()).catch(told(t))
      for (const first of firsts) given += (await first).done ? 0 : 1
      // What comes after that may be truncated.
      await Promise.all(readers.map((reader: WalReader) => reader.next().catch(told(t))))
      await Promise.all(readers.map((reader: WalReader) => reader.return()))
    }
    over = true
    await truncating
    t.true(given > 0)
    t.deepEqual(strange(t), [])
  })
}

for (const beside of ['the writer', 'a read-only handle']) {
  test(`a follower of ${beside} past two truncations ends with ERR_WAL_TRUNCATED`, async (t) => {
    const wal = await temporaryLog(t, { fsync: 'os' })
    const other = beside === 'the writer' ? wal : await viewOf(t, wal)
    for (let round = 0; round < 150; round++) {
      await wal.reset(1)
      await fill(wal, 60)
      await until(() => other.acknowledgedPosition === 60 && other.firstPosition === 1)
      const stop = new AbortController()
      const reader = other.readFrom(1, { follow: true, signal: stop.signal })
      for (let n = 0; n < 55; n++) await reader.next()
      const ended = collect(reader).catch(told(t))
      for (let turns = round % 7; turns > 0; turns--) await turn()
      wal.truncateAfter(50).catch(told(t))
      for (let n = 0; n < round % 5; n++) wal.append('x'.repeat(200)).catch(told(t))
      for (let turns = round % 3; turns > 0; turns--) await turn()
      if (round % 2 === 0) wal.truncateAfter(20).catch(told(t))
      else wal.reset(round % 4 === 1 ? 7 : 5000).catch(told(t))
      await wal.sync()
      if (round % 11 === 0) wal.truncateAfter(wal.firstPosition - 1).catch(told(t))
      await ended
      stop.abort()
    }
    t.deepEqual([...(failures.get(t)?.keys() ?? [])], ['ERR_WAL_TRUNCATED'])
  })
}

test('opening, verifying, backing up and salvaging during every kind of truncation find no damage', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  let over = false
  const truncating = truncate(wal, () => over)
  const to = temporaryDirectory(t)
  const lasting = await viewOf(t, wal)
  for (let round = 0; round < 60; round++) {
    const view = await Wal.open(wal.dir, { mode: 'readOnly' })
    t.is(view.recovery.damage, undefined)
    await collect(view.readFrom('start')).catch(told(t))
    for (const reader of [view.readFrom('start', { salvage: true }), lasting.readFrom('start', { salvage: true })]) {
      await collect(reader).catch(told(t))
      t.deepEqual(reader.holes, [])
    }
    t.deepEqual((await lasting.scrub()).problems, [])
    t.deepEqual((await verify(wal.dir)).problems, [])
    const copy = path.join(to, `${round}`)
    const copied = await lasting.backup(copy).then(() => true, told(t))
    if (copied) t.deepEqual((await verify(copy)).problems, [])
    // Closed while there is news of it.
    await view.close()
  }
  over = true
  await truncating
  t.deepEqual(strange(t), [])
})
