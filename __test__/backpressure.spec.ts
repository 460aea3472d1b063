// A log that is full of what waits: what it refuses, when it takes more, and how to keep an order.

import test from 'ava'
import type { Wal, WalError } from '../index.js'
import { Channel } from '../src/channel.js'
import type { Environment } from '../src/environment.js'
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

test('after a refusal a smaller record may still be taken: who goes on regardless has gaps', async (t) => {
  const wal = await temporaryLog(t, { maxPendingBytes: 10_000 })
  t.like(fillUp(wal, Buffer.alloc(3000)), full)
  const next = wal.nextPosition
  // In one turn, so that nothing is committed in between.
  const large = [wal.append(Buffer.alloc(3000)), wal.appendBatch([Buffer.alloc(3000), 'x'])]
  const small = wal.append('small')
  for (const refused of large) await t.throwsAsync<Error>(refused as Promise<never>, full)
  t.is(await small, next)
})

test('who stops at the first refusal, drains and goes on with it keeps the order', async (t) => {
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
    hold: none,
    letGo: none,
    kickLater: none,
  }
  const channel = new Channel(environment as unknown as Environment, 0, 0, '')
  let drained = false
  const waiting = channel.drain().then(() => (drained = true))
  for (pending of [999, 501]) {
    channel.settle()
    await Promise.resolve()
    t.false(drained, `${pending}`)
  }
  pending = 500
  channel.settle()
  await waiting
  // At once, if it is so already.
  await channel.drain()
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
