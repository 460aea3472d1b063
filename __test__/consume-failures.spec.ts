// A consumer whose handler, log or cursor does what it should not: it stops with a typed error or goes on, and loses nothing.

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { WalError, type ConsumeOptions, type Cursor, type WalRecord } from '../index.js'
import { node, root } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { filledLog, temporaryLog, until } from './helpers/log.js'

const quick: ConsumeOptions = { backoff: { minMs: 0, maxMs: 0 } }
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** What a consumer from now to the end gets. */
async function rest(cursor: Cursor): Promise<string[]> {
  const given: string[] = []
  await cursor.consume(({ value }) => void given.push(String(value)), { follow: false }).done
  return given
}

const restPositions = async (cursor: Cursor) => (await rest(cursor)).map((value) => Number(value.replace('value-', '')))

/** A handler that holds the record at a position until it is let go. */
function holding(at: number) {
  const held = { given: [] as number[], letGo: () => {}, isHolding: false }
  const handler = async ({ position }: WalRecord) => {
    held.given.push(position)
    if (position !== at) return
    held.isHolding = true
    await new Promise<void>((resolve) => (held.letGo = resolve))
  }
  return { held, handler }
}

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

test('a log that its handler closes ends the consumer, and what was not committed is delivered again', async (t) => {
  let wal = await filledLog(t, 5)
  const given: number[] = []
  const consumer = (await wal.cursor('a')).consume(async ({ position }) => {
    given.push(position)
    if (position === 3) await wal.close()
  })
  await t.throwsAsync(consumer.done, { code: 'ERR_WAL_CLOSED' })
  t.deepEqual(given, [1, 2, 3])
  wal = await temporaryLog(t, {}, wal.dir)
  const again = await restPositions(await wal.cursor('a'))
  t.true(again[0] <= 4)
  t.deepEqual(again, range(again[0], 5))
})

test('a consumer that waits for records ends when its log is closed', async (t) => {
  const wal = await filledLog(t, 1)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(() => {})
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_CLOSED' })
  await until(() => cursor.position === 1)
  await wal.close()
  await failed
})

test('a cursor that is deleted ends its consumer, whoever deletes it', async (t) => {
  const wal = await filledLog(t, 5)
  const other = await temporaryLog(t, {}, wal.dir)
  for (const who of ['handler', 'this handle', 'other handle']) {
    const cursor = await wal.cursor('a')
    const given: number[] = []
    const consumer = cursor.consume(async ({ position }) => {
      given.push(position)
      if (who === 'handler' && position === 2) await cursor.delete()
    })
    const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_NOT_FOUND', message: /"a"/ }, who)
    if (who !== 'handler') {
      await until(() => given.length === 5)
      await (who === 'this handle' ? cursor : await other.cursor('a')).delete()
    }
    await failed
    t.is(given.length, who === 'handler' ? 2 : 5)
    t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_NOT_FOUND' })
    t.deepEqual(await restPositions(await wal.cursor('a')), range(1, 5), 'a new cursor of that name')
    await (await wal.cursor('a')).delete()
  }
})

test('records that truncateBefore removes before they are taken stop the consumer', async (t) => {
  const wal = await temporaryLog(t)
  // More than a reader reads ahead.
  for (let n = 1; n <= 1000; n++) wal.enqueue('x'.repeat(10_000))
  await wal.sync()
  const { held, handler } = holding(3)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(handler)
  await until(() => held.isHolding)
  await wal.truncateBefore(990)
  held.letGo()
  const error = await t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
  t.is(error.firstPosition, 990)
  t.is(cursor.position, 989)
  t.deepEqual(held.given, range(1, held.given.length))
  t.true(held.given.length < 989)
  t.is((await rest(cursor)).length, 11)
})

test('truncateBefore behind the consumer leaves it alone', async (t) => {
  const wal = await filledLog(t, 20)
  const { held, handler } = holding(10)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(handler, { follow: false })
  await until(() => held.isHolding)
  await wal.truncateBefore(10)
  held.letGo()
  await consumer.done
  t.deepEqual([held.given, cursor.position], [range(1, 20), 20])
})

test('truncateAfter that removes what the consumer has in hand stops it, and the records that are there now are delivered', async (t) => {
  const wal = await filledLog(t, 10)
  const { held, handler } = holding(8)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(handler)
  await until(() => held.isHolding)
  await wal.truncateAfter(5)
  for (let n = 6; n <= 10; n++) await wal.append(`new ${n}`)
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
  held.letGo()
  await failed
  t.true(cursor.position <= 5)
  const again = await rest(cursor)
  t.deepEqual(
    again.slice(-5),
    range(6, 10).map((n) => `new ${n}`)
  )
  t.is(again.length, 10 - (again[0].startsWith('value') ? Number(again[0].slice(6)) - 1 : 5))
})

test('truncateAfter that the consumer has not reached leaves it alone', async (t) => {
  const wal = await filledLog(t, 10)
  const { held, handler } = holding(3)
  const cursor = await wal.cursor('a')
  const texts: string[] = []
  const consumer = cursor.consume(async (record) => {
    texts.push(String(record.value))
    await handler(record)
  })
  await until(() => held.isHolding)
  await wal.truncateAfter(5)
  for (let n = 6; n <= 10; n++) await wal.append(`new ${n}`)
  held.letGo()
  await until(() => cursor.position === 10)
  t.deepEqual(texts, [...range(1, 5).map((n) => `value-${n}`), ...range(6, 10).map((n) => `new ${n}`)])
  await consumer.stop()
})

test('a reset stops the consumer, forwards and back', async (t) => {
  for (const to of [3, 100]) {
    const wal = await filledLog(t, 10)
    const cursor = await wal.cursor('a')
    const consumer = cursor.consume(() => {})
    await until(() => cursor.position === 10)
    const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
    await wal.reset(to)
    await failed
    await wal.append('after')
    t.deepEqual([cursor.position, await rest(cursor)], [to - 1, ['after']])
  }
})

test('damage stops the consumer after the records before it, which are committed', async (t) => {
  let wal = await temporaryLog(t)
  for (let n = 1; n <= 50; n++) await wal.append(`${n} `.padEnd(5000, 'x'))
  await wal.close()
  const file = path.join(wal.dir, segments(wal.dir)[1])
  const bytes = readFileSync(file)
  bytes[bytes.indexOf('20 xxx')] ^= 1
  writeFileSync(file, bytes)
  wal = await temporaryLog(t, {}, wal.dir)
  const cursor = await wal.cursor('a')
  const given: number[] = []
  const consumer = cursor.consume(({ position }) => void given.push(position))
  await t.throwsAsync(consumer.done, { code: 'ERR_WAL_CORRUPT' })
  t.deepEqual([given, cursor.position], [range(1, 19), 19])
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
