// A copy of a log that is being written opens as a log of its own.

import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Wal, type BackupProgress } from '../index.js'
import { forelog } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { fill, numbered, SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'

const options = { segmentBytes: SEGMENT_BYTES }

test('a backup opens with the records up to the cut and goes on apart from the original', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 20_000)
  const dest = path.join(temporaryDirectory(t), 'a', 'copy')
  const told: BackupProgress[] = []
  const report = await wal.backup(dest, { onProgress: (progress) => told.push(progress) })
  t.deepEqual([report.firstPosition, report.lastPosition], [1, 20_000])
  t.is(report.linked + report.cloned + report.copied, report.segments)
  t.like(told.at(-1), { segments: report.segments, totalSegments: report.segments, bytes: report.bytes, totalBytes: report.bytes })
  await wal.append('only in the original')

  const copy = await Wal.open(dest, options)
  t.teardown(() => copy.close())
  t.is(copy.recovery.verdict, 'clean')
  t.deepEqual(await values(copy.readFrom('start')), numbered(1, 20_000))
  t.is(await copy.append('only in the copy'), 20_001)
  t.deepEqual(await values(wal.readFrom(20_001)), ['only in the original'])
  t.deepEqual(await values(copy.readFrom(20_001)), ['only in the copy'])
})

test('segments that are complete are linked, and truncating either log leaves the other whole', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, 20_000)
  const dest = path.join(temporaryDirectory(t), 'copy')
  const { linked } = await wal.backup(dest)
  const shared = readdirSync(dest).filter((name) => name.endsWith('.wal') && statSync(path.join(dest, name)).nlink === 2)
  t.is(shared.length, linked)
  t.true(linked > 3)
  await wal.truncateBefore(19_000)
  const copy = await Wal.open(dest, options)
  t.teardown(() => copy.close())
  t.deepEqual(await values(copy.readFrom('start')), numbered(1, 20_000))
  await copy.truncateBefore(15_000)
  t.deepEqual(await values(wal.readFrom('start')), numbered(19_000, 20_000))
})

test('appends, rolls and truncation go on while backups are made', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, 10_000)
  let last = 10_000
  let running = true
  const write = async () => {
    while (running) {
      for (let n = 0; n < 500; n++) wal.enqueue(`value-${++last}`)
      await wal.sync()
      await wal.truncateBefore(last - 5000)
    }
  }
  const writing = write()
  const parent = temporaryDirectory(t)
  const reports = []
  for (let n = 0; n < 8; n++) reports.push(await wal.backup(path.join(parent, String(n))))
  running = false
  await writing
  for (const [n, { firstPosition, lastPosition }] of reports.entries()) {
    const copy = await Wal.open(path.join(parent, String(n)), options)
    t.deepEqual(await values(copy.readFrom('start')), numbered(firstPosition, lastPosition))
    await copy.close()
  }
})

test('giving up leaves an empty directory', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 1000)
  const dest = path.join(temporaryDirectory(t), 'copy')
  const empty = () =>
    t.deepEqual(
      readdirSync(dest).filter((name) => name !== 'LOCK'),
      []
    )
  const controller = new AbortController()
  const given = wal.backup(dest, { signal: controller.signal, onProgress: () => controller.abort('enough') })
  const error = await t.throwsAsync(given, { name: 'AbortError', code: 'ABORT_ERR' })
  t.is(error.cause, 'enough')
  empty()
  const thrown = wal.backup(dest, {
    onProgress() {
      throw new Error('mine')
    },
  })
  await t.throwsAsync(thrown, { message: 'mine' })
  empty()
  const closing = wal.backup(dest)
  await wal.close()
  await t.throwsAsync(closing, { code: 'ERR_WAL_CLOSED' })
  empty()
})

test('what a backup cannot be made of or into', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 1)
  const used = temporaryDirectory(t)
  writeFileSync(path.join(used, 'notes.txt'), 'mine')
  await t.throwsAsync(wal.backup(used), { code: 'ERR_WAL_FORMAT', message: /notes\.txt/ })
  await t.throwsAsync(wal.backup(wal.dir), { code: 'ERR_WAL_INVALID_ARG' })
  await t.throwsAsync(wal.backup(path.join(wal.dir, 'inside')), { code: 'ERR_WAL_INVALID_ARG' })
  await t.throwsAsync(wal.backup(''), { code: 'ERR_WAL_INVALID_ARG' })
  await t.throwsAsync(wal.backup(used, { onProgress: 1 as never }), { code: 'ERR_WAL_INVALID_ARG', message: /onProgress/ })
  await wal.close()
  await t.throwsAsync(wal.backup(path.join(used, 'copy')), { code: 'ERR_WAL_CLOSED' })
})

test('forelog backup copies a log that another process writes', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5000)
  const parent = temporaryDirectory(t)
  const copy = path.join(parent, 'copy')
  const { code, stderr } = await forelog(['backup', wal.dir, copy])
  t.is(code, 0, stderr)
  t.regex(stderr, /^records 1 to 5000, \d+ segments \(.+\), .* MB, .* s\n$/)
  const cat = await forelog(['cat', copy])
  t.is(cat.stdout.toString(), numbered(1, 5000).join(''))
  mkdirSync(path.join(parent, 'used', 'x'), { recursive: true })
  const refused = await forelog(['backup', wal.dir, path.join(parent, 'used')])
  t.is(refused.code, 1)
  t.regex(refused.stderr, /ERR_WAL_FORMAT/)
  t.is((await forelog(['backup', wal.dir])).code, 2)
})
