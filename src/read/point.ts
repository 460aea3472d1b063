// Reads of single records: the one at a position, and the newest ones. Each opens a reader where the record is, and closes it again.

import { WalError } from '../errors.js'
import type { PointReadOptions, ReadOptions } from '../options/types.js'
import type { WalRecord } from '../records/block.js'
import type { PositionRange } from '../reports/damage.js'
import type { WalReader } from './reader.js'

/** The part of a log handle that reads of single records use. */
export interface PointLog<V> {
  readonly firstPosition: number
  readonly acknowledgedPosition: number
  readonly recovery: { readonly holes: readonly PositionRange[] }
  readFrom(start: number, options: ReadOptions<V>): WalReader<V>
}

/** Reads the record at a position; `undefined` if there is none. */
export async function recordAt<V>(log: PointLog<V>, position: number, options: PointReadOptions): Promise<WalRecord<V> | undefined> {
  const reader = log.readFrom(position, { ...options, to: position, limit: 1, copy: true })
  try {
    const { value } = await reader.next()
    return value
  } finally {
    void reader.return()
  }
}

/** Where the newest records begin. */
interface Start {
  position: number
  /** How many records there are from there on, `n` at most. */
  records: number
}

/** Finds the start of the newest `n` records by their positions alone: those follow each other without a gap, except for the holes. */
export function startOfNewest(first: number, last: number, n: number, holes: readonly PositionRange[]): Start {
  let [position, records] = [last + 1, 0]
  const below = holes.filter((hole) => hole.first <= last).sort((a, b) => b.last - a.last)
  for (const hole of [...below, { first: 0, last: first - 1 }]) {
    const run = Math.max(0, position - 1 - Math.max(hole.last, first - 1))
    const taken = Math.min(run, n - records)
    records += taken
    position -= taken
    if (records === n) break
    position = Math.min(position, Math.max(hole.first, first))
  }
  return { position: Math.max(position, first), records }
}

/** Truncations that may overtake one call; then it fails like any reader. */
const ATTEMPTS = 10

const isOvertaken = (error: unknown): boolean =>
  error instanceof WalError && (error.code === 'ERR_WAL_TRUNCATED' || error.code === 'ERR_WAL_OUT_OF_RANGE')

/** Reads the newest `n` acknowledged records, oldest first. Starts over if a truncation takes some of them away meanwhile. */
export async function newestRecords<V>(log: PointLog<V>, n: number, options: PointReadOptions): Promise<WalRecord<V>[]> {
  for (let attempt = 1; ; attempt++) {
    const { firstPosition, acknowledgedPosition, recovery } = log
    const start = startOfNewest(firstPosition, Math.max(acknowledgedPosition, firstPosition - 1), n, recovery.holes)
    const found: WalRecord<V>[] = []
    try {
      // To the end as the reader sees it: a read-only handle may know the writer's last records a moment later than its readers.
      for await (const records of log.readFrom(start.position, { ...options, copy: true }).batches()) {
        for (const record of records) found.push(record)
      }
    } catch (error) {
      if (attempt === ATTEMPTS || !isOvertaken(error)) throw error
      continue
    }
    // A reader ends early where the end of the log was truncated behind it.
    if (found.length >= start.records || attempt === ATTEMPTS) return n === 0 ? [] : found.slice(-n)
  }
}
