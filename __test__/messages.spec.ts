// The message of an invalid call names the option or the record, what was passed, and where.

import test from 'ava'
import { Record, Wal, type WalError } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, temporaryLog } from './helpers/log.js'

test('opening an open log with other options names each option that differs, with both values', async (t) => {
  const wal = await temporaryLog(t, { fsync: { everyMs: 5 }, retention: { maxBytes: 1 << 30 } })
  const refused = (options: object) =>
    Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES, ...options }).catch(({ message }: WalError) => message)
  const same = { fsync: { everyMs: 5 }, retention: { maxBytes: 1 << 30 } }
  const start = 'the log is open in this process with other options: '
  t.is(await refused({ ...same, segmentBytes: 1 << 20 }), `${start}segmentBytes is 65536, not 1048576`)
  t.is(await refused({ ...same, fsync: 'os', create: false }), `${start}fsync is { everyMs: 5 }, not 'os'; create is true, not false`)
  t.is(
    await refused({ ...same, retention: { maxAgeMs: 7 } }),
    `${start}retention.maxBytes is 1073741824, not no limit; retention.maxAgeMs is no limit, not 7`
  )
  t.is(
    await refused({ ...same, mode: 'prefix', compression: 'zstd' }),
    `${start}mode is 'strict', not 'prefix'; compression is 'none', not 'zstd'`
  )
})

class Order {
  readonly id = 1
}

const described: [value: unknown, text: string][] = [
  [7, '7'],
  [-0, '-0'],
  [null, 'null'],
  [undefined, 'undefined'],
  [1n, 'a bigint'],
  [() => 1, 'a function'],
  [Symbol('s'), 'a symbol'],
  [[1], 'an array'],
]

test('a record that is none is named, with its place in a batch', async (t) => {
  const wal = await temporaryLog(t)
  for (const [value, text] of described) {
    const message = `record must be a string, a Uint8Array, a record made by Record or an object with the fields of a record, not ${text}`
    await t.throwsAsync(wal.append(value as never), { message })
    t.throws(() => wal.enqueue(value as never), { message })
    const error = await t.throwsAsync<WalError>(wal.appendBatch(['a', Record.put('k', 'v'), value as never]), {
      message: `records[2]: ${message}`,
    })
    t.is(error.operation, 'appendBatch')
  }
  await t.throwsAsync(wal.appendBatch(['a', { kee: 'k' } as never]), { message: /^records\[1\]: record\.kee is not a field; / })
  t.is(wal.nextPosition, 1)
})

test('a value that cannot be encoded is named with its place in a batch', async (t) => {
  const wal = await Wal.open<unknown>(temporaryDirectory(t), { codec: 'json', segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  const error = await t.throwsAsync<WalError>(wal.appendBatch([1, { at: new Map() }]), {
    code: 'ERR_WAL_CODEC',
    message: 'records[1]: the value cannot be encoded (json): value.at: a Map cannot be stored exactly: json has no such value',
  })
  t.true(error.cause instanceof TypeError)
})

test('an option of the wrong type is named by its path, with the kind of what was passed', async (t) => {
  const wrong: [options: object, message: RegExp][] = [
    ...described
      .filter(([value]) => value !== undefined && typeof value !== 'number')
      .map(([value, text]): [object, RegExp] => [{ segmentBytes: value }, new RegExp(`not ${text}$`)]),
    [{ segmentBytes: new Map() }, /^options\.segmentBytes must be .*, not a Map$/],
    [{ segmentBytes: new Order() }, /not an Order$/],
    [{ segmentBytes: new Proxy({}, {}) }, /not a Proxy$/],
    [{ segmentBytes: Object.create(null) }, /not an object$/],
    [{ segmentBytes: 'x'.repeat(41) }, /not a string of 41 characters$/],
    [{ retention: 7 }, /^options\.retention must be an object .*, not 7$/],
    [{ retention: { maxBytes: '5' } }, /^options\.retention\.maxBytes must be .*, not "5"$/],
    [{ retention: { maxAgeMs: -1 } }, /^options\.retention\.maxAgeMs must be .*, not -1$/],
    [{ retention: { maxBytes: 1, overrideCursors: 'yes' } }, /^options\.retention\.overrideCursors must be a boolean, not "yes"$/],
    [{ fsync: { everyMs: '5' } }, /^options\.fsync\.everyMs must be .*, not "5"$/],
  ]
  for (const [options, message] of wrong) {
    await t.throwsAsync(Wal.open(temporaryDirectory(t), options), { code: 'ERR_WAL_INVALID_ARG', message })
  }
})
