// Compression is a matter of the files alone: what is read is what was appended.

import test from 'ava'
import { Record, Wal } from '../index.js'
import { copyOpenLog, temporaryDirectory } from './helpers/directory.js'
import { collect, SEGMENT_BYTES, temporaryLog } from './helpers/log.js'

const text = (n: number): string => JSON.stringify({ level: 'info', message: 'order accepted', request: n }).repeat(5)

for (const compression of ['lz4', 'zstd'] as const) {
  test(`${compression}: records of every kind are read back, and take less space`, async (t) => {
    const wal = await temporaryLog(t, { compression })
    for (let n = 1; n <= 1000; n += 1) wal.enqueue(Record.put(`key-${n}`, text(n), { expiresAt: n }))
    await wal.appendBatch([Record.delete('key-1'), { value: text(0), version: { term: 3, index: 9 } }])
    const records = await collect(wal.readFrom('start'))
    t.is(records.length, 1002)
    records.slice(0, 1000).forEach(({ position, key, value, expiresAt }, i) => {
      t.deepEqual([position, key?.toString(), value?.toString(), expiresAt], [i + 1, `key-${i + 1}`, text(i + 1), i + 1])
    })
    t.true(records[1000]?.tombstone)
    t.deepEqual(records[1001]?.version, { term: 3, index: 9 })
    // What the last commit wrote is counted after it has settled.
    await wal.close()
    const { bytes, writtenBytes } = wal.stats()
    t.true(writtenBytes < bytes / 3, `${writtenBytes} of ${bytes} bytes`)
  })
}

test('a log written with one setting opens with every other', async (t) => {
  const dir = temporaryDirectory(t)
  let count = 0
  for (const compression of ['none', 'zstd', undefined, 'lz4', 'none'] as const) {
    const wal = await Wal.open(dir, { compression, segmentBytes: SEGMENT_BYTES })
    for (let n = 0; n < 100; n += 1) wal.enqueue(text(++count))
    await wal.sync()
    const values = (await collect(wal.readFrom('start'))).map(({ value }) => value?.toString())
    t.deepEqual(
      values,
      Array.from({ length: count }, (_, i) => text(i + 1))
    )
    await wal.close()
  }
})

test("Raft's term and index survive a crash, in single records and in batches", async (t) => {
  const entry = (index: number) => ({ key: `command-${index}`, value: text(index), version: { term: Math.ceil(index / 4), index } })
  const wal = await temporaryLog(t, { fsync: 'os' })
  for (let index = 1; index <= 5; index += 1) await wal.append(entry(index))
  await wal.appendBatch([entry(6), entry(7), entry(8)])
  await wal.append({ key: 'vote', tombstone: true, version: { term: Number.MAX_SAFE_INTEGER, index: Number.MAX_SAFE_INTEGER } })
  // What a killed process leaves behind: the files as they are.
  const reopened = await Wal.open(copyOpenLog(t, wal.dir), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => reopened.close())
  t.false(reopened.recovery.clean)
  const read = await collect(reopened.readFrom('start'))
  const versions = Array.from({ length: 8 }, (_, i) => entry(i + 1).version)
  t.deepEqual(
    read.map(({ version }) => version),
    [...versions, { term: Number.MAX_SAFE_INTEGER, index: Number.MAX_SAFE_INTEGER }]
  )
})
