// A queue of jobs: appended durably, done at least once, eight at a time. A job that fails is tried
// again, and one that always fails is put aside in a log of its own. Two consumers, with a cursor
// each, both get every job.
//
//     node examples/queue.mjs [DIRECTORY]
//
// Run it again with the same directory, or kill it in between: it continues where it was.

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Wal } from '../index.js' // in your project: from 'forelog'

const dir = process.argv[2] ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))
const jobs = await Wal.open(path.join(dir, 'jobs'), { codec: 'json' })
const dead = await Wal.open(path.join(dir, 'dead'), { codec: 'json' })

// Stands for a service that is down now and then, and that never takes a negative amount.
const calls = new Map()
async function charge({ invoice, amount }, signal) {
  await setTimeout(Math.random() * 5, undefined, { signal })
  const call = (calls.get(invoice) ?? 0) + 1
  calls.set(invoice, call)
  if (amount < 0) throw new RangeError('negative amount')
  if (invoice % 10 === 0 && call === 1) throw new Error('503')
}

const billing = (await jobs.cursor('billing')).consume(({ value }, { signal }) => charge(value, signal), {
  concurrency: 8,
  retries: 2,
  backoff: { minMs: 5, maxMs: 50 },
  timeoutMs: 5000,
  deadLetter: dead,
})

// A total does not depend on the outside: in arrays, in order. What it has added up is in memory, so
// it begins at the first job each time.
let total = 0
await (await jobs.cursor('total')).rewind(0)
const adding = (await jobs.cursor('total')).consume(
  (records) => {
    for (const { value } of records) total += Math.max(0, value.amount)
  },
  { batch: 100 }
)

// SIGTERM: no more jobs are begun, those that are running get ten seconds, and the rest is for the
// next run.
process.once('SIGTERM', () => void Promise.all([billing.stop({ graceMs: 10_000 }), adding.stop()]))

// Resolved means durable: from here on the job is done, whatever happens.
for (let invoice = 1; invoice <= 200; invoice++) {
  await jobs.append({ invoice, amount: invoice % 50 === 0 ? -1 : 10 })
}

while (billing.stats().lag + adding.stats().lag > 0) await setTimeout(5)
await Promise.all([billing.stop(), adding.stop()])

const { handled, dead: failed, retries } = billing.stats()
console.log(`${handled} jobs done, ${failed} failed, ${retries} attempts more than needed`)
console.log(`total ${total}`)
for await (const { value } of dead.readFrom('start')) console.log('to look at:', JSON.stringify(value))
await jobs.close()
await dead.close()

if (process.argv[2] === undefined) await rm(dir, { recursive: true })
