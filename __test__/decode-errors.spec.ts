// A value that cannot be decoded is an outcome of `next()`, which the program decides about with `onDecodeError`.

import test, { type ExecutionContext } from 'ava'
import {
  AbortError,
  Record,
  Wal,
  WalError,
  type Codec,
  type DecodeErrorAction,
  type ReadOptions,
  type WalReader,
  type WalRecord,
} from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

/** Numbers as text, of which 13 cannot be decoded. Counts its calls. */
function numbers(): Codec<number> & { decoded: number } {
  return {
    name: 'numbers',
    decoded: 0,
    encode: String,
    decode(bytes) {
      this.decoded++
      if (String(bytes) === '13') throw new RangeError('not 13')
      return Number(String(bytes))
    },
  }
}

async function logOf(t: ExecutionContext, values: number[], codec = numbers()): Promise<Wal<number>> {
  const wal = await Wal.open<number>(temporaryDirectory(t), { codec, segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  await wal.appendBatch(values)
  return wal
}

const ways = ['next', 'batches', 'cursor', 'copy'] as const

/** Positions and values that are read in one of the ways, until the end or the first error; and the reader itself. */
async function read(wal: Wal<number>, way: (typeof ways)[number], options: ReadOptions<number> = {}) {
  const reader = way === 'cursor' ? (await wal.cursor('c')).read(options) : wal.readFrom('start', { ...options, copy: way === 'copy' })
  const found: [position: number, value: number | undefined][] = []
  try {
    if (way === 'batches')
      for await (const records of reader.batches()) for (const { position, value } of records) found.push([position, value])
    else for await (const { position, value } of reader) found.push([position, value])
    return { reader, found }
  } catch (error) {
    return { reader, found, error: error as WalError }
  }
}

for (const way of ways) {
  test(`${way}: by default the reader fails at the record, after those before it, and stands before it`, async (t) => {
    const wal = await logOf(t, [1, 2, 13, 4])
    for (const options of [{}, { onDecodeError: 'throw' }, { onDecodeError: () => 'throw' }] satisfies ReadOptions[]) {
      const { reader, found, error } = await read(wal, way, options)
      t.deepEqual(found, [
        [1, 1],
        [2, 2],
      ])
      t.is(error?.code, 'ERR_WAL_CODEC')
      t.is(error?.message, 'the value of record 3 cannot be decoded (numbers): not 13')
      t.is(error?.position, 3)
      t.is(error?.operation, 'read')
      t.true(error?.cause instanceof RangeError)
      t.is(reader.position, 2)
      t.is(await reader.next().catch((again: unknown) => again), error)
    }
    t.deepEqual((await wal.readFrom(4).next()).value?.value, 4)
  })

  test(`${way}: with 'skip' the record is left out, counted, and not part of the limit`, async (t) => {
    const wal = await logOf(t, [13, 1, 13, 13, 4, 13])
    const all = await read(wal, way, { onDecodeError: 'skip' })
    t.deepEqual(all.found, [
      [2, 1],
      [5, 4],
    ])
    t.is(all.error, undefined)
    t.is(all.reader.position, 6)
    t.is(all.reader.undecodable, 4)
    const limited = await read(wal, way, { onDecodeError: 'skip', limit: 2 })
    t.deepEqual(limited.found, all.found)
    t.deepEqual((await read(wal, way, { onDecodeError: 'skip', to: 4 })).found, [[2, 1]])
  })

  test(`${way}: a function decides about each record, with its bytes, and may take its time`, async (t) => {
    const wal = await logOf(t, [1, 13, 3, 13, 13, 6])
    const seen: [number, string | undefined, string][] = []
    const decide = async (error: WalError, record: WalRecord): Promise<DecodeErrorAction<number>> => {
      seen.push([record.position, record.value?.toString(), error.code])
      await wal.sync()
      return record.position === 4 ? 'skip' : { value: -record.position }
    }
    const { found, error, reader } = await read(wal, way, { onDecodeError: decide, limit: 5 })
    t.is(error, undefined)
    t.deepEqual(found, [
      [1, 1],
      [2, -2],
      [3, 3],
      [5, -5],
      [6, 6],
    ])
    t.deepEqual(
      seen,
      [2, 4, 5].map((position) => [position, '13', 'ERR_WAL_CODEC'])
    )
    t.is(reader.undecodable, 1)
  })

  test(`${way}: what a function throws ends the reader, and a result that is no decision is an error`, async (t) => {
    const wal = await logOf(t, [1, 13, 3])
    const own = new Error('stop')
    const thrown = await read(wal, way, { onDecodeError: () => Promise.reject(own) })
    t.deepEqual([thrown.found, thrown.reader.position, thrown.error as Error], [[[1, 1]], 1, own])
    for (const result of [undefined, null, 'ignore', {}, 7]) {
      const { error, reader } = await read(wal, way, { onDecodeError: () => result as never })
      t.is(error?.code, 'ERR_WAL_INVALID_ARG')
      t.regex(error?.message ?? '', /^the result of options\.onDecodeError must be 'throw', 'skip' or an object \{ value \}, not /)
      t.is((error?.cause as WalError).code, 'ERR_WAL_CODEC')
      t.is(reader.position, 1)
    }
  })
}

test('destructuring a record never throws', async (t) => {
  const wal = await logOf(t, [1, 13])
  const reader = wal.readFrom('start')
  const { value: good } = await reader.next()
  const { position, key, value, tombstone, expiresAt, version } = good as WalRecord<number>
  t.deepEqual([position, key, value, tombstone, expiresAt, version], [1, undefined, 1, false, undefined, undefined])
  await t.throwsAsync(reader.next(), { code: 'ERR_WAL_CODEC' })
})

test('a tombstone is not decoded, and a record that has only a key is an undecodable one', async (t) => {
  const codec = numbers()
  const wal = await logOf(t, [1], codec)
  const plain = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  await plain.append({ key: 'only a key' })
  await plain.append(Record.delete('gone'))
  const { found, error } = await read(wal, 'next')
  t.deepEqual(found, [[1, 1]])
  t.is(error?.message, 'the value of record 2 cannot be decoded (numbers): the record has only a key')
  t.deepEqual((await read(wal, 'next', { onDecodeError: 'skip' })).found, [
    [1, 1],
    [3, undefined],
  ])
  t.is(codec.decoded, 2)
  t.is((await plain.readFrom(2).next()).value?.value, undefined)
  await plain.close()
})

test('expired records that are skipped are not decoded', async (t) => {
  const codec = numbers()
  const wal = await logOf(t, [1], codec)
  await wal.append(Record.put('k', 13, { expiresAt: 1 }))
  const { found, error } = await read(wal, 'next', { skipExpired: true })
  t.deepEqual([found, error, codec.decoded], [[[1, 1]], undefined, 1])
})

test('calls that overlap resolve in order while a function decides', async (t) => {
  const wal = await logOf(t, [1, 13, 3, 13, 5])
  const reader = wal.readFrom('start', { onDecodeError: async () => (await wal.sync(), 'skip' as const) })
  const results = await Promise.all([1, 2, 3, 4].map(() => reader.next()))
  t.deepEqual(
    results.map(({ value }) => value?.value),
    [1, 3, 5, undefined]
  )
})

test('a reader that is aborted, closed or left while a function decides ends so, and stands before the record', async (t) => {
  const wal = await logOf(t, [1, 13, 3])
  const ends: [end: (reader: { return(): unknown }, stop: AbortController, wal: Wal<number>) => unknown, code: string | undefined][] = [
    [(_reader, stop) => stop.abort(), 'ABORT_ERR'],
    [(reader) => reader.return(), undefined],
    [(_reader, _stop, other) => other.close(), 'ERR_WAL_CLOSED'],
  ]
  for (const [end, code] of ends) {
    for (const action of ['skip', 'throw', { value: 0 }] as const) {
      const other = await Wal.open<number>(wal.dir, { codec: numbers(), segmentBytes: SEGMENT_BYTES })
      const stop = new AbortController()
      const reader: WalReader<number> = other.readFrom('start', {
        signal: stop.signal,
        onDecodeError: async () => (await end(reader, stop, other), action),
      })
      await reader.next()
      const result = await reader.next().catch((error: WalError | AbortError) => error.code)
      t.deepEqual(result, code ?? { done: true, value: undefined })
      if (code !== undefined) t.is(reader.position, 1)
      await other.close()
    }
  }
})

test('a log that is truncated while a function decides is read up to its new end', async (t) => {
  const wal = await logOf(t, [1, 13, 3, 4])
  const reader = wal.readFrom('start', { onDecodeError: async () => (await wal.truncateAfter(3), { value: 0 }) })
  const found: (number | undefined)[] = []
  for await (const { value } of reader) found.push(value)
  t.deepEqual(found, [1, 0, 3])
})

test('a decoder that calls its reader again gets other records, each once', async (t) => {
  const inner: Promise<unknown>[] = []
  const readers: WalReader<number>[] = []
  const codec = numbers()
  const wal = await logOf(t, [1, 2, 3], {
    ...codec,
    decode(bytes) {
      if (inner.length === 0) inner.push(readers[0].next().then(({ value }) => value?.value))
      return Number(String(bytes))
    },
  })
  const reader = wal.readFrom('start')
  readers.push(reader)
  const found: unknown[] = []
  for await (const { value } of reader) found.push(value)
  t.deepEqual([...found, ...(await Promise.all(inner))].sort(), [1, 2, 3])
})

test('a follower decides about records as they come', async (t) => {
  const wal = await logOf(t, [1])
  const reader = wal.readFrom('start', { follow: true, onDecodeError: 'skip' })
  t.is((await reader.next()).value?.value, 1)
  const next = reader.next()
  await wal.append(13)
  await wal.append(3)
  t.is((await next).value?.value, 3)
  await reader.return()
})

test('onDecodeError must be a decision or a function, and does nothing in a log without a codec', async (t) => {
  const wal = await logOf(t, [1])
  for (const onDecodeError of ['ignore', null, 7, {}]) {
    t.throws(() => wal.readFrom('start', { onDecodeError: onDecodeError as never }), {
      code: 'ERR_WAL_INVALID_ARG',
      message: /^options\.onDecodeError must be 'throw', 'skip' or a function, not /,
    })
  }
  const plain = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  for await (const { value } of plain.readFrom('start', { onDecodeError: 'skip', limit: 1 })) t.is(String(value), '1')
  await plain.close()
})
