// A log that is full of what waits: what it refuses, when it takes more, and how to keep an order.

import { finished } from 'node:stream/promises'
import test from 'ava'
import type { Wal } from '../index.js'
import { LogQueue } from '../src/queue/log-queue.js'
import type { Environment } from '../src/native/environment.js'
import { RecordBuffer } from '../src/native/record-buffer.js'
import { WalError } from '../src/errors.js'
import { DEFAULT_TERMS } from '../src/options/append.js'
import { toEntry } from '../src/records/record.js'
import { bufferMemory } from './helpers/buffer-memory.js'
import { temporaryLog, values } from './helpers/log.js'

const full = { code: 'ERR_WAL_BACKPRESSURE' }

/** Enqueues until one is refused. */
function fillUp(wal: Wal, value: Buffer): WalError {
  for (;;) {
    try {
      wal.enqueue(value)
    } catch (error) {
      return error as WalError
    }
  }
}

test('after a refusal a smaller record may still be accepted: a program that ignores the refusal leaves records out', async (t) => {
  const wal = await temporaryLog(t, { maxPendingBytes: 10_000 })
  t.like(fillUp(wal, Buffer.alloc(3000)), full)
  const next = wal.nextPosition
  // In one turn, so that nothing is committed in between.
  const large = [wal.append(Buffer.alloc(3000)), wal.appendBatch([Buffer.alloc(3000), 'x'])]
  const small = wal.append('small')
  for (const refused of large) await t.throwsAsync<Error>(refused as Promise<never>, full)
  t.is(await small, next)
})

test('a program that stops at the first refusal, drains and repeats the append keeps the order', async (t) => {
  const wal = await temporaryLog(t, { maxPendingBytes: 10_000, fsync: 'os' })
  const texts = Array.from({ length: 300 }, (_, i) => `${i}`.padEnd(i % 7 === 0 ? 4000 : 40))
  let refused = 0
  for (const text of texts) {
    for (;;) {
      try {
        wal.enqueue(text)
        break
      } catch (error) {
        t.is((error as WalError).code, 'ERR_WAL_BACKPRESSURE')
        refused++
        await wal.drain()
      }
    }
  }
  await wal.sync()
  t.true(refused > 0)
  t.deepEqual(await values(wal.readFrom('start')), texts)
})

test('drain resolves at half of maxPendingBytes, not before', async (t) => {
  let pending = 1000
  const none = () => 0
  const environment = {
    calls: {
      positions: (_log: number, into: Float64Array) => into.set([1, 1, 0, 0, 0, pending, 1000]),
      settled: none,
      sync: none,
      kick: none,
    },
    ref: none,
    unref: none,
    scheduleKick: none,
  }
  const queue = new LogQueue(environment as unknown as Environment, 0, 0, '')
  let drained = false
  const waiting = queue.drain().then(() => (drained = true))
  for (pending of [999, 501]) {
    queue.settle()
    await Promise.resolve()
    t.false(drained, `${pending}`)
  }
  pending = 500
  queue.settle()
  await waiting
  // At once, if it is so already.
  await queue.drain()
})

test('drain of a log with nothing pending resolves at once, and of a closed one too', async (t) => {
  const wal = await temporaryLog(t)
  await wal.drain()
  await wal.append('x')
  await wal.drain()
  await wal.close()
  await wal.drain()
  t.is(wal.pendingBytes, 0)
})

test('drain gives way to the event loop after a turn that has accepted many records, and only then', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  for (const [records, ends] of [
    [10, false],
    [2000, true],
  ] as const) {
    let ended = false
    setImmediate(() => (ended = true))
    for (let i = 0; i < records; i++) wal.enqueue('x')
    await wal.drain()
    t.is(ended, ends, `${records}`)
    await wal.sync()
  }
})

/** A queue whose log is played by hand: `pending` bytes of 1000, so many operations accepted and settled. */
function played() {
  const log = { pending: 1000, accepted: 0, settled: 0, refuses: false, failure: undefined as WalError | undefined }
  const none = () => 0
  const accept = () => (log.refuses ? -1 : (log.accepted++, 0))
  const environment = {
    calls: {
      positions: (_log: number, into: Float64Array) => into.set([1, 1, 0, 0, 0, log.pending, 1000]),
      settled: () => (log.failure === undefined ? log.settled : -1),
      append: accept,
      appendFromBuffer: accept,
      sync: accept,
      kick: none,
    },
    recordBuffer: new RecordBuffer(bufferMemory, () => true),
    claimBuffer: none,
    refusal: () => new WalError('ERR_WAL_BACKPRESSURE', 'full'),
    failure: () => {
      const error = log.failure
      log.failure = undefined
      return { upTo: ++log.settled, error }
    },
    ref: none,
    unref: none,
    scheduleKick: none,
  }
  return { log, queue: new LogQueue(environment as unknown as Environment, 0, 0, '') }
}

const record = () => toEntry({ value: 'x' })

test('after a refusal drain waits until an operation has settled, even if less than half of maxPendingBytes is pending', async (t) => {
  const { log, queue } = played()
  log.pending = 400
  queue.enqueue(record(), DEFAULT_TERMS)
  log.refuses = true
  t.throws(() => queue.enqueue(record(), DEFAULT_TERMS), full)
  log.refuses = false
  let drained = false
  const waiting = queue.drain().then(() => (drained = true))
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
  t.false(drained)
  log.settled = 1
  queue.settle()
  await waiting
  await queue.drain()
})

test('drain waits while other clients keep the log full', async (t) => {
  const { log, queue } = played()
  let drained = false
  const waiting = queue.drain().then(() => (drained = true))
  for (const asked of [1, 2, 3]) {
    t.is(log.accepted, asked, 'drain waits for an operation that will settle')
    log.settled = asked
    queue.settle()
    await Promise.resolve()
    t.false(drained)
  }
  log.pending = 500
  log.settled = log.accepted
  queue.settle()
  await waiting
})

test('drain resolves on a log that accepts nothing more, and sync reports the failure of enqueued records', async (t) => {
  const { log, queue } = played()
  queue.enqueue(record(), DEFAULT_TERMS)
  log.failure = new WalError('ERR_WAL_NO_SPACE', 'full')
  queue.settle()
  const waiting = queue.drain()
  log.failure = new WalError('ERR_WAL_NO_SPACE', 'still full')
  queue.settle()
  await waiting
  const synced = queue.sync()
  log.settled = log.accepted
  queue.settle()
  await t.throwsAsync(synced, { code: 'ERR_WAL_NO_SPACE', message: 'full' })
  log.refuses = true
  await queue.drain()
})

test('a record above half of maxPendingBytes is accepted, from a loop and from a stream, without blocking the event loop', async (t) => {
  const wal = await temporaryLog(t, { maxPendingBytes: 64 << 10 })
  const [small, large] = [Buffer.alloc(30 << 10), Buffer.alloc(40 << 10)]
  // In a microtask: the log is told to commit on a tick, which comes after all of them.
  await Promise.resolve()
  const first = wal.append(small)
  let tries = 0
  for (let position; position === undefined; tries++) {
    position = await wal.append(large).catch((error: WalError) => {
      t.is(error.code, 'ERR_WAL_BACKPRESSURE')
      return undefined
    })
    if (position === undefined) await wal.drain()
  }
  t.is(await first, 1)
  t.is(tries, 2)
  const stream = wal.writable()
  await Promise.resolve()
  stream.write(small)
  stream.end(large)
  await finished(stream)
  t.is(wal.durablePosition, 4)
})
