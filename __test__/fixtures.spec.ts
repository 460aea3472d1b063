// Logs of every format version, frozen: each opens for ever, with the records that its writer was told are there.

import test from 'ava'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Wal, type WalRecord } from '../index.js'
import { snapshot, temporaryDirectory } from './helpers/directory.js'
import { collect, plain } from './helpers/log.js'
import type { Expected, Fixture } from './helpers/fixtures.js'
import { fixtures, unpack } from './helpers/unpack.js'

const shown = (record: WalRecord) => ({ ...plain(record), committedAt: record.committedAt })

const text = (bytes: Expected['value']): string | undefined => (typeof bytes === 'object' ? bytes.repeat.repeat(bytes.times) : bytes)

for (const version of readdirSync(fixtures)) {
  for (const name of readdirSync(path.join(fixtures, version))) {
    const dir = path.join(fixtures, version, name)
    const { records, times, verdict, holes = [] } = JSON.parse(readFileSync(path.join(dir, 'expected.json'), 'utf8')) as Fixture
    let last = 0
    const behindHole = (): number => {
      const hole = holes.find((hole) => hole.first === last + 1)
      return hole === undefined ? last + 1 : hole.last + 1
    }
    const expected = records.map(({ tombstone = false, key, value, expiresAt, version }, i) => {
      const committedAt = times?.[i]
      return { position: (last = behindHole()), key, value: text(value), tombstone, expiresAt, version, committedAt }
    })
    const next = behindHole()

    test(`${version}, ${name}: opens for reading, unchanged`, async (t) => {
      const log = path.join(temporaryDirectory(t), 'log')
      unpack(dir, log)
      const before = snapshot(log)
      const wal = await Wal.open(log, { mode: 'readOnly' })
      t.is(wal.recovery.verdict, verdict)
      t.deepEqual((await collect(wal.readFrom('start'))).map(shown), expected)
      await wal.close()
      t.deepEqual(snapshot(log), before)
    })

    test(`${version}, ${name}: opens for writing, accepts appends, and stays clean`, async (t) => {
      const log = path.join(temporaryDirectory(t), 'log')
      unpack(dir, log)
      const wal = await Wal.open(log)
      t.is(wal.recovery.verdict, verdict)
      t.deepEqual((await collect(wal.readFrom('start'))).map(shown), expected)
      t.deepEqual(wal.recovery.holes, holes)
      t.is(await wal.append('one more'), next)
      await wal.close()
      const again = await Wal.open(log)
      t.true(again.recovery.clean)
      const read = (await collect(again.readFrom('start'))).map(shown)
      t.deepEqual(read.slice(0, -1), expected)
      t.is(read.at(-1)?.value, 'one more')
      // Whatever version has written the log, what is appended now has a time.
      t.true(Math.abs(Date.now() - (read.at(-1)?.committedAt ?? 0)) < 600_000)
      t.is(await again.positionAt(Date.now() + 600_000), next + 1)
      if (times === undefined) t.is(await again.positionAt(0), next)
      else for (const time of times) t.is(await again.positionAt(time), expected[times.findIndex((other) => other >= time)].position)
      await again.close()
    })
  }
}
