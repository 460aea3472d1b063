// The built-in codecs give back what they take, and refuse the rest by its path.

import test, { type ExecutionContext } from 'ava'
import { isDeepStrictEqual } from 'node:util'
import { runInNewContext } from 'node:vm'
import { Wal, type WalError } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

const CODECS = ['json', 'msgpack'] as const
type Codec = (typeof CODECS)[number]

async function logOf(t: ExecutionContext, codec: Codec): Promise<Wal<unknown>> {
  const wal = await Wal.open(temporaryDirectory(t), { codec, fsync: 'os', segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  return wal
}

class Money {
  amount = 5
}

const within = (depth: number, leaf: unknown): unknown => {
  let value = leaf
  for (let i = 0; i < depth; i++) value = i % 2 ? { in: value } : [value]
  return value
}

function cycle(): unknown {
  const value: { list: unknown[] } = { list: [1] }
  value.list.push({ back: value })
  return value
}

const sparse = () => {
  const array = [1]
  array[2] = 3
  return array
}

const resized = () => {
  const bytes = new Uint8Array(8)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

/** What neither gives back, with the path and what the message calls it. */
const refused: { [name: string]: [value: () => unknown, message: string] } = {
  undefined: [() => undefined, 'value: undefined'],
  'a function': [() => () => {}, 'value: a function'],
  'a method': [() => ({ a: [{ run() {} }] }), 'value.a[0].run: a function'],
  'a symbol': [() => ({ s: Symbol('s') }), 'value.s: a symbol'],
  'a symbol as a key': [() => ({ a: { [Symbol('s')]: 1 } }), 'value.a: a symbol as a key'],
  'a bigint': [() => [1n], 'value[0]: a bigint'],
  'minus zero': [() => ({ a: [-0] }), 'value.a[0]: -0'],
  'a Map': [() => ({ a: [0, 0, 0, { b: new Map() }] }), 'value.a[3].b: a Map'],
  'a Set': [() => new Set([1]), 'value: a Set'],
  'an Error': [() => ({ cause: new TypeError('x') }), 'value.cause: a TypeError'],
  'an invalid Date': [() => ({ at: new Date(NaN) }), 'value.at: a'],
  'a RegExp': [() => [/x/], 'value[0]: a RegExp'],
  'a Promise': [() => ({ p: Promise.resolve() }), 'value.p: a Promise'],
  'a URL': [() => ({ url: new URL('file:///') }), 'value.url: a'],
  'an object of a class': [() => ({ price: new Money() }), 'value.price: a Money'],
  'a number as an object': [() => [new Number(5)], 'value[0]: a Number'],
  'a subclass of Array': [() => ({ a: new (class List extends Array {})() }), 'value.a: a List'],
  'an array with a hole': [() => ({ a: sparse() }), 'value.a[1]: a hole'],
  'undefined in an array': [() => [1, undefined], 'value[1]: undefined'],
  'an array with fields': [() => /b/.exec('abc'), 'value: an array with fields'],
  'a typed array': [() => ({ f: new Float64Array(2) }), 'value.f: a Float64Array'],
  'a DataView': [() => new DataView(new ArrayBuffer(1)), 'value: a DataView'],
  'an ArrayBuffer': [() => new ArrayBuffer(1), 'value: an ArrayBuffer'],
  'bytes without their memory': [() => ({ bytes: resized() }), 'value.bytes: a Uint8Array'],
  'a Proxy of a Map': [() => new Proxy(new Map(), {}), 'value: a Map'],
  'a Map of another realm': [() => runInNewContext('({ m: new Map() })'), 'value.m: a Map'],
  'an object with an odd prototype': [() => ({ a: Object.create({ inherited: 1 }) }), 'value.a: an object that is not plain'],
  'a cycle': [cycle, 'value.list[1].back: a cycle'],
  'what is nested too deep': [() => within(1001, 1), 'value[0].in[0].in[0].in[0].in…: more than 1000 levels'],
  'a path with odd keys': [() => ({ 'a b': { '': { ü: new Set() } } }), 'value["a b"][""].ü: a Set'],
}

const refusedByOne: { [codec in Codec]: { [name: string]: [value: () => unknown, message: string] } } = {
  json: {
    NaN: [() => ({ a: NaN }), 'value.a: NaN'],
    Infinity: [() => [-Infinity], 'value[0]: -Infinity'],
    'a Date': [() => ({ at: new Date(0) }), 'value.at: a Date'],
    'a Uint8Array': [() => ({ b: new Uint8Array(1) }), 'value.b: a Uint8Array'],
    'a Buffer': [() => ({ b: Buffer.alloc(1) }), 'value.b: a Buffer'],
    'an object with toJSON': [
      () => ({ a: Object.defineProperty({}, 'toJSON', { value: () => 1 }) }),
      'value.a: an object that is not plain',
    ],
  },
  msgpack: {
    'an own __proto__': [() => JSON.parse('{"a":{"__proto__":{"x":1}}}'), 'value.a.__proto__: such a key'],
    'half of a surrogate pair': [() => ({ text: 'x\ud83d' }), 'value.text: text with half of a surrogate pair'],
    'half of a surrogate pair in a key': [() => ({ '\ude00': 1 }), 'value["\\ude00"]: such a key'],
    'a Date of a subclass': [() => new (class Day extends Date {})(0), 'value: a Day'],
    'a Date with fields': [() => Object.assign(new Date(0), { zone: 'UTC' }), 'value: a Date'],
    'a Uint8Array of a subclass': [() => ({ b: new (class Bytes extends Uint8Array {})(1) }), 'value.b: a Bytes'],
  },
}

for (const codec of CODECS) {
  for (const [name, [make, message]] of Object.entries({ ...refused, ...refusedByOne[codec] })) {
    test(`${codec} refuses a value and names its path: ${name}`, async (t) => {
      const wal = await logOf(t, codec)
      const expected = { code: 'ERR_WAL_CODEC', message: new RegExp(`: ${message.replace(/[[\].*+?^$()\\]/g, '\\$&')}`) }
      const error = await t.throwsAsync<WalError>(wal.append(make()), expected)
      t.true(error.cause instanceof TypeError)
      t.throws(() => wal.enqueue(make()), expected)
      await t.throwsAsync(wal.appendBatch(['good', make()]), expected)
      t.is(await wal.append('good'), 1)
    })
  }
}

/** What both give back. */
const kept: { [name: string]: () => unknown } = {
  null: () => null,
  'the numbers at the edges': () => [
    0,
    1,
    -1,
    0.1,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    2 ** 53,
    -(2 ** 53) + 1,
    2 ** 60,
    5e-324,
    Number.MAX_VALUE,
  ],
  'text of every plane': () => ['', '\0', 'é', '漢', '😀', 'x'.repeat(70_000)],
  'the same object twice': () => {
    const shared = { a: 1 }
    return [shared, shared]
  },
  'an object of another realm': () => runInNewContext('({ a: [1, { b: 2 }] })'),
  'a Proxy of a plain object': () => new Proxy({ a: [1] }, {}),
  'a getter': () => ({
    get a() {
      return 1
    },
  }),
  'what is nested deep': () => within(1000, 1),
  'keys of all kinds': () => ({ '': 1, 1: 2, 'a b': 3, constructor: 4, toString: 5, hasOwnProperty: 6 }),
}

const keptByOne: { [codec in Codec]: { [name: string]: () => unknown } } = {
  json: {
    'an own __proto__': () => JSON.parse('{"a":{"__proto__":{"x":1}}}'),
    'half of a surrogate pair': () => ({ '\ud83d': '\ude00' }),
  },
  msgpack: {
    'NaN and Infinity': () => [NaN, Infinity, -Infinity],
    'dates at the edges': () =>
      [0, 1, -1, 1.5e12 + 7, -1.5e12 - 7, 8.64e15, -8.64e15, 2 ** 32 * 1000, 2 ** 34 * 1000 + 1].map((ms) => new Date(ms)),
    'a Buffer': () => ({ bytes: Buffer.from([0, 255]) }),
  },
}

/** A value as programs look at it: it does not matter whose objects they are, and a field that is undefined is as good as none. */
const plain = (value: unknown): unknown => {
  if (value instanceof Date || Buffer.isBuffer(value) || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Array.from(value, plain)
  return Object.fromEntries(Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : [[key, plain(item)]])))
}

async function readBack(wal: Wal<unknown>, value: unknown): Promise<unknown> {
  return (await wal.readFrom(await wal.append(value)).next()).value?.value
}

for (const codec of CODECS) {
  for (const [name, make] of Object.entries({ ...kept, ...keptByOne[codec] })) {
    test(`${codec} gives back: ${name}`, async (t) => {
      const value = make()
      const found = await readBack(await logOf(t, codec), value)
      t.true(isDeepStrictEqual(plain(found), plain(value)))
    })
  }

  test(`${codec} leaves out fields that are undefined, which read the same`, async (t) => {
    const wal = await logOf(t, codec)
    const found = (await readBack(wal, { a: undefined, b: { c: undefined, d: 1 } })) as { a?: unknown }
    t.deepEqual(found, { b: { d: 1 } } as object)
    t.is(found.a, undefined)
    // And of an object that shares nothing with it.
    t.deepEqual(await readBack(wal, { e: 1 }), { e: 1 })
  })

  test(`${codec} gives an object without a prototype back as a plain one`, async (t) => {
    t.deepEqual(await readBack(await logOf(t, codec), Object.assign(Object.create(null), { a: 1 })), { a: 1 })
  })

  test(`${codec}: every random value that is accepted is read back deeply equal`, async (t) => {
    const wal = await logOf(t, codec)
    const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2147483647)
    t.log(`seed ${seed} (FORELOG_SEED)`)
    const taken: unknown[] = []
    let refusals = 0
    const values = new Values(seed)
    for (let i = 0; i < 4000; i++) {
      const value = values.next()
      try {
        wal.enqueue(value)
        taken.push(value)
      } catch (error) {
        refusals++
        t.is((error as WalError).code, 'ERR_WAL_CODEC')
      }
      if (i % 500 === 0) await wal.drain()
    }
    await wal.sync()
    // Some seed or other refuses as few as 450.
    t.true(taken.length > 100 && refusals > 100, `${taken.length} taken, ${refusals} refused`)
    let at = 0
    for await (const { value } of wal.readFrom('start')) {
      const given = plain(taken[at])
      if (!isDeepStrictEqual(value, given)) t.deepEqual(value, given, `record ${at + 1}`)
      at++
    }
    t.is(at, taken.length)
  })
}

/** Values made at random, most of them plain, some with one part in them that is not. */
class Values {
  #state: number

  constructor(seed: number) {
    this.#state = seed || 1
  }

  #below(n: number): number {
    return (this.#state = (this.#state * 48271) % 2147483647) % n
  }

  next(depth = 0): unknown {
    const kind = this.#below(depth > 4 ? 12 : 20)
    if (kind >= 16) return Array.from({ length: this.#below(5) }, () => this.next(depth + 1))
    if (kind >= 12) return Object.fromEntries(Array.from({ length: this.#below(5) }, () => [this.#text(), this.next(depth + 1)]))
    if (kind >= 9) return this.#text()
    if (kind >= 5) return this.#number()
    if (kind >= 3) return [true, false, null][this.#below(3)]
    return this.#below(8) === 0 ? this.#odd() : this.#number()
  }

  #text(): string {
    const units = ['a', 'é', '漢', '😀', '\0', '"', '__proto__', 'constructor', '\ud83d', 'toJSON', '1']
    return Array.from({ length: this.#below(4) }, () => units[this.#below(this.#below(3) === 0 ? units.length : 4)]).join('')
  }

  #number(): number {
    return [0, 1, -1, 0.5, -0, NaN, Infinity, 2 ** 53, 1e300, this.#below(2 ** 31)][this.#below(this.#below(4) === 0 ? 10 : 4)]
  }

  #odd(): unknown {
    const odd: (() => unknown)[] = [
      () => new Date(this.#below(2 ** 31) * (this.#below(2) ? 1000 : -1)),
      () => new Date(NaN),
      () => Buffer.from([this.#below(256)]),
      () => new Map(),
      () => new Money(),
      () => undefined,
      () => 1n,
      () => Symbol('s'),
      () => () => {},
      sparse,
      () => /x/.exec('x'),
      cycle,
      () => Object.create({}),
      () => ({ [Symbol('s')]: 1 }),
    ]
    return odd[this.#below(odd.length)]()
  }
}
