// When a consumer tries again, gives up and stops: over a played cursor, with a clock that the test moves.

import test from 'ava'
import type { HandlerCall } from '../index.js'
import { delayAfter } from '../src/consume/backoff.js'
import { WalError } from '../src/errors.js'
import { byHand, PlayedCursor } from './helpers/played-cursor.js'
import { microtasks } from './helpers/scripted-clock.js'

type Positioned = { position: number }

const noJitter = { minMs: 100, maxMs: 1000, factor: 3, jitter: 0 }

test('a record is tried again after delays that grow by the factor, up to the maximum', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(1)
  const at: number[] = []
  const failing = () => {
    at.push(cursor.clock.now())
    throw new Error('no')
  }
  const consumer = cursor.consume(failing, { retries: 4, backoff: noJitter, deadLetter: () => {} })
  await cursor.clock.pass(10_000)
  t.deepEqual(at, [0, 100, 400, 1300, 2300])
  t.like(consumer.stats(), { retries: 4, dead: 1, watermark: 1 })
})

test('jitter shortens a delay by up to its part, and a function may choose any delay', (t) => {
  const range = { ...noJitter, jitter: 0.5 }
  t.is(
    delayAfter(range, 1, undefined, () => 0),
    100
  )
  t.is(
    delayAfter(range, 2, undefined, () => 0.5),
    225
  )
  t.is(
    delayAfter({ ...range, jitter: 1 }, 1, undefined, () => 0.75),
    25
  )
  t.is(
    delayAfter({ ...range, minMs: 0, factor: 1e308 }, 5, undefined, () => 0),
    0
  )
  t.is(
    delayAfter(
      (attempts, error) => attempts * (error as number),
      3,
      7,
      () => 0
    ),
    21
  )
  t.is(
    delayAfter(
      () => Infinity,
      1,
      undefined,
      () => 0
    ),
    2 ** 31 - 1
  )
  for (const bad of [NaN, -1, '5', undefined, null]) {
    t.throws(
      () =>
        delayAfter(
          () => bad,
          1,
          undefined,
          () => 0
        ),
      { code: 'ERR_WAL_INVALID_ARG', message: /backoff/ }
    )
  }
})

test('with concurrency 1 a record that waits for its next attempt holds up the next record, with more it does not', async (t) => {
  for (const concurrency of [1, 2]) {
    const cursor = new PlayedCursor()
    cursor.append(6)
    const order: string[] = []
    const handler = ({ position }: Positioned, { attempt }: HandlerCall) => {
      order.push(`${position}.${attempt}`)
      if (position % 2 === 1 && attempt === 1) throw new Error('no')
    }
    cursor.consume(handler, { concurrency, backoff: noJitter })
    await cursor.clock.pass(0)
    t.deepEqual(order, concurrency === 1 ? ['1.1'] : ['1.1', '2.1', '3.1', '4.1', '5.1', '6.1'])
    t.is(cursor.stored, 0)
    await cursor.clock.pass(1000)
    if (concurrency === 1) t.deepEqual(order, ['1.1', '1.2', '2.1', '3.1', '3.2', '4.1', '5.1', '5.2', '6.1'])
    else t.deepEqual(order.slice(6).sort(), ['1.2', '3.2', '5.2'])
    t.is(cursor.stored, 6)
  }
})

test('never more calls run than concurrency allows, retries included', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(4)
  const { calls, handler } = byHand()
  cursor.consume(handler, { concurrency: 2, backoff: noJitter })
  await microtasks()
  calls[0].fail()
  await microtasks()
  t.deepEqual(
    calls.map(({ position }) => position),
    [1, 2, 3]
  )
  // Both slots are taken when the pause is over.
  await cursor.clock.pass(100)
  t.is(calls.length, 3)
  calls[1].done()
  await microtasks()
  t.deepEqual([calls[3].position, calls[3].attempt], [1, 2])
  t.is(calls.length, 4)
  calls[2].done()
  await microtasks()
  t.is(calls[4].position, 4)
})

test('a handler that takes longer than timeoutMs is told by its signal, fails that attempt, and what it does later is ignored', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(2)
  const { calls, handler } = byHand()
  const consumer = cursor.consume(handler, { timeoutMs: 50, backoff: noJitter })
  await cursor.clock.pass(49)
  t.false(calls[0].signal.aborted)
  await cursor.clock.pass(1)
  t.true(calls[0].signal.aborted)
  const { reason } = calls[0].signal
  t.true(reason instanceof WalError)
  t.is(reason.code, 'ERR_WAL_TIMEOUT')
  t.is(reason.position, 1)
  calls[0].done()
  await cursor.clock.pass(100)
  t.is(consumer.stats().handled, 0)
  t.deepEqual([calls[1].position, calls[1].attempt], [1, 2])
  calls[1].done()
  await cursor.clock.pass(0)
  t.deepEqual([consumer.stats().handled, calls[2].position], [1, 2])
  calls[0].fail()
  calls[1].fail()
  calls[2].done()
  await cursor.clock.pass(1000)
  t.deepEqual([consumer.stats().handled, consumer.stats().retries, cursor.stored], [2, 1, 2])
  t.deepEqual(cursor.clock.waits, [], 'no timer is left')
})

test('a signal that is asked for after the timeout is aborted', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(1)
  let call: HandlerCall | undefined
  cursor.consume((_: unknown, given: HandlerCall) => ((call = given), new Promise(() => {})), { timeoutMs: 50 })
  await cursor.clock.pass(50)
  t.true(call!.signal.aborted)
  t.is((call!.signal.reason as WalError).code, 'ERR_WAL_TIMEOUT')
})

test('stop lets running calls end, makes no more attempts, and commits before it resolves', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(5)
  const { calls, handler } = byHand()
  const consumer = cursor.consume(handler, { concurrency: 3, backoff: noJitter, commitEveryMs: 1_000_000 })
  await microtasks()
  calls[2].fail()
  await microtasks()
  // The fourth record has the slot of the third.
  t.deepEqual(
    calls.map(({ position }) => position),
    [1, 2, 3, 4]
  )
  let stopped = false
  const stop = consumer.stop().then(() => (stopped = true))
  await microtasks()
  calls[0].done()
  calls[3].fail()
  await cursor.clock.pass(10_000)
  t.false(stopped)
  cursor.isSlow = true
  calls[1].done()
  await microtasks()
  t.deepEqual([stopped, cursor.pending.length], [false, 1])
  cursor.pending[0].succeed()
  await stop
  t.is(calls.length, 4)
  t.deepEqual([cursor.stored, cursor.isClosed], [2, true])
  t.like(consumer.stats(), { inFlight: 0, waiting: 0, handled: 2, watermark: 2, committed: 2 })
  t.deepEqual(cursor.clock.waits, [])
})

test('a backoff function may stop the consumer, which then waits for no delay', async (t) => {
  for (const concurrency of [1, 2]) {
    const cursor = new PlayedCursor()
    cursor.append(1)
    const backoff = () => {
      void consumer.stop()
      return 1_000_000
    }
    const consumer = cursor.consume(() => Promise.reject(new Error('no')), { concurrency, backoff })
    let stopped = false
    void consumer.done.then(() => (stopped = true))
    await cursor.clock.pass(0)
    t.deepEqual([stopped, cursor.clock.waits], [true, []])
  }
})

test('after graceMs stop aborts the calls that still run, and their records are not committed', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(3)
  const { calls, handler } = byHand()
  const consumer = cursor.consume(handler, { concurrency: 3 })
  await microtasks()
  const stop = consumer.stop({ graceMs: 1000 })
  calls[0].done()
  await cursor.clock.pass(999)
  t.false(calls[1].signal.aborted)
  await cursor.clock.pass(1)
  await stop
  t.true(calls[1].signal.aborted && calls[2].signal.aborted)
  t.is(cursor.stored, 1)
  calls[1].done()
  await microtasks()
  t.is(cursor.stored, 1)
})

test('a later stop may have a shorter grace', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(1)
  const { handler } = byHand()
  const consumer = cursor.consume(handler)
  await microtasks()
  const stop = consumer.stop()
  await cursor.clock.pass(1_000_000)
  const again = consumer.stop({ graceMs: 0 })
  await cursor.clock.pass(0)
  await Promise.all([stop, again])
  t.is(cursor.stored, 0)
})

test('a batch that fails at every attempt is given to the handler record by record, and only what fails then is dead', async (t) => {
  const cursor = new PlayedCursor()
  cursor.append(4)
  const given: string[] = []
  const dead: unknown[] = []
  const handler = (records: Positioned[], { attempt, position }: HandlerCall) => {
    given.push(`${records.map(({ position }) => position)}@${position}.${attempt}`)
    if (records.some(({ position }) => position === 3)) throw new Error('poison')
  }
  const deadLetter = ({ position }: Positioned, { attempts, error }: { attempts: number; error: unknown }) => {
    dead.push([position, attempts, (error as Error).message])
  }
  const consumer = cursor.consume(handler, { batch: 10, retries: 1, backoff: noJitter, deadLetter })
  await cursor.clock.pass(1000)
  t.deepEqual(given, ['1,2,3,4@1.1', '1,2,3,4@1.2', '1@1.3', '2@2.3', '3@3.3', '4@4.3'])
  t.deepEqual(dead, [[3, 3, 'poison']])
  t.like(consumer.stats(), { handled: 3, dead: 1, watermark: 4 })
})
