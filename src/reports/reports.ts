// Reports, as plain data: what opening found, and what the log has done since.

import type { CursorPosition } from '../read/cursor.js'
import { closed, type FlippedBit } from '../errors.js'
import type { Environment } from '../../native.js'

/** Distribution of a quantity since the log was opened. Quantiles are accurate to 1 %. All fields are 0 if there are no values. */
export interface Histogram {
  /** Number of values. */
  count: number
  /** Exact sum of all values. */
  sum: number
  /** Smallest value. */
  min: number
  /** Mean of all values. */
  mean: number
  /** Largest value. */
  max: number
  /** Median. */
  p50: number
  /** 90th percentile. */
  p90: number
  /** 99th percentile. */
  p99: number
  /** 99.9th percentile. */
  p999: number
}

/** Counters and histograms since the log was opened in this process, and its current state. */
export interface WalStats {
  /** Records accepted by single appends. */
  appends: number
  /** Batches accepted. */
  batches: number
  /** Bytes of all accepted records, including those of batches. */
  bytes: number
  /** Commits of groups of records. */
  commits: number
  /** Fsyncs made by commits, rolls and truncations. */
  fsyncs: number
  /** Segments started. */
  rolls: number
  /** Segments removed by truncation. */
  removedSegments: number
  /** Bytes written to segments, framing included. */
  writtenBytes: number
  /** Bytes accepted and not yet acknowledged. */
  pendingBytes: number
  /** Segments of the log, including the active one. */
  segments: number
  /**
   * Size of these segments' files in bytes, including blocks allocated ahead. Files that opening found are measured in the background and
   * count from then on.
   */
  diskBytes: number
  /**
   * Disk space that all files of the log occupy, in bytes: segments with the blocks allocated ahead, prepared and reserved files,
   * `CONTROL`, `CURSORS`. Measured in the background: after opening, and by calls made at least a second after the last measurement.
   */
  allocatedBytes: number
  /** Bytes in use in the segments: headers, frames and footers. */
  usedBytes: number
  /** Bytes in use in the active segment; 0 in mode `'readOnly'`. */
  activeBytes: number
  /** Size of the active segment's file in bytes, including blocks allocated ahead; 0 in mode `'readOnly'`. */
  activeCapacity: number
  /** Readers of this process that still have something to read, including followers and backups. */
  readers: number
  /** Readers that wait for new records at the end of the log. */
  followers: number
  /** True once an fsync has failed. The log accepts no more appends until it is reopened. */
  poisoned: boolean
  /** True once the log's directory was moved, removed or replaced. The log accepts no more appends until it is opened at its new path. */
  detached: boolean
  /** Events recorded for subscribers of `diagnostics_channel` in all environments: see `channels`. 0 without subscribers. */
  events: number
  /** Recorded events that were dropped because an event loop was too busy to collect them. */
  droppedEvents: number
  /**
   * Segments met by retention by age whose headers say that they were created more than a minute in the future. The wall clock was ahead
   * then, or is behind now. Their age is judged by the segments after them.
   */
  futureSegments: number
  /** Records per commit. */
  group: Histogram
  /** Duration of commits in microseconds. */
  commitUs: Histogram
  /** Duration of fsyncs in microseconds. */
  fsyncUs: Histogram
  /**
   * Time from when the oldest record of a commit was passed to the engine, which is at the end of its turn at the latest, until the commit
   * was done and its promises could resolve, in microseconds. One value per commit.
   */
  waitUs: Histogram
  /** Totals of scrubs. */
  scrub: ScrubStats
  /** Summary of what opening did. */
  recovery: RecoveryStats
}

/** Totals of all scrubs that ran to completion. */
export interface ScrubStats {
  /** Number of completed scrubs. */
  runs: number
  /** Sealed segments verified, counted once per scrub. */
  segments: number
  /** Bytes of intact frames. */
  bytes: number
  /** Problems reported, counted once per scrub that found them. */
  problems: number
  /** When the last scrub ended, in milliseconds since the epoch; absent if there was none. */
  finishedAt?: number
}

/** Summary of what opening did. `Wal.recovery` has the full report. */
export interface RecoveryStats {
  /** Case of recovery, by its label in docs/recovery.md: `'clean'`, `'torn'`, `'damaged-active'` … */
  verdict: string
  /** Records in the part of the log that was scanned. */
  records: number
  /** Records rewritten into a new segment. */
  carried: number
  /** Duration of opening in milliseconds. */
  durationMs: number
}

/**
 * Bytes that opening cut off: a crash left them and they were never acknowledged as durable, or they were damaged. They stay in their
 * segment.
 */
export interface FencedBytes {
  /** File name of the segment. */
  segment: string
  /** Byte offset in that segment at which they begin. */
  offset: number
  /** Number of bytes. */
  bytes: number
  /** First position that the bytes would have had, if known. */
  firstPosition?: number
  /** Last position that the bytes would have had, if known. */
  lastPosition?: number
  /** True if the bytes may be left over from an earlier use of the file. */
  recycled: boolean
}

/** Bytes that were durable and are now damaged. */
export interface Damage {
  /** Description of the damage, for people. */
  message: string
  /** File name of the segment. */
  segment: string
  /** Byte offset in that segment at which the damage begins. */
  offset: number
  /** First position that the damage covers, if known. */
  firstLost?: number
  /** Last position that the damage covers, if known. */
  lastLost?: number
  /** The single flipped bit that explains the damage, if there is one. */
  flipped?: FlippedBit
}

/** One inconsistency found by `verify` or `scrub`. */
export interface Problem {
  /**
   * Label of docs/recovery.md (`'damaged-sealed'`, `'gap'` …), or one of: `'broken-chain'` if segments disagree on where one of them ends,
   * `'wrong-footer'` if an intact footer contradicts the frames, `'damaged-cursors'`, and `'unreadable'` if the disk fails to read.
   */
  kind: string
  /** Description of the problem, for people. */
  message: string
  /** File name. */
  segment: string
  /** Byte offset in that file at which the problem begins. */
  offset: number
  /** First position that the problem affects, if known. */
  firstLost?: number
  /** Last position that the problem affects, if known. */
  lastLost?: number
  /** The single flipped bit that explains the problem, if there is one. */
  flipped?: FlippedBit
}

/** Positions from `first` to `last`, both included. */
export interface PositionRange {
  /** First position of the range. */
  first: number
  /** Last position of the range, inclusive. */
  last: number
}

/** State of a log and its disk usage. */
export interface LogStat {
  /** UUID of the log. A backup has the UUID of its original. */
  uuid: string
  /** Case of recovery that opening would find, by its label in docs/recovery.md: `'clean'`, `'unproven'`, `'damaged-active'` … */
  verdict: string
  /** True if opening would cut off and rewrite nothing, and no writer has the log open. The log need not have been closed in order. */
  clean: boolean
  /** Damage that is visible without reading the whole log; `verify` finds all of it. */
  damage?: Damage
  /** True if a writer has the log open, in this process or another. */
  locked: boolean
  /** First position; equal to `nextPosition` in an empty log. */
  firstPosition: number
  /** Position after the last record. */
  nextPosition: number
  /** Segments of the log. */
  segments: number
  /** Named cursors and their positions; absent if `CURSORS` is damaged. */
  cursors?: CursorPosition[]
  /** Files prepared for future segments. */
  spares: number
  /** Disk space that the prepared files occupy, in bytes. */
  spareBytes: number
  /** Disk space that `reserve` occupies, in bytes; 0 if there is none. */
  reserveBytes: number
  /** Disk space that all files of the log occupy, in bytes, including blocks allocated ahead, prepared files and `reserve`. */
  allocatedBytes: number
  /** Bytes in use in the segments: headers, frames and footers. */
  usedBytes: number
}

/** Report of a verification. */
export interface Verification {
  /** Live segments: those from the first position on that are not superseded. */
  segments: number
  /** Intact frames. */
  frames: number
  /** Records in intact frames. */
  records: number
  /** Bytes of intact frames. */
  bytes: number
  /** Sealed segments without a footer, as a crash can leave them. This is not damage, and no record is lost. */
  withoutFooter: number
  /** Sealed segments with an invalid footer, as a crash can leave them. This is not damage, and no record is lost. */
  brokenFooters: number
  /** Positions that the log records as lost before it was made by a salvage. This is not damage. */
  holes: PositionRange[]
  /** Problems found; empty if the log is intact. */
  problems: Problem[]
}

/** Report of what opening found and did. */
export interface RecoveryReport {
  /** Case of recovery, by its label in docs/recovery.md: `'clean'`, `'torn'`, `'damaged-active'` … */
  verdict: string
  /**
   * True if the log is new, or if opening cut off and rewrote nothing and continues in the active segment. Holds after `close()`, and after
   * a process that died while everything was proven durable.
   */
  clean: boolean
  /** True if there was no log before. */
  created: boolean
  /** Position of the first record that can be read. */
  firstPosition: number
  /** Position of the next record to be appended. */
  nextPosition: number
  /** Records in the part of the log that was scanned. */
  records: number
  /** Records rewritten into a new segment. */
  carried: number
  /** Bytes that were cut off, or would be in mode `'readOnly'`. */
  fenced?: FencedBytes
  /** Damage despite which the log was opened, in modes `'prefix'` and `'readOnly'`. */
  damage?: Damage
  /** Positions that the log records as lost before it was made by a salvage. Readers skip them. */
  holes: PositionRange[]
  /** File names of the segments after the damage that mode `'prefix'` left out entirely. */
  leftOut: string[]
  /** True if the directory is in memory (tmpfs, ramfs). Nothing in it survives a restart of the machine, not even durable records. */
  volatile: boolean
  /** Bytes of the active segment that were scanned. */
  scannedBytes: number
  /** Duration of opening in milliseconds. */
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
