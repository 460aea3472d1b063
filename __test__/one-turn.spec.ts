// Small records of one turn of the event loop cross into native code together: that must not show.

import test from 'ava'
import { Record, Wal, type WalOptions } from '../index.js'
import { LogQueue } from '../src/queue/log-queue.js'
import type { Environment } from '../src/native/environment.js'
import { DEFAULT_TERMS } from '../src/options/append.js'
import { RecordBuffer } from '../src/native/record-buffer.js'
import { POSITIONS_MAX_PENDING_BYTES, POSITIONS_MAX_RECORD_BYTES } from '../src/native/wire.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, temporaryLog, values } from './helpers/log.js'
import { bufferMemory } from './helpers/buffer-memory.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('records appended in one turn keep the order of the calls', async (t) => {
  const wal = await temporaryLog(t)
  const large = 'x'.repeat(10_000)
  const told: string[] = []
  const tell = (name: string) => () => told.push(name)
  const waiting = [
    wal.append('1').then(tell('1')),
    wal.append(large).then(tell('2')),
    wal.append(Record.put('key', '3', { ttlMs: 60_000 })).then(tell('3')),
    wal.append('4', { durable: true }).then(tell('4')),
    wal.appendBatch(['5', large, Record.delete('7'), Record.put('k', '8', { version: { term: 1, index: 2 } })]).then(tell('5-8')),
    wal.append('9').then(tell('9')),
    wal.sync().then(tell('sync')),
  ]
  t.is(wal.enqueue('10'), 10)
  waiting.push(wal.append('11', { expect: 11 }).then(tell('11')))
  waiting.push(wal.append('12').then(tell('12')), wal.truncateBefore(2).then(tell('cut')))
  t.is(wal.nextPosition, 13)
  await Promise.all(waiting)
  t.deepEqual(told, ['1', '2', '3', '4', '5-8', '9', 'sync', '11', '12', 'cut'])
  t.deepEqual(await values(wal.readFrom('start')), [large, '3', '4', '5', large, undefined, '8', '9', '10', '11', '12'])
})

test('a buffer may be used again as soon as append returns', async (t) => {
  const wal = await temporaryLog(t)
  const [key, value] = [Buffer.alloc(16), Buffer.alloc(100)]
  const positions = Array.from({ length: 3000 }, (_, i) => {
    key.fill(i)
    value.fill(255 - (i % 256))
    return wal.append(Record.put(key, value))
  })
  const batch = Array.from({ length: 500 }, () => Record.put(Buffer.alloc(16, 7), 'in the batch'))
  const { first } = await wal.appendBatch(batch)
  t.deepEqual(
    await Promise.all(positions),
    Array.from({ length: 3000 }, (_, i) => i + 1)
  )
  t.is(first, 3001)
  for (const record of await collect(wal.readFrom('start', { to: 3000 }))) {
    const n = record.position - 1
    if (!record.key?.equals(Buffer.alloc(16, n)) || !record.value?.equals(Buffer.alloc(100, 255 - (n % 256)))) t.fail(`record ${n + 1}`)
  }
  t.true((await collect(wal.readFrom(3001))).every((record) => record.value?.toString() === 'in the batch'))
})

test('strings of one turn are stored as UTF-8', async (t) => {
  const wal = await temporaryLog(t)
  const strings = ['ascii', 'é', '日本語', '👍🏽', `${'a'.repeat(63)}é`, 'a'.repeat(64), 'a'.repeat(65), 'é'.repeat(700), '\0']
  for (const string of strings) void wal.append(Record.put(string, string))
  await wal.sync()
  const read = await collect(wal.readFrom('start'))
  const expected = strings.map((string) => Buffer.from(string).toString('hex'))
  t.deepEqual(read.map(({ key }) => key?.toString('hex')), expected) // prettier-ignore
  t.deepEqual(read.map(({ value }) => value?.toString('hex')), expected) // prettier-ignore
})

test('records appended to two logs in one turn each go to their own log', async (t) => {
  const [a, b] = [await temporaryLog(t), await temporaryLog(t)]
  const positions = await Promise.all(Array.from({ length: 1000 }, (_, i) => (i % 3 === 0 ? a : b).append(`${i}`)))
  t.is(positions[999], 334)
  t.is(positions[998], 666)
  t.true((await values(a.readFrom('start'))).every((value) => Number(value) % 3 === 0))
  t.true((await values(b.readFrom('start'))).every((value) => Number(value) % 3 !== 0))
})

test('of the records of one turn, only the invalid ones are rejected, and the others have consecutive positions', async (t) => {
  const wal = await temporaryLog(t, { maxRecordBytes: 64, maxPendingBytes: 1 << 20 })
  const outcomes = await Promise.allSettled(
    ['a', 'b'.repeat(65), 'c', Record.put('k', 'd'.repeat(62)), 'e', 'é'.repeat(31)].map((input) => wal.append(input))
  )
  t.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.code)),
    [1, 'ERR_WAL_TOO_LARGE', 2, 'ERR_WAL_TOO_LARGE', 3, 'ERR_WAL_TOO_LARGE']
  )
})

test('records above maxPendingBytes are refused in the turn of the call, and no others', async (t) => {
  const options: WalOptions = { maxPendingBytes: 64 << 10, maxRecordBytes: 4096 }
  const wal = await temporaryLog(t, options)
  const outcomes: (number | string)[] = []
  for (let i = 0; i < 2000; i++) {
    const at = i
    wal.append(Buffer.alloc(1000)).then(
      (position) => (outcomes[at] = position),
      (error) => (outcomes[at] = error.code)
    )
  }
  // Refusals do not wait for the disk.
  await turn()
  t.true(outcomes.includes('ERR_WAL_BACKPRESSURE'))
  await wal.sync()
  const accepted = outcomes.filter((outcome) => typeof outcome === 'number')
  t.deepEqual(
    accepted,
    accepted.map((_, i) => i + 1)
  )
  t.true(accepted.length >= 60, `${accepted.length} records of 1,000 bytes`)
  t.is(wal.nextPosition, accepted.length + 1)
})

test('records accepted in this turn count at once, for readers and in the statistics', async (t) => {
  const wal = await temporaryLog(t)
  const pending = Promise.all(['a', 'b', 'c'].map((value) => wal.append(value)))
  const follower = wal.readFrom(3, { follow: true })
  t.is(wal.stats().appends, 3)
  t.is((await follower.next()).value?.value?.toString(), 'c')
  await follower.return()
  await pending
  void wal.append('d')
  t.is(wal.stats().appends, 4)
})

test('closing in the turn of an append waits for it, and later appends are refused', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(dir)
  const early = wal.append('early')
  const closed = wal.close()
  await t.throwsAsync(wal.append('late'), { code: 'ERR_WAL_CLOSED' })
  t.is(await early, 1)
  await closed
  const again = await Wal.open(dir)
  t.deepEqual(await values(again.readFrom('start')), ['early'])
  await again.close()
})

test('an array that is not what it seems to be is stored with its actual bytes, or refused', async (t) => {
  const wal = await temporaryLog(t)
  const lying = new Uint8Array([1, 2, 3])
  Object.defineProperty(lying, 'length', { get: () => (void wal.append('nested'), 100) })
  const detached = new Uint8Array([1, 2, 3])
  structuredClone(detached.buffer, { transfer: [detached.buffer] })
  const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(9)
  const [first, second, third] = await Promise.allSettled([wal.append(lying), wal.append(detached), wal.append(shared)])
  t.is(first.status, 'fulfilled')
  t.is((second as PromiseRejectedResult).reason.code, 'ERR_WAL_INVALID_ARG')
  t.is(third.status, 'fulfilled')
  const read = (await collect(wal.readFrom('start'))).map(({ value }) => value?.toString('hex'))
  t.deepEqual(read, ['010203', '090909'])
})

test('if the native side cannot see the staged memory, every record is passed on its own', (t) => {
  const [seen, unseen] = [true, false].map((isSeen) => new RecordBuffer(bufferMemory, () => isSeen))
  for (const buffer of [seen, unseen]) buffer.clear(0)
  t.is(seen.put('key', 'value', false, seen.largest), 11)
  t.is(unseen.put('key', 'value', false, unseen.largest), 0)
})

/** Calls of native code that a turn with three small records makes, if native code answers the first one with `first`. */
function callsOfTurn(first: number): string[] {
  const made: string[] = []
  const call = (name: string, answer: number) => () => (made.push(name), answer)
  const none = () => 0
  const recordBuffer = new RecordBuffer(bufferMemory, () => true)
  const environment = {
    native: { listen: none },
    calls: {
      positions: (_log: number, into: Float64Array) => {
        into[POSITIONS_MAX_PENDING_BYTES] = into[POSITIONS_MAX_RECORD_BYTES] = 1 << 20
      },
      append: call('append', 1),
      appendFromBuffer: call('appendFromBuffer', 1),
      appendBuffered: call('appendBuffered', first),
      appendBufferedAndKick: call('appendBufferedAndKick', first),
      kick: call('kick', 0),
    },
    recordBuffer,
    claimBuffer: (owner?: unknown) => recordBuffer.clear(owner === undefined ? undefined : 0),
    ref: none,
    unref: none,
    scheduleKick: none,
  }
  const queue = new LogQueue(environment as unknown as Environment, 0, 0, '')
  // The first call learns how much room there is, and crosses by itself.
  void queue.appendValue('first', DEFAULT_TERMS)
  made.length = 0
  for (const value of ['a', 'b', 'c']) void queue.appendValue(value, DEFAULT_TERMS)
  queue.kick()
  return made
}

test('the end of a turn appends its small records and wakes the commit thread in one call', (t) => {
  t.deepEqual(callsOfTurn(2), ['appendBufferedAndKick'])
})

test('if the records of a turn are refused together, each crosses by itself, and the commit thread is woken after them', (t) => {
  t.deepEqual(callsOfTurn(-1), ['appendBufferedAndKick', 'append', 'append', 'append', 'kick'])
})
