// What a checkpoint refuses, and that it then leaves everything as it was.

import path from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { checkpoint, restore, Wal, WalError, type CheckpointInit } from '../index.js'
import { bytes, nameOf, place, snapshotsIn } from './helpers/checkpoint/place.js'
import { snapshot, temporaryDirectory } from './helpers/directory.js'
import { fill, until } from './helpers/log.js'

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
  'a typed array of another kind': () => new Uint16Array(4),
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

test('a stream that fails before it is read rejects with its error as the cause, and does not end the process', async (t) => {
  const { wal, dir, file } = await place(t, 5)
  const cause = new Error('of the stream')
  const held = (async function* () {
    await until(() => stream.closed)
    yield 'held'
  })()
  const stream = new Readable({ read() {} })
  const first = checkpoint(wal, file, { position: 1, state: held })
  const failed = t.throwsAsync<WalError>(checkpoint(wal, file, { position: 2, state: stream }), { code: 'ERR_WAL_INVALID_ARG' })
  stream.destroy(cause)
  await first
  t.is((await failed)?.cause, cause)
  t.deepEqual(snapshotsIn(dir), [nameOf(1)])
})

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
  ...[0, -1, 1.5, '2', null, Infinity].map((keep): [unknown, RegExp] => [
    { position: 1, state: 's', keep },
    /keep must be an integer from 1 to/,
  ]),
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

test('a state to install that fails leaves a log that begins after it as it was', async (t) => {
  const { wal, dir, file } = await place(t, 10)
  await wal.truncateBefore(6)
  const failing = (async function* () {
    yield bytes
    throw new Error('of the program')
  })()
  await t.throwsAsync(checkpoint(wal, file, { position: 3, state: failing, install: true }), { code: 'ERR_WAL_INVALID_ARG' })
  t.deepEqual([wal.firstPosition, wal.nextPosition, snapshotsIn(dir)], [6, 11, []])
})

test('a checkpoint that waits for another one can be aborted, and the next one still waits', async (t) => {
  const { wal, file } = await place(t, 5)
  let letGo: (() => void) | undefined
  const held = (async function* () {
    yield 'held'
    await new Promise<void>((resolve) => (letGo = resolve))
  })()
  const order: string[] = []
  const first = checkpoint(wal, file, { position: 2, state: held }).then(() => order.push('first'))
  const waiting = new AbortController()
  const second = checkpoint(wal, file, { position: 3, state: 's', signal: waiting.signal })
  const third = checkpoint(wal, file, { position: 4, state: 's' }).then(() => order.push('third'))
  waiting.abort()
  await t.throwsAsync(second, { name: 'AbortError' })
  const fourth = checkpoint(wal, file, { position: 5, state: 's' }).then(() => order.push('fourth'))
  await until(() => letGo !== undefined)
  letGo?.()
  await Promise.all([first, third, fourth])
  t.deepEqual(order, ['first', 'third', 'fourth'])
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
