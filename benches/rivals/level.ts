import { join } from 'node:path'
import { KEY_BYTES, type Contestant, type Job } from '../lib/contract.js'
import { expect, inFlight, workload } from '../lib/loops.js'
import type { Meter } from '../lib/meter.js'
import { optional } from '../lib/optional.js'
import { Grouping } from './grouping.js'

/** The part of classic-level that the bench uses. */
interface WriteOptions {
  readonly sync: boolean
}

interface Batch {
  put(key: Buffer, value: Buffer): this
  write(options: WriteOptions): Promise<void>
}

interface Iterator extends AsyncIterable<[Buffer, Buffer]> {
  nextv(size: number): Promise<[Buffer, Buffer][]>
  close(): Promise<void>
}

interface Database {
  open(): Promise<void>
  put(key: Buffer, value: Buffer, options: WriteOptions): Promise<void>
  batch(): Batch
  iterator(options?: { highWaterMarkBytes?: number }): Iterator
  close(): Promise<void>
}

interface ClassicLevel {
  readonly ClassicLevel: new (path: string, options: { keyEncoding: 'buffer'; valueEncoding: 'buffer' }) => Database
}

const DURABLE = { sync: true }
const WRITTEN = { sync: false }

/** A map as well: the position, sorted as bytes, takes the place of the record's 16-byte key. */
async function open(job: Job): Promise<Database> {
  const { ClassicLevel } = await optional<ClassicLevel>('classic-level')
  const db = new ClassicLevel(join(job.dir, 'level'), { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  await db.open()
  return db
}

function positionKey(position: number): Buffer {
  const key = Buffer.alloc(KEY_BYTES)
  key.writeUInt32BE(position, KEY_BYTES - 4)
  return key
}

async function one(db: Database, meter: Meter): Promise<void> {
  for (let position = 1; meter.take(); position++) {
    const begun = meter.begin()
    await db.put(positionKey(position), meter.value, DURABLE)
    meter.end(begun)
  }
}

/** LevelDB groups concurrent writers, but only as many as libuv has threads: a batch per commit is far faster. */
async function many(job: Job, db: Database, meter: Meter): Promise<void> {
  const grouping = new Grouping<Buffer>(async (keys) => {
    const batch = db.batch()
    for (const key of keys) batch.put(key, meter.value)
    await batch.write(DURABLE)
  })
  let next = 1
  await inFlight(job, async () => {
    while (meter.take()) {
      const begun = meter.begin()
      await grouping.add(positionKey(next++))
      meter.end(begun)
    }
  })
}

function nextBatch(job: Job, db: Database, meter: Meter, first: number): Batch {
  const batch = db.batch()
  for (let index = 0; index < job.batch; index++) batch.put(positionKey(first + index), meter.value)
  return batch
}

async function batches(job: Job, db: Database, meter: Meter, options = DURABLE): Promise<void> {
  for (let position = 1; meter.take(job.batch); position += job.batch) {
    const begun = meter.begin()
    await nextBatch(job, db, meter, position).write(options)
    meter.end(begun)
  }
}

/** One batch is encoded while the one before is being written; a synced one at the end covers all before it. */
async function written(job: Job, db: Database, meter: Meter): Promise<void> {
  let pending: Promise<void> | undefined
  let position = 1
  for (; meter.take(job.batch); position += job.batch) {
    const batch = nextBatch(job, db, meter, position)
    await pending
    pending = batch.write(WRITTEN)
  }
  await pending
  if (job.finalSync) await db.put(positionKey(position), meter.value, DURABLE)
}

async function replay(job: Job, db: Database, meter: Meter): Promise<void> {
  let records = 0
  let bytes = 0
  for await (const [key, value] of db.iterator({ highWaterMarkBytes: 256 << 10 })) {
    records++
    bytes += key.length + value.length
  }
  finishReplay(job, meter, records, bytes)
}

async function replayArrays(job: Job, db: Database, meter: Meter): Promise<void> {
  const iterator = db.iterator({ highWaterMarkBytes: 1 << 20 })
  let records = 0
  let bytes = 0
  for (let entries = await iterator.nextv(job.batch); entries.length > 0; entries = await iterator.nextv(job.batch)) {
    for (const [key, value] of entries) bytes += key.length + value.length
    records += entries.length
  }
  await iterator.close()
  finishReplay(job, meter, records, bytes)
}

function finishReplay(job: Job, meter: Meter, records: number, bytes: number): void {
  expect(records === job.records && bytes === records * (KEY_BYTES + job.valueBytes), `replayed ${records} records, ${bytes} bytes`)
  meter.operations = records
}

export default {
  workloads: {
    one: workload(open, (_, db, meter) => one(db, meter)),
    inFlight: workload(open, many),
    written: workload(open, written),
    batches: workload(open, batches),
    replay: workload(open, replay),
    replayArrays: workload(open, replayArrays),
  },
  prepare: async (job) => {
    await workload(open, (job, db, meter) => batches(job, db, meter, WRITTEN))(job)
  },
} satisfies Contestant
