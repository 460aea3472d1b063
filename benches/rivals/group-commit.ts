import { join } from 'node:path'
import type { Contestant, Job } from '../lib/contract.js'
import { expect, inFlight, workload } from '../lib/loops.js'
import { KEY_MASK, type Meter } from '../lib/meter.js'
import { service } from '../lib/service.js'
import { GroupCommitLog, type LogOptions } from './group-commit/log.js'
import { GroupCommitReader } from './group-commit/reader.js'

/**
 * The strongest rival: a group commit written for this bench, without a package, at the same durability. Variant
 * `direct` is the same code with direct I/O, `fdatasync` with a write and a sync, one group after the other, `growing` without a file
 * prepared beforehand. With `each` in front, every record has a promise of its own, as with our `append`, instead of one for its group.
 * It has no segments, no recovery and no reader beside the writer.
 */
/** A service commits so often that groups of direct I/O, which are padded to pages, take many times their bytes. */
const SERVICE_BYTES = 256 << 20
const NO_KEY = new Uint8Array(0)
const RECORD_OVERHEAD = 64 // more than header, key and padding: the prepared file is never too small

function open(job: Job, sync: LogOptions['sync']): GroupCommitLog {
  const bytes = Math.min(job.records * (job.valueBytes + RECORD_OVERHEAD), 1 << 30)
  const writeBack = job.finalSync
  const prepared = job.kind === 'service' ? SERVICE_BYTES : job.window === 1 && job.batch === 1 ? job.records * 4096 : bytes
  return new GroupCommitLog(join(job.dir, 'log'), {
    sync,
    writeBack,
    prepareBytes: job.variant.endsWith('growing') ? 0 : prepared,
  })
}

function durable(job: Job): GroupCommitLog {
  const how = job.variant.replace(/^each-?/, '')
  return open(job, how === 'direct' || how === 'fdatasync' ? how : 'dsync')
}

const unsynced = (job: Job): GroupCommitLog => open(job, 'none')

async function one(log: GroupCommitLog, meter: Meter): Promise<void> {
  for (let index = 0; meter.take(); index++) {
    const begun = meter.begin()
    await log.append(meter.keys[index & KEY_MASK], meter.value)
    meter.end(begun)
  }
}

/** As {@link many}, with a promise for each record. */
async function manyEach(job: Job, log: GroupCommitLog, meter: Meter): Promise<void> {
  let acknowledged = 0
  await inFlight(job, async (loop) => {
    for (let index = loop; meter.take(); index++) {
      const begun = meter.begin()
      const position = await log.appendOne(meter.keys[index & KEY_MASK], meter.value)
      acknowledged += position
      meter.end(begun)
    }
  })
  expectAll(acknowledged, meter)
}

async function many(job: Job, log: GroupCommitLog, meter: Meter): Promise<void> {
  let acknowledged = 0
  await inFlight(job, async (loop) => {
    for (let index = loop; meter.take(); index++) {
      const begun = meter.begin()
      const promise = log.append(meter.keys[index & KEY_MASK], meter.value)
      const position = log.position
      await promise
      acknowledged += position
      meter.end(begun)
    }
  })
  expectAll(acknowledged, meter)
}

/** Every position from 1 on was given out once and acknowledged. */
function expectAll(acknowledged: number, meter: Meter): void {
  expect(acknowledged === (meter.operations * (meter.operations + 1)) / 2, 'positions do not add up')
}

async function written(job: Job, log: GroupCommitLog, meter: Meter): Promise<void> {
  for (let index = 0; meter.take(); index++) {
    void log.append(meter.keys[index & KEY_MASK], meter.value)
    if (log.saturated) {
      await log.ready()
      meter.checkClock(job.seconds)
    }
  }
  await (job.finalSync ? log.sync() : log.drain())
}

async function batches(job: Job, log: GroupCommitLog, meter: Meter): Promise<void> {
  const keys = Array.from({ length: job.batch }, (_, index) => meter.keys[index & KEY_MASK])
  const values = keys.map(() => meter.value)
  while (meter.take(job.batch)) {
    const begun = meter.begin()
    await log.appendBatch(keys, values)
    meter.end(begun)
  }
}

async function replay(job: Job, reader: GroupCommitReader, meter: Meter): Promise<void> {
  let bytes = 0
  let last = 0
  for await (const record of reader) {
    bytes += record.key.length + record.value.length
    last = record.position
  }
  finishReplay(job, meter, last, bytes)
}

async function replayArrays(job: Job, reader: GroupCommitReader, meter: Meter): Promise<void> {
  let bytes = 0
  let last = 0
  for await (const records of reader.batches(job.batch)) {
    for (let index = 0; index < records.length; index++) bytes += records[index].key.length + records[index].value.length
    last = records[records.length - 1].position
  }
  finishReplay(job, meter, last, bytes)
}

function finishReplay(job: Job, meter: Meter, last: number, bytes: number): void {
  expect(last === job.records && bytes === last * (meter.keys[0].length + job.valueBytes), `replayed up to ${last}, ${bytes} bytes`)
  meter.operations = last
}

/** Body and promise as in `many`. */
async function put(log: GroupCommitLog, body: Buffer): Promise<number> {
  const promise = log.append(NO_KEY, body)
  const { position } = log
  await promise
  return position
}

const openReader = (job: Job): GroupCommitReader => new GroupCommitReader(join(job.dir, 'log'))

export default {
  workloads: {
    one: workload(durable, (_, log, meter) => one(log, meter)),
    inFlight: workload(durable, (job, log, meter) => (job.variant.startsWith('each') ? manyEach : many)(job, log, meter)),
    written: workload(unsynced, written),
    batches: workload(durable, batches),
    replay: workload(openReader, replay),
    replayArrays: workload(openReader, replayArrays),
    service: service(durable, () => put),
  },
  prepare: async (job) => {
    await workload(unsynced, batches)(job)
  },
} satisfies Contestant
