import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import type { Forelog, Wal } from '../lib/forelog.js'
import { peakRss } from '../lib/meter.js'
import type { Point, Task } from './curves.js'

/** Records acknowledged between two moments, in milliseconds of a clock that all threads share. */
interface Span {
  readonly from: number
  readonly to: number
  readonly records: number
}

const WARM_UP = 0.25
/** No point appends more, however fast the disk is. */
const MOST_BYTES = 1 << 30
const IN_FLIGHT = 1000
const OPENED_AT_ONCE = 64

/** Appends until the time or the bytes are used up; the first quarter of either does not count. */
class Run {
  acknowledged = 0
  #left: number
  #over = false
  readonly #value: Buffer
  readonly #timers: NodeJS.Timeout[]
  readonly #mostRecords: number
  #began: { at: number; acknowledged: number } | undefined
  #ended: { at: number; acknowledged: number } | undefined

  constructor(valueBytes: number, seconds: number) {
    this.#value = Buffer.alloc(valueBytes, 'v')
    this.#mostRecords = this.#left = Math.floor(MOST_BYTES / valueBytes)
    this.#timers = [setTimeout(() => this.#begin(), seconds * WARM_UP * 1000), setTimeout(() => this.#end(), seconds * 1000)]
  }

  async through(wal: Wal, inFlight: number): Promise<void> {
    await Promise.all(Array.from({ length: inFlight }, () => this.#loop(wal)))
  }

  async #loop(wal: Wal): Promise<void> {
    while (!this.#over && this.#left-- > 0) {
      await wal.append(this.#value)
      this.acknowledged++
      if (this.#began === undefined && this.acknowledged > this.#mostRecords * WARM_UP) this.#begin()
    }
  }

  #begin(): void {
    this.#began ??= this.#now()
  }

  #end(): void {
    this.#over = true
    this.#ended = this.#now()
  }

  /** Returns the counted span. Call it when all appends have settled. */
  span(): Span {
    this.#timers.forEach(clearTimeout)
    const [began, ended] = [this.#began, this.#ended ?? this.#now()]
    if (began === undefined || ended.acknowledged <= began.acknowledged) throw new Error('nothing was acknowledged after the warm-up')
    return { from: began.at, to: ended.at, records: ended.acknowledged - began.acknowledged }
  }

  rate(): number {
    const { from, to, records } = this.span()
    return records / ((to - from) / 1000)
  }

  #now(): { at: number; acknowledged: number } {
    return { at: performance.timeOrigin + performance.now(), acknowledged: this.acknowledged }
  }
}

async function one({ Wal }: Forelog, { dir, seconds }: Task, valueBytes: number, inFlight: number): Promise<Point> {
  const began = performance.now()
  const wal = await Wal.open(join(dir, 'wal'), { fsync: 'always' })
  const opening = performance.now() - began
  const run = new Run(valueBytes, seconds)
  await run.through(wal, inFlight)
  const rate = run.rate()
  await wal.close()
  return { rate, rssMiB: peakRss() / 1024, beside: { 'ms to open': opening } }
}

async function record(forelog: Forelog, task: Task): Promise<Point> {
  const inFlight = Math.min(IN_FLIGHT, Math.max(4, Math.floor((32 << 20) / task.x)))
  const { rate, ...rest } = await one(forelog, task, task.x, inFlight)
  return { ...rest, rate: (rate * task.x) / 1e6, beside: { 'records/s': rate } }
}

async function logs({ Wal }: Forelog, { dir, x, seconds }: Task): Promise<Point> {
  const began = performance.now()
  const opened: Wal[] = []
  while (opened.length < x) {
    const names = Array.from({ length: Math.min(OPENED_AT_ONCE, x - opened.length) }, (_, index) => `wal-${opened.length + index}`)
    opened.push(...(await Promise.all(names.map((name) => Wal.open(join(dir, name), { fsync: 'always', segmentBytes: 1 << 20 })))))
  }
  const opening = performance.now() - began
  const run = new Run(100, seconds)
  await Promise.all(opened.map((wal) => run.through(wal, Math.max(1, Math.floor(IN_FLIGHT / x)))))
  const rate = run.rate()
  await Promise.all(opened.map((wal) => wal.close()))
  return { rate, rssMiB: peakRss() / 1024, beside: { 'ms to open': opening } }
}

async function readers({ Wal }: Forelog, { dir, x, seconds }: Task): Promise<Point> {
  const wal = await Wal.open(join(dir, 'wal'), { fsync: 'always' })
  const stop = new AbortController()
  let read = 0
  const follow = async (): Promise<void> => {
    try {
      for await (const batch of wal.readFrom('start', { follow: true, signal: stop.signal }).batches()) read += batch.length
    } catch (error) {
      if ((error as Error).name !== 'AbortError') throw error
    }
  }
  const following = Array.from({ length: x }, follow)
  const began = performance.now()
  const run = new Run(100, seconds)
  await run.through(wal, IN_FLIGHT)
  const readRate = read / ((performance.now() - began) / 1000)
  const rate = run.rate()
  stop.abort()
  await Promise.all(following)
  await wal.close()
  return { rate, rssMiB: peakRss() / 1024, beside: x === 0 ? undefined : { 'records read/s, all readers': readRate } }
}

/** All workers open the log first and start on a message. The time runs from the first start to the last end. */
async function workers(task: Task): Promise<Point> {
  const all = Array.from({ length: task.x }, () => new Worker(new URL(import.meta.url), { workerData: task }))
  const heard = (worker: Worker): Promise<unknown> => once(worker, 'message').then(([message]) => message as unknown)
  await Promise.all(all.map(heard))
  for (const worker of all) worker.postMessage('go')
  const spans = (await Promise.all(all.map(heard))) as Span[]
  const rssMiB = peakRss() / 1024
  await Promise.all(all.map((worker) => worker.terminate()))
  const seconds = (Math.max(...spans.map(({ to }) => to)) - Math.min(...spans.map(({ from }) => from))) / 1000
  return { rate: spans.reduce((sum, { records }) => sum + records, 0) / seconds, rssMiB }
}

async function worker({ Wal }: Forelog, { dir, seconds }: Task): Promise<void> {
  const port = parentPort!
  const wal = await Wal.open(join(dir, 'wal'), { fsync: 'always' })
  port.postMessage('ready')
  await once(port, 'message')
  const run = new Run(100, seconds)
  await run.through(wal, IN_FLIGHT)
  port.postMessage(run.span())
  await wal.close()
}

async function point(forelog: Forelog, task: Task): Promise<Point> {
  mkdirSync(task.dir, { recursive: true })
  switch (task.name) {
    case 'record':
      return record(forelog, task)
    case 'in-flight':
      return one(forelog, task, 100, task.x)
    case 'logs':
      return logs(forelog, task)
    case 'readers':
      return readers(forelog, task)
    case 'workers':
      return workers(task)
  }
}

if (isMainThread) {
  const task = JSON.parse(process.argv[2]) as Task
  const result = await point((await import(task.entry)) as Forelog, task)
  process.send!(result, () => process.disconnect())
} else {
  const task = workerData as Task
  await worker((await import(task.entry)) as Forelog, task)
}
