// A copy of a log that is being written opens as a log of its own.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, type BackupProgress } from '../index.js'
import { forelog } from './helpers/command.js'
import { segments, snapshot, temporaryDirectory } from './helpers/directory.js'
import { fill, isToldUpTo, numbered, SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'
import { LoopDisk, smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

const options = { segmentBytes: SEGMENT_BYTES }

test('a backup opens with the records up to the cut and continues independently of the original', async (t) => {
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

test('sealed segments are linked, and truncating either log leaves the other one complete', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, 20_000)
  const dest = path.join(temporaryDirectory(t), 'copy')
  const { linked, segments: all } = await wal.backup(dest)
  const shared = readdirSync(dest).filter((name) => name.endsWith('.wal') && statSync(path.join(dest, name)).nlink === 2)
  t.is(shared.length, linked)
  // All but the active one, and one at most that still waits for its footer; how many there are depends on how commits gather.
  t.true(linked >= all - 2 && linked > 1, `${linked} of ${all}`)
  await wal.truncateBefore(19_000)
  const copy = await Wal.open(dest, options)
  t.teardown(() => copy.close())
  t.deepEqual(await values(copy.readFrom('start')), numbered(1, 20_000))
  await copy.truncateBefore(15_000)
  t.deepEqual(await values(wal.readFrom('start')), numbered(19_000, 20_000))
})

/** A log of several segments; all that are sealed have their footers. */
async function sealedLog(t: ExecutionContext, dir?: string): Promise<Wal> {
  const opened = await temporaryLog(t, {}, dir)
  // In pieces: a segment that a roll left empty is not part of the log.
  for (const value of numbered(1, 20_000)) if (opened.enqueue(value) % 500 === 1) await opened.sync()
  // Closing waits for the footers.
  await opened.close()
  const wal = await Wal.open(opened.dir, options)
  t.teardown(() => wal.close())
  return wal
}

/** The copy opens as a log of its own: what either of them writes from now on is not in the other. */
async function goesOnApart(t: ExecutionContext, wal: Wal, dest: string): Promise<void> {
  const before = snapshot(dest)
  await wal.append('only in the original')
  for (const { rolls } = wal.stats(); wal.stats().rolls < rolls + 3;) await wal.append('o'.repeat(10_000))
  t.deepEqual(snapshot(dest), before)

  const files = segments(wal.dir)
  const original = () => files.map((name) => snapshot(path.join(wal.dir, name)))
  await wal.sync()
  const kept = original()
  const copy = await Wal.open(dest, options)
  t.is(copy.recovery.verdict, 'clean')
  t.deepEqual(await values(copy.readFrom('start')), numbered(1, 20_000))
  t.is(await copy.append('only in the copy'), 20_001)
  for (const { rolls } = copy.stats(); copy.stats().rolls < rolls + 3;) await copy.append('c'.repeat(10_000))
  await copy.truncateBefore(10_000)
  await copy.close()
  t.deepEqual(original().slice(0, -2), kept.slice(0, -2))
  t.deepEqual(await values(wal.readFrom(1, { to: 20_001 })), [...numbered(1, 20_000), 'only in the original'])
}

const stat = (dir: string, name: string) => statSync(path.join(dir, name))
const areEqual = (wal: Wal, dest: string, name: string) =>
  readFileSync(path.join(dest, name)).equals(readFileSync(path.join(wal.dir, name)).subarray(0, stat(dest, name).size))

test('sealed segments are the same files in both logs; the active segment, and one without its footer, are copied', async (t) => {
  const wal = await sealedLog(t)
  const names = segments(wal.dir)
  const [waiting, active] = [names[2], names.at(-1)]
  const file = path.join(wal.dir, waiting)
  truncateSync(file, stat(wal.dir, waiting).size - 16)
  const dest = path.join(temporaryDirectory(t), 'copy')
  const { linked, cloned, copied } = await wal.backup(dest)
  t.deepEqual(segments(dest), names)
  for (const name of names) {
    const own = name === active || name === waiting
    t.deepEqual([stat(dest, name).nlink, stat(dest, name).ino === stat(wal.dir, name).ino], own ? [1, false] : [2, true], name)
    t.true(areEqual(wal, dest, name))
  }
  t.deepEqual([linked, cloned + copied], [names.length - 2, 2])
  await goesOnApart(t, wal, dest)
})

test('a backup to another file system copies everything', async (t) => {
  if (!has(t, 'mount')) return
  const wal = await sealedLog(t)
  const dest = path.join(smallDisk(t, '8m'), 'copy')
  const report = await wal.backup(dest)
  t.not(statSync(dest).dev, statSync(wal.dir).dev)
  t.like(report, { linked: 0, cloned: 0, copied: report.segments })
  for (const name of segments(wal.dir)) {
    t.is(stat(dest, name).nlink, 1)
    t.is(stat(wal.dir, name).nlink, 1)
    t.true(areEqual(wal, dest, name))
  }
  await goesOnApart(t, wal, dest)
})

test('on a file system that shares blocks, a sealed segment that cannot be linked is cloned', async (t) => {
  if (!has(t, 'root', 'loop', 'xfs')) return
  const disk = new LoopDisk(t, 'xfs', 64).dir
  const wal = await sealedLog(t, path.join(disk, 'log'))
  const names = segments(wal.dir)
  // Without its end a footer is none: nobody may take the file for one that is not written to any more.
  const unfinished = names.slice(1, 3)
  for (const name of unfinished) truncateSync(path.join(wal.dir, name), stat(wal.dir, name).size - 16)
  const dest = path.join(disk, 'copy')
  t.like(await wal.backup(dest), { linked: names.length - 3, cloned: 2, copied: 1 })
  for (const name of unfinished) {
    t.is(stat(dest, name).nlink, 1)
    t.not(stat(dest, name).ino, stat(wal.dir, name).ino)
    t.true(areEqual(wal, dest, name))
  }
  for (const [name, shared] of [...unfinished.map((name) => [name, true] as const), [names.at(-1) as string, false] as const]) {
    const { status, stdout } = spawnSync('filefrag', ['-v', path.join(dest, name)], { encoding: 'utf8' })
    if (status === 0) t.is(/\bshared\b/.test(stdout), shared, stdout)
  }
  await goesOnApart(t, wal, dest)
  await wal.close()
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

test('an aborted backup leaves an empty directory', async (t) => {
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

test('sources and targets of which no backup can be made are refused', async (t) => {
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
  await isToldUpTo(wal, 5000)
  const parent = temporaryDirectory(t)
  const copy = path.join(parent, 'copy')
  const { code, stderr } = await forelog(['backup', wal.dir, copy])
  t.is(code, 0, stderr)
  t.regex(stderr, /^records 1 to 5000, \d+ segments \(.+\), .* MB, .* s\n$/)
  const cat = await forelog(['cat', copy])
  t.is(cat.stdout.toString(), numbered(1, 5000).join(''))
  mkdirSync(path.join(parent, 'used', 'x'), { recursive: true })
  const refused = await forelog(['backup', wal.dir, path.join(parent, 'used')])
  t.is(refused.code, 2)
  t.regex(refused.stderr, /ERR_WAL_FORMAT/)
  t.is((await forelog(['backup', wal.dir])).code, 2)
})
