// What a consumer commits, and when: over a played cursor, with a clock that the test moves.

import test from 'ava'
import { WalError } from '../src/errors.js'
import { byHand, PlayedCursor } from './helpers/played-cursor.js'
import { microtasks } from './helpers/scripted-clock.js'

type Positioned = { position: number }

test('the watermark passes a record only when all before it have been handled', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(4)
  const { calls, handler } = byHand()
  const consumer = cursor.consume(handler, { concurrency: 4, commitEveryMs: 0 })
  await microtasks()
  for (const n of [3, 1]) calls[n].done()
  await microtasks()
  t.deepEqual([consumer.stats().watermark, cursor.stored], [0, 0])
  calls[0].done()
  await microtasks()
  t.deepEqual([consumer.stats().watermark, cursor.stored], [2, 2])
  calls[2].done()
  await microtasks()
  t.deepEqual([consumer.stats().watermark, cursor.stored], [4, 4])
})

test('one commit is under way at a time, and the next one covers all that was handled meanwhile', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(100)
  cursor.consume(() => {}, { commitEveryMs: 0 })
  await microtasks()
  for (let turn = 0; turn < 20; turn++) await microtasks()
  t.deepEqual(cursor.commits, [1])
  cursor.pending[0].succeed()
  await microtasks()
  t.deepEqual(cursor.commits, [1, 100])
})

test('commits are commitEveryMs apart, and the first after a pause is at once', async (t) => {
  const cursor = new PlayedCursor()
  cursor.consume(() => {}, { commitEveryMs: 100 })
  cursor.append(1)
  await cursor.clock.pass(0)
  t.deepEqual(cursor.commits, [1])
  cursor.append(1)
  await cursor.clock.pass(99)
  t.deepEqual(cursor.commits, [1])
  cursor.append(1)
  await cursor.clock.pass(1)
  t.deepEqual(cursor.commits, [1, 3])
  await cursor.clock.pass(500)
  cursor.append(1)
  await cursor.clock.pass(0)
  t.deepEqual(cursor.commits, [1, 3, 4])
})

test('no more than window records are taken beyond the committed position, and half of it is committed without a wait', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(100)
  const positions: number[] = []
  cursor.consume(({ position }: Positioned) => positions.push(position), { window: 10, commitEveryMs: 1_000_000 })
  const settle = async () => {
    for (let turn = 0; turn < 5; turn++) await microtasks()
  }
  await settle()
  t.deepEqual([positions.at(-1), cursor.commits], [10, [1]])
  cursor.pending.shift()!.succeed()
  await settle()
  t.deepEqual([positions.at(-1), cursor.commits], [11, [1, 10]])
  cursor.pending.shift()!.succeed()
  await settle()
  t.deepEqual([positions.at(-1), cursor.commits], [20, [1, 10, 15]])
})

const noSpace = () => new WalError('ERR_WAL_NO_SPACE', 'full')

test('a commit that fails for want of space is tried again every second while records are handled', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(3)
  const consumer = cursor.consume(() => {}, { commitEveryMs: 10 })
  await cursor.clock.pass(0)
  cursor.pending.shift()!.fail(noSpace())
  await cursor.clock.pass(999)
  t.deepEqual([cursor.commits, consumer.stats().handled], [[1], 3])
  await cursor.clock.pass(1)
  t.deepEqual(cursor.commits, [1, 3])
  cursor.pending.shift()!.fail(noSpace())
  await cursor.clock.pass(1000)
  cursor.pending.shift()!.succeed()
  await microtasks()
  t.deepEqual([cursor.stored, consumer.stats().committed], [3, 3])
})

test('if the last commit fails for want of space, the consumer rejects with that error', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(3)
  const consumer = cursor.consume(() => {})
  await cursor.clock.pass(0)
  cursor.pending.shift()!.fail(noSpace())
  await microtasks()
  const stop = consumer.stop()
  await microtasks()
  t.deepEqual(cursor.commits, [1, 3])
  cursor.pending.shift()!.fail(noSpace())
  await t.throwsAsync(stop, { code: 'ERR_WAL_NO_SPACE' })
})

test('a commit that fails for good stops the consumer after what it has in hand', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(3)
  const { calls, handler } = byHand()
  const consumer = cursor.consume(handler, { concurrency: 2 })
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_POISONED' })
  await microtasks()
  calls[0].done()
  await microtasks()
  cursor.pending.shift()!.fail(new WalError('ERR_WAL_POISONED', 'fsync'))
  await microtasks()
  t.is(consumer.stats().inFlight, 2)
  for (const call of calls.slice(1)) call.done()
  await failed
  t.is(calls.length, 3)
  t.deepEqual(cursor.commits, [1])
})

test('a commit past the end of the log fails as one of records that a truncation has removed', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(1)
  const consumer = cursor.consume(() => {})
  const failed = t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
  await microtasks()
  const cause = new WalError('ERR_WAL_OUT_OF_RANGE', 'above the last acknowledged position', { operation: 'commit' })
  cursor.pending[0].fail(cause)
  t.like(await failed, { position: 1, cause })
})

test('a consumer fails when something else moves its cursor, but not when truncation does', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(10)
  const { calls, handler } = byHand()
  const consumer = cursor.consume(handler, { commitEveryMs: 0 })
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_BUSY', message: /another thread/ })
  await microtasks()
  // As truncateBefore does.
  cursor.stored = 1
  cursor.firstPosition = 2
  calls[0].done()
  await microtasks()
  calls[1].done()
  await microtasks()
  t.is(cursor.stored, 2)
  cursor.stored = 5
  calls[2].done()
  await failed
  t.is(cursor.stored, 5)
})

test('a dead letter is taken before the watermark passes its record', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(2)
  let taken!: () => void
  const deadLetter = () => new Promise<void>((resolve) => (taken = resolve))
  const handler = ({ position }: Positioned) => {
    if (position === 1) throw new Error('poison')
  }
  const consumer = cursor.consume(handler, { concurrency: 2, retries: 0, deadLetter, commitEveryMs: 0 })
  await cursor.clock.pass(1000)
  t.like(consumer.stats(), { handled: 1, dead: 0, inFlight: 1, watermark: 0 })
  t.deepEqual(cursor.commits, [])
  taken()
  await microtasks()
  t.like(consumer.stats(), { dead: 1, watermark: 2, committed: 2 })
})

test('consumers that share a cursor and stop together leave it only when the last commit has ended', async (t) => {
  const cursor = new PlayedCursor()
  cursor.isSlow = true
  cursor.append(2)
  const { calls, handler } = byHand()
  const [one, two] = [cursor.consume(handler, { share: true }), cursor.consume(handler, { share: true })]
  await microtasks()
  t.deepEqual(
    calls.map(({ position }) => position),
    [1, 2]
  )
  const stops = [one.stop(), two.stop()]
  calls[0].done()
  await microtasks()
  calls[1].done()
  await microtasks()
  cursor.pending.shift()!.succeed()
  await stops[0]
  t.deepEqual([cursor.stored, cursor.isClosed, cursor.pending.length], [1, false, 1])
  cursor.pending.shift()!.succeed()
  await stops[1]
  t.deepEqual([cursor.stored, cursor.isClosed], [2, true])
})
