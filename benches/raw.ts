import fs from 'node:fs'
import { join } from 'node:path'
import { KEY_BYTES, type Contestant, type Job, type Outcome } from './lib/contract.js'
import { expect, inFlight, measured, workload } from './lib/loops.js'
import { KEY_MASK, type Meter } from './lib/meter.js'
import { service } from './lib/service.js'

/**
 * The limits that no log can beat, measured in the same run: the bytes of a row, in the same groups,
 * written and synced by bare system calls into a file of zeroes that is already on the disk (variant `disk`), or
 * the same loops with nothing in them (variant `harness`).
 */
const PAGE = 4096
const CHUNK = 1 << 20
/** Length, key length and value length: what framing cannot do without. */
const FRAMING = 8

class RawFile {
  readonly #fd: number
  readonly #size: number
  #offset = 0

  /** A file of zeroes, synced: overwriting blocks that exist is the fastest thing a disk can be asked for. */
  constructor(job: Job, bytes: number, zeroFill = true) {
    this.#size = Math.min(Math.ceil(bytes / CHUNK) * CHUNK, 512 << 20)
    this.#fd = fs.openSync(join(job.dir, 'raw'), 'w+')
    if (!zeroFill) return
    const zeroes = Buffer.alloc(CHUNK)
    for (let offset = 0; offset < this.#size; offset += CHUNK) fs.writeSync(this.#fd, zeroes, 0, CHUNK, offset)
    fs.fsyncSync(this.#fd)
  }

  /** Starts over at the end: only the device is being measured. */
  write(bytes: Buffer): void {
    if (this.#offset + bytes.length > this.#size) this.#offset = 0
    this.#offset += fs.writeSync(this.#fd, bytes, 0, bytes.length, this.#offset)
  }

  /** The next bytes of the file, from its beginning again at its end. */
  read(into: Buffer): void {
    if (this.#offset + into.length > this.#size) this.#offset = 0
    this.#offset += fs.readSync(this.#fd, into, 0, into.length, this.#offset)
  }

  sync(): void {
    fs.fdatasyncSync(this.#fd)
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}

const recordBytes = (job: Job): number => KEY_BYTES + job.valueBytes + FRAMING
const toPage = (bytes: number): number => Math.ceil(bytes / PAGE) * PAGE

/** `records` at a time: one write of their bytes, one sync. */
function groups(job: Job, records: number): Promise<Outcome> {
  const bytes = Buffer.alloc(toPage(records * recordBytes(job)), 1)
  const total = (job.records / records) * bytes.length
  return measured(
    job,
    () => new RawFile(job, total),
    async (file, meter) => {
      while (meter.take(records)) {
        const begun = meter.begin()
        file.write(bytes)
        file.sync()
        meter.end(begun)
        meter.checkClock(job.seconds)
      }
    }
  )
}

/** In a row without syncs, overwriting would measure only memory. The limit is what new pages cost the kernel. */
function sequential(job: Job): Promise<Outcome> {
  const records = Math.max(1, Math.floor(CHUNK / recordBytes(job)))
  const bytes = Buffer.alloc(records * recordBytes(job), 1)
  return measured(
    job,
    () => new RawFile(job, job.records * recordBytes(job), job.finalSync),
    async (file, meter) => {
      while (meter.take(records)) {
        file.write(bytes)
        meter.checkClock(job.seconds)
      }
      if (job.finalSync) file.sync()
    }
  )
}

/** As many bytes as a replay gives, from the page cache into one piece of memory, nothing verified. */
function reads(job: Job): Promise<Outcome> {
  const total = job.records * recordBytes(job)
  const bytes = Buffer.alloc(CHUNK)
  return measured(
    job,
    () => new RawFile(job, total),
    async (file, meter) => {
      for (let read = 0; read < total; read += bytes.length) file.read(bytes)
      meter.operations = job.records
    }
  )
}

const nothing = (): { close(): void } => ({ close: () => {} })

/** A service that stores nothing. */
function counting(): () => number {
  let position = 0
  return () => ++position
}

/** The loops of the in-flight rows. */
function loops(job: Job, append: () => Promise<unknown>): Promise<Outcome> {
  return measured(job, nothing, (_, meter) =>
    inFlight(job, async () => {
      while (meter.take()) {
        const begun = meter.begin()
        await append()
        meter.end(begun)
      }
    })
  )
}

/** The loops of the in-flight rows around an append that does nothing: one promise per turn, shared. */
function emptyAppends(job: Job): Promise<Outcome> {
  let turn: Promise<void> | undefined
  const append = (): Promise<void> =>
    (turn ??= new Promise((resolve) => {
      setImmediate(() => {
        turn = undefined
        resolve()
      })
    }))
  return loops(job, append)
}

/** The in-flight loops around an append that returns a promise of its own, as a log's does: all are settled once a turn. */
function emptyPromises(job: Job): Promise<Outcome> {
  let resolves: ((position: number) => void)[] = []
  let position = 0
  let resolve!: (position: number) => void
  const capture = (settle: (position: number) => void): void => void (resolve = settle)
  const settle = (): void => {
    const settled = resolves
    resolves = []
    for (let index = 0; index < settled.length; index++) settled[index](++position)
  }
  const append = (): Promise<number> => {
    const promise = new Promise<number>(capture)
    if (resolves.push(resolve) === 1) setImmediate(settle)
    return promise
  }
  return loops(job, append)
}

/** Awaited appends without a log: the copy, and one promise per record, made, resolved and awaited a window later. */
async function emptyWrites(job: Job, meter: Meter): Promise<void> {
  const chunk = new Uint8Array(CHUNK)
  const record = recordBytes(job)
  const window = new Array<Promise<void>>(job.window)
  for (let index = 0, offset = 0; meter.take(); index++) {
    const slot = index % job.window
    await window[slot]
    if (offset + record > CHUNK) offset = 0
    chunk.set(meter.keys[index & KEY_MASK], offset)
    chunk.set(meter.value, offset + KEY_BYTES)
    offset += record
    window[slot] = new Promise((resolve) => resolve())
    if (slot === 0) meter.checkClock(job.seconds)
  }
}

interface View {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** An iterator over memory: two views per record, nothing read, nothing verified. */
class Views implements AsyncIterableIterator<View> {
  readonly #memory: ArrayBuffer
  readonly #valueBytes: number
  #left: number

  constructor(job: Job) {
    this.#memory = new ArrayBuffer(KEY_BYTES + job.valueBytes)
    this.#valueBytes = job.valueBytes
    this.#left = job.records
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<View, undefined>> {
    return Promise.resolve(this.#left > 0 ? { done: false, value: this.view() } : { done: true, value: undefined })
  }

  get left(): number {
    return this.#left
  }

  view(): View {
    this.#left--
    return { key: new Uint8Array(this.#memory, 0, KEY_BYTES), value: new Uint8Array(this.#memory, KEY_BYTES, this.#valueBytes) }
  }

  close(): void {}
}

async function iterate(job: Job, views: Views, meter: Meter): Promise<void> {
  let bytes = 0
  for await (const { key, value } of views) bytes += key.length + value.length
  finish(job, meter, bytes)
}

async function iterateArrays(job: Job, views: Views, meter: Meter): Promise<void> {
  let bytes = 0
  while (views.left > 0) {
    const records: View[] = []
    for (let count = Math.min(job.batch, views.left); count > 0; count--) records.push(views.view())
    for (const { key, value } of await Promise.resolve(records)) bytes += key.length + value.length
  }
  finish(job, meter, bytes)
}

function finish(job: Job, meter: Meter, bytes: number): void {
  expect(bytes === job.records * (KEY_BYTES + job.valueBytes), `${bytes} bytes`)
  meter.operations = job.records
}

export default {
  workloads: {
    one: (job) => groups(job, 1),
    inFlight: (job) =>
      job.variant === 'harness' ? emptyAppends(job) : job.variant === 'promise' ? emptyPromises(job) : groups(job, job.window),
    written: (job) => (job.variant === 'harness' ? workload(nothing, (job, _, meter) => emptyWrites(job, meter))(job) : sequential(job)),
    batches: (job) => groups(job, job.batch),
    replay: (job) => (job.variant === 'disk' ? reads(job) : workload((job) => new Views(job), iterate)(job)),
    replayArrays: workload((job) => new Views(job), iterateArrays),
    service: service(nothing, counting),
  },
} satisfies Contestant
