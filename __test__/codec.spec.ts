// Values through a codec: what goes in comes out, and a codec that fails is told to whoever asked, as what it is.

import path from 'node:path'
import { inspect } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { Record, Wal, type Codec, type CodecOption, type WalError, type WalReader, type WalRecord } from '../index.js'
import { node } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

async function logOf<T>(t: ExecutionContext, codec: CodecOption<T>, dir = temporaryDirectory(t)): Promise<Wal<T>> {
  const wal = await Wal.open<T>(dir, { codec, segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  return wal
}

async function read<T>(reader: WalReader<T>): Promise<(T | undefined)[]> {
  const found = []
  for await (const { value } of reader) found.push(value)
  return found
}

const values: unknown[] = [
  { id: 1, nested: { list: [1, 'two', null, true] } },
  'text',
  '',
  0,
  -1.5,
  false,
  null,
  [],
  { key: 'k', value: 'v' },
]

for (const codec of ['json', 'msgpack'] as const) {
  test(`${codec}: every value is read as it was given, through every method that appends or reads`, async (t) => {
    const wal = await logOf<unknown>(t, codec)
    for (const value of values) await wal.append(value)
    const { first, last } = await wal.appendBatch(values)
    t.deepEqual([first, last], [values.length + 1, 2 * values.length])
    for (const value of values) wal.enqueue(value)
    await wal.sync()
    const all = [...values, ...values, ...values]
    t.deepEqual(await read(wal.readFrom('start')), all)
    t.deepEqual(await read(wal.readFrom('start', { copy: true })), all)
    const batched: unknown[] = []
    for await (const records of wal.readFrom('start').batches()) batched.push(...records.map(({ value }) => value))
    t.deepEqual(batched, all)
  })

  test(`${codec}: only what Record made is a record, and its value is encoded`, async (t) => {
    const wal = await logOf<unknown>(t, codec)
    await wal.append(Record.put('k', { deep: 1 }, { expiresAt: 5, version: { term: 1, index: 2 } }))
    await wal.append(Record.delete('k'))
    await wal.append({ key: 'k', tombstone: true })
    const records: WalRecord<unknown>[] = []
    for await (const record of wal.readFrom('start')) records.push(record)
    t.deepEqual(
      records.map(({ key, value, tombstone, expiresAt, version }) => [key?.toString(), value, tombstone, expiresAt, version]),
      [
        ['k', { deep: 1 }, false, 5, { term: 1, index: 2 }],
        ['k', undefined, true, undefined, undefined],
        [undefined, { key: 'k', tombstone: true }, false, undefined, undefined],
      ]
    )
    t.deepEqual(records[0].toJSON(), {
      position: 1,
      key: Buffer.from('k'),
      value: { deep: 1 },
      expiresAt: 5,
      version: { term: 1, index: 2 },
    })
  })

  test(`${codec}: a value that the codec cannot represent is refused and takes no position`, async (t) => {
    const wal = await logOf<unknown>(t, codec)
    for (const value of [undefined, () => 1, Symbol('s'), 1n]) {
      const error = await t.throwsAsync<WalError>(wal.append(value), {
        code: 'ERR_WAL_CODEC',
        message: new RegExp(`\\(${codec}\\): .*(has no such value|BigInt|bigint|Unrecognized)`),
      })
      t.true(error.cause instanceof Error)
      t.is(error.operation, 'append')
      t.throws(() => wal.enqueue(value), { code: 'ERR_WAL_CODEC' })
      await t.throwsAsync(wal.appendBatch(['good', value]), { code: 'ERR_WAL_CODEC' })
    }
    t.is(wal.nextPosition, 1)
    t.is(await wal.append('good'), 1)
  })
}

test('bytes in a msgpack value are read as bytes', async (t) => {
  const wal = await logOf<{ bytes: Uint8Array }>(t, 'msgpack')
  await wal.append({ bytes: new Uint8Array([0, 255]) })
  const [value] = await read(wal.readFrom('start'))
  t.deepEqual([...(value?.bytes ?? [])], [0, 255])
})

/** Counts its calls; fails where told to. */
function counting(): Codec<number> & { encoded: number; decoded: number } {
  return {
    name: 'counting',
    encoded: 0,
    decoded: 0,
    encode(value) {
      this.encoded++
      if (value < 0) throw new RangeError('no negative numbers')
      return Buffer.from([value])
    },
    decode(bytes) {
      this.decoded++
      if (bytes[0] === 13) throw new RangeError('not 13')
      return bytes[0]
    },
  }
}

test('an encoder that throws refuses its append alone, with its error as the cause', async (t) => {
  const wal = await logOf(t, counting())
  const appends = [1, -1, 2].map((value) => wal.append(value))
  const error = await t.throwsAsync<WalError>(appends[1], { code: 'ERR_WAL_CODEC', message: /counting.*no negative numbers/ })
  t.true(error.cause instanceof RangeError)
  t.deepEqual(await Promise.all([appends[0], appends[2]]), [1, 2])
  await t.throwsAsync(wal.appendBatch([3, -1]), { code: 'ERR_WAL_CODEC' })
  t.is(wal.nextPosition, 3)
  t.deepEqual(await read(wal.readFrom('start')), [1, 2])
})

test('an encoder that gives no bytes is refused', async (t) => {
  const wal = await logOf<number>(t, { encode: (value) => value as never, decode: () => 0 })
  await t.throwsAsync(wal.append(1), { code: 'ERR_WAL_CODEC', message: /encode/ })
  t.is(wal.nextPosition, 1)
})

test('a record whose encoder closes the log is refused', async (t) => {
  const wal: Wal<string> = await logOf<string>(t, {
    encode(value) {
      void wal.close()
      return value
    },
    decode: String,
  })
  await t.throwsAsync(wal.append('x'), { code: 'ERR_WAL_CLOSED' })
})

test('a value is decoded once, right before its record is returned', async (t) => {
  const codec = counting()
  const wal = await logOf(t, codec)
  await wal.appendBatch([1, 2, 3])
  const reader = wal.readFrom('start')
  t.is(codec.decoded, 0)
  const { value: record } = await reader.next()
  t.is(codec.decoded, 1)
  t.deepEqual([record?.value, record?.value], [1, 1])
  t.regex(inspect(record), /WalRecord.*value: 1/)
  t.is(codec.decoded, 1)
  await reader.next()
  t.is(codec.decoded, 2)
  await reader.return()
})

test('a copy with a decoded value can be posted', async (t) => {
  const wal = await logOf<{ n: number }>(t, 'json')
  await wal.append(Record.put('k', { n: 1 }))
  const { value } = await wal.readFrom('start', { copy: true }).next()
  const posted = structuredClone(value)
  t.is(posted?.position, 1)
  t.deepEqual(posted?.value, { n: 1 })
})

test('a codec belongs to one handle: another handle of the same log sees bytes', async (t) => {
  const wal = await logOf<{ n: number }>(t, 'json')
  const plain = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  await wal.append({ n: 1 })
  await plain.append('{"n":2}')
  t.deepEqual(await read(wal.readFrom('start')), [{ n: 1 }, { n: 2 }])
  const bytes = await read(plain.readFrom('start'))
  t.deepEqual(bytes.map(String), ['{"n":1}', '{"n":2}'])
  await plain.close()
})

test('the msgpack library is loaded only if the codec is used', async (t) => {
  const script = `
    import { createRequire } from 'node:module'
    const { Wal } = await import(process.argv[1])
    const { cache } = createRequire(process.argv[1])
    const isLoaded = () => Object.keys(cache).some((name) => name.includes('msgpack'))
    for (const codec of [undefined, 'json', 'msgpack']) {
      const wal = await Wal.open(process.argv[2] + codec, { codec })
      await wal.close()
      console.log(codec, isLoaded())
    }`
  const { stdout, stderr } = await node([
    '--input-type=module',
    '-e',
    script,
    new URL('../index.js', import.meta.url).pathname,
    path.join(temporaryDirectory(t), 'log-'),
  ])
  t.is(stderr, '')
  t.is(stdout.toString(), 'undefined false\njson false\nmsgpack true\n')
})

test('a codec may return the same memory for every record, also within a batch', async (t) => {
  const memory = Buffer.alloc(4)
  const wal = await logOf<number>(t, { encode: (n) => (memory.writeInt32LE(n), memory), decode: (bytes) => bytes.readInt32LE() })
  await wal.appendBatch([1, 2, Record.put('k', 3)])
  await Promise.all([wal.append(4), wal.append(5)])
  wal.enqueue(6)
  await wal.sync()
  t.deepEqual(await read(wal.readFrom('start')), [1, 2, 3, 4, 5, 6])
})
