// A salvage: a new log of everything that holds in a damaged one, positions kept, holes recorded.

import test, { type ExecutionContext } from 'ava'
import { createHash } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import {
  channels,
  Record,
  salvage,
  verify,
  Wal,
  type CorruptEvent,
  type MadeRecord,
  type RecordInit,
  type SalvageProgress,
} from '../index.js'
import { segments, snapshot, temporaryDirectory } from './helpers/directory.js'
import { collect, plain, SEGMENT_BYTES } from './helpers/log.js'

const options = { segmentBytes: SEGMENT_BYTES }
/** Of the log that is damaged. */
const COUNT = 399

function damage(file: string, offset: number, length: number): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, Buffer.alloc(length, 0xa5), 0, length, offset)
  closeSync(fd)
}

/** Every kind of record, some in batches of three. */
function init(n: number): MadeRecord | RecordInit {
  // Nothing that could be compressed by much.
  const value = createHash('shake256', { outputLength: 450 }).update(String(n)).digest('base64')
  switch (n % 7) {
    case 0:
      return Record.delete(`key-${n}`)
    case 1:
      return Record.put(`key-${n}`, value, { expiresAt: 4_000_000_000_000 + n })
    case 2:
      return { value, version: { term: n, index: 2 * n } }
    default:
      return Record.put(`key-${n}`, value)
  }
}

/** A closed log in several segments, with a cursor. */
async function log(t: ExecutionContext, more: object = {}): Promise<string> {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await Wal.open(dir, { ...options, ...more })
  for (let n = 1; n <= COUNT; n += 3) {
    if (n % 2 === 1) await wal.appendBatch([init(n), init(n + 1), init(n + 2)])
    else for (let one = n; one < n + 3; one++) await wal.append(init(one))
  }
  const cursor = await wal.cursor('index')
  await cursor.commit(COUNT - 100)
  await wal.close()
  return dir
}

/** What a salvaging reader gives of a log, and the positions that it leaves out. */
async function readable(dir: string) {
  const view = await Wal.open(dir, { mode: 'readOnly' })
  const reader = view.readFrom('start', { salvage: true })
  const records = (await collect(reader)).map(plain)
  await view.close()
  return { records, holes: reader.holes.map(({ first, last }) => ({ first, last })) }
}

/** A log damaged in the middle of its first two segments. */
async function damaged(t: ExecutionContext, more: object = {}): Promise<string> {
  const dir = await log(t, more)
  const names = segments(dir)
  t.true(names.length >= 3)
  damage(path.join(dir, names[0]), 20_000, 3000)
  damage(path.join(dir, names[1]), 30_000, 9000)
  return dir
}

const into = (t: ExecutionContext): string => path.join(temporaryDirectory(t), 'new')

for (const more of [{}, { compression: 'zstd' }]) {
  test(`a salvaged log has every valid record at its position, and holes for the rest: ${JSON.stringify(more)}`, async (t) => {
    const dir = await damaged(t, more)
    const before = snapshot(dir)
    const { records, holes } = await readable(dir)
    t.is(holes.length, 2)
    const dest = into(t)
    const seen: SalvageProgress[] = []
    const report = await salvage(dir, dest, { onProgress: (progress) => seen.push(progress) })
    t.deepEqual(snapshot(dir), before)
    t.like(report, { verdict: 'clean', firstPosition: 1, nextPosition: COUNT + 1, records: records.length, cursors: 1, cursorsLost: false })
    t.deepEqual(
      report.holes.map(({ first, last }) => ({ first, last })),
      holes
    )
    t.true(
      report.holes.every(({ segment, offset, bytes, recorded }) => segments(dir).includes(segment) && offset > 0 && bytes > 0 && !recorded)
    )
    const { bytes, totalBytes } = seen.at(-1) as SalvageProgress
    t.true(bytes === totalBytes && bytes > 0)

    const wal = await Wal.open(dest, options)
    t.teardown(() => wal.close().catch(() => {}))
    t.is(wal.recovery.verdict, 'clean')
    t.deepEqual(wal.recovery.holes, holes)
    const reader = wal.readFrom('start')
    t.deepEqual((await collect(reader)).map(plain), records)
    t.deepEqual(
      reader.holes,
      reader.holes.map(({ first, last, segment }) => ({ first, last, segment, offset: 0, bytes: 0, recorded: true }))
    )
    t.deepEqual(
      reader.holes.map(({ first, last }) => ({ first, last })),
      holes
    )
    t.is((await wal.cursor('index')).position, COUNT - 100)
    t.is(await wal.append('goes on'), COUNT + 1)
    await wal.close()
    const found = await verify(dest)
    t.deepEqual([found.problems, found.holes, found.records], [[], holes, records.length + 1])
  })
}

test('limits of readers of a log with holes count records, not positions', async (t) => {
  const dest = into(t)
  const { holes, records } = await salvage(await damaged(t), dest)
  const [{ first, last }] = holes
  const wal = await Wal.open(dest, options)
  t.teardown(() => wal.close())
  const positions = async (...args: Parameters<Wal['readFrom']>) => (await collect(wal.readFrom(...args))).map(({ position }) => position)

  t.deepEqual(await positions(first - 2, { limit: 4 }), [first - 2, first - 1, last + 1, last + 2])
  t.deepEqual(await positions(first + 1, { limit: 1 }), [last + 1])
  t.deepEqual(await positions(first - 1, { to: first + 1 }), [first - 1])
  t.deepEqual(await positions(first, { to: last }), [])
  t.is((await positions('start', { limit: records })).length, records)

  const reader = wal.readFrom(first - 1, { limit: 2 })
  const arrays: number[][] = []
  for await (const batch of reader.batches()) arrays.push(batch.map(({ position }) => position))
  t.deepEqual(arrays.flat(), [first - 1, last + 1])
  t.is(reader.position, last + 1)
  t.like(reader.holes, [{ first, last, recorded: true }])
})

test('a follower passes over a hole and waits after it', async (t) => {
  const dest = into(t)
  const { holes, nextPosition } = await salvage(await damaged(t), dest)
  const wal = await Wal.open(dest, options)
  t.teardown(() => wal.close())
  const reader = wal.readFrom(holes[1].first, { follow: true })
  t.is((await reader.next()).value?.position, holes[1].last + 1)
  for (let n = holes[1].last + 2; n < nextPosition; n++) await reader.next()
  const next = reader.next()
  await wal.append('news')
  t.is((await next).value?.value?.toString(), 'news')
  await reader.return()

  // The same beside the writer, and for a cursor that stands in a hole.
  const view = await Wal.open(dest, { mode: 'readOnly' })
  t.teardown(() => view.close())
  const beside = view.readFrom(holes[0].first + 1, { follow: true })
  t.is((await beside.next()).value?.position, holes[0].last + 1)
  t.like(beside.holes, [{ first: holes[0].first + 1, last: holes[0].last, recorded: true }])
  await beside.return()
  const cursor = await wal.cursor('inside', { start: holes[0].first + 1 })
  const record = (await cursor.read({ follow: false }).next()).value
  t.is(record?.position, holes[0].last + 1)
})

test('positions lost at the end are not used again, and those at the start are not part of the new log', async (t) => {
  const dir = await log(t)
  const names = segments(dir)
  damage(path.join(dir, names[0]), 4096, 9000)
  const file = path.join(dir, names.at(-1) as string)
  const used = readFileSync(file).findLastIndex((byte) => byte !== 0)
  damage(file, used - 3000, 3001)
  const dest = into(t)
  const report = await salvage(dir, dest)
  t.is(report.holes.length, 2)
  const [leading, trailing] = report.holes
  t.deepEqual([leading.first, trailing.last], [1, COUNT])
  t.deepEqual([report.firstPosition, report.nextPosition], [leading.last + 1, COUNT + 1])
  const wal = await Wal.open(dest, options)
  t.deepEqual([wal.firstPosition, wal.nextPosition, wal.durablePosition], [leading.last + 1, COUNT + 1, COUNT])
  t.deepEqual(wal.recovery.holes, [{ first: trailing.first, last: COUNT }])
  t.is(await wal.append('next'), COUNT + 1)
  await wal.truncateAfter(trailing.first)
  t.is(await wal.append('inside the hole'), trailing.first + 1)
  await wal.close()
  t.deepEqual((await verify(dest)).problems, [])
})

test('salvaging a log without a valid record makes an empty log that continues after its last position', async (t) => {
  const dir = await log(t)
  for (const name of segments(dir)) damage(path.join(dir, name), 4096, statSync(path.join(dir, name)).size - 4096)
  const dest = into(t)
  const report = await salvage(dir, dest)
  t.like(report, { records: 0, firstPosition: COUNT + 1, nextPosition: COUNT + 1 })
  const wal = await Wal.open(dest)
  t.deepEqual([wal.firstPosition, await wal.append('first')], [COUNT + 1, COUNT + 1])
  await wal.close()
})

test('a log without damage is copied completely, a log without CONTROL is salvaged, and recorded holes stay holes', async (t) => {
  const whole = await log(t)
  const dest = into(t)
  t.like(await salvage(whole, dest), { holes: [], records: COUNT })
  // Salvaged once more, holes stay what they are.
  const dir = await damaged(t)
  rmSync(path.join(dir, 'CONTROL'))
  const once = into(t)
  const { holes } = await salvage(dir, once)
  const missing = segments(once)[2]
  rmSync(path.join(once, missing))
  await t.throwsAsync(Wal.open(once), { code: 'ERR_WAL_CORRUPT' })
  const twice = into(t)
  const again = await salvage(once, twice)
  t.is(again.verdict, 'gap')
  t.true(again.holes.some(({ recorded }) => recorded !== true))
  t.true(
    again.holes
      .filter(({ recorded }) => recorded)
      .every(({ first, last }) => holes.some((hole) => hole.first === first && hole.last === last))
  )
  t.deepEqual((await verify(twice)).problems, [])
})

test('damaged cursors are reported and not copied', async (t) => {
  const dir = await log(t)
  damage(path.join(dir, 'CURSORS'), 0, readFileSync(path.join(dir, 'CURSORS')).length)
  const dest = into(t)
  t.like(await salvage(dir, dest), { cursors: 0, cursorsLost: true, holes: [] })
  t.false(readdirSync(dest).includes('CURSORS'))
})

test('damage found by a salvage is published as an event, and recorded holes are not', async (t) => {
  const dir = await damaged(t)
  const events: CorruptEvent[] = []
  const note = (event: CorruptEvent) => void (event.error.operation === 'salvage' && events.push(event))
  subscribe(channels.corrupt, note as never)
  t.teardown(() => unsubscribe(channels.corrupt, note as never))
  const once = into(t)
  const { holes } = await salvage(dir, once)
  const mine = () => events.filter((event) => event.dir === dir || event.dir === once)
  t.deepEqual(
    mine().map(({ error }) => [error.firstLost, error.lastLost]),
    holes.map(({ first, last }) => [first, last])
  )
  await salvage(once, into(t))
  t.is(mine().length, holes.length)
})

test('a salvage is refused without a log, with a writer, and into a directory that is not empty', async (t) => {
  const dir = await log(t)
  const dest = into(t)
  await t.throwsAsync(salvage(path.join(dir, 'nowhere'), dest), { code: 'ERR_WAL_NOT_FOUND' })
  const foreign = temporaryDirectory(t)
  writeFileSync(path.join(foreign, 'notes.txt'), 'mine')
  await t.throwsAsync(salvage(foreign, dest), { code: 'ERR_WAL_FORMAT' })
  t.false(readdirSync(path.dirname(dest)).includes('new'))
  await t.throwsAsync(salvage(dir, foreign), {
    code: 'ERR_WAL_FORMAT',
    message: /a salvage needs an empty directory: .* contains notes\.txt/,
  })
  t.deepEqual(readdirSync(foreign), ['notes.txt'])
  await t.throwsAsync(salvage(dir, dir), { code: 'ERR_WAL_INVALID_ARG' })
  await t.throwsAsync(salvage(dir, path.join(dir, 'inside')), { code: 'ERR_WAL_INVALID_ARG' })
  await t.throwsAsync(salvage(dir, dest, { onProgres: () => {} } as object), { code: 'ERR_WAL_INVALID_ARG' })
  await t.throwsAsync(salvage(dir, 5 as unknown as string), { code: 'ERR_WAL_INVALID_ARG' })

  const wal = await Wal.open(dir)
  await t.throwsAsync(salvage(dir, dest), { code: 'ERR_WAL_LOCKED' })
  t.false(readdirSync(path.dirname(dest)).includes('new'))
  await wal.close()
  mkdirSync(dest)
  t.like(await salvage(dir, dest), { records: COUNT })
  await t.throwsAsync(salvage(dir, dest), { code: 'ERR_WAL_FORMAT' })
})

test('a directory that is moved away meanwhile is not reported as the new log', async (t) => {
  const dir = await log(t)
  const dest = into(t)
  const moved = `${dest}.moved`
  const move = () => existsSync(dest) && renameSync(dest, moved)
  await t.throwsAsync(salvage(dir, dest, { onProgress: move }), { code: 'ERR_WAL_DETACHED' })
  t.deepEqual([existsSync(dest), readdirSync(moved).filter((name) => name !== 'LOCK')], [false, []])
})

test('a salvage that is aborted, or whose listener throws, leaves nothing that opens', async (t) => {
  const dir = await log(t)
  const dest = into(t)
  const controller = new AbortController()
  await t.throwsAsync(salvage(dir, dest, { signal: controller.signal, onProgress: () => controller.abort() }), { code: 'ABORT_ERR' })
  const enough = new Error('enough')
  t.is(
    await t.throwsAsync(
      salvage(dir, dest, {
        onProgress: () => {
          throw enough
        },
      })
    ),
    enough
  )
  t.deepEqual(
    readdirSync(dest).filter((name) => name !== 'LOCK'),
    []
  )
  t.like(await salvage(dir, dest), { records: COUNT })
})
