// examples/services/queue.mjs, killed at random moments.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, type HandlerCall, type WalRecord } from '../index.js'
import { Queue } from '../examples/services/queue.mjs'
import { temporaryDirectory } from './helpers/directory.js'
import { random } from './helpers/kill/records.mjs'
import { has } from './helpers/needs.js'
import { live, seed } from './helpers/services.js'

const JOBS = 300
const KILLS = 7
const WORKERS = ['billing', 'mail']
const isPoison = (position: number): boolean => position % 50 === 0
const jobs = Array.from({ length: JOBS }, (_, i) => i + 1)

interface Letter {
  worker: string
  position: number
  error: string
  attempts: number
  job: unknown
}

async function listed<V>(values: AsyncIterable<V>): Promise<V[]> {
  const list: V[] = []
  for await (const value of values) list.push(value)
  return list
}

/** What the logs say between two runs. */
async function left(dir: string): Promise<{ committed: Map<string, number>; letters: Letter[] }> {
  const wal = await Wal.open(path.join(dir, 'jobs'))
  const dead = await Wal.open<Letter>(path.join(dir, 'dead'), { codec: 'json' })
  const committed = new Map(wal.cursors().map(({ name, position }) => [name, position]))
  const letters = (await listed(dead.readFrom('start'))).map(({ value }) => value!)
  await wal.close()
  await dead.close()
  return { committed, letters }
}

test('both workers get every job at least once, poison goes to the dead letters, and a killed worker goes on', async (t) => {
  if (!has(t, 'posix')) return
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const next = random(seed)
  const dir = temporaryDirectory(t)
  const handled = new Map(WORKERS.map((worker) => [worker, new Set<number>()]))
  let before = await left(dir)
  let kills = 0
  let again = 0
  const wrong: string[] = []
  for (let ended = false; !ended;) {
    const life = await live(t, 'queue', [dir, JOBS], kills < KILLS ? 1 + Math.floor(next() * 160) : Infinity)
    ended = !life.killed
    kills += life.killed ? 1 : 0
    for (const line of life.lines) {
      const [, worker, position] = /^(billing|mail) (\d+)$/.exec(line) ?? []
      if (worker === undefined) continue
      // What was committed is not delivered again.
      if (Number(position) <= (before.committed.get(worker) ?? 0)) wrong.push(`${line} again, after ${before.committed.get(worker)}`)
      if (handled.get(worker)!.has(Number(position))) again += 1
      handled.get(worker)!.add(Number(position))
    }
    before = await left(dir)
    for (const [worker, committed] of before.committed) {
      for (const position of jobs.slice(0, committed)) {
        const isDead = before.letters.some((letter) => letter.worker === worker && letter.position === position)
        if (!handled.get(worker)!.has(position) && !isDead) wrong.push(`${worker} skips ${position}`)
      }
    }
  }
  t.deepEqual(wrong, [])
  t.true(kills >= 3, `${kills} kills`)
  t.log(`${kills} kills, ${again} jobs handled again, ${before.letters.length} dead letters`)

  const { committed, letters } = before
  t.deepEqual(committed, new Map(WORKERS.map((worker) => [worker, JOBS])))
  for (const worker of WORKERS) {
    const done = jobs.filter((position) => !isPoison(position))
    t.deepEqual(
      [...handled.get(worker)!].sort((a, b) => a - b),
      done
    )
    const dead = letters.filter((letter) => letter.worker === worker)
    t.deepEqual(
      [...new Set(dead.map(({ position }) => position))].sort((a, b) => a - b),
      jobs.filter(isPoison)
    )
  }
  for (const { position, error, attempts, job } of letters) {
    t.deepEqual([error, attempts, job], [`RangeError: no ${position}, please`, 3, { n: position }])
  }
})

async function queueIn(t: ExecutionContext): Promise<{ dir: string; queue: Queue; letters: () => Promise<Letter[]> }> {
  const dir = temporaryDirectory(t)
  const queue = await Queue.open(dir)
  t.teardown(() => queue.close())
  return { dir, queue, letters: () => listed(queue.deadLetters() as AsyncIterable<Letter>) }
}

test('a job that always fails holds up no other job and no other worker', async (t) => {
  const { queue, letters } = await queueIn(t)
  const seen: number[] = []
  let release!: () => void
  const others = new Promise<void>((resolve) => (release = resolve))
  await queue.work('billing', async ({ position }: WalRecord, { attempt }: HandlerCall) => {
    if (position === 1) {
      // The second attempt waits for all the jobs after it.
      if (attempt === 2) await others
      throw new Error('never')
    }
    if (seen.push(position) === 49) release()
  })
  const mailed: number[] = []
  await queue.work('mail', ({ position }: WalRecord) => void mailed.push(position))
  for (let n = 1; n <= 50; n += 1) await queue.add({ n })
  await queue.idle()
  t.deepEqual(
    seen.toSorted((a, b) => a - b),
    jobs.slice(1, 50)
  )
  t.deepEqual(mailed, jobs.slice(0, 50))
  t.deepEqual(await letters(), [{ worker: 'billing', position: 1, error: 'Error: never', attempts: 3, job: { n: 1 } }])
})

test('bytes that are no job are a dead letter of each worker', async (t) => {
  const { dir, queue, letters } = await queueIn(t)
  const seen: unknown[] = []
  for (const worker of WORKERS) await queue.work(worker, ({ value }: WalRecord) => void seen.push(value))
  const plain = await Wal.open(path.join(dir, 'jobs'))
  await plain.append('no JSON')
  await plain.close()
  await queue.add({ n: 2 })
  await queue.idle()
  t.deepEqual(seen, [{ n: 2 }, { n: 2 }])
  const found = (await letters()).map(({ worker, position, attempts, job }) => [worker, position, attempts, job])
  t.deepEqual(
    found.sort(),
    WORKERS.map((worker) => [worker, 1, 0, 'no JSON'])
  )
})
