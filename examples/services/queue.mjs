// A queue of jobs for two workers. Both get every job, each with its own position, its own attempts
// and its own dead letters. Eight jobs of a worker run at the same time, in any order.
//
//     node examples/services/queue.mjs [DIRECTORY [JOBS]]
//
// It adds jobs up to that number, 100 unless you say more, and ends when all are done. Kill it and
// run it again with the same directory: it continues where it was.

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Wal } from '../../index.js' // in your project: from 'forelog'

export class Queue {
  #jobs
  #dead
  #workers = []

  static async open(dir) {
    const queue = new Queue()
    queue.#jobs = await Wal.open(path.join(dir, 'jobs'), { codec: 'json' })
    queue.#dead = await Wal.open(path.join(dir, 'dead'), { codec: 'json' })
    return queue
  }

  /** Number of jobs ever added. Positions of jobs go from 1 to this. */
  get added() {
    return this.#jobs.nextPosition - 1
  }

  add(job) {
    return this.#jobs.append(job)
  }

  /** Starts a worker. A job that fails three times is put aside with the reason, and the others go on. */
  async work(name, handler) {
    const deadLetter = ({ position, value }, { error, attempts, undecodable }) =>
      this.#dead.append({ worker: name, position, error: String(error), attempts, job: undecodable ? String(value) : value })
    const options = { concurrency: 8, retries: 2, backoff: { minMs: 5, maxMs: 50 }, timeoutMs: 10_000, deadLetter }
    const worker = (await this.#jobs.cursor(name)).consume(handler, options)
    this.#workers.push(worker)
    return worker
  }

  /** Resolves when every worker is done with every job that was added. */
  async idle() {
    while (this.#workers.some((worker) => worker.stats().lag > 0)) await setTimeout(5)
  }

  async *deadLetters() {
    for await (const { value } of this.#dead.readFrom('start')) yield value
  }

  async close() {
    await Promise.all(this.#workers.map((worker) => worker.stop({ graceMs: 5000 })))
    await this.#jobs.close()
    await this.#dead.close()
  }
}

/** Stands for the work: it takes a moment, and no attempt at a job that is a multiple of 50 succeeds. */
const workOf =
  (name) =>
  async ({ position, value }, { signal }) => {
    await setTimeout(Math.random() * 3, undefined, { signal })
    if (value.n % 50 === 0) throw new RangeError(`no ${value.n}, please`)
    console.log(`${name} ${position}`)
  }

async function main(given, jobs = '100') {
  const dir = given ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))
  const queue = await Queue.open(dir)
  for (const name of ['billing', 'mail']) await queue.work(name, workOf(name))
  while (queue.added < Number(jobs)) await queue.add({ n: queue.added + 1 })
  await queue.idle()
  for await (const letter of queue.deadLetters()) console.log(`dead ${JSON.stringify(letter)}`)
  await queue.close()
  if (given === undefined) await rm(dir, { recursive: true })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(...process.argv.slice(2))
