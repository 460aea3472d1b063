// A consumer whose handler, dead letter or options do what it should not: it stops with a typed error or goes on, and loses nothing.

import test from 'ava'
import { WalError, type ConsumeOptions, type WalRecord } from '../index.js'
import { range, restPositions } from './helpers/consumed.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { filledLog, temporaryLog, until } from './helpers/log.js'

const quick: ConsumeOptions = { backoff: { minMs: 0, maxMs: 0 } }

test('without deadLetter the consumer stops at a record that fails at every attempt, and the next one gets it again', async (t) => {
  const wal = await filledLog(t, 10)
  const cursor = await wal.cursor('a')
  const cause = new Error('poison')
  let attempts = 0
  const consumer = cursor.consume(
    ({ position }) => {
      if (position !== 4) return
      attempts++
      throw cause
    },
    { ...quick, retries: 2 }
  )
  const error = await t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_HANDLER', message: /record 4 .* attempt 3.*poison/ })
  t.deepEqual([error.position, error.operation, error.cause], [4, 'consume', cause])
  t.deepEqual([attempts, cursor.position], [3, 3])
  await t.throwsAsync(consumer.stop(), { is: error })
  t.deepEqual(await restPositions(cursor), range(4, 10))
})

test('whatever a handler throws is a failure of that attempt', async (t) => {
  const hostile = () => {
    throw Object.create(null)
  }
  const thrown: unknown[] = [
    undefined,
    null,
    0,
    'text',
    Symbol('s'),
    Object.create(null),
    new Proxy({}, { get: hostile, getPrototypeOf: hostile }),
    {
      get message() {
        return hostile()
      },
    },
  ]
  const wal = await filledLog(t, thrown.length)
  const dead: unknown[] = []
  const cursor = await wal.cursor('a')
  const options = {
    ...quick,
    retries: 0,
    follow: false,
    deadLetter: (_: WalRecord, { error }: { error: unknown }) => void dead.push(error),
  }
  await cursor.consume(({ position }) => {
    throw thrown[position - 1]
  }, options).done
  t.is(dead.length, thrown.length)
  t.true(dead.every((error, n) => Object.is(error, thrown[n])))
  t.is(cursor.position, thrown.length)

  for (const [n, error] of thrown.entries()) {
    const consumer = (await wal.cursor(`${n}`)).consume(() => Promise.reject(error), { retries: 0 })
    const failure = await t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_HANDLER' })
    t.true(Object.is(failure.cause, error))
  }
})

test('a handler that returns a thenable may settle it as often as it likes: the first time counts', async (t) => {
  const wal = await filledLog(t, 4)
  const cursor = await wal.cursor('a')
  const thenables: { [position: number]: () => unknown } = {
    1: () => ({ then: (done: () => void, fail: (error: unknown) => void) => (done(), done(), fail(new Error('late'))) }),
    2: () => ({
      then: (done: () => void) => {
        done()
        throw new Error('late')
      },
    }),
    3: () => ({ then: (done: () => void, fail: (error: unknown) => void) => (fail(new Error('first')), done()) }),
    4: () => ({
      get then() {
        throw new Error('getter')
      },
    }),
  }
  const dead: string[] = []
  const consumer = cursor.consume(({ position }) => thenables[position](), {
    ...quick,
    retries: 0,
    follow: false,
    deadLetter: (_, { error }) => void dead.push((error as Error).message),
  })
  await consumer.done
  t.like(consumer.stats(), { handled: 2, dead: 2, watermark: 4 })
  t.deepEqual(dead, ['first', 'getter'])
})

test('if deadLetter fails, the consumer stops and does not skip the record', async (t) => {
  const wal = await filledLog(t, 5)
  const full = await temporaryLog(t)
  await full.close()
  const view = await temporaryLog(t, { mode: 'readOnly' }, full.dir)
  const cause = new Error('no room')
  const failing: ConsumeOptions['deadLetter'][] = [
    () => {
      throw cause
    },
    async () => {
      throw cause
    },
    full,
    view,
  ]
  for (const [n, deadLetter] of failing.entries()) {
    const cursor = await wal.cursor(`${n}`)
    const handler = ({ position }: WalRecord) => {
      if (position === 3) throw new Error('poison')
    }
    const consumer = cursor.consume(handler, { ...quick, retries: 1, deadLetter })
    const error = await t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_DEAD_LETTER', message: /record 3/ })
    t.is(error.position, 3)
    if (n < 2) t.is(error.cause, cause)
    else t.is((error.cause as WalError).code, n === 2 ? 'ERR_WAL_CLOSED' : 'ERR_WAL_READ_ONLY')
    t.is(cursor.position, 2)
    t.deepEqual(await restPositions(cursor), [3, 4, 5])
  }
})

test('a backoff function that throws, or returns no delay, stops the consumer', async (t) => {
  const wal = await filledLog(t, 2)
  for (const [n, backoff] of [
    () => NaN,
    () => {
      throw new Error('x')
    },
    (() => '5') as never,
  ].entries()) {
    const cursor = await wal.cursor(`${n}`)
    const consumer = cursor.consume(() => Promise.reject(new Error('no')), { backoff })
    await t.throwsAsync(consumer.done, { code: 'ERR_WAL_INVALID_ARG', message: /backoff/ })
    t.is(cursor.position, 0)
  }
})

test('while a cursor has a consumer, commit, rewind and read are refused through every handle', async (t) => {
  const wal = await filledLog(t, 5)
  const other = await temporaryLog(t, {}, wal.dir)
  const [cursor, same] = [await wal.cursor('a'), await other.cursor('a')]
  const consumer = cursor.consume(() => {})
  await until(() => cursor.position === 5)
  for (const one of [cursor, same]) {
    await t.throwsAsync(one.commit(5), { code: 'ERR_WAL_BUSY', message: /"a"/ })
    await t.throwsAsync(one.rewind(0), { code: 'ERR_WAL_BUSY' })
    t.throws(() => one.read(), { code: 'ERR_WAL_BUSY' })
    t.throws(() => one.consume(() => {}), { code: 'ERR_WAL_BUSY' })
  }
  await consumer.stop()
  await same.rewind(2)
  t.deepEqual(await restPositions(cursor), [3, 4, 5])
})

const thrower = () => {
  throw new Error('getter')
}

test('handler and options are checked before anything is done', async (t) => {
  const wal = await filledLog(t, 3)
  const cursor = await wal.cursor('a')
  const refused = (options: unknown, message: RegExp) =>
    t.throws(() => cursor.consume(() => {}, options as never), { code: 'ERR_WAL_INVALID_ARG', message }, String(message))
  for (const handler of [undefined, null, 'f', {}]) {
    t.throws(() => cursor.consume(handler as never), { code: 'ERR_WAL_INVALID_ARG', message: /handler/ })
  }
  for (const name of ['concurrency', 'batch', 'window']) {
    for (const value of [0, -1, 1.5, '1', null, Infinity]) refused({ [name]: value }, new RegExp(name))
  }
  for (const value of [-1, 0.5, '1', null, NaN]) refused({ retries: value }, /retries/)
  for (const value of [0, -1, 2 ** 31, '1', null]) refused({ timeoutMs: value }, /timeoutMs/)
  for (const value of [-1, 2 ** 31, '1', null]) refused({ commitEveryMs: value }, /commitEveryMs/)
  for (const value of [1, 'no', null]) {
    refused({ follow: value }, /follow/)
    refused({ share: value }, /share/)
    refused({ skipExpired: value }, /skipExpired/)
    refused({ signal: value }, /signal/)
    refused({ backoff: value }, /backoff/)
    refused({ deadLetter: value }, /deadLetter/)
  }
  for (const backoff of [
    { minMs: -1 },
    { minMs: '1' },
    { maxMs: 2 ** 31 },
    { minMs: 5, maxMs: 4 },
    { factor: 0.5 },
    { factor: NaN },
    { jitter: 2 },
  ]) {
    refused({ backoff }, /backoff/)
  }
  refused({ backoff: { min: 1 } }, /min/)
  refused({ retry: 1 }, /retry/)
  refused(null, /options/)
  refused(
    {
      get batch() {
        return thrower()
      },
    },
    /options cannot be read/
  )
  refused({ backoff: new Proxy({}, { ownKeys: thrower }) }, /cannot be read/)
  for (const deadLetter of [{}, [], new Map(), Object.create(null)]) refused({ deadLetter }, /deadLetter/)
  refused({ deadLetter: new Proxy({}, { get: thrower }) }, /deadLetter cannot be read/)
  refused({ deadLetter: wal }, /another log/)
  refused({ deadLetter: await temporaryLog(t, {}, wal.dir) }, /another log/)
  t.deepEqual(await restPositions(cursor), [1, 2, 3], 'nothing is left of the refused ones')

  const consumer = cursor.consume(() => {})
  for (const graceMs of [-1, '1', 2 ** 31]) {
    await t.throwsAsync(consumer.stop({ graceMs: graceMs as never }), { code: 'ERR_WAL_INVALID_ARG', message: /graceMs/ })
  }
  await t.throwsAsync(consumer.stop({ grace: 1 } as never), { code: 'ERR_WAL_INVALID_ARG' })
  await consumer.stop()
  await wal.close()
  t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_CLOSED' })
})

test('a signal that refuses its listener leaves the cursor without a consumer', async (t) => {
  const wal = await filledLog(t, 3)
  const cursor = await wal.cursor('a')
  const { signal } = new AbortController()
  signal.addEventListener = thrower
  t.throws(() => cursor.consume(() => {}, { signal }), { message: 'getter' })
  await cursor.commit(1)
  t.deepEqual(await restPositions(cursor), [2, 3])
})

test('a failure that nothing handles ends the process', async (t) => {
  const script = `
    const { Wal } = await import(process.argv[1] + '/index.js')
    const wal = await Wal.open(process.argv[2])
    await wal.append('x')
    ;(await wal.cursor('a')).consume(() => { throw new Error('poison') }, { retries: 0 })`
  const { code, stderr } = await node(['--input-type=module', '-e', script, root, temporaryDirectory(t)])
  t.is(code, 1)
  t.regex(stderr, /ERR_WAL_HANDLER/)
})
