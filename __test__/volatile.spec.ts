import path from 'node:path'
import test from 'ava'
import { Wal } from '../index.js'
import { temporaryLog } from './helpers/log.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

test('a log on a file system in memory is reported as not durable, in every mode', async (t) => {
  if (!has(t, 'mount')) return
  const dir = path.join(smallDisk(t, '4m'), 'log')
  const wal = await Wal.open(dir, { segmentBytes: 64 << 10 })
  t.true(wal.recovery.volatile)
  const view = await Wal.open(dir, { mode: 'readOnly' })
  t.true(view.recovery.volatile)
  await view.close()
  await wal.close()
  t.false((await temporaryLog(t)).recovery.volatile)
})
