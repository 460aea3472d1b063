import fs from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Row } from './rows.js'

/** A contestant: its name, and what it does for the durability of each row, as the tables print it. */
export interface Entrant {
  readonly id: string
  readonly name: string
  readonly role: 'ours' | 'against' | 'js' | 'package' | 'raw'
  /** The module under `benches/` and the variant that its job names. */
  readonly module: string
  readonly variant: string
  readonly does: Partial<Record<Row['durability'], string>>
  /** Where appends in flight may share a promise: whether these do. Ratios compare like with like. */
  readonly promises?: 'each' | 'shared'
  /** More environment variables for its process. */
  readonly env?: Readonly<Record<string, string>>
  /** Another build of Forelog, as the URL of its public entry: see {@link twinsOf}. */
  readonly entry?: string
}

const SYNCED_AT_END = 'written, one fsync at the end'
const RECYCLED = "fsync: 'always', truncated behind: segments are recycled"
const SHARED = "fsync: 'always', enqueue and acknowledged(): one promise a commit"

const ours = (id: string, name: string, variant: string): Entrant => ({
  id,
  name,
  role: 'ours',
  module: 'forelog',
  variant,
  promises: variant.startsWith('acknowledged') ? 'shared' : 'each',
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
  promises: variant.startsWith('each') ? 'each' : 'shared',
  does: { durable: how, written: 'write', writtenThenSynced: SYNCED_AT_END, verified: 'checksums verified' },
})

const raw = (variant: 'disk' | 'harness' | 'promise' | 'nothing', name: string): Entrant => ({
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
    does: { durable: RECYCLED },
  },
  { ...ours('forelog-acknowledged', 'Forelog, acknowledged()', 'acknowledged'), does: { durable: SHARED } },
  {
    ...ours('forelog-acknowledged-recycled', 'Forelog, acknowledged(), truncated', 'acknowledged-recycled'),
    does: { durable: `${SHARED}; ${RECYCLED.slice("fsync: 'always', ".length)}` },
  },
  {
    ...ours('forelog-thread', 'Forelog, commit thread', ''),
    does: { durable: "fsync: 'always', asynchronous writes off" },
    env: { FORELOG_ASYNC_WRITES: 'off' },
  },
  ours('forelog-append', 'Forelog, append awaited', 'append'),
  ours('forelog-enqueue', 'Forelog, enqueue', 'enqueue'),
  javascript('js', 'JavaScript group commit', '', 'O_DSYNC write per group'),
  javascript('js-direct', 'the same, direct I/O', 'direct', 'O_DIRECT + O_DSYNC write per group'),
  javascript('js-fdatasync', 'the same, kept simple', 'fdatasync', 'write + fdatasync per group'),
  javascript('js-each', 'JavaScript, a promise each', 'each', 'O_DSYNC write per group'),
  javascript('js-each-direct', 'the same, direct I/O, a promise each', 'each-direct', 'O_DIRECT + O_DSYNC write per group'),
  javascript('js-each-growing', 'the same, in a new file, a promise each', 'each-growing', 'O_DSYNC write per group, file not prepared'),
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
  raw('nothing', 'raw limit: nothing stored'),
]

export function entrant(id: string): Entrant {
  const found = entrants.find((each) => each.id === id)
  if (found === undefined) throw new Error(`no contestant is called ${id}; there are ${entrants.map((each) => each.id).join(', ')}`)
  return found
}

/**
 * What another built checkout of Forelog does beside each of ours, by the id of ours. `FORELOG_ASYNC_WRITES` means nothing to builds before
 * it, so those that set it have no twin.
 */
export function twinsOf(checkout: string): ReadonlyMap<string, Entrant> {
  const name = basename(resolve(checkout))
  const entry = join(resolve(checkout), 'index.js')
  if (!fs.existsSync(entry)) throw new Error(`there is no Forelog in ${checkout}`)
  return new Map(
    entrants
      .filter(({ role, env }) => role === 'ours' && env === undefined)
      .map((each) => [
        each.id,
        {
          ...each,
          id: `${each.id}@${name}`,
          name: each.name.replace('Forelog', `Forelog (${name})`),
          role: 'against',
          entry: pathToFileURL(entry).href,
        },
      ])
  )
}
