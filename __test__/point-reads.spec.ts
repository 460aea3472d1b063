// Reads of single records: `get` the one at a position, `last` the newest ones.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Record, Wal, type WalError, type WalRecord } from '../index.js'
import { startOfNewest } from '../dist/read/point.js'
import { node, root } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { Shim } from './helpers/faults/shim.js'
import type { Fixture } from './helpers/fixtures.js'
import { collect, fill, filledLog, fixtureLog, isToldUpTo, numbered, plain, SEGMENT_BYTES, temporaryLog } from './helpers/log.js'
import { has } from './helpers/needs.js'
import { fixtures } from './helpers/unpack.js'

const text = (record: WalRecord | undefined): string | undefined => record?.value?.toString()
const positions = (records: WalRecord[]): number[] => records.map(({ position }) => position)

/** A salvaged log with holes in the middle and one at the end. */
const salvaged = (t: ExecutionContext): Promise<Wal> => fixtureLog(t, 'v1/salvaged')

test('get returns the record at every position, in any order, of every kind', async (t) => {
  const wal = await temporaryLog(t)
  await wal.appendBatch([Record.put('k', 'v', { expiresAt: 1, version: { term: 1, index: 2 } }), Record.delete('k'), 'value'])
  await fill(wal, 5000)
  t.true(segments(wal.dir).length > 1)
  const all = (await collect(wal.readFrom('start'))).map(plain)
  for (const { position, ...fields } of all.filter((_, i) => i < 3 || i % 501 === 0).reverse()) {
    const record = await wal.get(position)
    t.deepEqual(record && plain(record), { position, ...fields })
  }
})

test('a record of get has bytes and properties of its own', async (t) => {
  const wal = await filledLog(t, 100)
  const record = await wal.get(50)
  t.like({ ...record }, { position: 50, value: Buffer.from('value-50') } as never)
  t.is(record?.value?.buffer.byteLength, 'value-50'.length)
})

test('get resolves to undefined where no record can be read yet, and rejects where none can be', async (t) => {
  const wal = await filledLog(t, 10)
  await wal.truncateBefore(4)
  t.is(await wal.get(11), undefined)
  t.is(text(await wal.get(10)), 'value-10')
  t.is(text(await wal.get(4)), 'value-4')
  const truncated = await t.throwsAsync<WalError>(wal.get(3), { code: 'ERR_WAL_TRUNCATED' })
  t.is(truncated.firstPosition, 4)
  await t.throwsAsync(wal.get(12), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await t.throwsAsync(wal.get(Number.MAX_SAFE_INTEGER), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await wal.reset(1)
  t.is(await wal.get(1), undefined)
})

test('get does not return a record that is not acknowledged', async (t) => {
  const wal = await filledLog(t, 3)
  const position = wal.enqueue('pending')
  const [early] = await Promise.all([wal.get(position), wal.acknowledged(position)])
  t.is(early, undefined)
  t.is(text(await wal.get(position)), 'pending')
})

test('thousands of concurrent gets each return their record, and leave no reader', async (t) => {
  const wal = await filledLog(t, 2000)
  const all = Array.from({ length: 2000 }, (_, i) => ((i * 7919) % 2000) + 1)
  t.deepEqual(
    (await Promise.all(all.map((position) => wal.get(position)))).map(text),
    all.map((position) => `value-${position}`)
  )
  t.is(wal.stats().readers, 0)
  await Promise.allSettled([wal.get(3000), wal.last(5), wal.get(1, { signal: AbortSignal.abort() })])
  t.is(wal.stats().readers, 0)
})

test('in a salvaged log get resolves to undefined in a hole', async (t) => {
  const wal = await salvaged(t)
  const { holes } = wal.recovery
  t.is(holes.length, 4)
  for (const { first, last } of holes) {
    for (let position = first; position <= last; position++) t.is(await wal.get(position), undefined)
    t.is((await wal.get(first - 1))?.position, first - 1)
    if (last + 1 < wal.nextPosition) t.is((await wal.get(last + 1))?.position, last + 1)
  }
})

test('last returns the newest n records, oldest first, fewer if there are fewer', async (t) => {
  const wal = await filledLog(t, 5000)
  for (const n of [1, 2, 4999, 5000, 5001, Number.MAX_SAFE_INTEGER]) {
    t.deepEqual((await wal.last(n)).map(text), numbered(Math.max(1, 5001 - n), 5000))
  }
  t.deepEqual(await wal.last(0), [])
  await wal.truncateBefore(4998)
  t.deepEqual(positions(await wal.last(7)), [4998, 4999, 5000])
  await wal.truncateAfter(4999)
  t.deepEqual(positions(await wal.last(7)), [4998, 4999])
  await wal.truncateBefore(5000)
  t.deepEqual(await wal.last(7), [])
  await wal.reset(9)
  t.deepEqual(await wal.last(7), [])
  await wal.append('nine')
  t.deepEqual(positions(await wal.last(7)), [9])
})

test('last of a salvaged log counts records and not positions', async (t) => {
  const wal = await salvaged(t)
  const { records } = JSON.parse(readFileSync(path.join(fixtures, 'v1', 'salvaged', 'expected.json'), 'utf8')) as Fixture
  const all = positions(await collect(wal.readFrom('start')))
  t.is(all.length, records.length)
  for (let n = 1; n <= all.length + 2; n += n < 5 ? 1 : 37) t.deepEqual(positions(await wal.last(n)), all.slice(-n))
})

test('the start of the newest records is found for every set of holes', (t) => {
  const [first, last] = [3, 11]
  for (let bits = 0; bits < 2 ** (last + 1); bits += 1) {
    const isLost = (position: number) => ((bits >> position) & 1) === 1
    const holes: { first: number; last: number }[] = []
    for (let p = 1; p <= last; p += 1) {
      if (!isLost(p)) continue
      if (p > 1 && isLost(p - 1)) holes.at(-1)!.last = p
      else holes.push({ first: p, last: p })
    }
    const there = Array.from({ length: last - first + 1 }, (_, i) => first + i).filter((p) => !isLost(p))
    for (const n of [0, 1, 3, there.length, 20]) {
      const { position, records } = startOfNewest(first, last, n, holes)
      const wanted = n === 0 ? [] : there.slice(-n)
      const context = JSON.stringify({ holes, n, position, records })
      if (records !== wanted.length || there.filter((p) => p >= position).length !== records || position < first || position > last + 1) {
        return t.fail(context)
      }
    }
  }
  t.pass()
})

test('last beside truncations of both ends returns what was the end of the log at some moment', async (t) => {
  const wal = await filledLog(t, 3000)
  let done = false
  const truncating = (async () => {
    for (let n = 0; n < 60; n += 1) {
      await wal.truncateAfter(wal.nextPosition - 1 - (n % 7))
      await wal.truncateBefore(wal.firstPosition + 20)
      for (let more = 0; more < 10; more += 1) wal.enqueue(`value-${wal.nextPosition}`)
      await wal.acknowledged()
    }
    done = true
  })()
  let reads = 0
  for (; !done; reads += 1) {
    const found = await wal.last(500)
    t.is(found.length, 500)
    t.deepEqual(found.map(text), numbered(found[0].position, found[0].position + 499))
  }
  await truncating
  t.true(reads > 3)
})

test('a read-only handle reads single records of the writer in another handle', async (t) => {
  const wal = await filledLog(t, 100)
  await isToldUpTo(wal, 100)
  const view = await Wal.open(wal.dir, { mode: 'readOnly' })
  t.deepEqual((await view.last(2)).map(text), ['value-99', 'value-100'])
  t.is(text(await view.get(7)), 'value-7')
  await view.close()
})

test('single records of a log with a codec are decoded', async (t) => {
  const wal = await Wal.open<unknown>(temporaryDirectory(t), { codec: 'json' })
  await wal.appendBatch([{ n: 1 }, { n: 2 }])
  t.deepEqual((await wal.get(1))?.value, { n: 1 })
  t.deepEqual((await wal.last(1))[0].value, { n: 2 })
  await wal.close()
})

test('get and last reject with ERR_WAL_CODEC if the codec cannot decode a record that they return', async (t) => {
  const plain = await temporaryLog(t)
  await plain.appendBatch(['no JSON', '{"n":2}', 'none either', '{"n":4}'])
  const wal = await Wal.open<{ n: number }>(plain.dir, { codec: 'json', segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  t.deepEqual((await wal.get(2))?.value, { n: 2 })
  t.is((await t.throwsAsync<WalError>(wal.get(1), { code: 'ERR_WAL_CODEC' })).position, 1)
  t.deepEqual(
    (await wal.last(1)).map(({ value }) => value),
    [{ n: 4 }]
  )
  t.is((await t.throwsAsync<WalError>(wal.last(3), { code: 'ERR_WAL_CODEC' })).position, 3)
  await t.throwsAsync(wal.get(1, { onDecodeError: 'skip' } as never), { code: 'ERR_WAL_INVALID_ARG', message: /onDecodeError/ })
})

test('get and last refuse bad arguments, a closed log and an aborted signal', async (t) => {
  const wal = await filledLog(t, 3)
  for (const bad of [undefined, null, -1, 0.5, '1', 1n, 2 ** 53, NaN, {}]) {
    await t.throwsAsync(wal.get(bad as never), { code: 'ERR_WAL_INVALID_ARG', message: /^position must be/ })
    await t.throwsAsync(wal.last(bad as never), { code: 'ERR_WAL_INVALID_ARG', message: /^n must be/ })
  }
  await t.throwsAsync(wal.get(0), { code: 'ERR_WAL_INVALID_ARG' })
  for (const bad of [null, 1, { nope: 1 }, { signal: {} }]) {
    await t.throwsAsync(wal.get(1, bad as never), { code: 'ERR_WAL_INVALID_ARG', message: /options/ })
    await t.throwsAsync(wal.last(1, bad as never), { code: 'ERR_WAL_INVALID_ARG', message: /options/ })
  }
  const signal = AbortSignal.abort()
  await t.throwsAsync(wal.get(1, { signal }), { code: 'ABORT_ERR' } as never)
  await t.throwsAsync(wal.last(1, { signal }), { code: 'ABORT_ERR' } as never)
  await wal.close()
  await t.throwsAsync(wal.get(1), { code: 'ERR_WAL_CLOSED' })
  await t.throwsAsync(wal.last(1), { code: 'ERR_WAL_CLOSED' })
})

test('last reads the newest segment alone, and get one frame', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  const wal = await Wal.open(shim.dir, { segmentBytes: SEGMENT_BYTES })
  for (let n = 0; n < 100; n += 1) await wal.append('x'.repeat(8000))
  await wal.close()
  const files = segments(shim.dir)
  t.true(files.length > 10)
  const script = `
    const { Wal } = await import(process.argv[1])
    const wal = await Wal.open(process.env.FORELOG_FAULT_DIR, { segmentBytes: ${SEGMENT_BYTES} })
    if (process.argv[2] === 'last') await wal.last(2)
    if (process.argv[2] === 'get') await wal.get(60)
    await wal.close()`
  const readBy = async (what: string): Promise<Map<string, number>> => {
    const before = shim.calls().length
    await node(['--input-type=module', '-e', script, path.join(root, 'index.js'), what], { env: shim.env })
    const read = new Map<string, number>()
    for (const { name, file, result } of shim.calls().slice(before)) {
      if (name === 'pread64' && file.endsWith('.wal')) read.set(file, (read.get(file) ?? 0) + result)
    }
    return read
  }
  const nothing = await readBy('nothing')
  const more = (read: Map<string, number>) => files.filter((file) => (read.get(file) ?? 0) > (nothing.get(file) ?? 0))
  t.deepEqual(more(await readBy('last')), files.slice(-1))
  const got = await readBy('get')
  // Two boundaries of the index are about 64 KiB apart; then the frame itself.
  t.is(more(got).length, 1)
  const [file] = more(got)
  t.true((got.get(file) ?? 0) - (nothing.get(file) ?? 0) < 64_000 + 4096 + 20_000, `${got.get(file)}`)
})
