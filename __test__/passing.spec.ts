// No record passes one that was rejected, whatever its caller knows by then.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { finished } from 'node:stream/promises'
import test from 'ava'
import { channels, type AppendEvent, type Wal, type WalError } from '../index.js'
import { logOnFilledDisk, logOnFullDisk } from './helpers/full-disk.js'
import { SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'
import { has } from './helpers/needs.js'

/** So large that it does not wait for the end of the turn, and that it needs a segment of its own. */
const large = Buffer.alloc(300 << 10)

/** Keeps the turn until the log has taken back the positions from `next` on. */
function awaitRejection(wal: Wal, next: number): void {
  for (const deadline = performance.now() + 60_000; wal.nextPosition !== next;) {
    if (performance.now() > deadline) throw new Error('nothing was rejected')
  }
}

const lastValues = async (wal: Wal, from: number) => values(wal.readFrom(from))

test('a record appended in the turn of a rejection is rejected after it, even if there is space again', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const told: string[] = []
  const tells = (name: string, promise: Promise<unknown>) =>
    promise.then(
      () => told.push(`${name} is there`),
      (error: WalError) => told.push(`${name}: ${error.code} ${error.operation}`)
    )
  const all = [tells('first', wal.append(large))]
  awaitRejection(wal, next)
  makeRoom()
  all.push(
    tells('staged', wal.append('staged')),
    tells('keyed', wal.append({ key: 'k', value: 'v', version: { term: 1, index: 1 } })),
    tells('batch', wal.appendBatch(['a', 'b'])),
    tells('expected', wal.append('expected', { expect: next + 1 }))
  )
  t.throws(() => wal.enqueue('enqueued'), { code: 'ERR_WAL_NO_SPACE' })
  t.is(wal.nextPosition, next)
  await Promise.all(all)
  const rejected = (name: string, operation = 'append') => `${name}: ERR_WAL_NO_SPACE ${operation}`
  t.deepEqual(told, [rejected('first'), rejected('staged'), rejected('keyed'), rejected('batch', 'appendBatch'), rejected('expected')])
  t.is(await wal.append('after'), next)
  t.deepEqual(await lastValues(wal, next), ['after'])
})

test('a program may append as soon as it has received a rejection', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const again = [wal.append(large), wal.append('small')].map((append, i) => append.catch(() => wal.append(`again ${i}`)))
  awaitRejection(wal, next)
  makeRoom()
  t.deepEqual(await Promise.all(again), [next, next + 1])
  t.deepEqual(await lastValues(wal, next), ['again 0', 'again 1'])
})

test('drain after a refusal waits until the rejection has been delivered', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const first = wal.append(large).catch((error: WalError) => error.code)
  awaitRejection(wal, next)
  makeRoom()
  t.throws(() => wal.enqueue('again'), { code: 'ERR_WAL_NO_SPACE' })
  await wal.drain()
  t.is(wal.enqueue('again'), next)
  t.is(await first, 'ERR_WAL_NO_SPACE')
})

test('a record that a listener appends before a rejection is delivered is rejected as well', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFilledDisk(t)
  const next = wal.nextPosition
  let passing: Promise<unknown> | undefined
  const listener = (event: unknown) => {
    if ((event as AppendEvent).dir === wal.dir) passing ??= wal.append('passes').catch((error: WalError) => error.code)
  }
  subscribe(channels.append, listener)
  t.teardown(() => unsubscribe(channels.append, listener))
  wal.enqueue('first')
  const second = wal.append(large)
  awaitRejection(wal, next + 1)
  makeRoom()
  await t.throwsAsync(second, { code: 'ERR_WAL_NO_SPACE' })
  t.is(await passing, 'ERR_WAL_NO_SPACE')
  t.deepEqual(await lastValues(wal, next), ['first'])
})

test('an append made on an acknowledgement does not overtake a record that is rejected together with it', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFilledDisk(t)
  const next = wal.nextPosition
  const [first, second] = [wal.append('first'), wal.append(large)]
  const third = first.then(() => wal.append('third'))
  awaitRejection(wal, next + 1)
  makeRoom()
  await t.throwsAsync(second, { code: 'ERR_WAL_NO_SPACE' })
  await t.throwsAsync(third, { code: 'ERR_WAL_NO_SPACE' })
  await wal.append('fourth')
  t.deepEqual(await lastValues(wal, next), ['first', 'fourth'])
})

test('a stream whose only record is rejected because of an earlier rejection does not finish', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const first = wal.append(large)
  awaitRejection(wal, next)
  makeRoom()
  const stream = wal.writable()
  stream.end('behind')
  await t.throwsAsync(finished(stream), { code: 'ERR_WAL_NO_SPACE' })
  await t.throwsAsync(first, { code: 'ERR_WAL_NO_SPACE' })
  t.is(wal.nextPosition, next)
})

test('repeated appends after a failed truncation do not block the event loop', async (t) => {
  // Its position is let go of by retention before the truncation gets its turn.
  const wal = await temporaryLog(t, { fsync: 'os', retention: { maxBytes: 2 * SEGMENT_BYTES } })
  const all = Array.from({ length: 40 }, () => wal.append(Buffer.alloc(16 << 10)))
  const room = wal.truncateBefore(1)
  const cut = t.throwsAsync(wal.truncateAfter(5), { code: 'ERR_WAL_TRUNCATED' })
  awaitRejection(wal, 41)
  let refusals = 0
  const again = async (): Promise<number> => {
    try {
      return await wal.append('again')
    } catch {
      refusals++
      return again()
    }
  }
  t.is(await again(), 41)
  t.true(refusals <= 2, `${refusals}`)
  await Promise.all([...all, room, cut])
})

test('a stream is destroyed with the first rejection, and nothing written after it is in the log', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFilledDisk(t)
  const next = wal.nextPosition
  const stream = wal.writable()
  const ended = new Promise<WalError>((resolve) => stream.once('error', resolve as (error: Error) => void))
  stream.write('first')
  stream.write(large)
  awaitRejection(wal, next + 1)
  makeRoom()
  stream.write('behind')
  const { code, position } = await ended
  t.deepEqual([code, position], ['ERR_WAL_NO_SPACE', next + 1])
  await wal.append('after')
  t.deepEqual(await lastValues(wal, next), ['first', 'after'])
})
