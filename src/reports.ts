// What opening found and what the log has done since, as plain data.

import { closed, type FlippedBit } from './errors.js'
import type { Environment } from '../native.js'

/** Distribution of a quantity. All zero when there is nothing to tell. */
export interface Histogram {
  count: number
  min: number
  mean: number
  max: number
  p50: number
  p90: number
  p99: number
  p999: number
}

/** Counters since the log was opened in this process. */
export interface WalStats {
  /** Records accepted one by one. */
  appends: number
  batches: number
  /** Bytes of all records accepted, those of batches included. */
  bytes: number
  commits: number
  fsyncs: number
  /** Segments started. */
  rolls: number
  /** Segments that truncation has removed. */
  removedSegments: number
  /** Bytes written to segments, framing included. */
  writtenBytes: number
  /** Bytes accepted and not yet acknowledged. */
  pendingBytes: number
  /** Records per commit. */
  group: Histogram
  /** Duration of commits in microseconds. */
  commitUs: Histogram
  /** Duration of fsyncs in microseconds. */
  fsyncUs: Histogram
}

/** Bytes that opening cut off: a crash left them behind, never acknowledged as durable, or they were damaged. They stay in their segment. */
export interface FencedBytes {
  /** File name of the segment. */
  segment: string
  offset: number
  bytes: number
  /** Positions that the bytes would have had, as far as can be told. */
  firstPosition?: number
  lastPosition?: number
  /** They may be left over from the file's earlier use. */
  recycled: boolean
}

/** Bytes that were durable and do not hold any more. */
export interface Damage {
  message: string
  /** File name. */
  segment: string
  offset: number
  /** Positions it covers, as far as can be told. */
  firstLost?: number
  lastLost?: number
  /** The one bit that explains it. */
  flipped?: FlippedBit
}

/** Something that is not as it was written. */
export interface Problem {
  /**
   * A label of docs/recovery.md (`'damaged-sealed'`, `'gap'` …); `'broken-chain'` where segments disagree on where one ends,
   * `'wrong-footer'` where an intact one says otherwise than the frames, `'damaged-cursors'`, `'unreadable'` where the disk fails.
   */
  kind: string
  message: string
  /** File name. */
  segment: string
  offset: number
  /** Positions that it takes, as far as can be told. */
  firstLost?: number
  lastLost?: number
  /** The one bit that explains it, where there is one. */
  flipped?: FlippedBit
}

/** What a verification found. */
export interface Verification {
  /** Segments that count: from the first position on, and not superseded. */
  segments: number
  /** Good frames, the records in them, and their bytes. */
  frames: number
  records: number
  bytes: number
  /** Sealed segments without a footer, and those whose footer does not hold: a crash leaves either. No damage, and no record is lost. */
  withoutFooter: number
  brokenFooters: number
  /** Empty when all is well. */
  problems: Problem[]
}

/** What opening found, and did. */
export interface RecoveryReport {
  /** The case that was met, by its label in docs/recovery.md: `'clean'`, `'torn'`, `'damaged-active'` … */
  verdict: string
  /** The log had been closed; it goes on where it ended. */
  clean: boolean
  /** There was no log before. */
  created: boolean
  firstPosition: number
  nextPosition: number
  /** Records found in the part that was scanned. */
  records: number
  /** Records carried over into a new segment. */
  carried: number
  /** What was cut off, or in mode `'readOnly'` would be. */
  fenced?: FencedBytes
  /** The damage in spite of which the log was opened, in the modes `'prefix'` and `'readOnly'`. */
  damage?: Damage
  /** Segments behind the damage that mode `'prefix'` left out whole, by file name. */
  leftOut: string[]
  /** The directory is in memory (tmpfs, ramfs): nothing in it survives a restart of the machine, not even what is called durable. */
  volatile: boolean
  scannedBytes: number
  durationMs: number
}

export function walStats(stats: ReturnType<Environment['stats']>): WalStats {
  if (stats === null) throw closed('stats')
  return stats
}

export function recoveryReport(report: ReturnType<Environment['recovery']>): RecoveryReport {
  if (report === null) throw closed('open')
  return Object.freeze(report)
}
