import fs from 'node:fs'
import { join } from 'node:path'
import type { Forelog } from '../lib/forelog.js'
import { optional } from '../lib/optional.js'

/** The process of a budget that is about time passing: what a roll costs, and whether anything grows. */
export interface Task {
  readonly does: 'rolls' | 'ingest'
  readonly dir: string
  readonly entry: string
  /** `rolls`: how long to append. */
  readonly seconds: number
  /** `ingest`: how much to append. */
  readonly gib: number
}

/** Microseconds, of windows with and without a roll in them. */
export interface Rolls {
  readonly rolls: number
  readonly withRoll: number
  readonly without: number
  readonly longest: number
}

export interface Ingest {
  readonly megabytesPerSecond: number
  readonly lowestRssMiB: number
  readonly highestRssMiB: number
  readonly mostOnDiskMiB: number
}

interface Histogram {
  recordValue(value: number): void
  getValueAtPercentile(percentile: number): number
  add(other: Histogram): void
  reset(): void
  readonly maxValue: number
  readonly totalCount: number
}

interface HdrHistogram {
  build(options: { numberOfSignificantValueDigits: number; highestTrackableValue: number }): Histogram
}

const WINDOW_MS = 100
/** So many times as long, if the disk is too slow for a roll in the time given. */
const PATIENCE = 4
/** Fewer than a thousand latencies have no 99.9th percentile. */
const FEWEST = 1000

/** 64 appends of 1 KiB in flight, every latency taken; a window counts as one with a roll when the log counted one in it. */
async function rolls({ Wal }: Forelog, { dir, seconds }: Task): Promise<Rolls> {
  const hdr = await optional<HdrHistogram>('hdr-histogram-js')
  const histogram = (): Histogram => hdr.build({ numberOfSignificantValueDigits: 3, highestTrackableValue: 60e6 })
  const [current, withRoll, without] = [histogram(), histogram(), histogram()]
  const wal = await Wal.open(join(dir, 'wal'), { fsync: 'always' })
  const value = Buffer.alloc(1024, 'v')
  let counted = wal.stats().rolls
  let inWindows = 0
  let over = false
  const endWindow = (): void => {
    const rolled = wal.stats().rolls - counted
    counted += rolled
    inWindows += rolled
    ;(rolled > 0 ? withRoll : without).add(current)
    current.reset()
  }
  const loop = async (): Promise<void> => {
    while (!over) {
      const begun = performance.now()
      await wal.append(value)
      current.recordValue(Math.round((performance.now() - begun) * 1000))
    }
  }
  const loops = Promise.all(Array.from({ length: 64 }, loop))
  const started = performance.now()
  // The first window warms up, and is thrown away.
  const timer = setInterval(() => {
    if (performance.now() - started < WINDOW_MS * 1.5) {
      counted = wal.stats().rolls
      current.reset()
    } else {
      endWindow()
    }
    const elapsed = (performance.now() - started) / 1000
    over = elapsed > seconds * PATIENCE || (elapsed > seconds && inWindows > 0)
  }, WINDOW_MS)
  await loops
  clearInterval(timer)
  await wal.close()
  if (inWindows === 0) throw new Error('Error: no segment was rolled in that time')
  if (Math.min(withRoll.totalCount, without.totalCount) < FEWEST) throw new Error('Error: too few appends on one of the two sides')
  const p999 = (of: Histogram): number => of.getValueAtPercentile(99.9)
  return { rolls: inWindows, withRoll: p999(withRoll), without: p999(without), longest: Math.max(withRoll.maxValue, without.maxValue) }
}

const RECORD = 16 << 10
const IN_FLIGHT = 256
/** In records: how many a truncation keeps, and how many are appended between two truncations. */
const KEPT = (256 << 20) / RECORD
const EVERY = (64 << 20) / RECORD
/** Memory is measured after the first tenth, which fills buffers and pools. */
const WARM_UP = 0.1

async function ingest({ Wal }: Forelog, { dir, gib }: Task): Promise<Ingest> {
  const wal = await Wal.open(join(dir, 'wal'), { fsync: 'always' })
  const value = Buffer.alloc(RECORD, 'v')
  const records = Math.floor((gib * 2 ** 30) / RECORD)
  const [rss, disk]: [number[], number[]] = [[], []]
  let [taken, acknowledged] = [0, 0]
  let truncating: Promise<unknown> = Promise.resolve()
  const look = (): void => {
    if (acknowledged >= records * WARM_UP) rss.push(process.memoryUsage.rss())
    disk.push(onDisk(join(dir, 'wal')))
  }
  const loop = async (): Promise<void> => {
    while (taken++ < records) {
      const position = await wal.append(value)
      acknowledged++
      if (position % EVERY !== 0) continue
      look()
      if (position > KEPT) truncating = truncating.then(() => wal.truncateBefore(position - KEPT))
    }
  }
  const started = performance.now()
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop))
  const seconds = (performance.now() - started) / 1000
  await truncating
  look()
  await wal.close()
  const mib = (bytes: number): number => bytes / 2 ** 20
  return {
    megabytesPerSecond: (records * RECORD) / 1e6 / seconds,
    lowestRssMiB: mib(Math.min(...rss)),
    highestRssMiB: mib(Math.max(...rss)),
    mostOnDiskMiB: mib(Math.max(...disk)),
  }
}

/** Allocated bytes of the files in `dir`. A file may be removed between its listing and its `stat`. */
function onDisk(dir: string): number {
  let bytes = 0
  for (const name of fs.readdirSync(dir)) bytes += (fs.statSync(join(dir, name), { throwIfNoEntry: false })?.blocks ?? 0) * 512
  return bytes
}

const task = JSON.parse(process.argv[2]) as Task
const forelog = (await import(task.entry)) as Forelog
const result = task.does === 'rolls' ? await rolls(forelog, task) : await ingest(forelog, task)
process.send!(result, () => process.disconnect())
