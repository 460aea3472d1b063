import fs from 'node:fs'
import { join } from 'node:path'
import { KEY_BYTES, type Contestant, type Job } from '../lib/contract.js'
import { expect, inFlight, workload } from '../lib/loops.js'
import type { Meter } from '../lib/meter.js'
import { optional } from '../lib/optional.js'
import { service } from '../lib/service.js'

/** The part of lmdb that the bench uses. */
interface Database {
  put(position: number, record: Buffer): Promise<boolean>
  getRange(): Iterable<{ key: number; value: Buffer }>
  transaction<T>(action: () => T): Promise<T>
  close(): Promise<void>
}

interface Lmdb {
  open(options: Record<string, unknown>): Database
}

/**
 * lmdb is a map: the position is its key and the record, key and value joined before the clock starts, its value.
 * `overlappingSync: false` is its documented way to have a put resolve only once it is on the disk; `noSync` leaves
 * that to the operating system. The rest of the options is what made it fastest here.
 */
async function open(job: Job, durable: boolean): Promise<Database> {
  const lmdb = await optional<Lmdb>('lmdb')
  return lmdb.open({
    path: join(job.dir, 'log.mdb'),
    encoding: 'binary',
    keyEncoding: 'uint32',
    mapSize: 4 * 2 ** 30,
    noMemInit: true,
    // Three records of 1 KiB to a page of 4 KiB waste a quarter of it.
    ...(job.valueBytes >= 1024 ? { pageSize: 16384 } : {}),
    // Batching by turn costs throughput where a thousand callers wait anyway, and latency where few do. A service with many connections gains.
    ...(durable ? { overlappingSync: false, eventTurnBatching: job.kind === 'service' && job.window > 64 } : { noSync: true }),
  })
}

const durable = (job: Job): Promise<Database> => open(job, true)
const unsynced = (job: Job): Promise<Database> => open(job, false)

const joined = (meter: Meter): Buffer => Buffer.concat([meter.keys[0], meter.value])

async function one(db: Database, meter: Meter): Promise<void> {
  const record = joined(meter)
  for (let position = 1; meter.take(); position++) {
    const begun = meter.begin()
    await db.put(position, record)
    meter.end(begun)
  }
}

async function many(job: Job, db: Database, meter: Meter): Promise<void> {
  const record = joined(meter)
  let next = 1
  await inFlight(job, async () => {
    while (meter.take()) {
      const begun = meter.begin()
      const stored = await db.put(next++, record)
      expect(stored, 'lmdb refused a put')
      meter.end(begun)
    }
  })
}

/** lmdb queues without limit; a window of a thousand keeps its batches full and its queue short. */
async function written(job: Job, db: Database, meter: Meter): Promise<void> {
  const record = joined(meter)
  let pending: Promise<boolean> | undefined
  for (let position = 1; meter.take(); position++) {
    const promise = db.put(position, record)
    if (position % job.window !== 0) continue
    await pending
    pending = promise
    meter.checkClock(job.seconds)
  }
  await pending
  if (job.finalSync) syncFile(join(job.dir, 'log.mdb'))
}

/** Under `noSync` lmdb has no call that syncs once; its data and its meta pages are all in this one file. */
function syncFile(path: string): void {
  const fd = fs.openSync(path, 'r+')
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}

async function batches(job: Job, db: Database, meter: Meter): Promise<void> {
  const record = joined(meter)
  let position = 1
  while (meter.take(job.batch)) {
    const begun = meter.begin()
    await db.transaction(() => {
      for (let index = 0; index < job.batch; index++) void db.put(position++, record)
    })
    meter.end(begun)
  }
}

async function replay(job: Job, db: Database, meter: Meter): Promise<void> {
  let records = 0
  let bytes = 0
  for (const { key, value } of db.getRange()) {
    expect(key === ++records, 'a position is missing')
    bytes += value.length
  }
  expect(records === job.records && bytes === records * (KEY_BYTES + job.valueBytes), `replayed ${records} records, ${bytes} bytes`)
  meter.operations = records
}

/** Every put resolves once its transaction is on the disk. */
function putting(): (db: Database, body: Buffer) => Promise<number> {
  let next = 1
  return async (db, body) => {
    const position = next++
    expect(await db.put(position, body), 'lmdb refused a put')
    return position
  }
}

export default {
  workloads: {
    one: workload(durable, (_, db, meter) => one(db, meter)),
    inFlight: workload(durable, many),
    written: workload(unsynced, written),
    batches: workload(durable, batches),
    replay: workload(durable, replay),
    service: service(durable, putting),
  },
  prepare: async (job) => {
    await workload(unsynced, batches)(job)
  },
} satisfies Contestant
