import { readdirSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Wal } from '../index.js'
import { snapshot, temporaryDirectory } from './helpers/directory.js'
import { fill, numbered, SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'
import { remountReadOnly, smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

test('a log is read while another process writes to it', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5000)
  const view = await Wal.open(wal.dir, { mode: 'readOnly' })
  // What the writer has acknowledged is told to other processes a few milliseconds later.
  t.deepEqual(await values(view.readFrom('start', { follow: true, limit: 5000 })), numbered(1, 5000))
  t.is(view.nextPosition, 5001)
  t.deepEqual(await values(view.readFrom(4999)), numbered(4999, 5000))
  await view.close()
  t.is(await wal.append('value-5001'), 5001)
})

test('a read-only handle refuses every operation that writes, and can be closed', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 3)
  await wal.close()
  const before = snapshot(wal.dir)
  const view = await Wal.open(wal.dir, { mode: 'readOnly' })
  const refused = { code: 'ERR_WAL_READ_ONLY' }
  await t.throwsAsync(view.append('x'), refused)
  await t.throwsAsync(view.appendBatch(['x', 'y']), refused)
  await t.throwsAsync(view.sync(), refused)
  t.throws(() => view.enqueue('x'), refused)
  await view.drain()
  t.true(view.recovery.clean)
  await view.close()
  await view.close()
  t.deepEqual(snapshot(wal.dir), before)
})

test('a missing log is not created', async (t) => {
  const parent = temporaryDirectory(t)
  const missing = { code: 'ERR_WAL_NOT_FOUND', verdict: 'absent' }
  const open = (dir: string) => Wal.open(dir, { mode: 'readOnly', create: true })
  t.like(await t.throwsAsync(open(path.join(parent, 'log'))), missing)
  t.like(await t.throwsAsync(open(parent)), missing)
  t.deepEqual(readdirSync(parent), [])
})

test('a log on a file system that is mounted read-only is read', async (t) => {
  if (!has(t, 'mount')) return
  const disk = smallDisk(t, '4m')
  const dir = path.join(disk, 'log')
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  await fill(wal, 3000)
  await wal.close()
  remountReadOnly(disk)
  await t.throwsAsync(Wal.open(dir), { code: 'ERR_WAL_READ_ONLY' })
  const view = await Wal.open(dir, { mode: 'readOnly' })
  t.teardown(() => view.close())
  t.deepEqual(await values(view.readFrom('start')), numbered(1, 3000))
})
