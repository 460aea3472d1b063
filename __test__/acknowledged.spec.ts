// `acknowledged`: one promise for many records, settled as the promises of their appends would have been. What it does in which order is in
// `acknowledged-order.spec.ts`.

import { once } from 'node:events'
import { truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { AbortError, Wal } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { logOnFilledDisk, logOnFullDisk } from './helpers/full-disk.js'
import { SEGMENT_BYTES, fill, temporaryLog, values } from './helpers/log.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

/** So large that it needs a segment of its own. */
const large = Buffer.alloc(300 << 10)
/** More than a full disk has left, and no reason to commit before the end of the turn. */
const block = Buffer.alloc(16 << 10)

test('under always it resolves once the record and all before it are durable', async (t) => {
  const wal = await temporaryLog(t)
  for (let round = 0; round < 20; round++) {
    wal.enqueue('before')
    const position = wal.enqueue('x')
    const acknowledged = wal.acknowledged(position)
    t.true(wal.acknowledgedPosition < position)
    t.is(await acknowledged, undefined)
    t.is(wal.durablePosition, position)
  }
})

test('under os it resolves without an fsync, and of a record with durable: true once that is durable', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await wal.acknowledged(wal.enqueue('x'))
  t.deepEqual([wal.writtenPosition, wal.durablePosition], [1, 0])
  await wal.acknowledged(wal.enqueue('y', { durable: true }))
  t.is(wal.durablePosition, 2)
})

test('it adds no commit and no fsync', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('first')
  const { commits, fsyncs } = wal.stats()
  const last = [1, 2, 3].map((n) => wal.enqueue(`${n}`)).at(-1)
  await Promise.all([wal.acknowledged(last), wal.acknowledged(2), wal.acknowledged()])
  await wal.acknowledged(last)
  await wal.acknowledged()
  t.is(wal.stats().commits, commits + 1)
  t.true(wal.stats().fsyncs <= fsyncs + 1)
})

test('without a position it waits for everything this thread has appended, in every way and through every handle', async (t) => {
  const wal = await temporaryLog(t)
  const other = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES })
  await wal.acknowledged()
  for (const append of [
    () => wal.enqueue('x'),
    () => wal.append('x'),
    () => wal.append({ key: 'k', value: 'v' }),
    () => wal.appendBatch(['x', 'y', 'z']),
    () => other.append('x'),
    () => other.enqueue('x'),
  ]) {
    void append()
    await wal.acknowledged()
    t.is(wal.acknowledgedPosition, wal.nextPosition - 1, String(append))
  }
  await other.close()
})

test('calls of one turn for records of that turn share a promise', async (t) => {
  const wal = await temporaryLog(t)
  const first = wal.enqueue('x')
  const promise = wal.acknowledged(first)
  const all = Array.from({ length: 100 }, () => wal.acknowledged(wal.enqueue('x')))
  t.true(all.every((other) => other === promise))
  t.is(wal.acknowledged(), promise)
  t.is(wal.acknowledged(first + 50), promise)
  await promise
  t.is(wal.acknowledgedPosition, first + 100)
  t.not(wal.acknowledged(wal.enqueue('x')), promise, 'a later turn has a promise of its own')
  await wal.acknowledged()
})

test('a position that no record has is out of range, and one that is acknowledged or truncated resolves at once', async (t) => {
  const wal = await temporaryLog(t)
  await wal.acknowledged(0)
  const outOfRange = { code: 'ERR_WAL_OUT_OF_RANGE', operation: 'acknowledged', position: 1 }
  t.like(await t.throwsAsync(wal.acknowledged(1)), outOfRange)
  await fill(wal, 10)
  await wal.truncateBefore(8)
  for (const position of [0, 1, 7, 8, 10]) await wal.acknowledged(position)
  t.like(await t.throwsAsync(wal.acknowledged(11)), { ...outOfRange, position: 11 })
  await wal.reset(1000)
  await wal.acknowledged(999)
  await wal.acknowledged(10)
  t.like(await t.throwsAsync(wal.acknowledged(1000)), { ...outOfRange, position: 1000 })
})

test('invalid arguments are refused', async (t) => {
  const wal = await temporaryLog(t)
  const invalid = { code: 'ERR_WAL_INVALID_ARG', operation: 'acknowledged' }
  for (const position of [-1, 0.5, NaN, Infinity, 2 ** 53, '1', null, {}, 1n]) {
    t.like(await t.throwsAsync(wal.acknowledged(position as never)), invalid, String(position))
  }
  for (const options of [null, 1, { signal: 1 }, { durable: true }]) {
    t.like(await t.throwsAsync(wal.acknowledged(0, options as never)), invalid, JSON.stringify(options))
  }
})

test('in mode readOnly it is refused, also for what the writer has acknowledged', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 3)
  await wal.close()
  const view = await temporaryLog(t, { mode: 'readOnly' }, wal.dir)
  for (const position of [undefined, 1]) {
    t.like(await t.throwsAsync(view.acknowledged(position)), { code: 'ERR_WAL_READ_ONLY', operation: 'acknowledged' })
  }
})

test('closing settles what waits, and later calls are refused', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const other = await Wal.open(wal.dir, { segmentBytes: SEGMENT_BYTES, fsync: 'os' })
  const waiting = [wal.acknowledged(wal.enqueue('x')), wal.append('y'), wal.acknowledged(), other.acknowledged(1)]
  const closed = wal.close()
  t.like(await t.throwsAsync(wal.acknowledged()), { code: 'ERR_WAL_CLOSED', operation: 'acknowledged' })
  await Promise.all(waiting)
  await closed
  const last = other.acknowledged(other.enqueue('z'))
  await other.close()
  await last
})

test('a full disk rejects it, and the position goes to another record', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const all = [block, block, 'small'].map((value) => wal.acknowledged(wal.enqueue(value)))
  for (const result of await Promise.allSettled(all)) {
    const error = (result as PromiseRejectedResult).reason
    t.like(error, { code: 'ERR_WAL_NO_SPACE', operation: 'append', position: next })
    t.is(error.cause?.code, 'ENOSPC')
  }
  makeRoom()
  t.is(wal.enqueue('again'), next)
  await wal.acknowledged(next)
  await wal.sync()
  t.deepEqual(await values(wal.readFrom(next)), ['again'])
  await wal.close()
})

test('of a group that a full disk cuts short the records that fit are acknowledged', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFilledDisk(t)
  const next = wal.nextPosition
  const fits = wal.acknowledged(wal.enqueue('fits'))
  await setImmediate()
  const rejected = wal.acknowledged(wal.enqueue(large))
  await fits
  t.like(await t.throwsAsync(rejected), { code: 'ERR_WAL_NO_SPACE', position: next + 1 })
  makeRoom()
  await wal.acknowledged(wal.enqueue('after'))
  t.deepEqual(await values(wal.readFrom(next)), ['fits', 'after'])
})

test('a call that is made as soon as a rejection is received is not rejected again', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const again = wal.acknowledged(wal.enqueue(large)).catch(async () => {
    makeRoom()
    const position = wal.enqueue('again')
    await wal.acknowledged(position)
    return position
  })
  t.is(await again, next)
  await wal.acknowledged()
})

test('several threads on a disk that is full now and then: every record that a call resolved for is in the log', async (t) => {
  if (!has(t, 'mount')) return
  const disk = smallDisk(t, '32m')
  const dir = path.join(disk, 'log')
  const options = { segmentBytes: SEGMENT_BYTES }
  const wal = await temporaryLog(t, options, dir)
  const ballast = path.join(disk, 'ballast')
  const script = new URL('./helpers/acknowledged-full.mjs', import.meta.url)
  const workers = ['one', 'two'].map((name) => new Worker(script, { workerData: { dir, options, name }, execArgv: [] }))
  /** What is in the log, by position, also what has been truncated since. */
  const found = new Map<number, string>()
  const check = async (to: number): Promise<void> => {
    for await (const { position, value } of wal.readFrom('start', { to })) found.set(position, String(value))
  }
  const ends = workers.map((worker) => once(worker, 'message') as Promise<[{ told: [number, string][]; rejected: number }]>)
  for (let round = 0; round < 6; round++) {
    const next = wal.nextPosition
    while (wal.acknowledgedPosition < next + 50) await setImmediate()
    t.throws(() => writeFileSync(ballast, Buffer.alloc(40 << 20)), { code: 'ENOSPC' })
    await t.throwsAsync(
      async () => {
        for (;;) await wal.append(block)
      },
      { code: 'ERR_WAL_NO_SPACE' }
    )
    truncateSync(ballast, 0)
    // The log itself fills the disk, too.
    const last = wal.acknowledgedPosition
    await check(last)
    await wal.truncateBefore(last)
  }
  for (const worker of workers) worker.postMessage(undefined)
  const results = (await Promise.all(ends)).map(([result]) => result)
  t.true(results.some(({ rejected }) => rejected > 0))
  await check(wal.acknowledgedPosition)
  const lost = results.flatMap(({ told }) => told).filter(([position, value]) => found.get(position) !== value)
  t.deepEqual(lost, [])
})

test('an aborted signal ends the wait of one call alone', async (t) => {
  const wal = await temporaryLog(t)
  const position = wal.enqueue('x')
  const controller = new AbortController()
  const aborted = wal.acknowledged(position, { signal: controller.signal })
  const others = [wal.acknowledged(position), wal.acknowledged(position, { signal: new AbortController().signal })]
  controller.abort('enough')
  const error = await t.throwsAsync<AbortError>(aborted, { instanceOf: AbortError })
  t.is(error.cause, 'enough')
  await Promise.all(others)
  await t.throwsAsync(wal.acknowledged(position, { signal: controller.signal }), { code: 'ABORT_ERR' })
  await wal.acknowledged(position, { signal: new AbortController().signal })
})

test('with captureStacks the error of each call has its own call site', async (t) => {
  if (!has(t, 'mount')) return
  const full = await logOnFullDisk(t)
  const wal = await Wal.open(full.wal.dir, { segmentBytes: SEGMENT_BYTES, captureStacks: true })
  t.teardown(() => wal.close().catch(() => {}))
  const position = wal.enqueue(large)
  function alpha() {
    return wal.acknowledged(position)
  }
  function beta() {
    return wal.acknowledged(position)
  }
  const [one, two] = await Promise.all([alpha(), beta()].map((promise) => promise.catch((error: Error) => error.stack ?? '')))
  t.regex(one as string, /called from:\n.*alpha/)
  t.regex(two as string, /called from:\n.*beta/)
  t.notRegex(two as string, /alpha/)
})

test('with appends, batches, syncs and truncations in between, each call resolves after its record, in several threads', async (t) => {
  const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const options = { segmentBytes: SEGMENT_BYTES }
  const wal = await temporaryLog(t, options)
  const script = new URL('./helpers/acknowledged.mjs', import.meta.url)
  const workers = [1, 2, 3].map(
    (n) =>
      new Promise<string[]>((resolve, reject) => {
        const worker = new Worker(script, { workerData: { dir: wal.dir, options, seed: seed + n, count: 2000 }, execArgv: [] })
        worker.once('message', resolve).once('error', reject)
      })
  )
  for (const wrong of await Promise.all(workers)) t.deepEqual(wrong, [])
})

test('a record that another thread has enqueued is waited for', async (t) => {
  const wal = await temporaryLog(t)
  const script = new URL('./helpers/enqueue-elsewhere.mjs', import.meta.url)
  const worker = new Worker(script, { workerData: { dir: wal.dir, options: { segmentBytes: SEGMENT_BYTES } }, execArgv: [] })
  const failed = once(worker, 'error').then(([error]) => Promise.reject(error as Error))
  failed.catch(() => {})
  for (let round = 0; round < 50; round++) {
    const position = await new Promise<number>((resolve, reject) => {
      worker.once('message', resolve)
      failed.catch(reject)
      worker.postMessage(undefined)
    })
    await wal.acknowledged(position)
    t.true(wal.durablePosition >= position)
  }
  await worker.terminate()
})

test('wherever the stack ends, no call is lost and every position is right', async (t) => {
  const program = path.join(root, '__test__', 'helpers', 'acknowledged-deep.mjs')
  const { code, stdout, stderr } = await node([program, temporaryDirectory(t)])
  t.is(stderr, '')
  t.is(code, 0)
  t.regex(String(stdout), /^[1-9]\d* overflows, 0 wrong\n$/)
})

test('a loop of calls that a commit settles together leaves turns to others', async (t: ExecutionContext) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  let [turns, left] = [0, 20_000]
  let running = true
  const count = async () => {
    for (; running; turns++) await setImmediate()
  }
  const loop = async () => {
    while (left-- > 0) await wal.acknowledged(wal.enqueue('x'))
  }
  const counted = count()
  await Promise.all(Array.from({ length: 1000 }, loop))
  running = false
  await counted
  t.true(turns >= 20, `${turns}`)
  t.is(wal.acknowledgedPosition, 20_000)
})

test('a command between two records keeps their calls apart, so that a rejection names the right record', async (t) => {
  const wal = await temporaryLog(t)
  const first = wal.acknowledged(wal.enqueue('one'))
  const truncated = wal.truncateBefore(1)
  const second = wal.acknowledged(wal.enqueue('two'))
  t.not(first, second)
  await Promise.all([first, truncated, second])
  t.is(wal.acknowledgedPosition, 2)
})
