// A log as a stream: what it takes, how it holds back, and what its end says.

import { once } from 'node:events'
import path from 'node:path'
import { Readable, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { setImmediate } from 'node:timers/promises'
import test from 'ava'
import { Record, Wal, type WalError as Failure } from '../index.js'
import { WalError } from '../src/errors.js'
import { WalWritable } from '../src/log/writable.js'
import { SEGMENT_BYTES, collect, numbered, temporaryLog, values } from './helpers/log.js'
import { temporaryDirectory } from './helpers/directory.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

const MANY = 20_000

test('a pipeline into a log appends every chunk in order, durable when it is finished', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const stream = wal.writable()
  t.is(stream.position, 0)
  await pipeline(Readable.from(numbered(1, MANY)), stream)
  t.is(stream.position, MANY)
  t.is(wal.durablePosition, MANY)
  t.deepEqual(await values(wal.readFrom('start')), numbered(1, MANY))
})

test('the log stays open when the stream has finished', async (t) => {
  const wal = await temporaryLog(t)
  await pipeline(Readable.from(['value-1']), wal.writable())
  await pipeline(Readable.from(['value-2']), wal.writable())
  t.is(await wal.append('value-3'), 3)
  t.deepEqual(await values(wal.readFrom('start')), numbered(1, 3))
})

test('chunks may be anything that append accepts', async (t) => {
  const wal = await temporaryLog(t)
  const stream = wal.writable()
  for (const chunk of ['text', Buffer.from('bytes'), Record.put('k', 'put'), Record.delete('k'), { value: 'plain' }]) stream.write(chunk)
  stream.end()
  await finished(stream)
  const records = await collect(wal.readFrom('start'))
  t.deepEqual(
    records.map(({ key, value, tombstone }) => [key?.toString(), value?.toString(), tombstone]),
    [
      [undefined, 'text', false],
      [undefined, 'bytes', false],
      ['k', 'put', false],
      ['k', undefined, true],
      [undefined, 'plain', false],
    ]
  )
})

test('with a codec the chunks are values', async (t) => {
  const wal = await Wal.open<{ n: number }>(temporaryDirectory(t), { codec: 'json', segmentBytes: SEGMENT_BYTES })
  await pipeline(Readable.from([{ n: 1 }, Record.put('k', { n: 2 })]), wal.writable())
  const found = []
  for await (const { value } of wal.readFrom('start')) found.push(value)
  t.deepEqual(found, [{ n: 1 }, { n: 2 }])
  await wal.close()
})

test('write() holds back while more than maxPendingBytes are pending, and continues at half of them', async (t) => {
  const wal = await temporaryLog(t)
  const stream = wal.writable({ maxPendingBytes: 10_000 })
  const chunk = Buffer.alloc(1000)
  let written = 0
  for (let more = true; more; written++) more = stream.write(chunk)
  // Ten of them pend, and as many as a stream of objects buffers wait behind.
  t.true(written > 10 && written < 40, `${written}`)
  t.true(wal.pendingBytes <= 12_000, `${wal.pendingBytes}`)
  await once(stream, 'drain')
  t.true(stream.position > 0)
  t.true(wal.pendingBytes <= 12_000, `${wal.pendingBytes}`)
  let most = 0
  for (let i = 0; i < 500; i++) {
    if (!stream.write(chunk)) await once(stream, 'drain')
    most = Math.max(most, wal.pendingBytes)
  }
  t.true(most <= 12_000, `${most}`)
  stream.end()
  await finished(stream)
  t.is(wal.durablePosition, written + 500)
})

/** A log of which the test says when it acknowledges; records take 36 bytes, so 100 with what the stream adds. */
function scripted(refusals: Error[] = []) {
  const accepted: unknown[] = []
  const acknowledge: (() => void)[] = []
  const drained: (() => void)[] = []
  const append = (chunk: unknown) => {
    const refusal = refusals.shift()
    if (refusal !== undefined) throw refusal
    const position = accepted.push(chunk)
    return { bytes: 36, acknowledged: new Promise<number>((resolve) => acknowledge.push(() => resolve(position))) }
  }
  const drain = () => new Promise<void>((resolve) => drained.push(resolve))
  return { accepted, acknowledge, drained, sink: { append, drain, sync: async () => {} } }
}

test('a write that is held back continues when half of the bytes are acknowledged, and not before', async (t) => {
  const { accepted, acknowledge, sink } = scripted()
  const stream = new WalWritable(sink, 1000, undefined)
  for (const value of numbered(1, 30)) stream.write(value)
  t.is(accepted.length, 11)
  for (let n = 0; n < 5; n++) acknowledge[n]()
  await setImmediate()
  t.is(accepted.length, 11)
  acknowledge[5]()
  await setImmediate()
  t.is(accepted.length, 17)
  t.is(stream.position, 6)
  // Once all are acknowledged, as many fit as at first.
  for (let n = 6; n < 30; n++) {
    acknowledge[n]()
    await setImmediate()
  }
  for (const value of numbered(31, 50)) stream.write(value)
  t.deepEqual(accepted, numbered(1, 41))
})

test('the callback of a write that is held back is called when the stream is destroyed', async (t) => {
  const { accepted, sink } = scripted()
  const stream = new WalWritable(sink, 99, undefined)
  stream.write('accepted')
  const told = new Promise((resolve) => stream.write('held back', resolve))
  stream.destroy()
  t.is(((await told) as Failure).code, 'ERR_WAL_CLOSED')
  t.deepEqual(accepted, ['accepted'])
})

test('after a refusal nothing is appended before the log has drained, and nothing at all if the stream is destroyed meanwhile', async (t) => {
  for (const destroyed of [false, true]) {
    const { accepted, drained, sink } = scripted([new WalError('ERR_WAL_BACKPRESSURE', 'full')])
    const stream = new WalWritable(sink, 1000, undefined)
    for (const value of numbered(1, 3)) stream.write(value)
    await setImmediate()
    t.deepEqual(accepted, [])
    if (destroyed) stream.destroy()
    drained[0]()
    await setImmediate()
    t.deepEqual(accepted, destroyed ? [] : numbered(1, 3))
  }
})

test('if other clients keep the log full, the stream waits and keeps its order', async (t) => {
  const wal = await temporaryLog(t, { maxPendingBytes: 10_000, fsync: 'os' })
  const stream = wal.writable()
  let refused = 0
  const source = async function* () {
    for (const value of numbered(1, 500)) {
      for (;;) {
        try {
          wal.enqueue(Record.put('other', Buffer.alloc(3000)))
        } catch (error) {
          t.is((error as Failure).code, 'ERR_WAL_BACKPRESSURE')
          refused++
          break
        }
      }
      yield value.padEnd(500)
    }
  }
  await pipeline(source, stream)
  t.true(refused > 0)
  const own = (await collect(wal.readFrom('start'))).filter(({ key }) => key === undefined)
  t.deepEqual(
    own.map(({ value }) => value?.toString().trim()),
    numbered(1, 500)
  )
})

test('a single record above the limit of the stream is appended', async (t) => {
  const wal = await temporaryLog(t)
  await pipeline(Readable.from(['x'.repeat(5000), 'y'.repeat(5000)]), wal.writable({ maxPendingBytes: 1 }))
  t.is(wal.durablePosition, 2)
})

test('corked chunks are appended together and in order', async (t) => {
  const wal = await temporaryLog(t)
  const stream = wal.writable()
  stream.cork()
  for (const value of numbered(1, 100)) stream.write(value)
  t.is(wal.nextPosition, 1)
  stream.uncork()
  t.is(wal.nextPosition, 101)
  stream.end()
  await finished(stream)
  t.deepEqual(await values(wal.readFrom('start')), numbered(1, 100))
})

test('a refused chunk destroys the stream with its error, and earlier chunks are in the log', async (t) => {
  const wal = await temporaryLog(t, { maxRecordBytes: 1000 })
  const stream = wal.writable()
  const error = await t.throwsAsync<Failure>(pipeline(Readable.from(['good', 'x'.repeat(2000), 'never']), stream))
  t.is(error.code, 'ERR_WAL_TOO_LARGE')
  t.true(stream.destroyed)
  await wal.sync()
  t.deepEqual(await values(wal.readFrom('start')), ['good'])
})

test('the first record that is rejected destroys the stream with its error', async (t) => {
  if (!has(t, 'mount')) return
  const wal = await temporaryLog(t, {}, path.join(smallDisk(t, '2m'), 'log'))
  const stream = wal.writable()
  const chunk = Buffer.alloc(16 << 10)
  const error = await t.throwsAsync<Failure>(pipeline(Readable.from(Array.from({ length: 1000 }, () => chunk)), stream))
  t.is(error.code, 'ERR_WAL_NO_SPACE')
  t.is(error.position, stream.position + 1)
  t.is(stream.position, wal.acknowledgedPosition)
})

test('closing the log of a stream destroys the stream with the error of append', async (t) => {
  const wal = await temporaryLog(t)
  const stream = wal.writable()
  stream.write('accepted')
  await wal.close()
  stream.write('late')
  await t.throwsAsync(finished(stream), { code: 'ERR_WAL_CLOSED' })
})

test('a destroyed stream appends nothing more, removes nothing, and calls every callback', async (t) => {
  const wal = await temporaryLog(t)
  const stream = wal.writable({ maxPendingBytes: 1 })
  const told: [string, unknown][] = []
  for (const value of ['accepted', 'waiting', 'buffered']) {
    stream.write(value, (error) => told.push([value, (error as Failure | undefined)?.message]))
  }
  stream.destroy(new Error('mine'))
  await t.throwsAsync(finished(stream), { message: 'mine' })
  await wal.sync()
  t.deepEqual(await values(wal.readFrom('start')), ['accepted'])
  t.deepEqual(told.map(([value]) => value).sort(), ['accepted', 'buffered', 'waiting'])
  // What has been accepted has been taken, whatever becomes of the stream.
  const messages = new Map(told)
  t.deepEqual([messages.get('accepted'), messages.get('waiting'), messages.get('buffered')], [undefined, 'mine', 'mine'])
})

test('an aborted signal destroys the stream', async (t) => {
  const wal = await temporaryLog(t)
  const controller = new AbortController()
  const stream = wal.writable({ signal: controller.signal })
  controller.abort()
  await t.throwsAsync(finished(stream), { name: 'AbortError' })
  t.is(await wal.append('x'), 1)
})

test('with durable every record is durable when it is acknowledged', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const [lax, strict] = [wal.writable(), wal.writable({ durable: true })]
  lax.write('x')
  while (lax.position < 1) await setImmediate()
  t.is(wal.durablePosition, 0)
  strict.write('y')
  while (strict.position < 2) await setImmediate()
  t.is(wal.durablePosition, 2)
  for (const stream of [lax, strict]) stream.destroy()
})

test('bad options throw at the call', async (t) => {
  const wal = await temporaryLog(t)
  for (const options of [{ maxPendingBytes: 0 }, { maxPendingBytes: '1' }, { highWaterMark: 1 }, { durable: 1 }, { signal: {} }, 1]) {
    t.throws(() => wal.writable(options as never), { code: 'ERR_WAL_INVALID_ARG' }, JSON.stringify(options))
  }
})

test('a web stream can be made of it', async (t) => {
  const wal = await temporaryLog(t)
  const writer = Writable.toWeb(wal.writable()).getWriter()
  for (const value of numbered(1, 100)) await writer.write(value)
  await writer.close()
  t.is(wal.durablePosition, 100)
  t.deepEqual(await values(wal.readFrom('start')), numbered(1, 100))
})

test('a log is copied into another by a pipeline of records', async (t) => {
  const [from, to] = [await temporaryLog(t), await temporaryLog(t)]
  await from.appendBatch([Record.put('k', 'v', { expiresAt: 5, version: { term: 1, index: 2 } }), Record.delete('k'), 'value'])
  const records = async function* () {
    for await (const record of from.readFrom('start')) {
      const { position: _, ...fields } = record.toJSON()
      yield fields
    }
  }
  await pipeline(records, to.writable())
  const [copied, original] = await Promise.all([to, from].map((wal) => collect(wal.readFrom('start'))))
  t.deepEqual(
    copied.map((record) => record.toJSON()),
    original.map((record) => record.toJSON())
  )
})
