// A consumer hands every record of a log to its handler, and its cursor follows.

import test from 'ava'
import { Record, Wal, type ConsumeOptions, type Cursor, type DeadLetter, type HandlerCall, type WalRecord } from '../index.js'
import { range } from './helpers/consumed.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, fill, filledLog, numbered, temporaryLog, until, values } from './helpers/log.js'

const quick: ConsumeOptions = { backoff: { minMs: 0, maxMs: 0 } }
const toEnd: ConsumeOptions = { ...quick, follow: false }

/** Consumes what the log has, and returns the positions as the handler gets them. */
async function positions(cursor: Cursor, options: ConsumeOptions = {}): Promise<number[]> {
  const given: number[] = []
  await cursor.consume(({ position }) => void given.push(position), { ...toEnd, ...options }).done
  return given
}

test('every record is handled in order, and the cursor is committed when the consumer has ended', async (t) => {
  const wal = await filledLog(t, 3000)
  const cursor = await wal.cursor('a')
  t.deepEqual(await positions(cursor), range(1, 3000))
  t.deepEqual([cursor.position, cursor.lag], [3000, 0])
  await fill(wal, 10)
  t.deepEqual(await positions(cursor), range(3001, 3010))
  t.deepEqual(await positions(cursor), [])
})

test('handlers that wait for nothing leave the event loop to other tasks now and then', async (t) => {
  const wal = await filledLog(t, 400)
  let [turns, isRunning] = [0, true]
  const count = () => {
    turns++
    if (isRunning) setImmediate(count)
  }
  setImmediate(count)
  const seen = new Set<number>()
  const work = () => {
    seen.add(turns)
    for (const end = performance.now() + 1; performance.now() < end;);
  }
  await (await wal.cursor('a')).consume(work, toEnd).done
  isRunning = false
  t.true(seen.size >= 20, `${seen.size} turns in 400 ms`)
})

test('the next process continues after what was committed', async (t) => {
  let wal = await filledLog(t, 100)
  let handled = 0
  const consumer = (await wal.cursor('a')).consume(() => {
    if (++handled === 40) void consumer.stop()
  })
  await consumer.done
  t.is(handled, 40)
  await wal.close()
  wal = await temporaryLog(t, {}, wal.dir)
  t.deepEqual(await positions(await wal.cursor('a')), range(41, 100))
})

test('with concurrency records finish in any order, each is handled once, and as many at a time as it says', async (t) => {
  const wal = await filledLog(t, 500)
  const cursor = await wal.cursor('a')
  const finished: number[] = []
  let running = 0
  let most = 0
  const handler = async ({ position }: WalRecord) => {
    most = Math.max(most, ++running)
    for (let turns = position % 7; turns > 0; turns--) await new Promise(setImmediate)
    running--
    finished.push(position)
  }
  const consumer = cursor.consume(handler, { ...toEnd, concurrency: 8 })
  await consumer.done
  t.is(most, 8)
  t.notDeepEqual(finished, range(1, 500))
  t.deepEqual(
    finished.toSorted((a, b) => a - b),
    range(1, 500)
  )
  t.is(cursor.position, 500)
  t.deepEqual(consumer.stats(), {
    watermark: 500,
    committed: 500,
    lag: 0,
    lagMs: 0,
    expired: 0,
    inFlight: 0,
    waiting: 0,
    handled: 500,
    retries: 0,
    dead: 0,
  })
})

test('a consumer waits for new records, and its figures say how far it is', async (t) => {
  const wal = await temporaryLog(t)
  const cursor = await wal.cursor('a')
  let letGo!: () => void
  const given: string[] = []
  const consumer = cursor.consume(async ({ value }) => {
    given.push(String(value))
    if (given.length === 2) await new Promise<void>((resolve) => (letGo = resolve))
  })
  await wal.append('one')
  await until(() => cursor.position === 1)
  await wal.appendBatch(['two', 'three'])
  await until(() => given.length === 2)
  t.like(consumer.stats(), { lag: 2, inFlight: 1, handled: 1 })
  t.is(cursor.lag, 2)
  letGo()
  await until(() => cursor.position === 3)
  t.deepEqual(given, ['one', 'two', 'three'])
  t.like(consumer.stats(), { lag: 0, inFlight: 0, handled: 3 })
  await consumer.stop()
})

test('with batch the handler gets arrays of up to so many records, those that are available', async (t) => {
  const wal = await filledLog(t, 250)
  const cursor = await wal.cursor('a')
  const given: WalRecord[][] = []
  const firsts: number[] = []
  await cursor.consume(
    (records, { position }) => {
      given.push(records)
      firsts.push(position)
    },
    { follow: false, batch: 100 }
  ).done
  t.deepEqual(
    given.map(({ length }) => length),
    [100, 100, 50]
  )
  t.deepEqual(
    given.flat().map(({ value }) => String(value)),
    numbered(1, 250)
  )
  t.deepEqual(firsts, [1, 101, 201])
  t.is(cursor.position, 250)
})

test('a record that fails is tried again, and one that always fails goes to the function deadLetter with its last error', async (t) => {
  const wal = await filledLog(t, 10)
  const cursor = await wal.cursor('a')
  const attempts: number[][] = []
  const dead: [number, string, DeadLetter][] = []
  const handler = ({ position }: WalRecord, { attempt }: HandlerCall) => {
    attempts.push([position, attempt])
    if (position === 4 && attempt < 3) throw new Error('not yet')
    if (position === 7) throw new Error(`poison ${attempt}`)
  }
  const deadLetter = (record: WalRecord, letter: DeadLetter) => void dead.push([record.position, String(record.value), letter])
  await cursor.consume(handler, { ...toEnd, retries: 2, deadLetter }).done
  t.deepEqual(attempts.filter(([position]) => position === 4).length, 3)
  t.deepEqual(attempts.slice(-6), [
    [7, 1],
    [7, 2],
    [7, 3],
    [8, 1],
    [9, 1],
    [10, 1],
  ])
  t.is(dead.length, 1)
  const [[position, value, letter]] = dead
  t.deepEqual([position, value, letter.attempts, (letter.error as Error).message], [7, 'value-7', 3, 'poison 3'])
  t.false(letter.signal.aborted)
  t.is(cursor.position, 10)
})

test('a dead letter is in the other log with its key and its value as stored, durably, before the cursor passes it', async (t) => {
  const wal = await Wal.open<unknown>(temporaryDirectory(t), { codec: 'json' })
  const dead = await Wal.open<unknown>(temporaryDirectory(t), { codec: 'msgpack', fsync: 'os' })
  t.teardown(() => Promise.all([wal.close(), dead.close()]))
  await wal.append(Record.put('k1', { n: 1 }))
  await wal.append(Record.put('k2', [2]))
  await wal.append(Record.delete('k3'))
  await wal.append({ n: 4 })
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(
    () => {
      throw new Error('poison')
    },
    { follow: false, retries: 0, deadLetter: dead }
  )
  await consumer.done
  t.is(dead.durablePosition, 4)
  t.is(consumer.stats().dead, 4)
  const raw = await Wal.open(dead.dir, { fsync: 'os' })
  t.teardown(() => raw.close())
  t.deepEqual(
    (await collect(raw.readFrom('start'))).map(({ key, value, tombstone }) => [key?.toString(), value?.toString(), tombstone]),
    [
      ['k1', '{"n":1}', false],
      ['k2', '[2]', false],
      ['k3', undefined, true],
      [undefined, '{"n":4}', false],
    ]
  )
})

test('a full queue of the log for dead letters is waited for', async (t) => {
  const wal = await temporaryLog(t)
  const long = numbered(1, 50).map((value) => value.padEnd(200))
  await wal.appendBatch(long)
  const dead = await temporaryLog(t, { maxPendingBytes: 1024 })
  const cursor = await wal.cursor('a')
  const failing = () => {
    throw new Error('poison')
  }
  await cursor.consume(failing, { follow: false, retries: 0, concurrency: 50, deadLetter: dead }).done
  t.deepEqual((await values(dead.readFrom('start'))).sort(), long.toSorted())
})

test('with skipExpired expired records are passed over, and the cursor with them', async (t) => {
  const wal = await temporaryLog(t)
  for (let n = 1; n <= 6; n++) await wal.append(Record.put(`${n}`, 'v', n % 2 === 0 ? { expiresAt: 1000 } : {}))
  const cursor = await wal.cursor('a')
  t.deepEqual(await positions(cursor, { skipExpired: true }), [1, 3, 5])
  t.is(cursor.position, 6)
})

test('a signal stops the consumer like stop, also one that is aborted already', async (t) => {
  const wal = await filledLog(t, 10)
  const cursor = await wal.cursor('a')
  const controller = new AbortController()
  let handled = 0
  const handler = async () => {
    if (++handled === 3) controller.abort()
    await new Promise(setImmediate)
  }
  await cursor.consume(handler, { signal: controller.signal }).done
  t.deepEqual([handled, cursor.position], [3, 3])
  await cursor.consume(handler, { signal: controller.signal }).done
  t.is(handled, 3)
  await cursor.consume(handler, { follow: false }).done
  t.is(handled, 10)
})

test('Symbol.asyncDispose stops a consumer, all consumers of a cursor, and a reader', async (t) => {
  const wal = await filledLog(t, 10)
  const cursor = await wal.cursor('a')
  const handled = new Set<number>()
  const handler = ({ position }: WalRecord) => void handled.add(position)
  const consumer = cursor.consume(handler)
  await until(() => handled.size === 10)
  await consumer[Symbol.asyncDispose]()
  t.is(cursor.position, 10)

  const [one, two] = [cursor.consume(handler, { share: true }), cursor.consume(handler, { share: true })]
  await wal.append('x')
  await until(() => handled.size === 11)
  await cursor[Symbol.asyncDispose]()
  await Promise.all([one.done, two.done])
  t.is(cursor.position, 11)
  t.is((await wal.cursor('a')).position, 11, 'the cursor stays')

  const reader = wal.readFrom('start', { follow: true })
  await reader.next()
  await reader[Symbol.asyncDispose]()
  t.true((await reader.next()).done)
})

test('a consumer that nothing refers to goes on, and keeps the process alive until it is stopped', async (t) => {
  const script = `
    const { Wal } = await import(process.argv[1] + '/index.js')
    const start = async () => {
      const wal = await Wal.open(process.argv[2])
      const stop = new AbortController()
      ;(await wal.cursor('a')).consume(({ value }) => {
        console.log(String(value))
        if (String(value) === 'last') stop.abort()
      }, { signal: stop.signal })
    }
    await start()
    const other = await Wal.open(process.argv[2])
    for (const value of ['first', 'last']) {
      for (let turn = 0; turn < 5; turn++) {
        globalThis.gc()
        await new Promise((again) => setTimeout(again, 1))
      }
      await other.append(value)
    }`
  const { code, stdout, stderr } = await node(['--expose-gc', '--input-type=module', '-e', script, root, temporaryDirectory(t)])
  t.deepEqual([code, stdout.toString(), stderr], [0, 'first\nlast\n', ''])
})
