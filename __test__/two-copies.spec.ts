// Two copies of the package in one process, as npm installs them where two versions are wanted.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import * as here from '../index.js'
import { root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

const { AbortError, Record, Wal, WalError } = here

/** Loads the package from another place. */
async function loadCopy(): Promise<typeof here> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-copy-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  mkdirSync(path.join(dir, 'node_modules'))
  for (const name of ['dist', 'index.js', 'native.js', 'package.json', ...readdirSync(root).filter((name) => name.endsWith('.node'))])
    cpSync(path.join(root, name), path.join(dir, name), { recursive: true })
  symlinkSync(path.join(root, 'node_modules', '@msgpack'), path.join(dir, 'node_modules', '@msgpack'))
  return import(path.join(dir, 'index.js'))
}

const copied = loadCopy()

async function log(t: ExecutionContext, codec?: 'json'): Promise<here.Wal<unknown>> {
  const dir = temporaryDirectory(t)
  const wal = await (codec === undefined
    ? Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
    : Wal.open(dir, { codec, segmentBytes: SEGMENT_BYTES }))
  t.teardown(() => wal.close())
  return wal
}

const shown = ({ key, value, tombstone, expiresAt, version }: here.WalRecord<unknown>) => [
  key?.toString(),
  Buffer.isBuffer(value) ? value.toString() : value,
  tombstone,
  expiresAt,
  version,
]

test('records made by another copy of the package are accepted, with a codec and without', async (t) => {
  const other = await copied
  t.not(other.Record, Record)
  for (const codec of [undefined, 'json'] as const) {
    const wal = await log(t, codec)
    const value = codec === undefined ? 'Ada' : { name: 'Ada' }
    const options = { expiresAt: 5, version: { term: 1, index: 2 } }
    const made = [
      other.Record.put('user:1', value as string),
      other.Record.put('user:1', value as string, options),
      other.Record.delete('user:1'),
    ]
    for (const record of made) await wal.append(record)
    for (const record of made) wal.enqueue(record)
    await wal.appendBatch(made)
    const expected = [
      ['user:1', value, false, undefined, undefined],
      ['user:1', value, false, 5, { term: 1, index: 2 }],
      ['user:1', undefined, true, undefined, undefined],
    ]
    const found: unknown[] = []
    for await (const record of wal.readFrom('start')) found.push(shown(record))
    t.deepEqual(found, [...expected, ...expected, ...expected])
  }
})

/** What a copy could make that promises something else. */
const record = (fields: object, version: unknown = 1) => ({ [Symbol.for('forelog.record')]: version, ...fields })

test('records made by another copy of the package are checked like any other input', async (t) => {
  const good = { key: 'k', value: 'v', tombstone: false, expiresAt: undefined, version: undefined }
  const bad: [fields: object, message: RegExp][] = [
    [{ key: 7 }, /^key/],
    [{ key: new Proxy(new Uint8Array(1), {}) }, /^key/],
    [{ key: '\ud83d' }, /^key/],
    [{ tombstone: 'yes' }, /^tombstone/],
    [{ tombstone: true }, /^value and tombstone/],
    [{ key: undefined, value: undefined }, /neither key nor value/],
    [{ expiresAt: -1 }, /^expiresAt/],
    [{ version: { term: -1, index: 0 } }, /^version\.term/],
    [{ version: 7 }, /^version/],
    [
      {
        get key() {
          throw new Error('thrown')
        },
      },
      /thrown/,
    ],
  ]
  for (const codec of [undefined, 'json'] as const) {
    const wal = await log(t, codec)
    for (const [fields, message] of bad) {
      const fake = Object.create(record({}), { ...Object.getOwnPropertyDescriptors(good), ...Object.getOwnPropertyDescriptors(fields) })
      await t.throwsAsync(wal.append(fake), { instanceOf: WalError, code: 'ERR_WAL_INVALID_ARG', message })
      const error = await t.throwsAsync<Error>(wal.appendBatch(['good', fake]), { instanceOf: WalError, code: 'ERR_WAL_INVALID_ARG' })
      t.regex(error.message.replace('records[1]: ', ''), message)
    }
    t.is(await wal.append(record(good)), 1)
  }
})

test('records made by a later version are refused as such, and never stored as values', async (t) => {
  for (const codec of [undefined, 'json'] as const) {
    const wal = await log(t, codec)
    const later = record({ key: 'k', value: 'v', tombstone: false }, 2)
    await t.throwsAsync(wal.append(later), { code: 'ERR_WAL_INVALID_ARG', message: /another version of forelog/ })
    t.is(wal.nextPosition, 1)
  }
})

test('errors of another copy of the package are instances of WalError and AbortError, and nothing else is', async (t) => {
  const other = await copied
  const error = await t.throwsAsync(other.Wal.open('', {}))
  t.true(error instanceof WalError)
  t.true(error instanceof other.WalError)
  t.false(error instanceof AbortError)
  t.is((error as unknown as here.WalError).code, 'ERR_WAL_INVALID_ARG')
  const aborted = await t.throwsAsync(other.Wal.open(temporaryDirectory(t), { signal: AbortSignal.abort() }))
  t.true(aborted instanceof AbortError)
  t.false(aborted instanceof WalError)
  const throwing = new Proxy(
    {},
    {
      get: () => {
        throw new Error('thrown')
      },
    }
  )
  for (const nothing of [undefined, null, 7, new Error('x'), { code: 'ERR_WAL_IO' }, throwing]) t.false(nothing instanceof WalError)
  class Special extends WalError {}
  t.false(error instanceof Special)
})

test('a log that another copy of the package has open is locked, with the id of this process', async (t) => {
  const other = await copied
  const wal = await log(t)
  const error = await t.throwsAsync<here.WalError>(other.Wal.open(wal.dir), { code: 'ERR_WAL_LOCKED' })
  t.is(error.pid, process.pid)
})
