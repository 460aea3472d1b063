// `acknowledged`: one promise for many records, settled as the promises of their appends would have been.

import { once } from 'node:events'
import { truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { AbortError, Wal, type WalError } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { logOnFilledDisk, logOnFullDisk } from './helpers/full-disk.js'
import { random } from './helpers/kill/records.mjs'
import { SEGMENT_BYTES, fill, temporaryLog, values } from './helpers/log.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'
import { Outcome, PlayedQueue } from './helpers/played-queue.js'

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

test('without a position it waits for no record that is refused', async (t) => {
  const log = new PlayedQueue()
  const appends = [1, 2, 3, 4, 5].map(() => log.append())
  // The first has been passed on by itself already, the others wait for the end of the turn.
  log.room = 2
  const all = new Outcome(log.queue.acknowledged(undefined))
  log.kick()
  await log.settle(3, 3)
  t.is(all.state, 'resolved')
  const refused = await Promise.allSettled(appends)
  t.is(refused.filter(({ status }) => status === 'rejected').length, 2)
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

test('a thousand calls in one turn share a few promises, in whatever order they come', (t) => {
  const orders: [string, (n: number) => number][] = [
    ['ascending', (n) => n],
    ['descending', (n) => 1001 - n],
    ['scattered', (n) => 1 + ((n * 389) % 1000)],
  ]
  for (const [order, position] of orders) {
    const log = new PlayedQueue()
    for (let n = 1; n <= 1000; n++) log.enqueue()
    const promises = Array.from({ length: 1000 }, (_, n) => log.queue.acknowledged(position(n + 1)))
    t.true(new Set(promises).size <= 32, `${order}: ${new Set(promises).size}`)
  }
})

test('a promise that is settled before the end of its turn is not shared with later records', async (t) => {
  const log = new PlayedQueue()
  const first = log.queue.acknowledged(log.enqueue())
  await log.settle(1, 1)
  await first
  const second = new Outcome(log.queue.acknowledged(log.enqueue()))
  await log.deliver()
  t.is(second.state, 'pending')
  await log.settle(2, 2)
  t.is(second.state, 'resolved')
})

test('one turn tells about half of the calls in flight, and no call before the append of its record', async (t) => {
  const log = new PlayedQueue()
  const told: number[] = []
  const tell = (promise: Promise<unknown>, position: number) => void promise.then(() => told.push(position))
  for (let position = 1; position <= 2000; position++) tell(log.queue.acknowledged(log.enqueue()), position)
  log.kick()
  await log.settleOnce(2000, 2000)
  t.true(told.length >= 1000 && told.length < 1300, `${told.length}`)
  await log.deliver()
  t.is(told.length, 2000)

  const appends = Array.from({ length: 600 }, () => log.append())
  log.queue.flush()
  const last = new Outcome(log.queue.acknowledged(2600))
  log.kick()
  await log.settleOnce(2600, 2600)
  t.is(last.state, 'pending')
  await log.deliver()
  t.is(last.state, 'resolved')
  t.is(await appends[599], 2600)
})

test('of records accepted before the last kick each is told as soon as it is acknowledged itself', async (t) => {
  const log = new PlayedQueue()
  for (let n = 1; n <= 5; n++) log.enqueue()
  log.kick()
  const told = [3, 1, 5, 2, 4].map((position) => ({ position, outcome: new Outcome(log.queue.acknowledged(position)) }))
  for (let n = 0; n <= 5; n++) {
    await log.settle(n, n)
    for (const { position, outcome } of told) t.is(outcome.state, position <= n ? 'resolved' : 'pending', `${position} of ${n}`)
  }
})

test('promises are not settled one record early, whatever lies between: batches, syncs, records of other threads', async (t) => {
  const log = new PlayedQueue()
  /** The operation after which the record at a position is acknowledged. */
  const operations = new Map<number, number>()
  const next = random(7)
  const waiting: { position: number; outcome: Outcome }[] = []
  const last: number[] = [0]
  for (let n = 0; n < 400; n++) {
    const [kind, from] = [next(), log.next]
    if (kind < 0.3) log.enqueue()
    else if (kind < 0.5) void log.append()
    else if (kind < 0.6) void log.appendBatch(1 + Math.floor(next() * 4))
    else if (kind < 0.7) void log.queue.sync()
    else if (kind < 0.8) log.next += Math.floor(next() * 4)
    else if (kind < 0.9) log.kick()
    else void log.queue.truncateBefore(1)
    log.queue.flush()
    if (kind < 0.6) for (let position = from; position < log.next; position++) operations.set(position, log.accepted)
    last[log.accepted] = log.next - 1
    if (next() < 0.5) {
      const known = [...operations.keys()]
      const position = known[Math.floor(next() * known.length)]
      if (position !== undefined) waiting.push({ position, outcome: new Outcome(log.queue.acknowledged(position)) })
    }
  }
  log.kick()
  // Those of one turn are told together, and none before its record.
  for (let operation = 0; operation <= log.accepted; operation++) {
    await log.settle(operation, last[operation] ?? 0)
    for (const { position, outcome } of waiting) {
      if (outcome.state === 'resolved') t.true((operations.get(position) as number) <= operation, `${position} at ${operation}`)
    }
  }
  t.true(waiting.every(({ outcome }) => outcome.state === 'resolved'))
})

test('it settles after the append of the same record, and before the appends of later turns', async (t) => {
  const log = new PlayedQueue()
  const order: string[] = []
  const tell = (name: string, promise: Promise<unknown>) => void promise.then(() => order.push(name))
  tell('append 1', log.append())
  log.queue.flush()
  tell('acknowledged 1', log.queue.acknowledged(1))
  log.kick()
  tell('append 2', log.append())
  log.kick()
  await log.settle(1, 1)
  await log.settle(2, 2)
  t.deepEqual(order, ['append 1', 'acknowledged 1', 'append 2'])
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

test('after truncateAfter a position is that of the record that has it now', async (t) => {
  const log = new PlayedQueue()
  for (let n = 1; n <= 6; n++) log.enqueue()
  const cut = log.queue.truncateAfter(3)
  await t.throwsAsync(async () => log.queue.acknowledged(4), { code: 'ERR_WAL_OUT_OF_RANGE' })
  t.is(log.enqueue(), 4)
  log.kick()
  const [third, fourth] = [3, 4].map((position) => new Outcome(log.queue.acknowledged(position)))
  await t.throwsAsync(async () => log.queue.acknowledged(5), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await log.settle(3, 3)
  t.deepEqual([third.state, fourth.state], ['resolved', 'pending'])
  await log.settle(7, 3)
  await cut
  t.is(fourth.state, 'pending')
  await log.settle(8, 4)
  t.is(fourth.state, 'resolved')
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

test('a rejection has the position of the first record that was rejected, and those before it are acknowledged', async (t) => {
  const log = new PlayedQueue()
  const waiting = [1, 2, 3].map(() => new Outcome(log.queue.acknowledged(log.enqueue())))
  log.kick()
  const alone = new Outcome(log.queue.acknowledged(1))
  const shared = [4, 5, 6].map(() => new Outcome(log.queue.acknowledged(log.enqueue())))
  void log.appendBatch(3).catch(() => {})
  const batch = new Outcome(log.queue.acknowledged(8))
  log.kick()
  await log.settle(3, 3)
  t.deepEqual(
    [...waiting, alone].map(({ state }) => state),
    Array(4).fill('resolved')
  )
  log.acknowledgedPosition = 4
  await log.settle(4, 4)
  log.fail(7, 5)
  await log.deliver()
  for (const { state, error } of [...shared, batch]) {
    t.is(state, 'rejected')
    t.like(error, { code: 'ERR_WAL_NO_SPACE', operation: 'append', position: 5 })
    t.is((error?.cause as Error).message, 'ENOSPC')
  }
  const synced = log.queue.sync()
  await log.settle(8, 4)
  await t.notThrowsAsync(synced, 'a failure that was told is not reported again')
})

test('a rejection of a batch has its first position, also if its positions were given to rejected records before', async (t) => {
  const log = new PlayedQueue()
  const records = [1, 2].map(() => new Outcome(log.queue.acknowledged(log.enqueue())))
  log.kick()
  log.fail(2, 1)
  await log.deliver()
  for (const { error } of records) t.is(error?.position, 1)
  void log.appendBatch(3).catch(() => {})
  const batch = [1, 2, 3].map((position) => new Outcome(log.queue.acknowledged(position)))
  log.kick()
  log.fail(3, 1)
  await log.deliver()
  for (const { error } of batch) t.like(error, { code: 'ERR_WAL_NO_SPACE', position: 1 })
  t.deepEqual(log.others, [])
})

test('a failure of enqueued records that no call waits for is reported once, by the first call that concerns it', async (t) => {
  for (const report of ['position', 'later position', 'everything', 'sync'] as const) {
    const log = new PlayedQueue()
    for (let n = 1; n <= 4; n++) log.enqueue()
    log.kick()
    await log.settle(2, 2)
    log.fail(4, 3)
    await log.deliver()
    t.is(log.enqueue(), 3, 'the position is given again')
    t.is(log.enqueue(), 4)
    await log.queue.acknowledged(2)
    const call = {
      position: () => log.queue.acknowledged(3),
      'later position': () => log.queue.acknowledged(4),
      everything: () => log.queue.acknowledged(undefined),
      sync: () => log.queue.sync(),
    }[report]
    const rejected = t.throwsAsync<WalError>(async () => call())
    await log.settle(log.accepted, 4)
    t.like(await rejected, { code: 'ERR_WAL_NO_SPACE', operation: 'append', position: 3 }, report)
    await log.queue.acknowledged(3)
    await log.queue.acknowledged(undefined)
  }
})

test('a call for the first of several enqueued records leaves the failure of the others to the next report', async (t) => {
  const log = new PlayedQueue()
  for (let n = 1; n <= 3; n++) log.enqueue()
  log.kick()
  const first = new Outcome(log.queue.acknowledged(1))
  log.fail(3, 1)
  await log.deliver()
  t.is(first.error?.position, 1)
  t.like(await t.throwsAsync(async () => log.queue.acknowledged(undefined)), { code: 'ERR_WAL_NO_SPACE', position: 2 })
  await log.queue.acknowledged(undefined)
})

test('a failed truncateBefore rejects no call for the records around it', async (t) => {
  const log = new PlayedQueue()
  const before = new Outcome(log.queue.acknowledged(log.enqueue()))
  const truncated = new Outcome(log.queue.truncateBefore(1))
  const after = new Outcome(log.queue.acknowledged(log.enqueue()))
  log.kick()
  await log.settle(1, 1)
  log.fail(2, 3)
  await log.deliver()
  t.is(truncated.state, 'rejected')
  await log.settle(3, 2)
  t.deepEqual([before.state, after.state], ['resolved', 'resolved'])
})

test('a record is not taken for acknowledged because another thread has its position by now', async (t) => {
  const log = new PlayedQueue()
  const position = log.enqueue()
  log.kick()
  log.fail(1, 1)
  // Another thread's record gets the position and is acknowledged before this thread learns of the rejection.
  log.next = 2
  log.acknowledgedPosition = 1
  const outcome = new Outcome(log.queue.acknowledged(position))
  await log.deliver()
  t.like(outcome.error, { code: 'ERR_WAL_NO_SPACE', position })
  await log.queue.acknowledged(position)
})

test('for a record of another thread it waits until that is acknowledged, without a sync', async (t) => {
  const log = new PlayedQueue()
  log.enqueue()
  log.next = 4
  const outcomes = [2, 3].map((position) => new Outcome(log.queue.acknowledged(position)))
  t.deepEqual(log.others, ['truncateBefore'], 'one operation for all calls of a turn, which changes nothing')
  log.kick()
  await log.settle(1, 1)
  t.deepEqual([outcomes[0].state, outcomes[1].state], ['pending', 'pending'])
  await log.settle(2, 3)
  t.deepEqual([outcomes[0].state, outcomes[1].state], ['resolved', 'resolved'])
})

test('a record of another thread that was rejected is out of range, or the record that has its position now', async (t) => {
  const log = new PlayedQueue()
  log.next = 4
  const outcomes = [1, 3].map((position) => new Outcome(log.queue.acknowledged(position)))
  log.kick()
  // The position of the first goes to another record, which is acknowledged later.
  log.next = 2
  await log.settle(1, 0)
  t.is(outcomes[0].state, 'pending')
  t.like(outcomes[1].error, { code: 'ERR_WAL_OUT_OF_RANGE', operation: 'acknowledged', position: 3 })
  log.kick()
  await log.settle(2, 1)
  t.is(outcomes[0].state, 'resolved')
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

test('a failure that only an aborted call waited for is reported by the next one', async (t) => {
  const log = new PlayedQueue()
  log.enqueue()
  const controller = new AbortController()
  const aborted = log.queue.acknowledged(1, { signal: controller.signal, site: undefined })
  controller.abort()
  await t.throwsAsync(aborted, { code: 'ABORT_ERR' })
  log.kick()
  log.fail(1, 1)
  await log.deliver()
  await t.throwsAsync(async () => log.queue.acknowledged(undefined), { code: 'ERR_WAL_NO_SPACE' })
  await log.queue.acknowledged(undefined)
})

test('with captureStacks a failure that is reported late has the call site of the call that reports it', async (t) => {
  const log = new PlayedQueue()
  log.enqueue()
  log.kick()
  log.fail(1, 1)
  await log.deliver()
  const site = { stack: 'Error\n    at someone' }
  const error = await t.throwsAsync(async () => log.queue.acknowledged(undefined, { signal: undefined, site }))
  t.regex(error.stack ?? '', /called from:\n {4}at someone/)
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
