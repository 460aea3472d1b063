// What goes in comes out, at the position that was promised, whatever it was made of.

import { runInNewContext } from 'node:vm'
import test from 'ava'
import { Record, WalError, type RecordInit } from '../index.js'
import { collect, temporaryLog, values } from './helpers/log.js'

test('positions count up from one in the order of the calls', async (t) => {
  const wal = await temporaryLog(t)
  t.is(wal.nextPosition, 1)
  const positions = await Promise.all(['a', 'b', 'c'].map((value) => wal.append(value)))
  t.deepEqual(positions, [1, 2, 3])
  t.is(wal.enqueue('d'), 4)
  t.is(await wal.append('e'), 5)
  t.is(wal.nextPosition, 6)
  t.is(wal.firstPosition, 1)
})

test('every form of input is read back as it was given', async (t) => {
  const wal = await temporaryLog(t)
  const version = { term: 3, index: Number.MAX_SAFE_INTEGER }
  const inputs: (string | Uint8Array | RecordInit)[] = [
    'text',
    new Uint8Array([0, 1, 255]),
    Buffer.from('buffer'),
    Record.put('key', 'value'),
    Record.put(Buffer.from('key'), new Uint8Array(3)),
    Record.delete('key'),
    { key: 'only a key' },
    { value: 'only a value' },
    { key: 'k', tombstone: true },
    { key: '', value: '' },
    Record.put('k', 'v', { expiresAt: Number.MAX_SAFE_INTEGER }),
    Record.put('k', 'v', { version }),
    Record.delete('k', { expiresAt: 0, version }),
  ]
  for (const input of inputs) await wal.append(input)
  const bytes = (given: string | Uint8Array | undefined) => (given === undefined ? undefined : Buffer.from(given as string).toString('hex'))
  const expected = inputs.map((input, i) => {
    const init: RecordInit = typeof input === 'string' || input instanceof Uint8Array ? { value: input } : input
    const { key, value, tombstone = false, expiresAt, version } = init
    return { position: i + 1, key: bytes(key), value: bytes(value), tombstone, expiresAt, version }
  })
  const found = (await collect(wal.readFrom('start'))).map(({ position, key, value, tombstone, expiresAt, version }) => {
    return { position, key: key?.toString('hex'), value: value?.toString('hex'), tombstone, expiresAt, version }
  })
  t.deepEqual(found, expected)
})

test('strings become the UTF-8 that Buffer makes of them, at every length', async (t) => {
  const wal = await temporaryLog(t)
  const around = [0, 1, 680, 681, 682, 683, 1021, 1022, 1023, 1024, 2040, 2043, 2044, 2045, 2046, 2047, 2048, 2049, 4096, 10_000]
  const strings = ['x', 'é', '漢', '😀', '\0', 'a😀漢é'].flatMap((unit) => around.map((length) => unit.repeat(length)))
  for (const string of strings) wal.enqueue(Record.put(string, string))
  await wal.sync()
  let at = 0
  for await (const { key, value } of wal.readFrom('start')) {
    const expected = Buffer.from(strings[at++])
    if (!key?.equals(expected) || !value?.equals(expected)) t.fail(`${strings[at - 1].length} of ${strings[at - 1].slice(0, 2)}`)
  }
  t.is(at, strings.length)
})

test('the input has been copied when append returns', async (t) => {
  const wal = await temporaryLog(t)
  const [key, value] = [Buffer.from('key'), Buffer.from('value')]
  const appended = wal.append(Record.put(key, value))
  key.fill('!')
  value.fill('!')
  await appended
  const [record] = await collect(wal.readFrom('start'))
  t.is(`${record.key} ${record.value}`, 'key value')
})

test('a typed array is stored as the bytes that it spans, wherever they are in its buffer', async (t) => {
  const wal = await temporaryLog(t)
  const text = (bytes: ArrayBufferLike) => new Uint8Array(bytes).set(Buffer.from('0123456789'))
  const plain = new ArrayBuffer(10)
  const shared = new SharedArrayBuffer(10)
  const Resizable = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer & { resize(length: number): void }
  const resizable = new Resizable(10, { maxByteLength: 20 })
  for (const memory of [plain, shared, resizable]) text(memory)
  const tracking = new Uint8Array(resizable)
  const window = new Uint8Array(resizable, 2, 4)
  await wal.append(new Uint8Array(plain, 3, 4))
  await wal.append(new Uint8Array(shared, 1, 2))
  await wal.append(tracking)
  await wal.append(window)
  await wal.append(runInNewContext('new Uint8Array([52, 50])'))
  resizable.resize(4)
  await wal.append(tracking)
  t.deepEqual(await values(wal.readFrom('start')), ['3456', '12', '0123456789', '2345', '42', '0123'])
})

test('a detached array is refused and not stored as an empty value', async (t) => {
  const wal = await temporaryLog(t)
  const value = new Uint8Array(10)
  structuredClone(value, { transfer: [value.buffer] })
  await t.throwsAsync(wal.append(value), { code: 'ERR_WAL_INVALID_ARG', message: /value/ })
  await t.throwsAsync(wal.append(Record.put(value, 'value')), { code: 'ERR_WAL_INVALID_ARG', message: /key/ })
  await t.throwsAsync(wal.appendBatch(['fine', value]), { code: 'ERR_WAL_INVALID_ARG', message: /value/ })
  t.is(await wal.append(new Uint8Array(0)), 1)
})

test('a record that was changed after it was made is refused', async (t) => {
  const wal = await temporaryLog(t)
  const record = Record.put('key', 'value') as { value: unknown }
  record.value = 42
  await t.throwsAsync(wal.append(record as RecordInit), { code: 'ERR_WAL_INVALID_ARG', message: /value/ })
  t.is(wal.nextPosition, 1)
})

test('the time to live of a record counts from when the record is made', async (t) => {
  const wal = await temporaryLog(t)
  const before = Date.now()
  const record = Record.put('k', 'v', { ttlMs: 1000 })
  const after = Date.now()
  while (Date.now() === after);
  await wal.append(record)
  const [{ expiresAt = NaN }] = await collect(wal.readFrom('start'))
  t.true(expiresAt >= before + 1000 && expiresAt <= after + 1000)
})

test('promises are resolved in the order of positions', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const resolved: number[] = []
  const loop = async () => {
    for (let i = 0; i < 20; i++) resolved.push(await wal.append('x', { durable: i % 3 === 0 }))
  }
  await Promise.all(Array.from({ length: 100 }, loop))
  t.is(resolved.length, 2000)
  t.deepEqual(
    resolved,
    resolved.toSorted((a, b) => a - b)
  )
})

test('settling many promises leaves turns of the event loop in between', async (t) => {
  const wal = await temporaryLog(t)
  const turns = new Set<number>()
  let turn = 0
  let running = true
  const count = () => {
    turn++
    if (running) setImmediate(count)
  }
  setImmediate(count)
  await Promise.all(Array.from({ length: 30_000 }, () => wal.append('x').then(() => turns.add(turn))))
  running = false
  t.true(turns.size >= 10, `settled in ${turns.size} turns`)
})

test('a record above maxRecordBytes is refused and takes no position', async (t) => {
  const wal = await temporaryLog(t, { maxRecordBytes: 1000 })
  await t.throwsAsync(wal.append('x'.repeat(1001)), { code: 'ERR_WAL_TOO_LARGE' })
  t.throws(() => wal.enqueue('x'.repeat(1001)), { code: 'ERR_WAL_TOO_LARGE' })
  t.is(await wal.append('x'.repeat(900)), 1)
})

test('an append above maxPendingBytes is refused at once, and accepted after drain', async (t) => {
  const wal = await temporaryLog(t, { maxPendingBytes: 100_000 })
  const value = Buffer.alloc(1000)
  let accepted = 0
  const refusal = t.throws<WalError>(() => {
    for (;;) accepted = wal.enqueue(value)
  })
  t.is(refusal.code, 'ERR_WAL_BACKPRESSURE')
  t.true(accepted > 90 && accepted < 100)
  t.is(wal.nextPosition, accepted + 1)
  await t.throwsAsync(wal.append(value), { code: 'ERR_WAL_BACKPRESSURE' })
  await wal.drain()
  t.true(wal.pendingBytes <= 50_000)
  t.is(await wal.append(value), accepted + 1)
})

test('a refusal rejects with the stack of its caller', async (t) => {
  const wal = await temporaryLog(t, { maxRecordBytes: 10 })
  const theCaller = () => wal.append('more than ten bytes')
  const error = await t.throwsAsync<WalError>(theCaller())
  t.regex(error.stack ?? '', /theCaller/)
})

test('records made with Record.* look like plain data', (t) => {
  t.deepEqual({ ...Record.put('k', 'v') }, { key: 'k', value: 'v', tombstone: false, expiresAt: undefined, version: undefined })
  t.deepEqual({ ...Record.delete('k') }, { key: 'k', value: undefined, tombstone: true, expiresAt: undefined, version: undefined })
})
