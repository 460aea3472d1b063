// Several consumers of one cursor: refused, or each record goes to one of them.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { Wal, type ConsumeOptions, type WalRecord } from '../index.js'
import { isConsumed, openFeed } from '../src/consume/registry.js'
import type { Source } from '../src/consume/source.js'
import { checkConsume } from '../src/options/consume.js'
import { range } from './helpers/consumed.js'
import { fill, filledLog, SEGMENT_BYTES, temporaryLog, until } from './helpers/log.js'
import { PlayedCursor } from './helpers/played-cursor.js'

const shared = { share: true } as const
const sorted = (positions: number[]): number[] => positions.toSorted((a, b) => a - b)

test('each record goes to one of the consumers that share a cursor, through any handle', async (t) => {
  const wal = await filledLog(t, 1000)
  const other = await temporaryLog(t, {}, wal.dir)
  const given: number[][] = [[], [], []]
  const consumers = []
  for (const [n, handle] of [wal, wal, other].entries()) {
    const cursor = await handle.cursor('a')
    const handler = async ({ position }: WalRecord) => {
      given[n].push(position)
      await new Promise(setImmediate)
    }
    consumers.push(cursor.consume(handler, { ...shared, follow: false, concurrency: n + 1 }))
  }
  await Promise.all(consumers.map(({ done }) => done))
  t.true(given.every(({ length }) => length > 10))
  t.deepEqual(sorted(given.flat()), range(1, 1000))
  // One call at a time is in order even so.
  t.deepEqual(given[0], sorted(given[0]))
  t.is((await wal.cursor('a')).position, 1000)
  t.deepEqual(
    consumers.map((consumer) => consumer.stats().handled),
    given.map(({ length }) => length)
  )
})

test('a second consumer is refused unless both share the cursor, with the same options of it', async (t) => {
  const wal = await filledLog(t, 1)
  const other = await temporaryLog(t, {}, wal.dir)
  const cursors = [await wal.cursor('a'), await other.cursor('a')]
  for (const cursor of cursors) {
    const alone = cursors[0].consume(() => {})
    t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_BUSY' })
    t.throws(() => cursor.consume(() => {}, shared), { code: 'ERR_WAL_BUSY' })
    await alone.stop()
    const sharing = cursors[0].consume(() => {}, shared)
    t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_BUSY' })
    const different: [keyof ConsumeOptions, ConsumeOptions][] = [
      ['follow', { follow: false }],
      ['skipExpired', { skipExpired: true }],
      ['window', { window: 7 }],
      ['commitEveryMs', { commitEveryMs: 7 }],
    ]
    for (const [name, options] of different) {
      const differing = { ...shared, ...options }
      t.throws(() => cursor.consume(() => {}, differing), { code: 'ERR_WAL_INVALID_ARG', message: new RegExp(name) })
    }
    const second = cursor.consume(() => {}, shared)
    await Promise.all([sharing.stop(), second.stop()])
  }
  const another = (await wal.cursor('b')).consume(() => {})
  await another.stop()
})

test('what a consumer leaves when it stops or fails goes to the others', async (t) => {
  const wal = await filledLog(t, 20)
  const cursor = await wal.cursor('a')
  const taken: number[] = []
  const hanging = cursor.consume(({ position }) => (taken.push(position), new Promise(() => {})), { ...shared, concurrency: 3 })
  await until(() => taken.length === 3)
  const given: number[] = []
  const good = cursor.consume(({ position }) => void given.push(position), shared)
  await until(() => given.length === 17)
  t.is(cursor.position, 0)
  await hanging.stop({ graceMs: 0 })
  await until(() => cursor.position === 20)
  t.deepEqual(sorted(given), range(1, 20))

  const failing = cursor.consume(() => Promise.reject(new Error('no')), { ...shared, retries: 0 })
  const failed = t.throwsAsync(failing.done, { code: 'ERR_WAL_HANDLER' })
  for (let n = 21; n <= 40; n++) await wal.append(`${n}`)
  await failed
  await until(() => cursor.position === 40)
  t.deepEqual(sorted(given), range(1, 40))
  await good.stop()
})

test('disposing of a cursor waits for all its consumers, even if one of them fails', async (t) => {
  const wal = await filledLog(t, 2)
  const cursor = await wal.cursor('a')
  let letGo = () => {}
  const held = cursor.consume(() => new Promise<void>((resolve) => (letGo = resolve)), { share: true })
  let fail = () => {}
  const failing = cursor.consume(() => new Promise<void>((_, reject) => (fail = () => reject(new Error('no')))), {
    share: true,
    retries: 0,
  })
  failing.done.catch(() => {})
  await until(() => held.stats().inFlight === 1 && failing.stats().inFlight === 1)
  let disposed = false
  const disposing = cursor[Symbol.asyncDispose]().finally(() => (disposed = true))
  const rejected = t.throwsAsync(disposing, { code: 'ERR_WAL_HANDLER' })
  fail()
  await until(() => failing.stats().inFlight === 0)
  await t.throwsAsync(failing.done)
  t.false(disposed)
  letGo()
  await rejected
  await held.done
})

test('if one handle is closed, the consumers of other handles go on, and no record is lost', async (t) => {
  const wal = await filledLog(t, 20)
  const other = await temporaryLog(t, {}, wal.dir)
  const closing = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  const given: number[] = []
  const handler = async ({ position }: WalRecord) => {
    await new Promise(setImmediate)
    given.push(position)
  }
  // The first one's handle reads for all of them.
  const first = (await closing.cursor('a')).consume(handler, shared)
  const second = (await other.cursor('a')).consume(handler, shared)
  await until(() => given.length >= 5)
  const failed = t.throwsAsync(first.done, { code: 'ERR_WAL_CLOSED' })
  await closing.close()
  await failed
  await fill(wal, 20)
  const cursor = await wal.cursor('a')
  await until(() => cursor.position === 40)
  t.deepEqual([...new Set(sorted(given))], range(1, 40))
  await second.stop()
})

test('each consumer gets values as its own handle decodes them', async (t) => {
  const plain = await temporaryLog(t)
  const json = await Wal.open<{ n: number }>(plain.dir, { codec: 'json', segmentBytes: SEGMENT_BYTES })
  t.teardown(() => json.close())
  await json.appendBatch(range(1, 200).map((n) => ({ n })))
  const numbers: number[] = []
  const texts: string[] = []
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
  const options = { ...shared, follow: false }
  const one = (await plain.cursor('a')).consume(({ value }) => (texts.push(String(value)), turn()), options)
  const two = (await json.cursor('a')).consume(({ value }) => (numbers.push(value!.n), turn()), options)
  await Promise.all([one.done, two.done])
  t.true(texts.length > 10 && numbers.length > 10)
  t.deepEqual(sorted([...numbers, ...texts.map((text) => (JSON.parse(text) as { n: number }).n)]), range(1, 200))
})

test('while a thread consumes a cursor, other threads can neither consume it nor move it, and afterwards they can', async (t) => {
  const wal = await filledLog(t, 20)
  const cursor = await wal.cursor('a')
  const handled: number[] = []
  const consumer = cursor.consume(({ position }) => void handled.push(position), { commitEveryMs: 0 })
  await until(() => cursor.position === 20)
  const script = new URL('./helpers/consume/contender.mjs', import.meta.url)
  const worker = new Worker(script, { workerData: { dir: wal.dir, options: { segmentBytes: SEGMENT_BYTES } }, execArgv: [] })
  const attempt = async (): Promise<unknown> => {
    worker.postMessage('try')
    const [outcome] = (await once(worker, 'message')) as unknown[]
    return outcome
  }
  const refused = 'ERR_WAL_BUSY'
  t.deepEqual(await attempt(), { commit: refused, rewind: refused, read: refused, consume: refused })
  t.is(cursor.position, 20)
  await consumer.stop()
  t.deepEqual(handled, range(1, 20))

  t.deepEqual(await attempt(), { commit: 'done', rewind: 'done', read: 'done', consume: range(6, 20) })
  t.is(cursor.position, 20)
  // The consumer of that thread has ended, and one that its thread ends with leaves the cursor free as well.
  await cursor.consume(() => {}, { follow: false }).done
  worker.postMessage('hold')
  await once(worker, 'message')
  t.throws(() => cursor.consume(() => {}), { code: refused, message: /another thread/ })
  await worker.terminate()
  await until(() => {
    try {
      void cursor.consume(() => {}).stop()
      return true
    } catch {
      return false
    }
  })
})

test('a consumer that cannot begin leaves the cursor free for other threads', (t) => {
  const { source } = new PlayedCursor().handle
  const calls: string[] = []
  const refusing: Source = {
    ...source,
    claim: () => calls.push('claim') > 0,
    unclaim: () => void calls.push('unclaim'),
    readStored: () => {
      throw new Error('no reader')
    },
  }
  const { feed } = checkConsume(undefined)
  t.throws(() => openFeed(refusing, feed, false), { message: 'no reader' })
  t.deepEqual(calls, ['claim', 'unclaim'])
  t.false(isConsumed(refusing.log, refusing.name))
})

test('a consumer that waits for records ends when another thread deletes its cursor', async (t) => {
  const wal = await filledLog(t, 5)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(() => {})
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_NOT_FOUND' })
  await until(() => cursor.position === 5)
  const script = new URL('./helpers/cursor/deleter.mjs', import.meta.url)
  const worker = new Worker(script, { workerData: { dir: wal.dir, options: { segmentBytes: SEGMENT_BYTES } }, execArgv: [] })
  for (const what of ['position', 'delete']) {
    worker.postMessage(what)
    await once(worker, 'message')
  }
  await failed
  worker.postMessage('end')
  await once(worker, 'exit')
})

test('a consumer that shares the cursor with one that has failed waits until nothing is in its hands', async (t) => {
  const wal = await filledLog(t, 5)
  const closing = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  let letGo!: () => void
  let isHolding = false
  const first = (await closing.cursor('a')).consume(() => {
    isHolding = true
    return new Promise<void>((resolve) => (letGo = resolve))
  }, shared)
  await until(() => isHolding)
  const failed = t.throwsAsync(first.done, { code: 'ERR_WAL_CLOSED' })
  await closing.close()
  // The reader of the closed handle fails in a later turn.
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  const cursor = await wal.cursor('a')
  t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_BUSY' })
  const left = cursor.consume(() => t.fail(), shared)
  await left.stop()
  t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_BUSY' })
  const given: number[] = []
  const second = cursor.consume(({ position }) => void given.push(position), shared)
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  t.deepEqual(given, [])
  letGo()
  await failed
  await until(() => cursor.position === 5)
  t.deepEqual(given, range(1, 5))
  await second.stop()
})
