// Every error is a WalError, whatever the arguments are: no error of the engine, of native code or of the caller's own comes through raw.

import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { AbortError, checkpoint, Record, restore, verify, Wal, WalError } from '../index.js'
import { instrument } from '../dist/otel.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'
import { has } from './helpers/needs.js'

const thrower = () => {
  throw Object.create(null)
}

/** Something that cannot be looked at without an error that cannot be looked at either. */
const hostile = (target: object) =>
  new Proxy(target, {
    get: thrower,
    has: thrower,
    ownKeys: thrower,
    getPrototypeOf: thrower,
    getOwnPropertyDescriptor: thrower,
    apply: thrower,
    construct: thrower,
  })

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

const things: { [name: string]: () => unknown } = {
  null: () => null,
  'a boolean': () => true,
  'a number': () => 7,
  NaN: () => NaN,
  'a negative number': () => -1,
  'a number that is not safe': () => 2 ** 53,
  'a fraction': () => 0.5,
  'a bigint': () => 1n,
  'a symbol': () => Symbol('s'),
  'a string': () => 'text',
  'an empty string': () => '',
  'half of a surrogate pair': () => '\ud83d',
  'a string with a zero': () => 'a\0b',
  'a function': () => () => {},
  'an array': () => [1],
  'an empty object': () => ({}),
  'an object without a prototype': () => Object.create(null),
  'an object with an unknown name': () => ({ nope: 1 }),
  'an object whose text throws': () => ({ toString: thrower, valueOf: thrower, [Symbol.toPrimitive]: thrower, toJSON: thrower }),
  'an object that cannot be inspected': () => ({ [Symbol.for('nodejs.util.inspect.custom')]: thrower }),
  'a hostile Proxy': () => hostile(function () {}),
  'a hostile Proxy of an object': () => hostile({}),
  'a hostile Proxy of an array': () => hostile([]),
  'a Proxy that was revoked': revoked,
  'a Proxy of an object': () => new Proxy({}, { get: thrower }),
  'an object with getters that throw': () =>
    Object.create(
      null,
      Object.fromEntries(
        ['key', 'value', 'signal', 'fsync', 'durable', 'start', 'onProgress', 'maxPendingBytes', 'meter'].map((name) => [
          name,
          { enumerable: true, get: thrower },
        ])
      )
    ),
  'a thenable': () => ({ then: thrower }),
  'a Date': () => new Date(NaN),
  'a Uint16Array': () => new Uint16Array(2),
}

/** Values for every option that is an object or a function itself. */
const nested = (name: string) => (thing: unknown) => ({ [name]: thing })

/** A path as it was passed, in a place of the test's own. */
const within = (dir: string, thing: never): never => (thing !== '' && typeof thing === 'string' ? path.join(dir, thing) : thing) as never

/** Consumes the one record of a log, which is handled or not. */
async function consume(log: Wal, handler: never, options?: object, stop?: never): Promise<void> {
  const cursor = await log.cursor('consumed')
  await cursor.rewind(0)
  const consumer = cursor.consume(handler, { follow: false, retries: 1, ...options })
  if (stop === undefined) return consumer.done
  await consumer.stop(stop).finally(() => consumer.stop())
}

const failing = (() => Promise.reject(new Error('no'))) as never

type Call = (log: Wal, thing: never, dir: string) => unknown

const calls: { [name: string]: Call } = {
  'Wal.open(dir)': (_, thing, dir) => Wal.open(within(dir, thing)),
  'Wal.open(dir, options)': (_, thing, dir) => Wal.open(dir, thing),
  'verify(dir)': (_, thing, dir) => verify(within(dir, thing)),
  'verify(dir, options)': ({ dir }, thing) => verify(dir, thing),
  append: (log, thing) => log.append(thing),
  'append(record, options)': (log, thing) => log.append('x', thing),
  enqueue: (log, thing) => log.enqueue(thing),
  'enqueue(record, options)': (log, thing) => log.enqueue('x', thing),
  appendBatch: (log, thing) => log.appendBatch(thing),
  'appendBatch([record])': (log, thing) => log.appendBatch(['x', thing]),
  'appendBatch(records, options)': (log, thing) => log.appendBatch(['x'], thing),
  acknowledged: (log, thing) => log.acknowledged(thing),
  'acknowledged(position, options)': (log, thing) => log.acknowledged(0, thing),
  'sync(options)': (log, thing) => log.sync(thing),
  truncateBefore: (log, thing) => log.truncateBefore(thing),
  truncateAfter: (log, thing) => log.truncateAfter(thing),
  reset: (log, thing) => log.reset(thing),
  'writable(options)': (log, thing) => log.writable(thing).destroy(),
  readFrom: (log, thing) => log.readFrom(thing).next(),
  'readFrom(1, options)': (log, thing) => log.readFrom(1, thing).return(),
  get: (log, thing) => log.get(thing),
  'get(1, options)': (log, thing) => log.get(1, thing),
  last: (log, thing) => log.last(thing),
  'last(1, options)': (log, thing) => log.last(1, thing),
  readable: (log, thing) => log.readable(thing).destroy(),
  'readable(1, options)': (log, thing) => log.readable(1, thing).destroy(),
  'cursor(name)': (log, thing) => log.cursor(thing),
  'cursor(name, options)': (log, thing) => log.cursor('name', thing),
  'consume(handler)': (log, thing) => consume(log, thing),
  'consume(handler, options)': async (log, thing) => {
    const consumer = (await log.cursor('consumed')).consume(() => {}, thing)
    await consumer.stop()
  },
  'stop(options)': (log, thing) => consume(log, (() => {}) as never, {}, thing),
  'backup(dir)': (log, thing, dir) => log.backup(within(dir, thing)),
  'backup(dir, options)': (log, thing, dir) => log.backup(path.join(dir, 'copy'), thing),
  'scrub(options)': (log, thing) => log.scrub(thing),
  'checkpoint(wal)': (_, thing, dir) => checkpoint(thing, `${dir}-state`, { position: 1, state: 's' }),
  'checkpoint(wal, file)': (log, thing, dir) => checkpoint(log, within(dir, thing), { position: 1, state: 's' }),
  'checkpoint(wal, file, options)': (log, thing, dir) => checkpoint(log, `${dir}-state`, thing),
  'checkpoint(wal, file, { state })': (log, thing, dir) => checkpoint(log, `${dir}-state`, { position: 1, state: thing }),
  'checkpoint(wal, file, { state: [chunk] })': (log, thing, dir) => checkpoint(log, `${dir}-state`, { position: 1, state: [thing] }),
  'restore(file)': (_, thing, dir) => restore(within(dir, thing)),
  'restore(file, options)': (_, thing, dir) => restore(`${dir}-state`, thing),
  'restore(file, { wal })': (_, thing, dir) => restore(`${dir}-state`, { wal: thing }),
  'Record.put(key)': (_, thing) => Record.put(thing, 'v'),
  'Record.put(key, value, options)': (_, thing) => Record.put('k', 'v', thing),
  'Record.delete(key)': (_, thing) => Record.delete(thing),
  'Record.delete(key, options)': (_, thing) => Record.delete('k', thing),
  'append(Record.put(key, value))': (log, thing) => log.append(Record.put('k', thing)),
  'instrument(wals)': (_, thing) => instrument(thing, { meter: { addBatchObservableCallback() {} } as never }),
  'instrument(wals, options)': (log, thing) => instrument(log, thing),
}

for (const name of ['fsync', 'mode', 'retention', 'codec', 'signal', 'compression', 'segmentBytes', 'create']) {
  calls[`Wal.open(dir, { ${name} })`] = (_, thing, dir) => Wal.open(dir, nested(name)(thing) as never)
}
for (const name of ['durable', 'expect', 'signal'])
  calls[`append(record, { ${name} })`] = (log, thing) => log.append('x', nested(name)(thing))
for (const name of ['key', 'value', 'tombstone', 'ttlMs', 'expiresAt', 'version']) {
  calls[`append({ ${name} })`] = (log, thing) => log.append({ key: 'k', ...nested(name)(thing) } as never)
}
for (const name of ['deadLetter', 'backoff', 'signal', 'concurrency', 'timeoutMs']) {
  calls[`consume(handler, { ${name} })`] = (log, thing) => consume(log, failing, { deadLetter: () => {}, ...nested(name)(thing) })
}
for (const name of ['onProgress', 'signal']) {
  calls[`verify(dir, { ${name} })`] = ({ dir }, thing) => verify(dir, nested(name)(thing))
}

/** What a callback of the caller's throws is the caller's. */
const isOfTheCaller = (call: string, thing: string): boolean => call.includes('onProgress') && thing === 'a hostile Proxy'

for (const [name, call] of Object.entries(calls)) {
  test(`${name}, with any arguments, succeeds or fails with a WalError`, async (t) => {
    const dir = temporaryDirectory(t)
    const log = await Wal.open(path.join(dir, 'log'), { segmentBytes: SEGMENT_BYTES })
    t.teardown(() => log.close())
    await log.append('x')
    let failures = 0
    for (const [thing, make] of Object.entries(things)) {
      const from = path.join(dir, `${failures}`)
      try {
        const result = await call(log, make() as never, from)
        if (result instanceof Wal) await result.close()
      } catch (error) {
        failures++
        if (isOfTheCaller(name, thing)) continue
        t.true(error instanceof WalError || error instanceof AbortError, `${thing}: ${Object.prototype.toString.call(error)}`)
        t.is(typeof (error as WalError).message, 'string')
        t.is(typeof (error as WalError).operation, 'string', thing)
      }
    }
    t.true(failures > 0)
    t.is(await log.append('next'), log.nextPosition - 1)
  })
}

for (const codec of ['json', 'msgpack'] as const) {
  test(`values for ${codec} whose properties throw are refused with a WalError`, async (t) => {
    const log = await Wal.open<unknown>(temporaryDirectory(t), { codec, segmentBytes: SEGMENT_BYTES })
    t.teardown(() => log.close())
    for (const [thing, make] of Object.entries(things)) {
      for (const attempt of [
        () => log.append(make()),
        () => log.append({ in: [make()] }),
        () => log.append(Record.put('k', make())),
        () => log.appendBatch([1, make()]),
      ]) {
        try {
          await attempt()
        } catch (error) {
          t.true(error instanceof WalError, thing)
        }
      }
    }
    for await (const { value } of log.readFrom('start')) void value
  })
}

test('an error of any type thrown by a custom codec is reported as a WalError', async (t) => {
  for (const make of Object.values(things)) {
    const fail = () => {
      throw make()
    }
    const log = await Wal.open<unknown>(temporaryDirectory(t), {
      codec: { encode: (value) => (value === 'bad' ? fail() : 'x'), decode: fail },
    })
    await t.throwsAsync(log.append('bad'), { instanceOf: WalError, code: 'ERR_WAL_CODEC' })
    await log.append('good')
    await t.throwsAsync(log.readFrom('start').next(), { instanceOf: WalError, code: 'ERR_WAL_CODEC' })
    await log.close()
  }
})

test('a codec whose name changes at each read is reported under the name that was checked', async (t) => {
  let looks = 0
  const codec = {
    get name() {
      return looks++ === 0 ? 'first' : (Symbol('other') as never)
    },
    encode: thrower,
    decode: String,
  }
  const log = await Wal.open<unknown>(temporaryDirectory(t), { codec })
  t.teardown(() => log.close())
  await t.throwsAsync(log.append(1), { code: 'ERR_WAL_CODEC', message: /\(first\)/ })
})

test('an iterable of records that throws rejects with a WalError that has its error as the cause', async (t) => {
  const log = await Wal.open(temporaryDirectory(t))
  t.teardown(() => log.close())
  const cause = new Error('of the program')
  function* records() {
    yield 'one'
    throw cause
  }
  const error = await t.throwsAsync<WalError>(log.appendBatch(records()), { code: 'ERR_WAL_INVALID_ARG', message: /of the program/ })
  t.is(error.cause, cause)
  t.is(await log.append('next'), 1)
})

test('a relative path in a removed working directory fails with a WalError that has the cause', async (t) => {
  if (!has(t, 'posix')) return
  const script = `
    const { Wal, salvage, stat, verify } = await import(process.argv[1])
    const { rmdirSync } = await import('node:fs')
    process.chdir(process.argv[2])
    rmdirSync(process.argv[2])
    const calls = [() => Wal.open('log'), () => verify('log'), () => stat('log'), () => salvage('log', '/tmp/new'), () => salvage('/tmp/log', 'new')]
    for (const call of calls) await call().catch(({ code, cause }) => console.log(code, cause.code))`
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-gone-'))
  const { stdout } = await node(['--input-type=module', '-e', script, path.join(root, 'index.js'), dir])
  t.is(stdout.toString(), 'ERR_WAL_IO ENOENT\n'.repeat(5))
})

test('a chunk that is not a record destroys the stream with a WalError', async (t) => {
  for (const [thing, make] of Object.entries(things)) {
    const chunk = make()
    // To a stream these are something else.
    if (chunk === null || typeof chunk === 'string') continue
    const log = await Wal.open(temporaryDirectory(t))
    const stream = log.writable()
    stream.write(chunk)
    const [error] = (await once(stream, 'error')) as [unknown]
    t.true(error instanceof WalError, thing)
    await log.close()
  }
})
