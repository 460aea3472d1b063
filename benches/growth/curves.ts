export type Name = 'record' | 'in-flight' | 'logs' | 'readers' | 'workers'

/** What grows, and from where to where. Everything that a point may depend on is in its `Task`. */
export interface Curve {
  readonly name: Name
  readonly title: string
  /** Head of the column of what grows. */
  readonly axis: string
  readonly unit: 'records/s' | 'MB/s'
  readonly points: readonly number[]
  readonly quick: readonly number[]
  readonly label: (x: number) => string
}

/** One measurement, in a process of its own. */
export interface Task {
  readonly name: Name
  readonly x: number
  readonly dir: string
  readonly entry: string
  readonly seconds: number
}

export interface Point {
  readonly rate: number
  readonly rssMiB: number
  /** Further columns: milliseconds to open, records that all readers read per second. */
  readonly beside?: { readonly [what: string]: number }
}

const count = (x: number): string => (x >= 1000 ? `${x / 1000} k` : String(x))

export const curves: readonly Curve[] = [
  {
    name: 'record',
    title: 'as records grow: durable, 1,000 in flight or 32 MiB',
    axis: 'bytes of a record',
    unit: 'MB/s',
    points: [16, 128, 1024, 8 << 10, 64 << 10, 512 << 10, 2 << 20, 8 << 20],
    quick: [16, 1024, 64 << 10, 8 << 20],
    label: bytes,
  },
  {
    name: 'in-flight',
    title: 'as more appends are in flight: durable, 100 B',
    axis: 'appends in flight',
    unit: 'records/s',
    points: [1, 10, 100, 1000, 10_000, 100_000],
    quick: [1, 100, 10_000, 100_000],
    label: count,
  },
  {
    name: 'logs',
    title: 'as one process opens more logs: durable, 1,000 in flight in all, at least one each, 100 B',
    axis: 'open logs',
    unit: 'records/s',
    points: [1, 10, 100, 500, 1000, 2000],
    quick: [1, 10, 100],
    label: count,
  },
  {
    name: 'readers',
    title: 'as readers follow beside the writer: durable, 1,000 in flight, 100 B',
    axis: 'readers in the writer’s thread, each following all of it',
    unit: 'records/s',
    points: [0, 1, 2, 4, 8, 16],
    quick: [0, 1, 4, 16],
    label: count,
  },
  {
    name: 'workers',
    title: 'as worker threads append to one log: durable, 1,000 in flight each, 100 B',
    axis: 'worker threads',
    unit: 'records/s',
    points: [1, 2, 3, 4],
    quick: [1, 2, 4],
    label: count,
  },
]

function bytes(x: number): string {
  if (x >= 1 << 20) return `${x / (1 << 20)} MiB`
  return x >= 1024 ? `${x / 1024} KiB` : `${x} B`
}
