// `acknowledged` on a log that is played by hand: which call is told of which operation, and when.

import test from 'ava'
import type { WalError } from '../index.js'
import { random } from './helpers/kill/records.mjs'
import { Outcome, PlayedQueue } from './helpers/played-queue.js'

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

test('a promise that the commits of other clients have split is rejected with the first rejected record, which is reported once', async (t) => {
  const log = new PlayedQueue()
  const positions = Array.from({ length: 6 }, () => log.enqueue())
  const calls = positions.map((position) => new Outcome(log.queue.acknowledged(position)))
  // Other clients have kicked the first three records, then two, then one, and the second of these commits has failed.
  await log.settle(3, 3)
  log.fail(5, 4)
  log.fail(6, 4)
  await log.deliver()
  t.deepEqual(new Set(calls.map(({ state }) => state)), new Set(['rejected']))
  t.deepEqual(new Set(calls.map(({ error }) => error?.position)), new Set([4]))
  // Nothing is left to report.
  const synced = new Outcome(log.queue.sync())
  await log.settle(7, 3)
  t.is(synced.state, 'resolved')
})

test('records of later turns do not share a promise with those that a completed commit has let through', async (t) => {
  const log = new PlayedQueue()
  const first = new Outcome(log.queue.acknowledged(log.enqueue()))
  // The end of this iteration of the event loop kicks, but a commit is complete before.
  await log.settle(0, 0)
  const second = new Outcome(log.queue.acknowledged(log.enqueue()))
  await log.settle(1, 1)
  t.deepEqual([first.state, second.state], ['resolved', 'pending'])
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
