// How long the bytes of a record live, and what they keep alive.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { Record, type WalRecord } from '../index.js'
import { temporaryLog, until } from './helpers/log.js'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

const MIB = 1 << 20
const SIZE = 1024
const COUNT = 16 * 1024

/** Memory of array buffers, once garbage is gone. */
function held(): number {
  gc()
  return process.memoryUsage().arrayBuffers
}

test.serial('the bytes of a record do not change when the log grows, is truncated and is closed', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const text = (n: number) => `record ${n} `.repeat(20)
  for (let n = 1; n <= 5000; n++) wal.enqueue(Record.put(`key ${n}`, text(n)))
  await wal.sync()
  const kept: [WalRecord, Buffer | undefined][] = []
  for await (const record of wal.readFrom('start')) if (record.position % 100 === 0) kept.push([record, record.value])
  await wal.truncateBefore(4000)
  for (let n = 1; n <= 5000; n++) wal.enqueue('x'.repeat(300))
  await wal.reset(1)
  for (let n = 1; n <= 100; n++) wal.enqueue('y')
  for await (const _ of wal.readFrom('start'));
  await wal.close()
  gc()
  t.is(kept.length, 50)
  for (const [record, value] of kept) {
    t.is(String(record.key), `key ${record.position}`)
    t.is(String(record.value), text(record.position))
    t.is(String(value), text(record.position))
  }
})

test.serial('a record view keeps its block in memory, and a copy only the record', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os', segmentBytes: 32 * MIB })
  const value = Buffer.alloc(SIZE, 'v')
  for (let n = 0; n < COUNT; n++) wal.enqueue(value)
  await wal.sync()
  // A few of many, so that every block has one.
  const keepSome = async (copy: boolean) => {
    const kept: WalRecord[] = []
    for await (const record of wal.readFrom('start', { copy })) if (record.position % 100 === 0) kept.push(record)
    return kept
  }
  const before = held()
  const copies = await keepSome(true)
  await until(() => held() - before < 2 * MIB)
  const views = await keepSome(false)
  t.true(held() - before > (COUNT * SIZE) / 2, `${held() - before}`)
  t.is(views.length, copies.length)
  t.deepEqual(views[7].value, copies[7].value)
})
