/** A contestant: its name, what it does to make records durable, and the program that it is in. */
export interface Entry {
  readonly id: string
  readonly name: string
  readonly does: string
  readonly program: 'rust' | 'go'
  readonly ours?: boolean
  /** The name that its program knows it by, if it is not `id`. */
  readonly as?: string
  readonly env?: Readonly<Record<string, string>>
  /** All rows, unless it says otherwise. */
  readonly rows?: readonly RowId[]
}

export type RowId = 'one' | 'eight' | 'batches' | 'open' | 'replay'

const WRITING: readonly RowId[] = ['one', 'eight', 'batches']
const GROUPED = 'grouped by the bench'

export const entries: readonly Entry[] = [
  { id: 'forelog', name: 'Forelog', does: 'the default options', program: 'rust', ours: true },
  {
    id: 'forelog-recycled',
    name: 'Forelog, truncated',
    does: 'truncated behind: segments are recycled',
    program: 'rust',
    ours: true,
    rows: WRITING,
  },
  {
    id: 'forelog-thread',
    name: 'Forelog, commit thread',
    does: 'asynchronous writes off',
    program: 'rust',
    ours: true,
    as: 'forelog',
    env: { FORELOG_ASYNC_WRITES: 'off' },
    rows: WRITING,
  },
  { id: 'okaywal', name: 'okaywal', does: 'fdatasync, file filled with zeroes', program: 'rust' },
  { id: 'raft-engine', name: 'raft-engine', does: 'fdatasync, files prefilled, not compressed', program: 'rust' },
  { id: 'open-wal', name: 'open-wal', does: `fdatasync, segments allocated; ${GROUPED}`, program: 'rust' },
  { id: 'fjall', name: 'fjall', does: `fdatasync (SyncData); ${GROUPED}`, program: 'rust' },
  { id: 'etcd', name: 'etcd’s wal', does: `fdatasync, segments allocated; ${GROUPED}`, program: 'go' },
  { id: 'raft-wal', name: 'raft-wal', does: `fsync, segments allocated; ${GROUPED}`, program: 'go' },
  { id: 'tidwall', name: 'tidwall/wal', does: `fsync, files grow; ${GROUPED}`, program: 'go' },
  {
    id: 'bare',
    name: 'bare direct write',
    does: 'O_DIRECT + O_DSYNC, blocks written before',
    program: 'rust',
    rows: WRITING,
  },
]

export interface Row {
  readonly id: RowId
  readonly title: string
  readonly unit: 'records/s' | 'ms'
  readonly full: Size
  readonly quick: Size
}

interface Size {
  readonly records: number
  readonly seconds: number
}

/** What both rows that read find: the durable batches of a process that was killed. */
const LOG = { full: { records: 1_000_000, seconds: 60 }, quick: { records: 200_000, seconds: 60 } }

export const rows: readonly Row[] = [
  {
    id: 'one',
    title: 'one writer, one record after the other',
    unit: 'records/s',
    full: { records: 30_000, seconds: 2.5 },
    quick: { records: 6_000, seconds: 0.5 },
  },
  {
    id: 'eight',
    title: 'eight writers, each one record after the other',
    unit: 'records/s',
    full: { records: 160_000, seconds: 2.5 },
    quick: { records: 40_000, seconds: 0.5 },
  },
  {
    id: 'batches',
    title: 'one writer, batches of 1,000',
    unit: 'records/s',
    full: { records: 2_000_000, seconds: 2 },
    quick: { records: 500_000, seconds: 0.5 },
  },
  { id: 'open', title: 'opening after a kill, page cache warm', unit: 'ms', ...LOG },
  { id: 'replay', title: 'opening and reading all records, page cache warm', unit: 'records/s', ...LOG },
]
