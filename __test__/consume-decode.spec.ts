// A consumer of a log with a codec that cannot decode some values: its handler never meets them, and nothing is lost.

import test, { type ExecutionContext } from 'ava'
import { Wal, type Codec, type DeadLetter, type WalError, type WalRecord } from '../index.js'
import { SEGMENT_BYTES, temporaryLog, until, values } from './helpers/log.js'

interface Row {
  n: number
}

/** A log of JSON with some values that are none, and another handle on it that sees the bytes. */
async function logOf(t: ExecutionContext, stored: string[], codec: 'json' | Codec<Row> = 'json'): Promise<{ wal: Wal<Row>; raw: Wal }> {
  const raw = await temporaryLog(t)
  await raw.appendBatch(stored)
  const wal = await Wal.open<Row>(raw.dir, { codec, segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  return { wal, raw }
}

const five = ['{"n":1}', 'bad 2', '{"n":3}', 'bad 4', '{"n":5}']

test('an undecodable record is a dead letter as stored at once, without a call of the handler, and the others are handled', async (t) => {
  const { wal } = await logOf(t, five)
  const cursor = await wal.cursor('a')
  const dead = await temporaryLog(t)
  const given: number[] = []
  // The delay would be far longer than the test: no attempt is made again.
  const options = { follow: false, retries: Infinity, backoff: { minMs: 2 ** 31 - 1 }, deadLetter: dead }
  const consumer = cursor.consume(({ value }) => void given.push(value!.n), options)
  await consumer.done
  t.deepEqual(given, [1, 3, 5])
  t.deepEqual(await values(dead.readFrom('start')), ['bad 2', 'bad 4'])
  t.like(consumer.stats(), { handled: 3, dead: 2, retries: 0, waiting: 0, inFlight: 0, watermark: 5 })
  t.is(cursor.position, 5)
})

test('a function gets an undecodable record as stored, and why', async (t) => {
  const { wal } = await logOf(t, ['bad 1', '{"n":2}'])
  const letters: [WalRecord<Row> | WalRecord, DeadLetter][] = []
  const handler = () => {
    throw new Error('poison')
  }
  const options = {
    follow: false,
    retries: 0,
    deadLetter: (record: WalRecord<Row> | WalRecord, dead: DeadLetter) => void letters.push([record, dead]),
  }
  await (await wal.cursor('a')).consume(handler, options).done
  const [[first, undecoded], [second, failed]] = letters
  t.deepEqual([first.position, String(first.value), undecoded.undecodable, undecoded.attempts], [1, 'bad 1', true, 0])
  const error = undecoded.error as WalError
  t.deepEqual([error.code, error.position], ['ERR_WAL_CODEC', 1])
  t.false(undecoded.signal.aborted)
  t.deepEqual([second.position, second.value, failed.undecodable, failed.attempts], [2, { n: 2 }, false, 1])
})

test('without deadLetter the consumer stops at an undecodable record, and its cursor is before the record', async (t) => {
  const { wal, raw } = await logOf(t, five)
  for (const batch of [undefined, 5]) {
    const cursor = await wal.cursor(`${batch}`)
    const given: number[] = []
    const handler = (records: WalRecord<Row> | WalRecord<Row>[]) => void given.push(...[records].flat().map(({ value }) => value!.n))
    const consumer = cursor.consume(handler, { batch: batch as number })
    const error = await t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_HANDLER', message: /^record 2 cannot be given .*json/ })
    t.is(error.position, 2)
    const cause = error.cause as WalError
    t.deepEqual([cause.code, cause.position], ['ERR_WAL_CODEC', 2])
    t.deepEqual([given, cursor.position, consumer.stats().handled], [[1], 1, 1])
    const rest: number[] = []
    await (await raw.cursor(`${batch}`)).consume(({ position }) => void rest.push(position), { follow: false }).done
    t.deepEqual(rest, [2, 3, 4, 5])
  }
})

test('a batch is divided around its undecodable records', async (t) => {
  const { wal } = await logOf(t, [...five, '{"n":6}', 'bad 7', 'bad 8'])
  const dead = await temporaryLog(t)
  const given: number[][] = []
  const cursor = await wal.cursor('a')
  const handler = (records: WalRecord<Row>[]) => void given.push(records.map(({ value }) => value!.n))
  await cursor.consume(handler, { batch: 100, follow: false, deadLetter: dead }).done
  t.deepEqual(given, [[1], [3], [5, 6]])
  t.deepEqual(await values(dead.readFrom('start')), ['bad 2', 'bad 4', 'bad 7', 'bad 8'])
  t.is(cursor.position, 8)
})

test('if the records of a batch before an undecodable one are left, so is that one', async (t) => {
  const { wal } = await logOf(t, ['{"n":1}', 'bad 2', '{"n":3}'])
  const dead = await temporaryLog(t)
  const cursor = await wal.cursor('a')
  const handler = () => {
    void consumer.stop()
    throw new Error('poison')
  }
  const consumer = cursor.consume(handler, { batch: 100, deadLetter: dead })
  await consumer.done
  t.deepEqual([cursor.position, dead.nextPosition], [0, 1])
  const given: number[] = []
  await cursor.consume(({ value }) => void given.push(value!.n), { follow: false, deadLetter: dead }).done
  t.deepEqual([given, cursor.position, dead.nextPosition], [[1, 3], 3, 2])
})

test('an ERR_WAL_CODEC of the handler itself is a failed attempt like any other', async (t) => {
  const { wal } = await logOf(t, ['{"n":1}', 'bad 2'])
  const letters: DeadLetter[] = []
  let calls = 0
  const handler = async () => {
    calls++
    await wal.readFrom(2).next()
  }
  const options = {
    follow: false,
    retries: 2,
    backoff: { minMs: 0 },
    deadLetter: (_: unknown, dead: DeadLetter) => void letters.push(dead),
  }
  const cursor = await wal.cursor('a')
  await cursor.consume(handler, options).done
  t.is(calls, 3)
  t.deepEqual(
    letters.map(({ error, attempts, undecodable }) => [(error as WalError).code, attempts, undecodable]),
    [
      ['ERR_WAL_CODEC', 3, false],
      ['ERR_WAL_CODEC', 0, true],
    ]
  )
})

test('a codec that decodes a value at the first attempt only makes it a dead letter after that attempt', async (t) => {
  for (const batch of [undefined, 2]) {
    let decoded = 0
    const codec: Codec<Row> = {
      encode: ({ n }) => `${n}`,
      decode(bytes) {
        // The first value for the second time.
        if (++decoded === (batch ?? 1) + 1) throw new Error('not again')
        return { n: Number(bytes) }
      },
    }
    const { wal } = await logOf(t, ['1', '2'], codec)
    const letters: unknown[] = []
    const options = {
      batch: batch as number,
      follow: false,
      // A batch is divided into single records at the last attempt.
      retries: batch === undefined ? 3 : 0,
      backoff: { minMs: 0 },
      deadLetter: (record: WalRecord<Row> | WalRecord, { attempts, undecodable }: DeadLetter) =>
        void letters.push([String(record.value), attempts, undecodable]),
    }
    const handler = (records: WalRecord<Row> | WalRecord<Row>[]) => {
      if ([records].flat()[0].position === 1) throw new Error('poison')
    }
    await (await wal.cursor('a')).consume(handler, options).done
    t.deepEqual(letters, [['1', 1, true]])
  }
})

test('only the records of a divided batch that are tried again are counted as waiting', async (t) => {
  const { wal } = await logOf(t, five)
  const dead = await temporaryLog(t)
  const handler = () => {
    throw new Error('poison')
  }
  const options = { batch: 100, backoff: { minMs: 2 ** 31 - 1, jitter: 0 }, deadLetter: dead }
  const consumer = (await wal.cursor('a')).consume(handler, options)
  await until(() => consumer.stats().waiting > 0)
  t.like(consumer.stats(), { waiting: 1, inFlight: 0, dead: 0 })
  await consumer.stop()
})

test('a codec that cannot decode any value stops the consumer, and makes no dead letters', async (t) => {
  const raw = await temporaryLog(t)
  await raw.appendBatch(['{"n":1}', '{"n":2}'])
  const schema = { '~standard': { version: 1 as const, vendor: 'test', validate: async (value: unknown) => ({ value: value as Row }) } }
  const wal = await Wal.open(raw.dir, { codec: { schema }, segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  const dead = await temporaryLog(t)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(() => t.fail(), { follow: false, deadLetter: dead })
  await t.throwsAsync(consumer.done, { code: 'ERR_WAL_INVALID_ARG', message: /schema/ })
  t.deepEqual([cursor.position, dead.nextPosition], [0, 1])
})

test('tombstones have no value to decode, and a record that has only a key is undecodable', async (t) => {
  const raw = await temporaryLog(t)
  await raw.appendBatch([{ key: 'a', tombstone: true }, { key: 'b' }])
  const wal = await Wal.open<Row>(raw.dir, { codec: 'json', segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  const dead = await temporaryLog(t)
  const given: unknown[] = []
  const options = { follow: false, deadLetter: dead }
  await (await wal.cursor('a')).consume(({ key, value, tombstone }) => void given.push([String(key), value, tombstone]), options).done
  t.deepEqual(given, [['a', undefined, true]])
  const [{ key, value, tombstone }] = await dead.last(1)
  t.deepEqual([String(key), value, tombstone], ['b', undefined, false])
})

test('consumers that share a cursor each decide with the codec of their own handle', async (t) => {
  const { wal, raw } = await logOf(
    t,
    Array.from({ length: 200 }, (_, n) => `no JSON ${n + 1}`)
  )
  const texts: string[] = []
  const letters: string[] = []
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
  const options = { share: true, follow: false }
  const cursor = await raw.cursor('a')
  const plain = cursor.consume(({ value }) => (texts.push(String(value)), turn()), options)
  const deadLetter = ({ value }: WalRecord<Row> | WalRecord) => (letters.push(String(value)), turn())
  const json = (await wal.cursor('a')).consume(() => t.fail(), { ...options, deadLetter })
  await Promise.all([plain.done, json.done])
  t.true(texts.length > 10 && letters.length > 10)
  t.is(new Set([...texts, ...letters]).size, 200)
  t.is(cursor.position, 200)
})
