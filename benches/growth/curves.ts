/** What grows, and from where to where. Everything a point may depend on is in its `Task`. */
export type Name = 'size' | 'record' | 'in-flight' | 'logs' | 'readers' | 'workers'

export interface Curve {
  readonly name: Name
  readonly title: string
  /** What is on the axis below, in words. */
  readonly axis: string
  /** How the law speaks of it, and of one more of it. */
  readonly what: string
  readonly each: string
  readonly unit: 'records/s' | 'MB/s'
  readonly points: readonly number[]
  readonly quick: readonly number[]
  /** Powers on the axis; counts that start at nothing or go to a few stand side by side. */
  readonly logarithmic: boolean
  readonly label: (x: number) => string
  /** What a power law is fitted over, if not the number itself: with `n` readers there are `n + 1` at work. */
  readonly base?: (x: number) => number
}

/** One measurement, in a process of its own. */
export interface Task {
  readonly name: Name | 'fill'
  readonly x: number
  readonly dir: string
  readonly entry: string
  readonly seconds: number
}

export interface Point {
  readonly rate: number
  readonly rssMiB: number
  /** What a curve tells beside: milliseconds to open, records read by all readers per second. */
  readonly beside?: { readonly [what: string]: number }
}

const GIB = 2 ** 30
const count = (x: number): string => (x >= 1000 ? `${x / 1000} k` : String(x))

export const curves: readonly Curve[] = [
  {
    name: 'size',
    title: 'as the log grows: durable, 1,000 in flight, 1 KiB',
    axis: 'size of the log',
    what: 'the size of the log',
    each: 'GiB of log',
    unit: 'records/s',
    points: [0.0625, 0.25, 1, 2.5, 5, 10, 20],
    quick: [0.0625, 0.25, 1],
    logarithmic: true,
    label: (x) => bytes(x * GIB),
  },
  {
    name: 'record',
    title: 'as records grow: durable, 1,000 in flight or 32 MiB',
    axis: 'bytes of a record',
    what: 'the size of a record',
    each: 'byte of a record',
    unit: 'MB/s',
    points: [16, 128, 1024, 8 << 10, 64 << 10, 512 << 10, 2 << 20, 8 << 20],
    quick: [16, 1024, 64 << 10, 8 << 20],
    logarithmic: true,
    label: bytes,
  },
  {
    name: 'in-flight',
    title: 'as more appends are in flight: durable, 100 B',
    axis: 'appends in flight',
    what: 'the number of appends in flight',
    each: 'append in flight',
    unit: 'records/s',
    points: [1, 10, 100, 1000, 10_000, 100_000],
    quick: [1, 100, 10_000, 100_000],
    logarithmic: true,
    label: count,
  },
  {
    name: 'logs',
    title: 'as one process opens more logs: durable, 1,000 in flight in all, at least one each, 100 B',
    axis: 'open logs',
    what: 'the number of open logs',
    each: 'open log',
    unit: 'records/s',
    points: [1, 10, 100, 500, 1000, 2000],
    quick: [1, 10, 100],
    logarithmic: true,
    label: count,
  },
  {
    name: 'readers',
    title: 'as readers follow beside the writer: durable, 1,000 in flight, 100 B',
    axis: 'readers in the writer’s thread, each following all of it',
    what: 'the number of readers and the writer',
    each: 'reader',
    unit: 'records/s',
    points: [0, 1, 2, 4, 8, 16],
    quick: [0, 1, 4, 16],
    logarithmic: false,
    label: count,
    base: (x) => x + 1,
  },
  {
    name: 'workers',
    title: 'as worker threads append to one log: durable, 1,000 in flight each, 100 B',
    axis: 'worker threads',
    what: 'the number of worker threads',
    each: 'worker thread',
    unit: 'records/s',
    points: [1, 2, 3, 4],
    quick: [1, 2, 4],
    logarithmic: false,
    label: count,
  },
]

function bytes(x: number): string {
  if (x >= GIB) return `${x / GIB} GiB`
  if (x >= 1 << 20) return `${x / (1 << 20)} MiB`
  return x >= 1024 ? `${x / 1024} KiB` : `${x} B`
}
