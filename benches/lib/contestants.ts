import type { Row } from './rows.js'

/** A contestant: its name, and what it does for the durability of each row, as the tables print it. */
export interface Entrant {
  readonly id: string
  readonly name: string
  readonly role: 'ours' | 'js' | 'package' | 'raw'
  /** The module under `benches/` and the variant that its job names. */
  readonly module: string
  readonly variant: string
  readonly does: Partial<Record<Row['durability'], string>>
}

const SYNCED_AT_END = 'written, one fsync at the end'

const ours = (id: string, name: string, variant: string): Entrant => ({
  id,
  name,
  role: 'ours',
  module: 'forelog',
  variant,
  does: {
    durable: "fsync: 'always'",
    written: "fsync: 'os'",
    writtenThenSynced: "fsync: 'os', sync() at the end",
    verified: 'checksums verified',
  },
})

const javascript = (id: string, name: string, variant: string, how: string): Entrant => ({
  id,
  name,
  role: 'js',
  module: 'rivals/group-commit',
  variant,
  does: { durable: how, written: 'write', writtenThenSynced: SYNCED_AT_END, verified: 'checksums verified' },
})

const raw = (variant: 'disk' | 'harness' | 'promise', name: string): Entrant => ({
  id: `raw-${variant}`,
  name,
  role: 'raw',
  module: 'raw',
  variant,
  does:
    variant === 'disk'
      ? {
          durable: 'write + fdatasync, zero-filled file',
          written: 'write, new file',
          writtenThenSynced: 'write + one fdatasync, zero-filled file',
          verified: 'read, page cache warm',
        }
      : {
          durable: variant === 'promise' ? 'nothing; a promise each' : 'nothing',
          written: 'a copy and a promise',
          verified: 'views of memory',
        },
})

export const entrants: readonly Entrant[] = [
  ours('forelog', 'Forelog', ''),
  {
    ...ours('forelog-recycled', 'Forelog, truncated', 'recycled'),
    does: { durable: "fsync: 'always', truncated behind: segments are recycled" },
  },
  ours('forelog-append', 'Forelog, append awaited', 'append'),
  ours('forelog-enqueue', 'Forelog, enqueue', 'enqueue'),
  javascript('js', 'JavaScript group commit', '', 'O_DSYNC write per group'),
  javascript('js-direct', 'the same, direct I/O', 'direct', 'O_DIRECT + O_DSYNC write per group'),
  javascript('js-fdatasync', 'the same, kept simple', 'fdatasync', 'write + fdatasync per group'),
  javascript('js-growing', 'the same, in a new file', 'growing', 'O_DSYNC write per group, file not prepared'),
  {
    id: 'lmdb',
    name: 'lmdb',
    role: 'package',
    module: 'rivals/lmdb',
    variant: '',
    does: {
      durable: 'overlappingSync: false',
      written: 'noSync: true',
      writtenThenSynced: 'noSync: true, fsync of its file at the end',
      verified: 'no checksums to verify',
    },
  },
  {
    id: 'sqlite',
    name: 'better-sqlite3',
    role: 'package',
    module: 'rivals/sqlite',
    variant: '',
    does: {
      durable: 'WAL, synchronous = FULL; blocks the event loop',
      written: 'WAL, synchronous = OFF',
      writtenThenSynced: 'WAL, synchronous = OFF, then a checkpoint under FULL',
      verified: 'no checksums to verify',
    },
  },
  {
    id: 'level',
    name: 'classic-level',
    role: 'package',
    module: 'rivals/level',
    variant: '',
    does: {
      durable: 'sync: true',
      written: 'sync: false',
      writtenThenSynced: 'sync: false, the last put sync: true',
      verified: 'checksums not verified',
    },
  },
  {
    id: 'write-stream',
    name: 'fs.createWriteStream',
    role: 'package',
    module: 'rivals/write-stream',
    variant: '',
    does: { written: 'write; no checksum' },
  },
  raw('disk', 'raw limit: the disk'),
  raw('harness', 'raw limit: the harness'),
  raw('promise', 'raw limit: the harness, a promise each'),
]

export function entrant(id: string): Entrant {
  const found = entrants.find((each) => each.id === id)
  if (found === undefined) throw new Error(`no contestant is called ${id}; there are ${entrants.map((each) => each.id).join(', ')}`)
  return found
}
