import { join } from 'node:path'
import { KEY_BYTES, Unavailable, type Contestant, type Job } from './lib/contract.js'
import type { AppendableBytes, Forelog, Wal } from './lib/forelog.js'
import { expect, inFlight, workload } from './lib/loops.js'
import { KEY_MASK, type Meter } from './lib/meter.js'
import { optional } from './lib/optional.js'
import { service } from './lib/service.js'

/** The log and what makes its records: everything as a user gets it, with no option but `fsync`. */
interface Store {
  readonly wal: Wal
  readonly put: Forelog['Record']['put']
  close(): Promise<void>
}

async function open(job: Job, fsync: 'always' | 'os'): Promise<Store> {
  const { Wal, Record } = await load(job.entry)
  const wal = await Wal.open(join(job.dir, 'wal'), { fsync })
  return { wal, put: (key, value) => Record.put(key, value), close: () => wal.close() }
}

async function load(entry: string): Promise<Forelog> {
  try {
    return await optional<Forelog>(entry)
  } catch (error) {
    throw new Unavailable(`not built (${(error as Error).message})`)
  }
}

const isRecycled = ({ variant }: Job): boolean => variant.endsWith('recycled')
const durable = (job: Job): Promise<Store> => (isRecycled(job) ? recycled(job) : open(job, 'always'))
const unsynced = (job: Job): Promise<Store> => open(job, 'os')

/**
 * A log that has been in use and was truncated: its segments go on in files that were written before, like the file of
 * zeroes that the JavaScript log is given. `truncated` keeps it so as it grows.
 */
async function recycled(job: Job): Promise<Store> {
  const store = await open(job, 'always')
  const { wal, put } = store
  const batch = Array.from({ length: 16 }, () => put(Buffer.alloc(KEY_BYTES), Buffer.alloc(64 << 10, 1)))
  const until = async (rolls: number): Promise<void> => {
    while (wal.stats().rolls < rolls) await wal.appendBatch(batch)
  }
  await until(3)
  await wal.truncateBefore(wal.nextPosition)
  await until(4)
  await wal.truncateBefore(wal.nextPosition)
  return store
}

/** Truncates all but what was last appended, again and again, when `recycled` began it. */
function truncated(job: Job, { wal }: Store): (position: number) => void {
  if (!isRecycled(job)) return () => {}
  const every = Math.ceil((16 << 20) / job.valueBytes)
  let next = wal.nextPosition + every
  return (position) => {
    if (position < next) return
    next = position + every
    // If a truncation fails, `close` reports it.
    void wal.truncateBefore(position)
  }
}

async function one(job: Job, store: Store, meter: Meter): Promise<void> {
  const { wal, put } = store
  const first = wal.nextPosition
  const truncate = truncated(job, store)
  for (let index = 0; meter.take(); index++) {
    const begun = meter.begin()
    const position = await wal.append(put(meter.keys[index & KEY_MASK], meter.value))
    meter.end(begun)
    expect(position === first + index, `position ${position}, expected ${first + index}`)
    truncate(position)
  }
}

async function many(job: Job, store: Store, meter: Meter): Promise<void> {
  const { wal, put } = store
  const first = wal.nextPosition
  const truncate = truncated(job, store)
  let acknowledged = 0
  await inFlight(job, async (loop) => {
    let last = 0
    for (let index = loop; meter.take(); index++) {
      const begun = meter.begin()
      const position = await wal.append(put(meter.keys[index & KEY_MASK], meter.value))
      meter.end(begun)
      expect(position > last, 'positions go backwards')
      last = position
      acknowledged += position - first
      truncate(position)
    }
  })
  // Every position from the first on was given out once and acknowledged.
  expect(acknowledged === (meter.operations * (meter.operations - 1)) / 2, 'positions do not add up')
}

type Acknowledged = (position: number) => Promise<unknown>

/** Builds before it have no `acknowledged`, and take no part. */
function acknowledgedOf(wal: object): Acknowledged {
  const { acknowledged } = wal as { acknowledged?: Acknowledged }
  if (acknowledged === undefined) throw new Unavailable('this build has no acknowledged()')
  return acknowledged.bind(wal)
}

/** As {@link many}, with one promise for all records of a commit. */
async function manyEnqueued(job: Job, store: Store, meter: Meter): Promise<void> {
  const { wal, put } = store
  const acknowledged = acknowledgedOf(wal)
  const first = wal.nextPosition
  const truncate = truncated(job, store)
  let sum = 0
  await inFlight(job, async (loop) => {
    let last = 0
    for (let index = loop; meter.take(); index++) {
      const begun = meter.begin()
      const position = wal.enqueue(put(meter.keys[index & KEY_MASK], meter.value))
      await acknowledged(position)
      meter.end(begun)
      expect(position > last, 'positions go backwards')
      last = position
      sum += position - first
      truncate(position)
    }
  })
  expect(sum === (meter.operations * (meter.operations - 1)) / 2, 'positions do not add up')
}

/** Every append is awaited, `job.window` later: the way to ingest when each record's fate matters. */
async function writtenAwaited(job: Job, { wal, put }: Store, meter: Meter): Promise<void> {
  const window = new Array<Promise<number>>(job.window)
  let index = 0
  for (; meter.take(); index++) {
    const slot = index % job.window
    if (index >= job.window) {
      const position = await window[slot]
      expect(position === index - job.window + 1, 'a position is missing')
    }
    window[slot] = wal.append(put(meter.keys[index & KEY_MASK], meter.value))
    if (slot === 0) meter.checkClock(job.seconds)
  }
  await Promise.all(window)
  if (job.finalSync) await wal.sync()
}

/** No promise per record; `drain` keeps the memory bounded and `sync` at the end hears of any failure. */
async function writtenEnqueued(job: Job, { wal, put }: Store, meter: Meter): Promise<void> {
  const recordsPerDrain = Math.max(1, Math.floor((256 << 10) / job.valueBytes))
  for (let index = 0; meter.take(); index++) {
    const position = wal.enqueue(put(meter.keys[index & KEY_MASK], meter.value))
    expect(position === index + 1, 'a position is missing')
    if (position % recordsPerDrain !== 0) continue
    await wal.drain()
    meter.checkClock(job.seconds)
  }
  // Without a final fsync the run still ends when everything is written: the last append is acknowledged then.
  await (job.finalSync ? wal.sync() : wal.append(put(meter.keys[0], meter.value)))
}

async function batches(job: Job, store: Store, meter: Meter): Promise<void> {
  const { wal, put } = store
  const truncate = truncated(job, store)
  for (let first = wal.nextPosition; meter.take(job.batch); first += job.batch) {
    const begun = meter.begin()
    const records: AppendableBytes[] = []
    for (let index = 0; index < job.batch; index++) records.push(put(meter.keys[index & KEY_MASK], meter.value))
    const range = await wal.appendBatch(records)
    meter.end(begun)
    expect(range.first === first && range.last === first + job.batch - 1, 'a position is missing')
    truncate(range.first)
  }
}

async function replay(job: Job, { wal }: Store, meter: Meter): Promise<void> {
  let records = 0
  let bytes = 0
  for await (const { position, key, value } of wal.readFrom('start')) {
    expect(position === ++records, 'a position is missing')
    bytes += key!.length + value!.length
  }
  finishReplay(job, meter, records, bytes)
}

async function replayArrays(job: Job, { wal }: Store, meter: Meter): Promise<void> {
  let records = 0
  let bytes = 0
  for await (const batch of wal.readFrom('start').batches()) {
    for (const { key, value } of batch) bytes += key!.length + value!.length
    records += batch.length
  }
  finishReplay(job, meter, records, bytes)
}

function finishReplay(job: Job, meter: Meter, records: number, bytes: number): void {
  expect(records === job.records && bytes === records * (KEY_BYTES + job.valueBytes), `replayed ${records} records, ${bytes} bytes`)
  meter.operations = records
}

export default {
  workloads: {
    one: workload(durable, one),
    inFlight: workload(durable, (job, store, meter) => (job.variant.startsWith('acknowledged') ? manyEnqueued : many)(job, store, meter)),
    written: workload(unsynced, (job, store, meter) => (job.variant === 'enqueue' ? writtenEnqueued : writtenAwaited)(job, store, meter)),
    batches: workload(durable, batches),
    replay: workload(unsynced, replay),
    replayArrays: workload(unsynced, replayArrays),
    service: service(
      durable,
      () =>
        ({ wal }, body) =>
          wal.append(body)
    ),
  },
  prepare: async (job) => {
    await workload(unsynced, batches)(job)
  },
} satisfies Contestant
