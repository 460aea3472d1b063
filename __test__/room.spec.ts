// What a log takes of the disk: little while little is in it, and after close nothing that it does not use.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { stat, Wal } from '../index.js'
import { forelog } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { numbered, temporaryLog, until, values } from './helpers/log.js'

const allocated = (dir: string): number =>
  readdirSync(dir).reduce((sum, name) => sum + (statSync(path.join(dir, name)).blocks ?? 0) * 512, 0)
const newest = (dir: string): string => path.join(dir, segments(dir).at(-1)!)

test('a closed log takes only the space of its records, and opens clean', async (t) => {
  const dir = temporaryDirectory(t)
  for (let opening = 1; opening <= 5; opening++) {
    const wal = await Wal.open(dir)
    t.is(wal.recovery.clean, true)
    await wal.append(`value-${opening}`)
    await wal.close()
    t.deepEqual(readdirSync(dir).sort(), [path.basename(newest(dir)), 'CONTROL', 'LOCK'], 'nothing is kept for later')
    t.is(statSync(newest(dir)).size, 8192, 'a header and a page of frames')
    if (process.platform !== 'win32') t.true(allocated(dir) <= 40 * 1024, `${allocated(dir)} bytes`)
  }
  const view = await temporaryLog(t, { mode: 'readOnly' }, dir)
  t.deepEqual(await values(view.readFrom('start')), numbered(1, 5))
})

test('many logs with one record each stay small, open and closed', async (t) => {
  const root = temporaryDirectory(t)
  const dirs = Array.from({ length: 50 }, (_, n) => path.join(root, `${n}`))
  const logs = await Promise.all(dirs.map((dir) => Wal.open(dir)))
  await Promise.all(logs.map((wal) => wal.append('one')))
  // A 256th of a segment each, and the reserve.
  for (const dir of dirs) t.true(statSync(newest(dir)).size <= 256 * 1024)
  await Promise.all(logs.map((wal) => wal.close()))
  const again = await Promise.all(dirs.map((dir) => Wal.open(dir)))
  for (const dir of dirs) {
    t.is(statSync(newest(dir)).size, 8192, 'an open log that is not appended to takes nothing')
    t.false(existsSync(path.join(dir, 'reserve')))
  }
  await Promise.all(again.map((wal) => wal.close()))
  if (process.platform !== 'win32') t.true(allocated(dirs[7]) <= 40 * 1024)
})

test('a log in use has its whole segment allocated, and another one prepared', async (t) => {
  const wal = await temporaryLog(t, { segmentBytes: 8 << 20 })
  await wal.append(Buffer.alloc(100_000))
  await until(() => statSync(newest(wal.dir)).size === 8 << 20)
  t.is(wal.stats().segments, 1)
  // A commit brings what was seen of the file up to date.
  await wal.append(Buffer.alloc(2 << 20))
  t.is(wal.stats().activeCapacity, 8 << 20)
  await until(() => readdirSync(wal.dir).some((name) => name.startsWith('spare-')) && existsSync(path.join(wal.dir, 'reserve')))
  await wal.close()
  t.is(statSync(newest(wal.dir)).size % 4096, 0)
  t.true(statSync(newest(wal.dir)).size < (2 << 20) + 120_000)

  const again = await temporaryLog(t, { segmentBytes: 8 << 20 }, wal.dir)
  await again.append(Buffer.alloc(3 << 20))
  await until(() => statSync(newest(wal.dir)).size === 8 << 20)
  t.is(again.stats().rolls, 0, 'it goes on where it was')
})

test('after a kill the allocated space stays, and the next close releases it', async (t) => {
  const dir = temporaryDirectory(t)
  const entry = new URL('../index.js', import.meta.url).href
  const script = `import { Wal } from ${JSON.stringify(entry)}
    const wal = await Wal.open(${JSON.stringify(dir)}, { segmentBytes: 4194304 })
    await wal.append(Buffer.alloc(100000))
    process.kill(process.pid, 'SIGKILL')`
  t.throws(() => execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' }))
  const wal = await temporaryLog(t, { segmentBytes: 4 << 20 }, dir)
  t.is(wal.nextPosition, 2)
  await wal.close()
  const total = readdirSync(dir).reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0)
  t.true(total < 300_000, `${total} bytes`)
})

test('stats() has the allocated and the used bytes', async (t) => {
  const wal = await temporaryLog(t)
  while (segments(wal.dir).length < 3) await wal.append(Buffer.alloc(5000))
  await until(() => wal.stats().allocatedBytes >= wal.stats().usedBytes)
  const { allocatedBytes, usedBytes, activeBytes } = wal.stats()
  t.true(usedBytes > 2 * 55_000 && usedBytes < allocatedBytes, `${usedBytes} of ${allocatedBytes}`)
  t.true(activeBytes < usedBytes)
  const view = await temporaryLog(t, { mode: 'readOnly' }, wal.dir)
  await until(() => view.stats().allocatedBytes > 0 && view.stats().usedBytes > 0)
})

test('stat() describes a log while it is open and afterwards', async (t) => {
  const wal = await temporaryLog(t)
  while (segments(wal.dir).length < 3) await wal.append(Buffer.alloc(5000))
  const cursor = await wal.cursor('mailer')
  await cursor.commit(4)
  await wal.truncateBefore(3)
  const beside = await stat(wal.dir)
  t.like(beside, { locked: true, clean: false, firstPosition: 3, segments: 3, cursors: [{ name: 'mailer', position: 4 }] })
  t.true(beside.allocatedBytes > beside.usedBytes)
  const next = wal.nextPosition
  await wal.close()

  const after = await stat(wal.dir)
  t.like(after, {
    locked: false,
    clean: true,
    verdict: 'clean',
    firstPosition: 3,
    nextPosition: next,
    segments: 3,
    spares: 0,
    reserveBytes: 0,
  })
  t.is(after.uuid, beside.uuid)
  t.regex(after.uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  if (process.platform !== 'win32') t.is(after.allocatedBytes, allocated(wal.dir))

  writeFileSync(path.join(wal.dir, 'CURSORS'), 'nothing of ours')
  t.is((await stat(wal.dir)).cursors, undefined)
  await t.throwsAsync(stat(path.join(wal.dir, 'elsewhere')), { code: 'ERR_WAL_NOT_FOUND' })
  await t.throwsAsync(stat(''), { code: 'ERR_WAL_INVALID_ARG' })
})

test('forelog stat prints it for people and for programs', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('one')
  const open = await forelog(['stat', wal.dir])
  t.is(open.code, 0)
  t.regex(String(open.stdout), /^state +open for writing$/m)
  await wal.close()
  const closed = await forelog(['stat', wal.dir])
  t.regex(String(closed.stdout), /^state +clean\nrecords +1: 1 to 1\nsegments +1\ncursors +none$/m)
  const json = await forelog(['stat', wal.dir, '--json'])
  t.deepEqual(JSON.parse(String(json.stdout)), await stat(wal.dir))
  const missing = await forelog(['stat', path.join(wal.dir, 'elsewhere')])
  t.not(missing.code, 0)
  t.regex(missing.stderr, /ERR_WAL_NOT_FOUND/)
})
