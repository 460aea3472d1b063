// Arguments are checked before anything happens, and the message names what is wrong.

import { existsSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Record, Wal, type WalError } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, temporaryLog } from './helpers/log.js'

const invalid = (message: RegExp) => ({ code: 'ERR_WAL_INVALID_ARG', message, name: 'WalError' })

const badOpens: [RegExp, unknown][] = [
  [/options/, 'fsync'],
  [/options/, null],
  [/fsnyc/, { fsnyc: 'always' }],
  [/fsync/, { fsync: 'never' }],
  [/fsync/, { fsync: {} }],
  [/fsync/, { fsync: { everyMs: -1 } }],
  [/fsync/, { fsync: { everyMs: 1.5 } }],
  [/fsync/, { fsync: { everyMs: 1, andMore: 2 } }],
  [/everyMs/, { fsync: { everyMs: 0 } }],
  [/everyMs/, { fsync: { everyMs: 3_600_001 } }],
  [/mode/, { mode: 'lenient' }],
  [/create/, { create: 1 }],
  [/allowUnsafeFilesystem/, { allowUnsafeFilesystem: 'yes' }],
  [/segmentBytes/, { segmentBytes: '65536' }],
  [/segmentBytes/, { segmentBytes: NaN }],
  [/segmentBytes/, { segmentBytes: 65535 }],
  [/segmentBytes/, { segmentBytes: 2 ** 32 + 1 }],
  [/segmentBytes/, { segmentBytes: 2 ** 53 }],
  [/maxRecordBytes/, { maxRecordBytes: 0 }],
  [/maxRecordBytes/, { maxRecordBytes: 2 ** 30 + 1 }],
  [/maxBatchBytes/, { maxBatchBytes: 0 }],
  [/maxPendingBytes/, { maxPendingBytes: 1023 }],
  [/compression/, { compression: 'gzip' }],
  [/compression/, { compression: true }],
  [/captureStacks/, { captureStacks: 'yes' }],
  [/codec/, { codec: 'yaml' }],
  [/codec/, { codec: null }],
  [/codec/, { codec: { encode: JSON.stringify } }],
  [/codec/, { codec: { encode: JSON.stringify, decode: JSON.parse, name: 1 } }],
]

test('open rejects bad options and creates nothing', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  for (const [message, options] of badOpens) {
    await t.throwsAsync(Wal.open(dir, options as never), invalid(message), JSON.stringify(options))
    t.false(existsSync(dir))
  }
})

test('open rejects a bad directory', async (t) => {
  for (const dir of [undefined, '', 7, 'a\0b']) await t.throwsAsync(Wal.open(dir as never), invalid(/dir/))
})

test('options that are undefined get their defaults', async (t) => {
  const wal = await temporaryLog(t, { fsync: undefined, create: undefined, maxRecordBytes: undefined })
  t.is(await wal.append('x', { durable: undefined }), 1)
  for await (const { position } of wal.readFrom('start', { to: undefined, limit: undefined, signal: undefined })) t.is(position, 1)
})

test('a relative directory is resolved at the call', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(path.relative(process.cwd(), dir), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  t.is(wal.dir, dir)
})

test('without create, a missing log is not found and stays missing', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const error = await t.throwsAsync<WalError>(Wal.open(dir, { create: false }))
  t.is(error.code, 'ERR_WAL_NOT_FOUND')
  t.is(error.operation, 'open')
  t.false(existsSync(dir))
})

const badRecords: [RegExp, unknown][] = [
  [/record/, undefined],
  [/record/, null],
  [/record/, 42],
  [/neither/, {}],
  [/neither/, { tombstone: false }],
  [/^(records\[0\]: )?record must be a string, .*, not an array$/, []],
  [/valeu/, { valeu: 'x' }],
  [/key/, { key: 1 }],
  [/key/, { key: null, value: 'x' }],
  [/value/, { value: [1, 2] }],
  [/value/, { value: new Uint16Array(2) }],
  [/value/, { value: new ArrayBuffer(2) }],
  [/value/, Record.put('k', new DataView(new ArrayBuffer(1)))],
  [/value/, Record.put('k', null)],
  [/value/, Record.put('k', 42)],
  [/tombstone/, { key: 'k', tombstone: 1 }],
  [/value and tombstone/, { key: 'k', value: 'v', tombstone: true }],
  [/ttlMs and expiresAt/, { value: 'v', ttlMs: 1, expiresAt: 1 }],
  [/ttlMs/, { value: 'v', ttlMs: -1 }],
  [/ttlMs/, { value: 'v', ttlMs: 0.5 }],
  [/ttlMs/, { value: 'v', ttlMs: Number.MAX_SAFE_INTEGER }],
  [/expiresAt/, { value: 'v', expiresAt: 2 ** 53 }],
  [/expiresAt/, { value: 'v', expiresAt: new Date() }],
  [/version/, { value: 'v', version: 1 }],
  [/version\.term/, { value: 'v', version: { index: 1 } }],
  [/version\.index/, { value: 'v', version: { term: 1, index: -1 } }],
  [/version\.epoch/, { value: 'v', version: { term: 1, index: 1, epoch: 1 } }],
]

test('bad records are refused by every method that appends, and take no position', async (t) => {
  const wal = await temporaryLog(t)
  for (const [message, record] of badRecords) {
    const shown = JSON.stringify(record)
    await t.throwsAsync(wal.append(record as never), invalid(message), shown)
    await t.throwsAsync(wal.appendBatch([record as never]), invalid(message), shown)
    t.throws(() => wal.enqueue(record as never), invalid(message), shown)
  }
  t.is(wal.nextPosition, 1)
})

test('Record.put and Record.delete refuse at once what append would', (t) => {
  t.throws(() => Record.put(undefined as never, 'v'), invalid(/key/))
  t.throws(() => Record.put('k', undefined as never), invalid(/value/))

  t.throws(() => Record.put('k', 'v', { ttl: 1 } as never), invalid(/ttl/))
  t.throws(() => Record.put('k', 'v', { ttlMs: 1, expiresAt: 1 }), invalid(/ttlMs and expiresAt/))
  t.throws(() => Record.put('k', 'v', null as never), invalid(/options/))
  t.throws(() => Record.delete(7 as never), invalid(/key/))
  t.throws(() => Record.delete('k', { value: 'v' } as never), invalid(/value/))
})

test('bad options of appends are refused', async (t) => {
  const wal = await temporaryLog(t)
  for (const [message, options] of [
    [/durabel/, { durabel: true }],
    [/durable/, { durable: 'yes' }],
    [/options/, true],
    [/signal/, { signal: {} }],
  ] as [RegExp, never][]) {
    await t.throwsAsync(wal.append('x', options), invalid(message))
    await t.throwsAsync(wal.appendBatch(['x'], options), invalid(message))
    t.throws(() => wal.enqueue('x', options), invalid(message))
  }
  t.is(wal.nextPosition, 1)
})

const badReads: [RegExp, unknown, unknown?][] = [
  [/start/, undefined],
  [/start/, 'middle'],
  [/start/, 0],
  [/start/, -1],
  [/start/, 1.5],
  [/start/, '1'],
  [/follw/, 1, { follw: true }],
  [/to/, 1, { to: -1 }],
  [/limit/, 1, { limit: 'all' }],
  [/copy/, 1, { copy: 1 }],
  [/signal/, 1, { signal: {} }],
  [/skipExpired/, 1, { skipExpired: 1 }],
  [/options/, 1, 5],
]

test('bad arguments of readFrom throw at the call', async (t) => {
  const wal = await temporaryLog(t)
  for (const [message, start, options] of badReads) t.throws(() => wal.readFrom(start as never, options as never), invalid(message))
})
