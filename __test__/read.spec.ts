// Reading: which records, in which order, and how it ends.

import { Readable } from 'node:stream'
import { inspect } from 'node:util'
import test from 'ava'
import { Record, type Wal, type WalRecord } from '../index.js'
import { collect, fill, numbered, temporaryLog, values } from './helpers/log.js'

// About ten segments.
const MANY = 30_000

test('every record of many segments is read completely and in order', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, MANY)
  t.true(wal.stats().rolls > 3)
  let next = 1
  for await (const { position, key, value } of wal.readFrom('start')) {
    if (position !== next || key !== undefined || value?.toString() !== `value-${next}`) return t.fail(`at ${next}: ${position} ${value}`)
    next++
  }
  t.is(next, MANY + 1)
})

test('batches() returns the same records in arrays', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, MANY)
  const read: string[] = []
  let arrays = 0
  for await (const records of wal.readFrom('start').batches()) {
    arrays++
    read.push(...records.map(({ value }) => String(value)))
  }
  t.true(arrays > 1 && arrays < MANY / 10, `${arrays} arrays`)
  t.deepEqual(read, numbered(1, MANY))
})

test('start, to and limit choose the records', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  const read = (...args: Parameters<Wal['readFrom']>) => values(wal.readFrom(...args))
  t.deepEqual(await read(4), numbered(4, 10))
  t.deepEqual(await read('start', { to: 3 }), numbered(1, 3))
  t.deepEqual(await read(2, { limit: 3 }), numbered(2, 4))
  t.deepEqual(await read(2, { limit: 3, to: 3 }), numbered(2, 3))
  t.deepEqual(await read(10, { to: 100 }), numbered(10, 10))
  t.deepEqual(await read('end'), [])
  t.deepEqual(await read(11), [])
  t.deepEqual(await read(5, { to: 4 }), [])
  t.deepEqual(await read(5, { limit: 0 }), [])
})

test('an empty log has nothing to read', async (t) => {
  const wal = await temporaryLog(t)
  t.deepEqual(await collect(wal.readFrom('start')), [])
  t.deepEqual(await collect(wal.readFrom('end')), [])
})

test('a position after the end rejects the first next', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 3)
  const reader = wal.readFrom(5)
  await t.throwsAsync(reader.next(), { code: 'ERR_WAL_OUT_OF_RANGE' })
})

test('a reader ends at the last record that was acknowledged when it was made', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 2)
  const pending = wal.append('later')
  const reader = wal.readFrom('start')
  await pending
  t.deepEqual(await values(reader), numbered(1, 2))
})

test('a reader that has ended stays ended', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 1)
  const reader = wal.readFrom('start')
  t.false((await reader.next()).done)
  for (let i = 0; i < 3; i++) t.deepEqual(await reader.next(), { done: true, value: undefined })
})

test('calls of next that overlap are answered in order, also those made while others wait', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, MANY)
  const reader = wal.readFrom('start')
  const answered: [call: number, position: number][] = []
  let calls = 0
  const loop = async () => {
    for (;;) {
      const call = ++calls
      const { value } = await reader.next()
      if (value === undefined) return
      answered.push([call, value.position])
    }
  }
  await Promise.all(Array.from({ length: 10 }, loop))
  t.is(answered.length, MANY)
  t.true(answered.every(([call, position], i) => call === position && position === i + 1))
})

test('the position of a reader is that of the last record it returned', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5)
  const reader = wal.readFrom(2)
  t.is(reader.position, 0)
  await reader.next()
  t.is(reader.position, 2)
  for await (const { position } of reader) if (position === 4) break
  t.is(reader.position, 4)
  t.deepEqual(await values(wal.readFrom(reader.position + 1)), numbered(5, 5))
})

test('leaving the loop ends the reader', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5)
  const reader = wal.readFrom('start')
  for await (const _ of reader) break
  t.true((await reader.next()).done)
  const batched = wal.readFrom('start')
  for await (const _ of batched.batches()) break
  t.true((await batched.next()).done)
})

test('return() settles a pending next()', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5)
  const reader = wal.readFrom('start')
  const waiting = reader.next()
  await reader.return()
  t.true((await waiting).done)
})

test('an error thrown into a reader ends it', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5)
  const reader = wal.readFrom('start')
  await t.throwsAsync(reader.throw(new Error('mine')), { message: 'mine' })
  t.true((await reader.next()).done)
})

test('an aborted signal rejects with an AbortError, before, during and between', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5)
  const aborted = { name: 'AbortError', code: 'ABORT_ERR' }

  const before = wal.readFrom('start', { signal: AbortSignal.abort('why') })
  const error = await t.throwsAsync(before.next(), aborted)
  t.is(error.cause, 'why')

  const during = new AbortController()
  const waiting = wal.readFrom('start', { signal: during.signal }).next()
  during.abort()
  await t.throwsAsync(waiting, aborted)

  const between = new AbortController()
  const reader = wal.readFrom('start', { signal: between.signal })
  await reader.next()
  between.abort()
  await t.throwsAsync(reader.next(), aborted)
  await t.throwsAsync(reader.next(), aborted)
})

test('views share their memory, copies do not', async (t) => {
  const wal = await temporaryLog(t)
  await wal.appendBatch([Record.put('k1', 'v1'), Record.put('k2', 'v2')])
  const [one, two] = await collect(wal.readFrom('start'))
  t.is(one.value?.buffer, two.key?.buffer)
  const copies = await collect(wal.readFrom('start', { copy: true }))
  for (const { key, value } of copies) {
    t.is(key?.buffer.byteLength, 2)
    t.is(value?.buffer.byteLength, 2)
  }
  const posted = structuredClone(copies[1])
  t.is(Buffer.from(posted.value as Uint8Array).toString(), 'v2')
  t.is(posted.position, 2)
})

test('keys and values are buffers', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append(Record.put('key', 'value'))
  for (const copy of [true, false]) {
    const [{ key, value }] = await collect(wal.readFrom('start', { copy }))
    t.true(Buffer.isBuffer(key) && Buffer.isBuffer(value))
    t.is(`${key} ${value}`, 'key value')
  }
})

test('a record larger than a block is read completely', async (t) => {
  const wal = await temporaryLog(t)
  const large = Buffer.alloc(3 << 20, 'large')
  await wal.append('before')
  await wal.append(large)
  await wal.append('after')
  const [before, middle, after] = await collect(wal.readFrom('start'))
  t.true(middle.value?.equals(large))
  t.is(`${before.value} ${after.value}`, 'before after')
})

test('readers work concurrently with each other and with the writer', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, 5000)
  const reads = Array.from({ length: 4 }, (_, i) => values(wal.readFrom(1 + i * 1000, { limit: 1500 })))
  const writes = Array.from({ length: 1000 }, () => wal.append('more'))
  const read = await Promise.all(reads)
  for (const [i, found] of read.entries()) t.deepEqual(found, numbered(1 + i * 1000, 1500 + i * 1000))
  await Promise.all(writes)
})

test('a stream can be made of a reader', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 100)
  const read: string[] = []
  for await (const record of Readable.from(wal.readFrom('start'))) read.push(String((record as WalRecord).value))
  t.deepEqual(read, numbered(1, 100))
})

test('a record view has no own properties to spread; the result of toJSON and a copy have', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append(Record.put('k', 'v', { expiresAt: 5, version: { term: 1, index: 2 } }))
  const [view] = await collect(wal.readFrom('start'))
  const [copy] = await collect(wal.readFrom('start', { copy: true }))
  const fields = { position: 1, key: Buffer.from('k'), value: Buffer.from('v'), expiresAt: 5, version: { term: 1, index: 2 } }
  t.deepEqual({ ...view } as unknown, {})
  t.deepEqual({ ...view.toJSON() }, fields)
  t.deepEqual({ ...copy } as unknown, { ...fields, tombstone: false, committedAt: copy.committedAt })
  for (const record of [view, copy]) t.deepEqual(JSON.parse(JSON.stringify(record)), JSON.parse(JSON.stringify(fields)))
})

test('the fields of a record view can be destructured, in any order and repeatedly', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append(Record.put('k', 'v', { expiresAt: 5 }))
  const [record] = await collect(wal.readFrom('start'))
  for (let i = 0; i < 2; i++) {
    const { expiresAt, tombstone, value, key, position, version } = record
    t.deepEqual([position, `${key}`, `${value}`, tombstone, expiresAt, version], [1, 'k', 'v', false, 5, undefined])
  }
})

test('reading from the next position is valid and returns nothing, also in an empty log', async (t) => {
  const wal = await temporaryLog(t)
  t.deepEqual([wal.firstPosition, wal.nextPosition], [1, 1])
  t.deepEqual([wal.writtenPosition, wal.acknowledgedPosition, wal.durablePosition], [0, 0, 0])
  const empty = async () => {
    t.deepEqual(await collect(wal.readFrom(wal.nextPosition)), [])
    t.deepEqual(await collect(wal.readFrom('end')), [])
  }
  await empty()
  await fill(wal, 3)
  await empty()
  await wal.truncateBefore(4)
  t.deepEqual([wal.firstPosition, wal.nextPosition], [4, 4])
  await empty()
  await wal.reset(100)
  t.deepEqual([wal.firstPosition, wal.nextPosition], [100, 100])
  await empty()
  await t.throwsAsync(wal.readFrom(99).next(), { code: 'ERR_WAL_TRUNCATED' })
  await t.throwsAsync(wal.readFrom(101).next(), { code: 'ERR_WAL_OUT_OF_RANGE' })
})

test('closing rejects every later next() and the pending one', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 2)
  const closed = { code: 'ERR_WAL_CLOSED', operation: 'read' }
  const [between, follower] = [wal.readFrom('start'), wal.readFrom('end', { follow: true })]
  await between.next()
  const waiting = follower.next()
  const closing = wal.close()
  t.like(await t.throwsAsync(waiting), closed)
  for (let i = 0; i < 2; i++) t.like(await t.throwsAsync(between.next()), closed)
  await closing
  t.like(await t.throwsAsync(wal.readFrom('start').next()), closed)
  t.is(between.position, 1)
})

test('inspecting a record shows its fields', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append(Record.put('k', 'v', { version: { term: 1, index: 2 } }))
  await wal.append(Record.delete('k', { expiresAt: 5 }))
  for (const copy of [false, true]) {
    const [put, deleted] = await collect(wal.readFrom('start', { copy }))
    t.deepEqual(put.toJSON(), { position: 1, key: Buffer.from('k'), value: Buffer.from('v'), version: { term: 1, index: 2 } })
    t.deepEqual(deleted.toJSON(), { position: 2, key: Buffer.from('k'), tombstone: true, expiresAt: 5 })
    t.is(inspect(deleted), 'WalRecord { position: 2, key: <Buffer 6b>, tombstone: true, expiresAt: 5 }')
  }
})
