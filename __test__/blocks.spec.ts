// Blocks of records: the memory that they are in, and how many are read ahead.

import path from 'node:path'
import test from 'ava'
import { Record, Wal, type Appendable, type WalRecord } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, plain } from './helpers/log.js'

const BLOCK = 256 * 1024

/** Records of all kinds. Runs of small ones, of large ones, and of single ones that are larger than a block make blocks of every shape. */
function* assorted(count: number): Generator<{ record: Appendable<string>; shown: ReturnType<typeof plain> }> {
  for (let n = 1; n <= count; n++) {
    const run = Math.floor(n / 2000) % 4
    const size = n % 1777 === 0 ? 700_000 : [5, 120, 1500, 0][run]
    const key = `key ${n}`
    const value = n % 11 === 0 ? undefined : String(n).padEnd(size, '.')
    const expiresAt = n % 5 === 0 || run === 3 ? 4e12 + n : undefined
    const version = n % 7 === 0 ? { term: 1, index: n } : undefined
    const record = value === undefined ? Record.delete(key, { version }) : Record.put(key, value, { expiresAt, version })
    const tombstone = value === undefined
    yield { record, shown: { position: n, key, value, tombstone, expiresAt: tombstone ? undefined : expiresAt, version } }
  }
}

for (const compression of [undefined, 'lz4'] as const) {
  test(`records stay as they were read while later blocks are read, ${compression ?? 'not'} compressed`, async (t) => {
    const wal = await Wal.open(temporaryDirectory(t), { fsync: 'os', compression })
    t.teardown(() => wal.close())
    const all = [...assorted(20_000)]
    for (let i = 0; i < all.length; i += 500) await wal.appendBatch(all.slice(i, i + 500).map(({ record }) => record))
    const kept: WalRecord[] = await collect(wal.readFrom('start'))
    for await (const records of wal.readFrom('start').batches()) kept.push(...records)
    t.is(kept.length, 2 * all.length)
    // Their fields are looked up only now, when all blocks have been read.
    const wrong = kept.filter((record, i) => {
      const { shown } = all[i % all.length]
      return JSON.stringify(plain(record)) !== JSON.stringify(shown)
    })
    t.deepEqual(wrong.slice(0, 3).map(plain), [])
  })
}

test('a record keeps at most twice the memory of its block', async (t) => {
  const wal = await Wal.open(temporaryDirectory(t), { fsync: 'os' })
  t.teardown(() => wal.close())
  const value = Buffer.alloc(100)
  for (let i = 0; i < 30; i++) await wal.appendBatch(new Array<Buffer>(1000).fill(value))
  const blocks = new Map<ArrayBufferLike, number>()
  for await (const record of wal.readFrom('start')) {
    const { buffer, length } = record.value!
    // Each record has a head and an entry in the index of its block.
    blocks.set(buffer, (blocks.get(buffer) ?? 0) + length + 20)
  }
  t.true(blocks.size > 5)
  for (const [{ byteLength }, used] of blocks) t.true(byteLength < 2 * used + 4096, `${byteLength} bytes for ${used}`)
  // A few records after a long replay.
  for await (const { value } of wal.readFrom(wal.nextPosition - 10)) t.true(value!.buffer.byteLength < BLOCK)
})

test('workers that are terminated while they read leave the process intact', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(dir, { fsync: 'os' })
  const batch = new Array<Buffer>(16).fill(Buffer.alloc(65_536))
  for (let i = 0; i < 32; i++) await wal.appendBatch(batch)
  await wal.close()
  const { code, signal, stderr } = await node([path.join(root, '__test__', 'helpers', 'reading.mjs'), dir, '50'])
  t.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
})
