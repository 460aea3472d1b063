// Whatever is wrong with the input gets an error with a code, and the disk stays as it was.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, WalError } from '../index.js'
import { forelog, root } from './helpers/command.js'
import { snapshot, temporaryDirectory } from './helpers/directory.js'
import { remountReadOnly, smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'
import { sealPage } from './helpers/page.js'

const SEGMENT_BYTES = 64 << 10

/** A closed log with a few records. */
async function smallLog(dir: string): Promise<string> {
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  for (const value of ['one', 'two', 'three']) await wal.append(value)
  await wal.close()
  return dir
}

/** The call fails with that code, and what is under `watched` is the same afterwards. */
async function refused(t: ExecutionContext, watched: string, code: string, call: () => unknown): Promise<WalError> {
  const before = snapshot(watched)
  const error = await t.throwsAsync<WalError>(async () => void (await call()), { code }, call.toString())
  t.true(error instanceof WalError)
  t.deepEqual(snapshot(watched), before, call.toString())
  return error
}

test('open refuses a directory that contains something else', async (t) => {
  const dir = temporaryDirectory(t)
  writeFileSync(path.join(dir, 'notes.txt'), 'not a log')
  mkdirSync(path.join(dir, 'more'))
  const error = await refused(t, dir, 'ERR_WAL_FORMAT', () => Wal.open(dir))
  t.is(error.operation, 'open')
})

test('open refuses a file in place of the directory', async (t) => {
  const file = path.join(temporaryDirectory(t), 'file')
  writeFileSync(file, 'not a directory')
  const error = await refused(t, file, 'ERR_WAL_IO', () => Wal.open(file))
  t.is((error.cause as NodeJS.ErrnoException).code, 'ENOTDIR')
})

test('open reports a missing log that it may not create', async (t) => {
  const parent = temporaryDirectory(t)
  await refused(t, parent, 'ERR_WAL_NOT_FOUND', () => Wal.open(path.join(parent, 'none'), { create: false }))
  const empty = path.join(parent, 'empty')
  mkdirSync(empty)
  await refused(t, parent, 'ERR_WAL_NOT_FOUND', () => Wal.open(empty, { create: false }))
})

function rewriteControl(dir: string, change: (slot: Buffer) => void): void {
  const file = path.join(dir, 'CONTROL')
  const control = readFileSync(file)
  for (const at of [0, 4096]) change(control.subarray(at, at + 4096))
  writeFileSync(file, control)
}

test('open refuses a CONTROL with a foreign magic number', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  rewriteControl(dir, (slot) => slot.write('NOTALOG!', 0, 'latin1'))
  // The segments say that it is a log; without them it is anybody's.
  await refused(t, dir, 'ERR_WAL_CORRUPT', () => Wal.open(dir))
  for (const name of readdirSync(dir)) if (name.endsWith('.wal')) rmSync(path.join(dir, name))
  await refused(t, dir, 'ERR_WAL_FORMAT', () => Wal.open(dir))
})

test('open refuses a newer format version', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  rewriteControl(dir, (slot) => {
    slot.writeUInt32LE(slot.readUInt32LE(8) + 1, 8)
    sealPage(slot)
  })
  const { message } = await refused(t, dir, 'ERR_WAL_FORMAT', () => Wal.open(dir))
  t.regex(message, /version/)
})

test('open refuses a CONTROL whose slots are both damaged', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  rewriteControl(dir, (slot) => slot.fill(0xaa, 60, 70))
  await refused(t, dir, 'ERR_WAL_CORRUPT', () => Wal.open(dir))
})

test('open refuses a foreign segment header', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  const segment = snapshot(dir)
    .map((line) => line.split(' ')[0])
    .find((name) => name.endsWith('.wal')) as string
  const bytes = readFileSync(path.join(dir, segment))
  bytes.fill(0xaa, 0, 4096)
  writeFileSync(path.join(dir, segment), bytes)
  await refused(t, dir, 'ERR_WAL_CORRUPT', () => Wal.open(dir))
})

test('append refuses a record that is too large', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES, maxRecordBytes: 1000, maxBatchBytes: 3000 })
  t.teardown(() => wal.close())
  const large = Buffer.alloc(1001)
  const small = Buffer.alloc(900)
  for (const call of [
    () => wal.append(large),
    () => wal.enqueue(large),
    () => wal.append({ key: large, tombstone: true }),
    () => wal.appendBatch([small, large]),
    () => wal.appendBatch([small, small, small, small]),
  ]) {
    await refused(t, dir, 'ERR_WAL_TOO_LARGE', call)
  }
  t.is(wal.nextPosition, 4)
})

test('open refuses a second process', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  const script = `
    import { Wal } from ${JSON.stringify(new URL('../index.js', import.meta.url).href)}
    await Wal.open(${JSON.stringify(dir)})
    console.log('open')
    process.stdin.resume()`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => holder.kill('SIGKILL'))
  for await (const line of createInterface({ input: holder.stdout })) if (line === 'open') break
  const { pid } = await refused(t, dir, 'ERR_WAL_LOCKED', () => Wal.open(dir))
  t.is(pid, holder.pid)
})

// Calls with wrong types, on purpose: what plain JavaScript can pass.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
const any = (value: unknown): any => value

const badOptions: unknown[] = [
  { fsync: 'sometimes' },
  { fsync: { everyMs: 0 } },
  { fsync: { everyMs: 'soon' } },
  { mode: 'lenient' },
  { create: 'yes' },
  { segmentBytes: 1 },
  { segmentBytes: '65536' },
  { maxRecordBytes: -1 },
  { maxPendingBytes: Number.NaN },
  { unknown: true },
  'always',
]

for (const options of badOptions) {
  test(`open refuses the options ${JSON.stringify(options)}`, async (t) => {
    const parent = temporaryDirectory(t)
    await refused(t, parent, 'ERR_WAL_INVALID_ARG', () => Wal.open(path.join(parent, 'log'), any(options)))
  })
}

test('open refuses a missing directory argument', async (t) => {
  for (const dir of [undefined, null, 5, '', {}]) {
    await t.throwsAsync(async () => Wal.open(any(dir)), { code: 'ERR_WAL_INVALID_ARG' }, String(dir))
  }
})

test('calls with wrong types and unknown fields are refused', async (t) => {
  const dir = await smallLog(temporaryDirectory(t))
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  const records = [undefined, null, 5, true, {}, { key: 5 }, { value: 5 }, { value: 'x', nope: 1 }, { key: 'x', tombstone: 'yes' }]
  const moreRecords = [
    { value: 'x', ttlMs: -1 },
    { value: 'x', expiresAt: Number.NaN },
    { value: 'x', version: 1 },
    { value: 'x', version: { term: 1 } },
    { value: 'x', version: { term: -1, index: 0 } },
    new Uint16Array(2),
    new ArrayBuffer(2),
  ]
  const calls = [
    ...[...records, ...moreRecords].flatMap((record) => [
      () => wal.append(any(record)),
      () => wal.enqueue(any(record)),
      () => wal.appendBatch([any('good'), any(record)]),
    ]),
    () => wal.append('x', any({ durable: 'yes' })),
    () => wal.append('x', any({ nope: true })),
    () => wal.append('x', any('durable')),
    () => wal.appendBatch(any(5)),
    () => wal.appendBatch(['x'], any({ nope: true })),
    ...[-1, 0, 1.5, 2 ** 53, 'middle', null, {}].map((start) => () => wal.readFrom(any(start))),
    ...[{ to: -1 }, { limit: 0.5 }, { signal: {} }, { copy: 1 }, { nope: true }].map((o) => () => wal.readFrom(1, any(o))),
  ]
  for (const call of calls) await refused(t, dir, 'ERR_WAL_INVALID_ARG', call)
  t.is(wal.nextPosition, 4)
})

async function values(wal: Wal): Promise<string[]> {
  const all: string[] = []
  for await (const { value } of wal.readFrom('start')) all.push(String(value))
  return all
}

test('a full disk rejects appends and loses nothing, and appends succeed again when there is space', async (t) => {
  if (!has(t, 'mount')) return
  const disk = smallDisk(t, '2m')
  const dir = path.join(disk, 'log')
  const filler = path.join(disk, 'filler')
  let wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  const record = (n: number): string => `${n}:`.padEnd(8 << 10, '.')

  const expected: string[] = []
  const appendUntilFull = async (): Promise<WalError> => {
    for (;;) {
      const next = record(expected.length + 1)
      try {
        t.is(await wal.append(next), expected.length + 1)
      } catch (error) {
        return error as WalError
      }
      expected.push(next)
    }
  }
  await wal.append(record(1))
  expected.push(record(1))
  // Closing waits for what is prepared in the background and removes it; with the disk full none can be made.
  await wal.close()
  wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  t.throws(() => writeFileSync(filler, Buffer.alloc(4 << 20)), { code: 'ENOSPC' })

  const error = await appendUntilFull()
  t.is(error.code, 'ERR_WAL_NO_SPACE', error.message)
  t.is((error.cause as NodeJS.ErrnoException | undefined)?.code, 'ENOSPC')
  await t.throwsAsync(wal.append(record(0)), { code: 'ERR_WAL_NO_SPACE' })
  t.deepEqual(await values(wal), expected)

  rmSync(filler)
  const resumed = record(expected.length + 1)
  t.is(await wal.append(resumed), expected.length + 1)
  expected.push(resumed)
  await wal.close()

  const again = await Wal.open(dir)
  t.deepEqual(await values(again), expected)
  await again.close()
})

test('if the disk fills up during `forelog append`, the log has the first lines, and the message says how many', async (t) => {
  if (!has(t, 'mount')) return
  const dir = path.join(smallDisk(t, '2m'), 'log')
  const lines = Array.from({ length: 5000 }, (_, i) => `${i}`.padEnd(999, '.') + '\n')
  const { code, stderr } = await forelog(['append', dir, '--segment-bytes', '65536'], { input: lines.join('') })
  t.is(code, 5)
  const [, kept] = /^forelog: .*; the first ([\d,]+) lines are in the log \(ERR_WAL_NO_SPACE\)\n {2}next: .*\n$/.exec(stderr) ?? []
  const count = Number(kept?.replace(',', ''))
  t.true(count > 0 && count < lines.length, stderr)
  t.is(String((await forelog(['cat', dir])).stdout), lines.slice(0, count).join(''))
})

test('a read-only file system is reported', async (t) => {
  if (!has(t, 'mount')) return
  const disk = smallDisk(t, '2m')
  const dir = await smallLog(path.join(disk, 'log'))
  remountReadOnly(disk)
  await refused(t, disk, 'ERR_WAL_READ_ONLY', () => Wal.open(dir))
  await refused(t, disk, 'ERR_WAL_READ_ONLY', () => Wal.open(path.join(disk, 'another')))
  t.false(existsSync(path.join(disk, 'another')))
})
