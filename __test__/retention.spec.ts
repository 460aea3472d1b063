// Retention: the log lets go of its oldest segments by itself.

import test from 'ava'
import { Wal } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { temporaryLog, values } from './helpers/log.js'

test('with maxBytes the oldest segments go, and the rest reads', async (t) => {
  const wal = await temporaryLog(t, { retention: { maxBytes: 256 * 1024 } })
  for (let n = 1; n <= 400; n++) await wal.append(`${n} `.padEnd(2000, 'x'))
  await wal.sync()
  t.true(wal.firstPosition > 200, `${wal.firstPosition}`)
  t.true(wal.stats().removedSegments > 5)
  const read = await values(wal.readFrom('start'))
  t.true(read[0]?.startsWith(`${wal.firstPosition} `))
  t.is(read.length, 401 - wal.firstPosition)
})

test('without retention nothing goes', async (t) => {
  const wal = await temporaryLog(t)
  for (let n = 1; n <= 100; n++) await wal.append('x'.repeat(5000))
  t.is(wal.firstPosition, 1)
  t.is(wal.stats().removedSegments, 0)
})

test('limits are checked', async (t) => {
  const dir = temporaryDirectory(t)
  for (const retention of [5, null, { maxBytes: -1 }, { maxBytes: 0 }, { maxAgeMs: 0 }, { maxAgeMs: '1' }, { bytes: 1 }]) {
    await t.throwsAsync(Wal.open(dir, { retention: retention as never }), { code: 'ERR_WAL_INVALID_ARG', message: /retention/ })
  }
})
