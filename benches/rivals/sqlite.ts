import { join } from 'node:path'
import { KEY_BYTES, type Contestant, type Job } from '../lib/contract.js'
import { expect, inFlight, workload } from '../lib/loops.js'
import type { Meter } from '../lib/meter.js'
import { optionalDefault } from '../lib/optional.js'
import { service } from '../lib/service.js'
import { Grouping } from './grouping.js'

/** The part of better-sqlite3 that the bench uses. */
interface Statement {
  run(record: Buffer): { lastInsertRowid: number }
  iterate(): IterableIterator<Row>
  all(after: number, limit: number): Row[]
}

interface Row {
  readonly position: number
  readonly record: Buffer
}

interface Database {
  pragma(text: string): unknown
  exec(sql: string): unknown
  prepare(sql: string): Statement
  transaction<A extends unknown[]>(action: (...args: A) => void): (...args: A) => void
  close(): unknown
}

type Sqlite = new (path: string) => Database

class SqliteLog {
  readonly #db: Database
  readonly #insert: Statement

  constructor(db: Database) {
    this.#db = db
    this.#insert = db.prepare('INSERT INTO log (record) VALUES (?)')
  }

  insert(record: Buffer): number {
    return this.#insert.run(record).lastInsertRowid
  }

  inTransaction<A extends unknown[]>(action: (...args: A) => void): (...args: A) => void {
    return this.#db.transaction(action)
  }

  prepare(sql: string): Statement {
    return this.#db.prepare(sql)
  }

  /** A checkpoint syncs only if it has something to copy, so that one more commit comes before it. */
  sync(): void {
    this.#db.pragma('synchronous = FULL')
    this.#insert.run(Buffer.alloc(0))
    this.#db.pragma('wal_checkpoint(TRUNCATE)')
  }

  close(): void {
    this.#db.close()
  }
}

/** The record, key and value joined before the clock starts, is one column; the position is the row id. */
async function open(job: Job, synchronous: 'FULL' | 'OFF'): Promise<SqliteLog> {
  const Sqlite = await optionalDefault<Sqlite>('better-sqlite3')
  const db = new Sqlite(join(job.dir, 'log.sqlite'))
  db.pragma('journal_mode = WAL')
  db.pragma(`synchronous = ${synchronous}`)
  db.exec('CREATE TABLE IF NOT EXISTS log (position INTEGER PRIMARY KEY, record BLOB NOT NULL)')
  return new SqliteLog(db)
}

const durable = (job: Job): Promise<SqliteLog> => open(job, 'FULL')
const unsynced = (job: Job): Promise<SqliteLog> => open(job, 'OFF')
const joined = (meter: Meter): Buffer => Buffer.concat([meter.keys[0], meter.value])

/** Synchronous, as the package is: the event loop is blocked while the disk syncs. */
async function one(log: SqliteLog, meter: Meter): Promise<void> {
  const record = joined(meter)
  while (meter.take()) {
    const begun = meter.begin()
    log.insert(record)
    meter.end(begun)
    if (meter.operations % 1000 === 0) await new Promise(setImmediate)
  }
}

async function many(job: Job, log: SqliteLog, meter: Meter): Promise<void> {
  const record = joined(meter)
  let last = 0
  const insertAll = log.inTransaction((records: readonly Buffer[]) => {
    for (const each of records) last = log.insert(each)
  })
  const grouping = new Grouping<Buffer>(async (records) => insertAll(records))
  await inFlight(job, async () => {
    while (meter.take()) {
      const begun = meter.begin()
      await grouping.add(record)
      meter.end(begun)
    }
  })
  expect(last === meter.operations, 'positions do not add up')
}

async function written(job: Job, log: SqliteLog, meter: Meter): Promise<void> {
  insertBatches(job, log, meter, () => meter.checkClock(job.seconds))
  if (job.finalSync) log.sync()
}

async function batches(job: Job, log: SqliteLog, meter: Meter): Promise<void> {
  insertBatches(job, log, meter, () => meter.checkClock(job.seconds))
}

function insertBatches(job: Job, log: SqliteLog, meter: Meter, afterEach: () => void): void {
  const record = joined(meter)
  const insertBatch = log.inTransaction(() => {
    for (let index = 0; index < job.batch; index++) log.insert(record)
  })
  while (meter.take(job.batch)) {
    const begun = meter.begin()
    insertBatch()
    meter.end(begun)
    afterEach()
  }
}

async function replay(job: Job, log: SqliteLog, meter: Meter): Promise<void> {
  let records = 0
  let bytes = 0
  for (const row of log.prepare('SELECT position, record FROM log ORDER BY position').iterate()) {
    expect(row.position === ++records, 'a position is missing')
    bytes += row.record.length
  }
  finishReplay(job, meter, records, bytes)
}

async function replayArrays(job: Job, log: SqliteLog, meter: Meter): Promise<void> {
  const page = log.prepare('SELECT position, record FROM log WHERE position > ? ORDER BY position LIMIT ?')
  let records = 0
  let bytes = 0
  for (let rows = page.all(0, job.batch); rows.length > 0; rows = page.all(records, job.batch)) {
    for (const row of rows) bytes += row.record.length
    records += rows.length
  }
  finishReplay(job, meter, records, bytes)
}

function finishReplay(job: Job, meter: Meter, records: number, bytes: number): void {
  expect(records === job.records && bytes === records * (KEY_BYTES + job.valueBytes), `replayed ${records} records, ${bytes} bytes`)
  meter.operations = records
}

/** One transaction for all requests of a turn. */
function putting(_job: Job, log: SqliteLog): (log: SqliteLog, body: Buffer) => Promise<number> {
  const insertAll = log.inTransaction((requests: { body: Buffer; position: number }[]) => {
    for (const request of requests) request.position = log.insert(request.body)
  })
  const grouping = new Grouping<{ body: Buffer; position: number }>(async (requests) => insertAll(requests))
  return async (_log, body) => {
    const request = { body, position: 0 }
    await grouping.add(request)
    return request.position
  }
}

export default {
  workloads: {
    one: workload(durable, (_, log, meter) => one(log, meter)),
    inFlight: workload(durable, many),
    written: workload(unsynced, written),
    batches: workload(durable, batches),
    replay: workload(durable, replay),
    replayArrays: workload(durable, replayArrays),
    service: service(durable, putting),
  },
  prepare: async (job) => {
    await workload(unsynced, batches)(job)
  },
} satisfies Contestant
