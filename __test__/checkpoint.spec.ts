// Checkpoints: a snapshot is written, the log is truncated before it, and nobody else's files are touched.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { checkpoint, restore, Wal, WalError, type CheckpointInit, type SnapshotState } from '../index.js'
import { node, root } from './helpers/command.js'
import { snapshot, temporaryDirectory } from './helpers/directory.js'
import { fill, SEGMENT_BYTES, values } from './helpers/log.js'

interface Place {
  wal: Wal
  dir: string
  file: string
}

/** A log with that many numbered records, and a path for its snapshots beside it. */
async function place(t: ExecutionContext, count = 0): Promise<Place> {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(path.join(dir, 'log'), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  if (count > 0) await fill(wal, count)
  return { wal, dir, file: path.join(dir, 'state') }
}

const nameOf = (position: number): string => `state.${String(position).padStart(16, '0')}`
const snapshotsIn = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name !== 'log')
    .sort()

const big = 'x'.repeat(700_000)
const pair = '🦉'.repeat(100_000)
const bytes = Buffer.from(Array.from({ length: 600_000 }, (_, i) => i % 251))

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

test('a state that fails rejects with its error as the cause, is ended, and changes nothing', async (t) => {
  const { wal, dir, file } = await place(t, 5)
  await checkpoint(wal, file, { position: 2, state: 'old', keep: 1 })
  const before = snapshotsIn(dir).map((name) => snapshot(path.join(dir, name)))
  const cause = new Error('of the program')
  let ended = 0
  const failing = async function* () {
    yield bytes
    throw cause
  }
  const bad = async function* () {
    try {
      yield 'good'
      yield 7 as never
    } finally {
      ended += 1
    }
  }
  const error = await t.throwsAsync<WalError>(checkpoint(wal, file, { position: 4, state: failing() }), { code: 'ERR_WAL_INVALID_ARG' })
  t.is(error.cause, cause)
  t.is(error.operation, 'checkpoint')
  await t.throwsAsync(checkpoint(wal, file, { position: 4, state: bad() }), { code: 'ERR_WAL_INVALID_ARG', message: /state must be/ })
  t.is(ended, 1)
  t.deepEqual(
    snapshotsIn(dir).map((name) => snapshot(path.join(dir, name))),
    before
  )
  t.is(wal.firstPosition, 3)
})

const detached = (): Uint8Array => {
  const array = new Uint8Array(8)
  structuredClone(array, { transfer: [array.buffer] })
  return array
}
const thrower = () => {
  throw Object.create(null)
}

const badStates: { [name: string]: () => unknown } = {
  nothing: () => undefined,
  null: () => null,
  'a number': () => 7,
  'an object': () => ({}),
  'half of a surrogate pair': () => 'a\ud83d',
  'half of a surrogate pair in a chunk': () => ['a', '\ud83d', '\ude00'],
  'a typed array of another kind': () => new Uint16Array(4).buffer,
  'an ArrayBuffer': () => new ArrayBuffer(4),
  'bytes without memory': detached,
  'a chunk without memory': () => ['a', detached()],
  'a chunk that is an array': () => [['a']],
  'an iterator that throws on sight': () => ({
    get [Symbol.asyncIterator]() {
      return thrower()
    },
  }),
  'an iterator that cannot begin': () => ({ [Symbol.asyncIterator]: thrower }),
  'an iterator that gives no object': () => ({ [Symbol.asyncIterator]: () => ({ next: () => 7 }) }),
  'an iterator that gives nothing': () => ({ [Symbol.iterator]: () => undefined }),
  'a result that cannot be read': () => ({
    [Symbol.iterator]: () => ({
      next: () => ({
        get done() {
          return thrower()
        },
      }),
    }),
  }),
  'a hostile Proxy': () => new Proxy({}, { get: thrower, has: thrower, getPrototypeOf: thrower }),
}

for (const [name, state] of Object.entries(badStates)) {
  test(`a state is refused with a WalError, and nothing is left of it: ${name}`, async (t) => {
    const { wal, dir, file } = await place(t, 3)
    const error = await t.throwsAsync<WalError>(checkpoint(wal, file, { position: 2, state: state() as never }))
    t.true(error instanceof WalError)
    t.is(error.code, 'ERR_WAL_INVALID_ARG')
    t.deepEqual(snapshotsIn(dir), [])
    t.is(wal.firstPosition, 1)
  })
}

test('bytes that change or go while they are written never make a damaged snapshot', async (t) => {
  const { wal, file } = await place(t, 3)
  const state = new Uint8Array(2_000_000)
  const writing = checkpoint(wal, file, { position: 2, state })
  for (let n = 1; n < 40; n += 1) {
    state.fill(n)
    await new Promise((turn) => setImmediate(turn))
  }
  await writing
  t.is((await (await restore(file, { wal })).snapshot!.bytes()).length, state.length)
})

test('a chunk whose memory is transferred away while it is written is stored as a whole', async (t) => {
  const { wal, file } = await place(t, 1)
  const gone = new Uint8Array(1000).fill(7)
  const state = (function* () {
    // The chunk after it does not fit into the same write.
    yield new Uint8Array(256 * 1024 - 10)
    setImmediate(() => structuredClone(gone, { transfer: [gone.buffer] }))
    yield gone
  })()
  await checkpoint(wal, file, { position: 1, state })
  t.is(gone.length, 0)
  const stored = await (await restore(file, { wal })).snapshot!.bytes()
  t.deepEqual(stored.subarray(256 * 1024 - 10), Buffer.alloc(1000, 7))
})

test('bytes whose memory is transferred away while they are written are refused', async (t) => {
  const { wal, dir, file } = await place(t, 1)
  const gone = new Uint8Array(2_000_000)
  const writing = checkpoint(wal, file, { position: 1, state: gone })
  structuredClone(gone, { transfer: [gone.buffer] })
  await t.throwsAsync(writing, { code: 'ERR_WAL_INVALID_ARG' })
  t.deepEqual(snapshotsIn(dir), [])
})

const badInits: [unknown, RegExp][] = [
  [undefined, /options/],
  [null, /options/],
  ['state', /options/],
  [{ state: 's' }, /position/],
  ...[-1, 0.5, '1', 1n, NaN, 2 ** 53, Number.MAX_SAFE_INTEGER].map((position): [unknown, RegExp] => [{ position, state: 's' }, /position/]),
  ...[0, -1, 1.5, '2', null].map((keep): [unknown, RegExp] => [{ position: 1, state: 's', keep }, /keep/]),
  [{ position: 1, state: 's', install: 1 }, /install/],
  [{ position: 1, state: 's', signal: {} }, /signal/],
  [{ position: 1, state: 's', nope: 1 }, /nope/],
  [
    {
      get position() {
        return thrower()
      },
    },
    /options/,
  ],
]

test('bad arguments of checkpoint are refused by name, and change nothing', async (t) => {
  const { wal, dir, file } = await place(t, 3)
  for (const [init, message] of badInits) {
    await t.throwsAsync(checkpoint(wal, file, init as never), { code: 'ERR_WAL_INVALID_ARG', message })
  }
  const good: CheckpointInit = { position: 2, state: 's' }
  for (const bad of [undefined, null, '', 7, {}, 'a\0b', new URL('https://example.org/x'), Buffer.from([0xff])]) {
    await t.throwsAsync(checkpoint(wal, bad as never, good), { code: 'ERR_WAL_INVALID_ARG', message: /file/ })
    await t.throwsAsync(restore(bad as never), { code: 'ERR_WAL_INVALID_ARG', message: /file/ })
  }
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  for (const bad of [undefined, null, {}, 'log', Object.create(null), proxy]) {
    await t.throwsAsync(checkpoint(bad as never, file, good), { code: 'ERR_WAL_INVALID_ARG', message: /wal must be a Wal/ })
    if (bad !== undefined)
      await t.throwsAsync(restore(file, { wal: bad as never }), { code: 'ERR_WAL_INVALID_ARG', message: /wal must be a Wal/ })
  }
  for (const bad of [
    null,
    7,
    { nope: 1 },
    { signal: {} },
    {
      get wal() {
        return thrower()
      },
    },
  ]) {
    await t.throwsAsync(restore(file, bad as never), { code: 'ERR_WAL_INVALID_ARG', message: /options/ })
  }
  for (const inside of [path.join(wal.dir, 'state'), pathToFileURL(path.join(wal.dir, 'deeper', 'state'))]) {
    await t.throwsAsync(checkpoint(wal, inside, good), { code: 'ERR_WAL_INVALID_ARG', message: /directory of the log/ })
  }
  await t.throwsAsync(checkpoint(wal, path.join(dir, 'none', 'state'), good), { code: 'ERR_WAL_NOT_FOUND' })
  t.deepEqual(snapshotsIn(dir), [])
  t.is(wal.firstPosition, 1)
})

test('a file may be given as a URL or as bytes, and begin like the directory of the log', async (t) => {
  const { wal, dir } = await place(t, 3)
  await checkpoint(wal, pathToFileURL(path.join(dir, 'a b')), { position: 1, state: 's' })
  t.like(await restore(Buffer.from(path.join(dir, 'a b')), { wal }), { from: 2 })
  await checkpoint(wal, path.join(dir, 'log-state'), { position: 2, state: 's' })
  await checkpoint(wal, wal.dir, { position: 3, state: 's' })
  t.like(await restore(wal.dir, { wal }), { from: 4 })
})

test('a position that the log does not have, or does not continue, is refused', async (t) => {
  const { wal, dir, file } = await place(t, 10)
  const out = await t.throwsAsync<WalError>(checkpoint(wal, file, { position: 11, state: 's' }), { code: 'ERR_WAL_OUT_OF_RANGE' })
  t.is(out.position, 11)
  await wal.truncateBefore(6)
  const gone = await t.throwsAsync<WalError>(checkpoint(wal, file, { position: 4, state: 's' }), { code: 'ERR_WAL_TRUNCATED' })
  t.is(gone.firstPosition, 6)
  t.deepEqual(snapshotsIn(dir), [])
  await checkpoint(wal, file, { position: 5, state: 's' })
})

test('a truncation of records of the state during the checkpoint is noticed before the snapshot counts', async (t) => {
  const { wal, dir, file } = await place(t, 10)
  const state = (cut: () => Promise<void>) =>
    (async function* () {
      yield 's'
      await cut()
    })()
  await t.throwsAsync(checkpoint(wal, file, { position: 8, state: state(() => wal.truncateAfter(7)) }), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await t.throwsAsync(checkpoint(wal, file, { position: 5, state: state(() => wal.truncateBefore(7)) }), { code: 'ERR_WAL_TRUNCATED' })
  t.deepEqual(snapshotsIn(dir), [])
})

test('a snapshot of a higher position or of another log is a conflict, and stays', async (t) => {
  const { wal, dir, file } = await place(t, 10)
  await checkpoint(wal, file, { position: 9, state: 'nine' })
  await t.throwsAsync(checkpoint(wal, file, { position: 8, state: 's' }), { code: 'ERR_WAL_CONFLICT', message: /higher position/ })
  const other = await Wal.open(path.join(temporaryDirectory(t), 'log'))
  t.teardown(() => other.close())
  await fill(other, 20)
  await t.throwsAsync(checkpoint(other, file, { position: 15, state: 's' }), { code: 'ERR_WAL_CONFLICT', message: /another log/ })
  t.deepEqual(snapshotsIn(dir), [nameOf(9)])
  t.is(await (await restore(file, { wal })).snapshot?.text(), 'nine')
})

test('closed and read-only handles are refused', async (t) => {
  const { wal, dir, file } = await place(t, 3)
  const view = await Wal.open(wal.dir, { mode: 'readOnly' })
  t.teardown(() => view.close())
  await t.throwsAsync(checkpoint(view, file, { position: 2, state: 's' }), { code: 'ERR_WAL_READ_ONLY' })
  await checkpoint(wal, file, { position: 2, state: 's' })
  t.like(await restore(file, { wal: view }), { from: 3 })
  await wal.close()
  await t.throwsAsync(checkpoint(wal, file, { position: 3, state: 's' }), { code: 'ERR_WAL_CLOSED' })
  t.deepEqual(snapshotsIn(dir), [nameOf(2)])
})

test('an aborted checkpoint leaves everything as it was, before, while a chunk is awaited, and between chunks', async (t) => {
  const { wal, dir, file } = await place(t, 5)
  const aborted = { code: 'ABORT_ERR', name: 'AbortError' } as never
  await t.throwsAsync(checkpoint(wal, file, { position: 2, state: 's', signal: AbortSignal.abort() }), aborted)
  await t.throwsAsync(restore(file, { signal: AbortSignal.abort() }), aborted)
  const waiting = new AbortController()
  const never = (async function* () {
    yield bytes
    setImmediate(() => waiting.abort())
    await new Promise(() => {})
  })()
  await t.throwsAsync(checkpoint(wal, file, { position: 2, state: never, signal: waiting.signal }), aborted)
  const between = new AbortController()
  const endless = (async function* () {
    for (let n = 0; ; n += 1) {
      if (n === 10) between.abort()
      yield bytes
    }
  })()
  await t.throwsAsync(checkpoint(wal, file, { position: 2, state: endless, signal: between.signal }), aborted)
  t.deepEqual(snapshotsIn(dir), [])
  t.is(wal.firstPosition, 1)
  await checkpoint(wal, file, { position: 2, state: 's', signal: new AbortController().signal })
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
    const { unlinkSync } = await import('node:fs')
    unlinkSync(path.join(dir, nameOf(position)))
  }
  t.false(existsSync(path.join(dir, nameOf(50))))
})
