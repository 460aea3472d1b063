// Checkpoints: a snapshot is written, the log is truncated before it, and nobody else's files are touched.

import { existsSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { checkpoint, restore, Wal, type SnapshotState } from '../index.js'
import { node, root } from './helpers/command.js'
import { bytes, nameOf, place, snapshotsIn } from './helpers/checkpoint/place.js'
import { temporaryDirectory } from './helpers/directory.js'
import { fill, values } from './helpers/log.js'

const big = 'x'.repeat(700_000)
const pair = '🦉'.repeat(100_000)

async function* later(chunks: (string | Uint8Array)[]): AsyncGenerator<string | Uint8Array> {
  for (const chunk of chunks) {
    await new Promise((turn) => setImmediate(turn))
    yield chunk
  }
}

const states: { [name: string]: [() => SnapshotState, Buffer] } = {
  'an empty string': [() => '', Buffer.alloc(0)],
  'no bytes': [() => new Uint8Array(), Buffer.alloc(0)],
  'no chunks': [() => [], Buffer.alloc(0)],
  'a string': [() => 'text', Buffer.from('text')],
  'a long string': [() => big, Buffer.from(big)],
  'a string of surrogate pairs, at an odd offset': [() => `x${pair}`, Buffer.from(`x${pair}`)],
  bytes: [() => bytes, bytes],
  'a part of a buffer': [() => bytes.subarray(7, 300_000), bytes.subarray(7, 300_000)],
  'chunks of every size': [
    () => [...Array.from({ length: 300 }, (_, i) => bytes.subarray(i * 1000, i * 1000 + i)), big, '', bytes],
    Buffer.concat([...Array.from({ length: 300 }, (_, i) => bytes.subarray(i * 1000, i * 1000 + i)), Buffer.from(big), bytes]),
  ],
  'chunks that come later': [() => later(['a', bytes, pair]), Buffer.concat([Buffer.from('a'), bytes, Buffer.from(pair)])],
  'a stream': [() => Readable.from([Buffer.from('a'), Buffer.from('b')]), Buffer.from('ab')],
}

for (const [name, [state, expected]] of Object.entries(states)) {
  test(`a state is restored as it was given: ${name}`, async (t) => {
    const { wal, file } = await place(t, 3)
    const report = await checkpoint(wal, file, { position: 2, state: state() })
    t.deepEqual(report, { file: path.join(path.dirname(file), nameOf(2)), position: 2, bytes: expected.length, firstPosition: 1 })
    const { snapshot, from, skipped } = await restore(file, { wal })
    t.is(from, 3)
    t.deepEqual(skipped, [])
    t.like(snapshot, { position: 2, length: expected.length, file: report.file })
    t.true((await snapshot!.bytes()).equals(expected))
    const pieces: Buffer[] = []
    for await (const piece of snapshot!) pieces.push(piece)
    t.true(pieces.every(({ length }) => length > 0 && length <= 256 * 1024))
    t.true(Buffer.concat(pieces).equals(expected))
  })
}

test('without keep, two snapshots are kept, and the log goes back to the older of them', async (t) => {
  const { wal, dir, file } = await place(t, 50)
  const at = async (position: number) => checkpoint(wal, file, { position, state: `state ${position}` })
  t.is((await at(10)).firstPosition, 1)
  t.deepEqual(snapshotsIn(dir), [nameOf(10)])
  t.is((await at(20)).firstPosition, 11)
  t.deepEqual(snapshotsIn(dir), [nameOf(10), nameOf(20)])
  t.is((await at(35)).firstPosition, 21)
  t.deepEqual(snapshotsIn(dir), [nameOf(20), nameOf(35)])
  const { snapshot, from } = await restore(file, { wal })
  t.is(await snapshot!.text(), 'state 35')
  t.is((await values(wal.readFrom(from)))[0], 'value-36')
})

test('keep says how many snapshots there are, and how far back the log goes', async (t) => {
  const { wal, dir, file } = await place(t, 50)
  for (const position of [10, 20, 30, 40]) await checkpoint(wal, file, { position, state: 's', keep: 3 })
  t.deepEqual(snapshotsIn(dir), [20, 30, 40].map(nameOf))
  t.is(wal.firstPosition, 21)
  await checkpoint(wal, file, { position: 50, state: 's', keep: 1 })
  t.deepEqual(snapshotsIn(dir), [nameOf(50)])
  t.is(wal.firstPosition, 51)
  // More than there are: nothing goes, because the log continues none but the last.
  await fill(wal, 5)
  await checkpoint(wal, file, { position: 52, state: 's', keep: 9 })
  t.deepEqual(snapshotsIn(dir), [50, 52].map(nameOf))
  t.is(wal.firstPosition, 51)
})

test('a checkpoint at the position of the last one replaces it', async (t) => {
  const { wal, dir, file } = await place(t, 5)
  await checkpoint(wal, file, { position: 5, state: 'first', keep: 1 })
  const { snapshot: replaced } = await restore(file)
  await checkpoint(wal, file, { position: 5, state: 'second', keep: 1 })
  t.deepEqual(snapshotsIn(dir), [nameOf(5)])
  t.is(await (await restore(file)).snapshot?.text(), 'second')
  await t.throwsAsync(replaced!.text(), { code: 'ERR_WAL_NOT_FOUND', message: /replaced/ })
})

test('the state before the first record and the state of an emptied log can be stored', async (t) => {
  const { wal, file } = await place(t)
  await checkpoint(wal, file, { position: 0, state: 'nothing', keep: 1 })
  t.like(await restore(file, { wal }), { from: 1 })
  await fill(wal, 3)
  await wal.truncateBefore(4)
  await checkpoint(wal, file, { position: 3, state: 'three', keep: 1 })
  t.like(await restore(file, { wal }), { from: 4 })
})

test('a state that is larger than memory is written and restored in little memory', async (t) => {
  const script = `
    const { checkpoint, restore, Wal } = await import(process.argv[1])
    const dir = process.argv[2]
    const wal = await Wal.open(dir + '/log')
    await wal.append('value')
    const chunk = Buffer.alloc(1 << 20, 'x')
    async function* state() { for (let n = 0; n < 300; n += 1) yield chunk }
    await checkpoint(wal, dir + '/small', { position: 1, state: chunk })
    const before = process.resourceUsage().maxRSS
    await checkpoint(wal, dir + '/state', { position: 1, state: state() })
    const { snapshot } = await restore(dir + '/state', { wal })
    let length = 0
    for await (const piece of snapshot) length += piece.length
    console.log(length >> 20, (process.resourceUsage().maxRSS - before) >> 10)`
  const { stdout, stderr } = await node(['--input-type=module', '-e', script, path.join(root, 'index.js'), temporaryDirectory(t)])
  const [read, more] = String(stdout).split(' ').map(Number)
  t.is(read, 300, stderr)
  t.true(more < 150, `${more} MiB more`)
})

test('the log is durable up to the position before there is a snapshot, under every policy', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(path.join(dir, 'log'), { fsync: 'os' })
  t.teardown(() => wal.close())
  for (let n = 0; n < 10; n += 1) wal.enqueue('value')
  const state = (function* () {
    t.true(wal.durablePosition >= 10)
    yield 's'
  })()
  await checkpoint(wal, path.join(dir, 'state'), { position: 10, state })
})

test('files that are not snapshots of this path are left alone, and leftovers of it are removed', async (t) => {
  const { wal, dir, file } = await place(t, 9)
  const others = [
    'state',
    'state.tmp',
    'state.json',
    `${nameOf(3)}.tmp`,
    `${nameOf(3)}.0123456789abcdeX.tmp`,
    `${nameOf(3)}.0123456789abcdef.tmp.old`,
    'state.000000000000000',
    'state.00000000000000003',
    'state.9999999999999999',
    `other.${'3'.padStart(16, '0')}.0123456789abcdef.tmp`,
    `state.${nameOf(3)}`,
    `my-${nameOf(3)}`,
    // A name of this path with something else in it.
    nameOf(1),
    nameOf(2),
  ]
  for (const name of others) writeFileSync(path.join(dir, name), 'not mine')
  mkdirSync(path.join(dir, nameOf(4)))
  const leftovers = [`${nameOf(3)}.0123456789abcdef.tmp`, `${nameOf(9007199254740991)}.ffffffffffffffff.tmp`]
  for (const name of leftovers) writeFileSync(path.join(dir, name), 'torn')
  for (const position of [5, 7, 9]) await checkpoint(wal, file, { position, state: 's', keep: 1 })
  t.deepEqual(snapshotsIn(dir), [...others, nameOf(4), nameOf(9)].sort())
  t.true(others.every((name) => readFileSync(path.join(dir, name), 'utf8') === 'not mine'))
})

test('checkpoints that are started together follow each other', async (t) => {
  const { wal, dir, file } = await place(t, 20)
  const positions = [4, 8, 12, 16, 20]
  const order: string[] = []
  const stateAt = async function* (position: number) {
    order.push(`begin ${position}`)
    yield* later(['s', 't', 'u'])
    order.push(`end ${position}`)
  }
  const reports = await Promise.all(positions.map((position) => checkpoint(wal, file, { position, state: stateAt(position) })))
  t.deepEqual(
    order,
    positions.flatMap((position) => [`begin ${position}`, `end ${position}`])
  )
  t.deepEqual(
    reports.map(({ firstPosition }) => firstPosition),
    [1, 5, 9, 13, 17]
  )
  t.deepEqual(snapshotsIn(dir), [nameOf(16), nameOf(20)])
})

test('one that fails does not hold up the next', async (t) => {
  const { wal, file } = await place(t, 20)
  const [failed, done] = await Promise.allSettled([
    checkpoint(wal, file, { position: 21, state: 's' }),
    checkpoint(wal, file, { position: 20, state: 's' }),
  ])
  t.is(failed.status, 'rejected')
  t.is(done.status, 'fulfilled')
})

test('a file may be given as a URL or as bytes, and begin like the directory of the log', async (t) => {
  const { wal, dir } = await place(t, 3)
  await checkpoint(wal, pathToFileURL(path.join(dir, 'a b')), { position: 1, state: 's' })
  t.like(await restore(Buffer.from(path.join(dir, 'a b')), { wal }), { from: 2 })
  await checkpoint(wal, path.join(dir, 'log-state'), { position: 2, state: 's' })
  await checkpoint(wal, wal.dir, { position: 3, state: 's' })
  t.like(await restore(wal.dir, { wal }), { from: 4 })
})

test('a state that was installed replaces the log, whether it ended before or after it', async (t) => {
  for (const [count, position] of [
    [0, 100],
    [10, 100],
    [100, 40],
    [100, 100],
  ]) {
    const { wal, dir, file } = await place(t, count)
    if (count > 3) await checkpoint(wal, file, { position: 3, state: 'own' })
    const report = await checkpoint(wal, file, { position, state: 'theirs', install: true })
    t.like(report, { position, firstPosition: position + 1 })
    t.deepEqual([wal.firstPosition, wal.nextPosition], [position + 1, position + 1])
    t.deepEqual(snapshotsIn(dir), [nameOf(position)])
    await wal.append('next')
    const { snapshot, from } = await restore(file, { wal })
    t.is(await snapshot?.text(), 'theirs')
    t.deepEqual(await values(wal.readFrom(from)), ['next'])
    await checkpoint(wal, file, { position: position + 1, state: 'own again' })
    t.deepEqual(snapshotsIn(dir), [nameOf(position), nameOf(position + 1)])
  }
})

test('installing a state before the log begins resets the log to it', async (t) => {
  const { wal, dir, file } = await place(t, 100)
  await wal.truncateBefore(51)
  for (const position of [50, 20]) {
    await checkpoint(wal, file, { position: position, state: 'theirs', install: true, keep: 1 })
    t.deepEqual([wal.firstPosition, wal.nextPosition], [position + 1, position + 1])
    t.like(await restore(file, { wal }), { from: position + 1 })
    t.deepEqual(snapshotsIn(dir), [nameOf(position)])
    if (position === 50)
      await t.throwsAsync(checkpoint(wal, file, { position: 20, state: 's', install: true }), { code: 'ERR_WAL_CONFLICT' })
    unlinkSync(path.join(dir, nameOf(position)))
  }
  t.false(existsSync(path.join(dir, nameOf(50))))
})
