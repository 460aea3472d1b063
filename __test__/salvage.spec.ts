import { closeSync, copyFileSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalError, type WalReader } from '../index.js'
import { forelog } from './helpers/command.js'
import { copyOpenFiles, segments, snapshot, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

const ROT = 16 * 1024
const COUNT = 460
/** About 300 bytes, so that rot takes some of many. */
const line = (n: number): string => `record ${n} ${'.'.repeat(300)}\n`

/** What a killed writer leaves: some sealed segments, and one in the middle of being written, with more in it than rot takes. */
async function killedLog(t: ExecutionContext): Promise<string> {
  const parent = temporaryDirectory(t)
  const wal = await Wal.open(path.join(parent, 'writer'), { segmentBytes: SEGMENT_BYTES })
  // One commit each: what is synced before a record vouches for it.
  for (let n = 1; n <= COUNT; n++) await wal.append(line(n))
  const copy = copyOpenFiles(wal.dir, path.join(parent, 'log'))
  await wal.close()
  return copy
}

function change(file: string, offset: number, bytes: (old: Buffer) => Buffer, length: number): void {
  const fd = openSync(file, 'r+')
  const old = Buffer.alloc(length)
  readSync(fd, old, 0, length, offset)
  writeSync(fd, bytes(old), 0, length, offset)
  closeSync(fd)
}

const rot = (file: string, offset: number): void => change(file, offset, (old) => Buffer.alloc(old.length, 0xa5), ROT)

async function salvaged(reader: WalReader): Promise<Map<number, string>> {
  const records = new Map<number, string>()
  for await (const { position, value } of reader) records.set(position, String(value))
  return records
}

/** The holes and the records are every position once, and every record is what was appended. */
function complete(t: ExecutionContext, records: Map<number, string>, holes: WalReader['holes']): void {
  for (const [position, value] of records) t.is(value, line(position))
  const lost = holes.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  t.is(records.size + lost, COUNT)
  for (const { first, last } of holes) for (let n = first; n <= last; n++) t.false(records.has(n))
}

for (const where of ['sealed', 'active'] as const) {
  test(`16 KiB of rot in a ${where} segment: strict refuses or stops, salvage reads both sides, and prefix continues before it`, async (t) => {
    const dir = await killedLog(t)
    const names = segments(dir)
    t.true(names.length >= 3)
    const name = names[where === 'sealed' ? 1 : names.length - 1]
    const file = path.join(dir, name)
    const used = readFileSync(file).findLastIndex((byte) => byte !== 0)
    t.true(used > 12_000 + ROT)
    const at = where === 'sealed' ? 20_000 : 6_000
    rot(file, at)
    const before = snapshot(dir)

    const view = await Wal.open(dir, { mode: 'readOnly' })
    const verdict = `damaged-${where}`
    const strict = view.readFrom('start')
    const error = await t.throwsAsync<WalError>(salvaged(strict), { code: 'ERR_WAL_CORRUPT' })
    t.like(error, { segment: name, verdict, firstLost: strict.position + 1 })
    const reader = view.readFrom('start', { salvage: true })
    const records = await salvaged(reader)
    t.is(reader.holes.length, 1)
    t.like(reader.holes[0], { segment: name, first: strict.position + 1, offset: error.offset })
    complete(t, records, reader.holes)
    t.true(records.has(1) && records.has(COUNT - 1))
    const later = view.readFrom(reader.holes[0].first + 1, { salvage: true })
    t.is((await salvaged(later)).size, COUNT - reader.holes[0].last)
    await view.close()

    const { code, stdout, stderr } = await forelog(['cat', dir, '--salvage'])
    t.is(code, 1)
    t.deepEqual(String(stdout), [...records.values()].join(''))
    t.regex(
      stderr,
      new RegExp(`^forelog: lost: positions ${reader.holes[0].first} to ${reader.holes[0].last}, ${name} from offset \\d+, \\d+ bytes\\n$`)
    )
    const plain = await forelog(['cat', dir])
    t.is(plain.code, 1)
    t.regex(plain.stderr, /ERR_WAL_CORRUPT/)
    t.is(String(plain.stdout), [...records.values()].slice(0, strict.position).join(''))
    t.deepEqual(snapshot(dir), before)

    const kept = names.map((name) => readFileSync(path.join(dir, name)))
    if (where === 'active') {
      t.like(await t.throwsAsync(Wal.open(dir)), { code: 'ERR_WAL_CORRUPT', verdict, segment: name, offset: error.offset })
      t.deepEqual(snapshot(dir), before)
    }
    const wal = await Wal.open(dir, { mode: 'prefix' })
    const { recovery } = wal
    t.like(recovery, { verdict, clean: false, nextPosition: strict.position + 1 })
    t.like(recovery.damage, { segment: name, offset: error.offset, firstLost: strict.position + 1 })
    t.like(recovery.fenced, { segment: name, offset: error.offset, firstPosition: strict.position + 1 })
    t.deepEqual(recovery.leftOut, names.slice(names.indexOf(name) + 1))
    t.is(await wal.append('goes on'), strict.position + 1)
    await wal.close()
    for (const [i, bytes] of kept.entries()) {
      const now = readFileSync(path.join(dir, names[i]))
      t.true(now.subarray(0, bytes.length).equals(bytes) || bytes.subarray(0, now.length).equals(now), names[i])
    }
    const again = await Wal.open(dir)
    t.true(again.recovery.clean)
    const all = await salvaged(again.readFrom('start'))
    t.is(all.size, strict.position + 1)
    t.is(all.get(strict.position + 1), 'goes on')
    await again.close()
  })
}

test('a flipped bit is located, in the error and by salvage', async (t) => {
  const dir = await killedLog(t)
  const name = segments(dir)[1]
  // Near the start of a page: of a record, wherever commits are padded and wherever not.
  change(path.join(dir, name), 28_732, ([byte]) => Buffer.of(byte ^ 0x10), 1)
  const view = await Wal.open(dir, { mode: 'readOnly' })
  t.teardown(() => view.close())
  const error = await t.throwsAsync<WalError>(salvaged(view.readFrom('start')), { code: 'ERR_WAL_CORRUPT' })
  t.deepEqual({ ...error.flipped }, { offset: 28_732, bit: 4 })
  const reader = view.readFrom('start', { salvage: true })
  complete(t, await salvaged(reader), reader.holes)
  t.is(reader.holes.length, 1)
  t.like(reader.holes[0], { flipped: { offset: 28_732, bit: 4 } })
  t.regex((await forelog(['cat', dir, '--salvage'])).stderr, /; bit 4 of the byte at offset 28732 has flipped\n$/)
})

test('a missing segment is a hole', async (t) => {
  const dir = await killedLog(t)
  const names = segments(dir)
  for (const [gone, verdict] of [
    [0, 'late-start'],
    [1, 'gap'],
  ] as const) {
    const copy = path.join(path.dirname(dir), verdict)
    mkdirSync(copy)
    for (const name of readdirSync(dir)) copyFileSync(path.join(dir, name), path.join(copy, name))
    rmSync(path.join(copy, names[gone]))
    const before = snapshot(copy)
    for (const mode of ['strict', 'prefix'] as const) {
      t.like(await t.throwsAsync(Wal.open(copy, { mode })), { code: 'ERR_WAL_CORRUPT', verdict })
    }
    const view = await Wal.open(copy, { mode: 'readOnly' })
    t.is(view.recovery.verdict, verdict)
    t.like(await t.throwsAsync(salvaged(view.readFrom('start'))), { code: 'ERR_WAL_CORRUPT' })
    const reader = view.readFrom('start', { salvage: true })
    const records = await salvaged(reader)
    complete(t, records, reader.holes)
    t.is(reader.holes.length, 1)
    // What is missing is not given, so a limit does not count it.
    const limited = await salvaged(view.readFrom('start', { salvage: true, limit: records.size - 1 }))
    t.deepEqual([...limited.keys()], [...records.keys()].slice(0, -1))
    await view.close()
    t.deepEqual(snapshot(copy), before)
  }
})

test('an intact log has no holes, and a log open for writing is not salvaged', async (t) => {
  const dir = await killedLog(t)
  const { code, stderr } = await forelog(['cat', dir, '--salvage'])
  t.is(code, 0, stderr)
  t.is(stderr, '')
  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  await t.throwsAsync(wal.readFrom('start', { salvage: true }).next(), { code: 'ERR_WAL_INVALID_ARG' })
})
