import { closeSync, existsSync, openSync, readdirSync, readSync, writeSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { verify, Wal } from '../index.js'
import { forelog } from './helpers/command.js'
import { snapshot, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, temporaryLog } from './helpers/log.js'

const value = 'v'.repeat(3000)

/** One frame per record, so that damage to one byte takes one record. */
async function append(wal: Wal, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await wal.append(value)
}

const oldest = (dir: string): string =>
  path.join(
    dir,
    readdirSync(dir)
      .filter((name) => name.endsWith('.wal'))
      .sort()[0]
  )

function damage(file: string, offset: number): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, Buffer.from([0xee]), 0, 1, offset)
  closeSync(fd)
}

function flip(file: string, offset: number, bit: number): void {
  const fd = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, offset)
  byte[0] ^= 1 << bit
  writeSync(fd, byte, 0, 1, offset)
  closeSync(fd)
}

test('verify counts the valid records of an open log, and changes nothing', async (t) => {
  const wal = await temporaryLog(t)
  await append(wal, 100)
  const open = await verify(wal.dir)
  t.like(open, { records: 100, frames: 100, problems: [] })
  await wal.close()
  const before = snapshot(wal.dir)
  const told: [number, number][] = []
  const closed = await verify(wal.dir, { onProgress: (done, total) => told.push([done, total]) })
  t.like(closed, { records: 100, withoutFooter: 0, brokenFooters: 0, problems: [] })
  t.true(closed.segments >= 5 && closed.bytes > 300_000)
  t.deepEqual(snapshot(wal.dir), before)
  const [done, total] = told.at(-1)!
  t.true(done === total && total > 300_000)
})

test('verify and scrub report damage with segment, offset and positions', async (t) => {
  const wal = await temporaryLog(t)
  await append(wal, 60)
  const file = oldest(wal.dir)
  damage(file, 10_000)
  const expected = { kind: 'damaged-sealed', segment: path.basename(file), firstLost: 2, lastLost: 2 }
  for (const { problems, records } of [await verify(wal.dir), await wal.scrub()]) {
    t.is(problems.length, 1)
    t.like(problems[0], expected)
    t.true(problems[0].offset > 4096 && problems[0].offset <= 10_000 && records > 20)
  }
})

test('verify and scrub locate a single flipped bit that explains damage, and none if there is more damage', async (t) => {
  const wal = await temporaryLog(t)
  await append(wal, 60)
  const file = oldest(wal.dir)
  flip(file, 10_000, 3)
  for (const { problems } of [await verify(wal.dir), await wal.scrub()]) {
    t.like(problems[0], { kind: 'damaged-sealed', flipped: { offset: 10_000, bit: 3 } })
  }
  flip(file, 10_001, 4)
  t.is((await verify(wal.dir)).problems[0].flipped, undefined)
})

test('an aborted verification rejects with an AbortError', async (t) => {
  const wal = await temporaryLog(t)
  await append(wal, 60)
  const reason = new Error('enough')
  const aborted = { name: 'AbortError', code: 'ABORT_ERR' }
  await t.throwsAsync(verify(wal.dir, { signal: AbortSignal.abort(reason) }), aborted)
  // At a byte a second it pauses for hours after the first read.
  const controller = new AbortController()
  const onProgress = () => controller.abort(reason)
  const error = await t.throwsAsync(wal.scrub({ bytesPerSecond: 1, signal: controller.signal, onProgress }), aborted)
  t.is(error?.cause, reason)
})

test('closing ends a scrub, and appends do not wait for one', async (t) => {
  const wal = await temporaryLog(t)
  await append(wal, 60)
  let scrub: Promise<unknown> = Promise.resolve()
  const begun = new Promise<void>((resolve) => {
    scrub = wal.scrub({ bytesPerSecond: 1, onProgress: () => resolve() })
  })
  const ended = t.throwsAsync(scrub, { code: 'ERR_WAL_CLOSED' })
  await begun
  await append(wal, 60)
  await wal.close()
  await ended
  await t.throwsAsync(wal.scrub(), { code: 'ERR_WAL_CLOSED' })
})

test('an error thrown by onProgress rejects the verification', async (t) => {
  const wal = await temporaryLog(t)
  await append(wal, 10)
  const onProgress = () => {
    throw new RangeError('no')
  }
  await t.throwsAsync(verify(wal.dir, { onProgress }), { instanceOf: RangeError })
})

test('bad arguments are named, and a missing log is not created', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await temporaryLog(t)
  const refused = { code: 'ERR_WAL_INVALID_ARG' }
  await t.throwsAsync(verify(''), refused)
  await t.throwsAsync(verify(dir, { signal: 1 as never }), { ...refused, message: /signal/ })
  await t.throwsAsync(verify(dir, { onProgress: 1 as never }), { ...refused, message: /onProgress/ })
  await t.throwsAsync(verify(dir, { bytesPerSecond: 1 } as never), { ...refused, message: /bytesPerSecond/ })
  await t.throwsAsync(wal.scrub({ bytesPerSecond: 0 }), { ...refused, message: /bytesPerSecond/ })
  await t.throwsAsync(verify(temporaryDirectory(t)), { code: 'ERR_WAL_NOT_FOUND' })
  await t.throwsAsync(verify(dir), { code: 'ERR_WAL_NOT_FOUND', message: /no log in / })
  t.false(existsSync(dir))
})

test('forelog verify exits with 1 and prints the location if there is damage', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  await append(wal, 60)
  await wal.close()
  const good = await forelog(['verify', dir])
  t.is(good.code, 0, good.stderr)
  t.regex(String(good.stdout), /^\d segments, 60 frames, 60 records, .* MB, no damage\n$/)
  t.is(good.stderr, '')
  t.is(String((await forelog(['verify', dir, '--quiet'])).stdout), '')

  // Near the start of a page: of a record, wherever commits are padded and wherever not.
  flip(oldest(dir), 8252, 6)
  const flipped = await forelog(['verify', dir])
  t.regex(String(flipped.stdout), /^damaged-sealed: .*; bit 6 of the byte at offset 8252 has flipped\n/)

  damage(oldest(dir), 8252)
  const bad = await forelog(['verify', dir])
  t.is(bad.code, 1)
  t.regex(String(bad.stdout), /^damaged-sealed: \S+\.wal at offset \d+, positions 2 to 2: .*\n\d segments, .* 1 problems\n$/)
  const json = await forelog(['verify', dir, '--json'])
  t.is(json.code, 1)
  t.like(JSON.parse(String(json.stdout)), { records: 59, problems: [{ firstLost: 2 }] })

  const absent = await forelog(['verify', path.join(dir, 'absent')])
  t.is(absent.code, 3)
  t.regex(absent.stderr, /^forelog: there is no log in .*absent \(ERR_WAL_NOT_FOUND\)\n/)
})
