// Codecs with a schema: what was accepted can be read, and what does not match is an error that says where.

import { type } from 'arktype'
import test, { type ExecutionContext } from 'ava'
import * as v from 'valibot'
import { z } from 'zod'
import { Record, Wal, type CodecOption, type StandardSchema, type WalError } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

async function logOf<T, In>(t: ExecutionContext, codec: CodecOption<T, In>, dir = temporaryDirectory(t)): Promise<Wal<T, In>> {
  const wal = await Wal.open<T, In>(dir, { codec, segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  return wal
}

async function read<T>(wal: Wal<T, never>): Promise<(T | undefined)[]> {
  const found: (T | undefined)[] = []
  for await (const { value } of wal.readFrom('start')) found.push(value)
  return found
}

interface User {
  name: string
  tags: string[]
}

const schemas: { [library: string]: StandardSchema<User> } = {
  zod: z.object({ name: z.string(), tags: z.array(z.string()) }),
  valibot: v.object({ name: v.string(), tags: v.array(v.string()) }),
  arktype: type({ name: 'string', tags: 'string[]' }),
}

for (const [library, schema] of Object.entries(schemas)) {
  for (const format of ['json', 'msgpack'] as const) {
    test(`${library}, ${format}: a value that matches is read back, and any other is refused with its place`, async (t) => {
      const wal = await logOf(t, { name: 'user', format, schema })
      const ada = { name: 'Ada', tags: ['x'] }
      await wal.append(ada)
      await wal.append(Record.put('k', ada))
      await wal.append(Record.delete('k'))
      const bad = { name: 'Grace', tags: ['y', 7] } as unknown as User
      const expected = { code: 'ERR_WAL_CODEC', message: /^the value cannot be encoded \(user\): value\.tags\[1\]: .*(string|number)/ }
      const error = await t.throwsAsync<WalError>(wal.append(bad), expected)
      t.is(error.operation, 'append')
      t.true((error.issues?.length ?? 0) > 0)
      t.is(typeof error.issues?.[0].message, 'string')
      t.throws(() => wal.enqueue(bad), expected)
      await t.throwsAsync(wal.append(Record.put('k', bad)), expected)
      const batch = t.throwsAsync<WalError>(wal.appendBatch([ada, bad]), { code: 'ERR_WAL_CODEC' })
      t.regex((await batch).message, /value\.tags\[1\]/)
      t.is(wal.nextPosition, 4)
      t.deepEqual(await read(wal), [ada, ada, undefined])
    })
  }
}

test('a value is stored as it was given, and the reader returns what the schema makes of it', async (t) => {
  const schema = z.object({ at: z.string().transform((text) => new Date(text)), retries: z.number().default(3) })
  const wal = await logOf(t, { schema })
  await wal.append({ at: '2000-01-01T00:00:00.000Z' })
  t.deepEqual(await read(wal), [{ at: new Date('2000-01-01'), retries: 3 }])
  const plain = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  t.is(String((await plain.readFrom('start').next()).value?.value), '{"at":"2000-01-01T00:00:00.000Z"}')
  await plain.close()
})

const Current = z.object({ v: z.literal(2), first: z.string(), last: z.string() })

/** Turns the first version, `{ v: 1, name }`, into the second. */
function upcast(stored: unknown): unknown {
  const { v: version, name } = stored as { v: number; name: string }
  if (version !== 1) return stored
  const [first, last] = name.split(' ')
  return { v: 2, first, last }
}

test('values of older versions are upcast, and checked after that', async (t) => {
  const dir = temporaryDirectory(t)
  const old = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  await old.appendBatch([
    '{"v":1,"name":"Ada Lovelace"}',
    '{"v":1,"name":"Ada"}',
    '{"v":3}',
    'null',
    '{"v":2,"first":"Grace","last":"Hopper"}',
  ])
  await old.close()
  const wal = await logOf(t, { schema: Current, upcast }, dir)
  const errors: WalError[] = []
  const found: unknown[] = []
  const reader = wal.readFrom('start', { onDecodeError: (error) => (errors.push(error), 'skip') })
  for await (const { value } of reader) found.push(value)
  t.deepEqual(found, [
    { v: 2, first: 'Ada', last: 'Lovelace' },
    { v: 2, first: 'Grace', last: 'Hopper' },
  ])
  t.regex(errors[0].message, /^the value of record 2 cannot be decoded \(json\): value\.last: /)
  t.regex(errors[1].message, /record 3 .*: value\.v: .* \(and 2 more\)$/)
  // Here upcast itself has thrown.
  t.true(errors[2].cause instanceof TypeError)
  t.is(errors[2].issues, undefined)
})

test('a format may be a codec of its own, called as a method, and names the codec', async (t) => {
  const format = {
    name: 'reversed',
    calls: 0,
    encode(value: string) {
      this.calls++
      return Buffer.from(value).reverse().toString()
    },
    decode(bytes: Buffer) {
      this.calls++
      return Buffer.from(bytes).reverse().toString()
    },
  }
  const wal = await logOf(t, { format, schema: z.string().min(2) })
  await wal.append('abc')
  t.deepEqual(await read(wal), ['abc'])
  t.is(format.calls, 2)
  await t.throwsAsync(wal.append('a'), { code: 'ERR_WAL_CODEC', message: /\(reversed\): value: / })
})

/** A schema whose `validate` is this. */
const schemaOf = (validate: (value: unknown) => unknown): StandardSchema<unknown> =>
  ({ '~standard': { version: 1, vendor: 'test', validate } }) as never

test('an asynchronous schema or upcast is refused, is never skipped, and leaves no rejection unhandled', async (t) => {
  const plain = await Wal.open(temporaryDirectory(t), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => plain.close())
  await plain.append('"text"')
  const expected = { code: 'ERR_WAL_INVALID_ARG', message: /^options\.codec\.schema is asynchronous/ }
  const asynchronous: StandardSchema[] = [
    z.string().refine(() => Promise.resolve(true)),
    schemaOf(() => Promise.reject(new Error('not handled'))),
  ]
  for (const schema of asynchronous) {
    const slow = await logOf(t, { schema }, plain.dir)
    await t.throwsAsync(slow.append('x'), expected)
    t.throws(() => slow.enqueue('x'), expected)
    await t.throwsAsync(slow.readFrom('start', { onDecodeError: 'skip' }).next(), expected)
  }
  const upcasting = await logOf(t, { schema: z.string(), upcast: async (stored) => stored }, plain.dir)
  await t.throwsAsync(upcasting.readFrom('start', { onDecodeError: 'skip' }).next(), {
    code: 'ERR_WAL_INVALID_ARG',
    message: /^options\.codec\.upcast is asynchronous/,
  })
  t.is(plain.nextPosition, 2)
})

test('a schema that returns something else than a result is an error of the option', async (t) => {
  for (const [result, message] of [
    [undefined, /^options\.codec\.schema must return an object \{ value \} or \{ issues \}, not undefined$/],
    [7, /not 7$/],
    [{ issues: 'none' }, /^options\.codec\.schema must return an array as issues, not "none"$/],
  ] as const) {
    const wal = await logOf(t, { schema: schemaOf(() => result) })
    await t.throwsAsync(wal.append(1), { code: 'ERR_WAL_INVALID_ARG', message })
  }
})

test('a schema that throws, or whose issues cannot be read, refuses the value with a WalError', async (t) => {
  const thrower = () => {
    throw new Error('thrown')
  }
  const hostile = new Proxy({}, { get: thrower, has: thrower, getPrototypeOf: thrower })
  const schemas = [
    schemaOf(thrower),
    schemaOf(() => hostile),
    schemaOf(() => {
      throw hostile
    }),
    schemaOf(() => ({ issues: [] })),
    schemaOf(() => ({ issues: [hostile] })),
    schemaOf(() => ({ issues: [{ message: 'no', path: 7 }] })),
    schemaOf(() => ({ issues: [{ message: 'no', path: [{ key: 'a' }, 0, Symbol('s')] }] })),
    schemaOf(() => ({
      get issues() {
        return thrower()
      },
    })),
  ]
  for (const schema of schemas) {
    const wal = await logOf(t, { schema })
    await t.throwsAsync(wal.append(1), { code: 'ERR_WAL_CODEC' })
    t.is(wal.nextPosition, 1)
  }
})

test('a codec with a schema whose fields are wrong is refused by name', async (t) => {
  const schema = z.string()
  const wrong: [codec: unknown, message: RegExp][] = [
    [schema, /^options\.codec is a schema: pass it as options\.codec\.schema/],
    [type('string'), /^options\.codec is a schema: pass it as options\.codec\.schema/],
    [
      { schema, upcst: String },
      /^options\.codec\.upcst is not a field of a codec with a schema; the fields are name, format, schema, upcast$/,
    ],
    [{ schema, upcast: 7 }, /^options\.codec\.upcast must be a function, not 7$/],
    [{ schema, name: 7 }, /^options\.codec\.name must be a string, not 7$/],
    [{ schema, format: 'yaml' }, /^options\.codec\.format must be 'json', 'msgpack' or an object .*, not "yaml"$/],
    [{ schema, format: schema }, /^options\.codec\.format is a schema/],
    [{ schema: 7 }, /^options\.codec\.schema must be a Standard Schema, such as one of Zod, Valibot or ArkType, not 7$/],
    [{ schema: { parse: String } }, /^options\.codec\.schema must be a Standard Schema/],
    [{ schema: { '~standard': { version: 2, validate: String } } }, /version must be 1, not 2$/],
    [{ schema: { '~standard': { version: 1 } } }, /validate must be a function, not undefined$/],
    [{ upcast }, /^options\.codec must be .* or an object \{ schema \}, not an object$/],
    [new Map(), /not a Map$/],
    [
      {
        get schema() {
          throw new Error('thrown')
        },
      },
      /^options\.codec cannot be read: thrown$/,
    ],
  ]
  for (const [codec, message] of wrong) {
    await t.throwsAsync(Wal.open(temporaryDirectory(t), { codec: codec as never }), { code: 'ERR_WAL_INVALID_ARG', message })
  }
})
