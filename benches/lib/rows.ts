import type { Kind } from './contract.js'

/** One row: a workload, its sizes, its contestants, and their rates on the reference machine. */
export interface Row {
  readonly id: string
  readonly title: string
  readonly kind: Kind
  readonly unit: 'records/s' | 'requests/s' | 'MB/s'
  /** The durability that every contestant of this row provides. */
  readonly durability: 'durable' | 'written' | 'writtenThenSynced' | 'verified'
  readonly valueBytes: number
  /** Appends awaited at the same time, or connections. */
  readonly window: number
  readonly batch: number
  readonly full: Size
  readonly quick: Size
  readonly contestants: readonly string[]
  /** Which raw contestant is the limit that the others are divided by. */
  readonly limit: string
  /**
   * Figures of a quiet reference machine, in the row's unit: what a rival must reach, as a share of the raw limit,
   * for a row to count. They guard against a rival that is badly set up or a machine too noisy to compare on.
   */
  readonly reference: { readonly limit: number; readonly rivals: Readonly<Record<string, number>> }
}

interface Size {
  readonly records: number
  readonly seconds: number
}

const PACKAGES = ['lmdb', 'sqlite', 'level']
const DURABLE_RIVALS = ['js', 'js-direct', 'js-fdatasync', 'js-growing', ...PACKAGES]
/** Where appends in flight may share a promise, there is one of each kind. */
const BOTH_PROMISES = ['js', 'js-direct', 'js-fdatasync', 'js-growing', 'js-each', 'js-each-direct', 'js-each-growing', ...PACKAGES]
const OURS_DURABLE = ['forelog', 'forelog-recycled', 'forelog-thread']
const OURS_IN_FLIGHT = ['forelog', 'forelog-recycled', 'forelog-acknowledged', 'forelog-acknowledged-recycled', 'forelog-thread']
const OURS_WRITTEN = ['forelog-append', 'forelog-enqueue']

export const rows: readonly Row[] = [
  {
    id: 'D1',
    title: 'durable, one at a time, 100 B',
    kind: 'one',
    unit: 'records/s',
    durability: 'durable',
    valueBytes: 100,
    window: 1,
    batch: 1,
    full: { records: 20_000, seconds: 2.5 },
    quick: { records: 4_000, seconds: 0.4 },
    contestants: [...OURS_DURABLE, ...DURABLE_RIVALS, 'raw-disk'],
    limit: 'raw-disk',
    reference: { limit: 7_600, rivals: { js: 4_900, sqlite: 6_200, level: 3_900 } },
  },
  inFlight('D2-100', '100 B', 100, 2_500_000, {
    limit: 5.7e6,
    rivals: { js: 1.1e6, lmdb: 597e3, sqlite: 602e3 },
  }),
  inFlight('D2-1K', '1 KiB', 1024, 500_000, { limit: 1.55e6, rivals: { js: 470e3, lmdb: 257e3 } }),
  {
    id: 'D3-100',
    title: 'written, no fsync, 100 B',
    kind: 'written',
    unit: 'records/s',
    durability: 'written',
    valueBytes: 100,
    window: 1000,
    batch: 1000,
    full: { records: 4_000_000, seconds: 2 },
    quick: { records: 1_000_000, seconds: 0.4 },
    contestants: [...OURS_WRITTEN, 'js', 'write-stream', 'lmdb', 'sqlite', 'level', 'raw-disk', 'raw-harness'],
    limit: 'raw-harness',
    reference: { limit: 7e6, rivals: { js: 3e6, 'write-stream': 1.31e6, lmdb: 1.07e6 } },
  },
  writtenThenSynced('D3-1K', '1 KiB', 1024, 600_000, 1000, { limit: 1800, rivals: { js: 750, lmdb: 317 } }),
  writtenThenSynced('D3-64K', '64 KiB', 65_536, 10_000, 100, { limit: 1800, rivals: { js: 885, lmdb: 850 } }),
  {
    id: 'D4',
    title: 'durable atomic batches of 1,000, 100 B',
    kind: 'batches',
    unit: 'records/s',
    durability: 'durable',
    valueBytes: 100,
    window: 1,
    batch: 1000,
    full: { records: 2_500_000, seconds: 2 },
    quick: { records: 600_000, seconds: 0.4 },
    contestants: [...OURS_DURABLE, ...DURABLE_RIVALS, 'raw-disk'],
    limit: 'raw-disk',
    reference: { limit: 5.3e6, rivals: { js: 2.1e6, sqlite: 782e3, lmdb: 699e3 } },
  },
  replay('D5', 'replay, one record at a time', 'replay', ['lmdb', 'sqlite', 'level'], { limit: 9e6, rivals: { js: 1.8e6, lmdb: 810e3 } }),
  replay('D5-arrays', 'replay, arrays of 512', 'replayArrays', ['sqlite', 'level'], { limit: 12e6, rivals: { js: 4.3e6 } }),
  {
    ...replay('D6', 'replay, one record at a time', 'replay', ['lmdb', 'sqlite', 'level'], { limit: 8300, rivals: {} }),
    title: 'replay, one record at a time, 64 KiB',
    unit: 'MB/s',
    valueBytes: 65_536,
    // Whole batches of 2 MiB, which is how these logs are written.
    full: { records: 10_240, seconds: 60 },
    quick: { records: 2_560, seconds: 60 },
    contestants: ['forelog', 'js', 'lmdb', 'sqlite', 'level', 'raw-disk'],
    limit: 'raw-disk',
  },
  ...[8, 64, 256].map(serving),
]

/** What users feel: a service that answers a `POST` once its body is durable. */
function serving(connections: number): Row {
  return {
    id: `S1-${connections}`,
    title: `a service, ${connections} connections, 256 B`,
    kind: 'service',
    unit: 'requests/s',
    durability: 'durable',
    valueBytes: 256,
    window: connections,
    batch: 1,
    full: { records: 200_000, seconds: 3 },
    quick: { records: 100_000, seconds: 1 },
    contestants: ['forelog', 'js', 'js-direct', 'lmdb', 'sqlite', 'raw-nothing'],
    limit: 'raw-nothing',
    reference: { limit: 1, rivals: {} },
  }
}

function inFlight(id: string, size: string, valueBytes: number, records: number, reference: Row['reference']): Row {
  return {
    id,
    title: `durable, 1,000 in flight, ${size}`,
    kind: 'inFlight',
    unit: 'records/s',
    durability: 'durable',
    valueBytes,
    window: 1000,
    batch: 1,
    full: { records, seconds: 2 },
    quick: { records: records / 5, seconds: 0.4 },
    contestants: [...OURS_IN_FLIGHT, ...BOTH_PROMISES, 'raw-disk', 'raw-harness', 'raw-promise'],
    limit: 'raw-disk',
    reference,
  }
}

function writtenThenSynced(
  id: string,
  size: string,
  valueBytes: number,
  records: number,
  window: number,
  reference: Row['reference']
): Row {
  return {
    id,
    title: `written, one fsync at the end, ${size}`,
    kind: 'written',
    unit: 'MB/s',
    durability: 'writtenThenSynced',
    valueBytes,
    window,
    batch: window,
    full: { records, seconds: 3 },
    quick: { records: Math.floor(records / 3), seconds: 0.4 },
    contestants: [...OURS_WRITTEN, 'js', 'lmdb', 'sqlite', 'level', 'raw-disk'],
    limit: 'raw-disk',
    reference,
  }
}

function replay(id: string, title: string, kind: Kind, packages: string[], reference: Row['reference']): Row {
  return {
    id,
    title: `${title}, 100 B`,
    kind,
    unit: 'records/s',
    durability: 'verified',
    valueBytes: 100,
    window: 1,
    batch: kind === 'replayArrays' ? 512 : 1,
    full: { records: 1_000_000, seconds: 60 },
    quick: { records: 300_000, seconds: 60 },
    contestants: ['forelog', 'js', ...packages, 'raw-harness'],
    limit: 'raw-harness',
    reference,
  }
}
