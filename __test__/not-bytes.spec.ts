// What is not bytes is refused by the name of its field, and alike by every way in; what is, is stored as it is.

import test, { type ExecutionContext } from 'ava'
import { runInNewContext } from 'node:vm'
import { Record, WalError, type Wal } from '../index.js'
import { collect, temporaryLog } from './helpers/log.js'

// Above what crosses with others.
const LARGE = 10_000

/** Everything that takes one record, as a promise; with something else before it where that would be there too. */
const ways: { [name: string]: (wal: Wal, record: never) => Promise<unknown> } = {
  append: async (wal, record) => wal.append(record),
  'append with options': async (wal, record) => wal.append(record, { durable: true, signal: new AbortController().signal }),
  'append with expect': async (wal, record) => wal.append(record, { expect: wal.nextPosition }),
  enqueue: async (wal, record) => wal.enqueue(record),
  appendBatch: async (wal, record) => wal.appendBatch([record]),
  'appendBatch after other records': async (wal, record) => wal.appendBatch(['small', 'x'.repeat(LARGE), record]),
  writable: (wal, record) =>
    new Promise((resolve, reject) => {
      const stream = wal.writable()
      stream.on('error', reject)
      stream.end(record, (error?: Error | null) => (error ? reject(error) : resolve(undefined)))
    }),
}

/** Every place of bytes in a record. */
const places: { [name: string]: { field: string; make: (bytes: never) => unknown } } = {
  'the value alone': { field: 'value', make: (bytes) => bytes },
  'the value of a plain object': { field: 'value', make: (value) => ({ key: 'k', value }) },
  'the key of a plain object': { field: 'key', make: (key) => ({ key, value: 'v' }) },
  'the key of a plain tombstone': { field: 'key', make: (key) => ({ key, tombstone: true }) },
  'a value with an expiry and a version': {
    field: 'value',
    make: (value) => ({ value, expiresAt: 1, version: { term: 1, index: 1 } }),
  },
  'the value of Record.put': { field: 'value', make: (value) => Record.put('k', value) },
  'the key of Record.put': { field: 'key', make: (key) => Record.put(key, 'v') },
  'the key of Record.put with options': { field: 'key', make: (key) => Record.put(key, 'v', { ttlMs: 1, version: { term: 1, index: 1 } }) },
  'the key of Record.delete': { field: 'key', make: (key) => Record.delete(key) },
}

/** Of ES2024: every Node that is supported has them, the types of ES2023 do not. */
const Resizable = ArrayBuffer as unknown as new (
  size: number,
  options: { maxByteLength: number }
) => ArrayBuffer & { resize(size: number): void }
const Growable = SharedArrayBuffer as unknown as new (size: number, options: { maxByteLength: number }) => SharedArrayBuffer

function detached(): Uint8Array {
  const bytes = new Uint8Array(8)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

/** An array of a length, or up to the end, of a buffer that has since shrunk below it. */
function outOfBounds(length?: number): Uint8Array {
  const memory = new Resizable(16, { maxByteLength: 32 })
  const bytes = new Uint8Array(memory, 8, length)
  memory.resize(length === undefined ? 7 : 12)
  return bytes
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable(new Uint8Array(3), {})
  revoke()
  return proxy
}

const throwing = () =>
  new Proxy(new Uint8Array(3), {
    getPrototypeOf: () => {
      throw new Error('thrown')
    },
  })

const noBytes: { [name: string]: () => unknown } = {
  'a Proxy around a Uint8Array': () => new Proxy(new Uint8Array([1, 2, 3]), {}),
  'a Proxy around a large one': () => new Proxy(new Uint8Array(LARGE), {}),
  'a Proxy that throws': throwing,
  'a Proxy that was revoked': revoked,
  'an object that inherits from Uint8Array': () => Object.create(Uint8Array.prototype),
  'an object that inherits from a Uint8Array': () => Object.create(new Uint8Array(3)),
  'a detached array': detached,
  'an array out of bounds': () => outOfBounds(8),
  'an array that follows its buffer, out of bounds': () => outOfBounds(),
  'a DataView': () => new DataView(new ArrayBuffer(4)),
  'an ArrayBuffer': () => new ArrayBuffer(4),
  'a SharedArrayBuffer': () => new SharedArrayBuffer(4),
  'a Uint16Array': () => new Uint16Array(2),
  'a Uint8ClampedArray': () => new Uint8ClampedArray(2),
  'a String object': () => new String('text'),
  'text with half of a surrogate pair': () => 'user:\ud83d',
  'text with the other half': () => '\ude00user',
  'long text with half of a surrogate pair': () => `${'x'.repeat(100)}\ud83d`,
  'large text with half of a surrogate pair': () => `\ud83d${'x'.repeat(LARGE)}`,
  'a number': () => 7,
  null: () => null,
  'a symbol': () => Symbol('s'),
  'a function': () => () => {},
}

for (const [name, make] of Object.entries(noBytes)) {
  test(`refused and named by every method: ${name}`, async (t) => {
    const wal = await temporaryLog(t)
    const other = await temporaryLog(t)
    let expected = 0
    for (const [place, { field, make: record }] of Object.entries(places)) {
      for (const [way, call] of Object.entries(ways)) {
        // To a stream these say something else.
        if (way === 'writable' && place === 'the value alone' && ['null', 'a function'].includes(name)) continue
        // A record may be refused where it is made.
        const attempt = async () => call(wal, record(make() as never) as never)
        const error = await t.throwsAsync<WalError>(attempt, { instanceOf: WalError, code: 'ERR_WAL_INVALID_ARG' }, `${place}, ${way}`)
        // An object that is no bytes may be a record with wrong fields, and nothing is one as well.
        if (place !== 'the value alone' || typeof make() === 'string')
          t.regex(error.message, new RegExp(`^(records\\[\\d\\]: )?${field}\\b`), `${place}, ${way}`)
        if (way === 'enqueue' || way === 'appendBatch') {
          t.is(await wal.append('next'), ++expected)
          t.deepEqual(await wal.appendBatch(['next']), { first: ++expected, last: expected })
        }
      }
    }
    t.is(await other.append('only'), 1)
    t.is(wal.nextPosition, expected + 1)
    t.true((await collect(wal.readFrom('start'))).every(({ value }) => value?.toString() === 'next'))
  })
}

test('the message names the type that was given instead of bytes', async (t) => {
  const wal = await temporaryLog(t)
  const instead: [make: () => unknown, message: RegExp][] = [
    [() => new Proxy(new Uint8Array(3), {}), /not a Proxy/],
    [() => new DataView(new ArrayBuffer(4)), /not a DataView/],
    [() => new ArrayBuffer(4), /not an ArrayBuffer: wrap it in a Uint8Array/],
    [() => new Uint16Array(2), /not a Uint16Array/],
    [() => Object.create(Uint8Array.prototype), /only inherits/],
    [detached, /detached/],
    [() => outOfBounds(8), /shrunk/],
    [() => '\ud83d', /surrogate/],
  ]
  for (const [make, message] of instead) {
    const value = make() as never
    await t.throwsAsync(wal.append(value), { code: 'ERR_WAL_INVALID_ARG', message })
    await t.throwsAsync(wal.append({ value }), { code: 'ERR_WAL_INVALID_ARG', message })
  }
})

const bytes: { [name: string]: () => Uint8Array } = {
  'a Buffer': () => Buffer.from([1, 2, 3]),
  'an empty array': () => new Uint8Array(0),
  'an empty array at the end of its buffer': () => new Uint8Array(new ArrayBuffer(4), 4),
  'an array of another realm': () => runInNewContext('new Uint8Array([1, 2, 3])'),
  'an array of a subclass': () => new (class extends Uint8Array {})([1, 2, 3]),
  'an array whose length lies': () => Object.defineProperty(new Uint8Array([1, 2, 3]), 'length', { value: 100 }),
  'an array without a prototype': () => Object.setPrototypeOf(new Uint8Array([1, 2, 3]), null),
  'an array over shared memory': () => new Uint8Array(new SharedArrayBuffer(3)).fill(7),
  'an array over shared memory that may grow': () => new Uint8Array(new Growable(3, { maxByteLength: 6 })).fill(7),
  'an array that follows a buffer that was shrunk': () => {
    const memory = new Resizable(8, { maxByteLength: 8 })
    const following = new Uint8Array(memory, 1).fill(7)
    memory.resize(4)
    return following
  },
  'a large array over shared memory': () => new Uint8Array(new SharedArrayBuffer(LARGE)).fill(7),
}

async function stored(t: ExecutionContext, make: () => Uint8Array): Promise<void> {
  const wal = await temporaryLog(t)
  for (const [place, { field, make: record }] of Object.entries(places)) {
    for (const [way, call] of Object.entries(ways)) {
      await call(wal, record(make() as never) as never)
      await wal.sync()
      const { value: read } = await wal.readFrom(wal.nextPosition - 1).next()
      const expected = Buffer.from(Uint8Array.prototype.slice.call(Object.setPrototypeOf(make(), Uint8Array.prototype)))
      t.deepEqual(read?.[field as 'key' | 'value'], expected, `${place}, ${way}`)
    }
  }
}

for (const [name, make] of Object.entries(bytes)) test(`stored as it is, whatever the way in: ${name}`, (t) => stored(t, make))

test('a record whose bytes lose their memory after it was made is refused', async (t) => {
  const wal = await temporaryLog(t)
  for (const way of Object.values(ways)) {
    const memory = new Resizable(8, { maxByteLength: 8 })
    const [shrunk, moved] = [Record.put('k', new Uint8Array(memory, 4, 4)), Record.put(new Uint8Array(8), 'v')]
    memory.resize(2)
    const { buffer } = moved.key as Uint8Array
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] })
    await t.throwsAsync(way(wal, shrunk as never), { code: 'ERR_WAL_INVALID_ARG', message: /^value/ })
    await t.throwsAsync(way(wal, moved as never), { code: 'ERR_WAL_INVALID_ARG', message: /^key/ })
  }
  t.is(wal.nextPosition, 1)
})

test('two keys that differ in half of an emoji never become one', async (t) => {
  const wal = await temporaryLog(t)
  for (const key of ['user:\ud83d', 'user:\ude00']) {
    await t.throwsAsync(wal.append({ key, value: 'x' }), { code: 'ERR_WAL_INVALID_ARG', message: /^key.*surrogate/ })
    await t.throwsAsync(wal.cursor(key), { code: 'ERR_WAL_INVALID_ARG', message: /^name.*surrogate/ })
  }
  await wal.append({ key: 'user:\ud83d\ude00', value: 'x' })
  t.deepEqual((await collect(wal.readFrom('start'))).map(({ key }) => key?.toString()), ['user:\ud83d\ude00']) // prettier-ignore
})
