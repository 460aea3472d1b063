// What opening found and what the log has done since, as plain data.

import type { CursorPosition } from './cursor.js'
import { closed, type FlippedBit } from './errors.js'
import type { Environment } from '../native.js'

/** Distribution of a quantity since the log was opened; quantiles to within 1 %. All zero when there is nothing to tell. */
export interface Histogram {
  /** How many values there were. */
  count: number
  /** Of all values, exactly. */
  sum: number
  /** The smallest. */
  min: number
  /** Their average. */
  mean: number
  /** The largest. */
  max: number
  /** Half of them are not above this. */
  p50: number
  /** Nine in ten are not above this. */
  p90: number
  /** 99 % are not above this. */
  p99: number
  /** 99.9 % are not above this. */
  p999: number
}

/** Counters and histograms since the log was opened in this process, and how things stand now. */
export interface WalStats {
  /** Records accepted one by one. */
  appends: number
  /** Batches accepted. */
  batches: number
  /** Bytes of all records accepted, those of batches included. */
  bytes: number
  /** Groups of records written. */
  commits: number
  /** Fsyncs that commits, rolls and truncations made. */
  fsyncs: number
  /** Segments started. */
  rolls: number
  /** Segments that truncation has removed. */
  removedSegments: number
  /** Bytes written to segments, framing included. */
  writtenBytes: number
  /** Bytes accepted and not yet acknowledged. */
  pendingBytes: number
  /** Segments that make up the log now, the active one included. */
  segments: number
  /**
   * Bytes that the files of these segments take now, blocks allocated ahead included. Files that opening found are measured in the
   * background, and count from then on.
   */
  diskBytes: number
  /**
   * Bytes of the disk that all files of the log occupy: segments with the blocks allocated ahead, prepared and reserved files, `CONTROL`,
   * `CURSORS`. Measured in the background, after opening and by calls that come a second or more after the last measurement.
   */
  allocatedBytes: number
  /** Bytes of the segments that are in use: headers, frames and footers. */
  usedBytes: number
  /** Bytes of the active segment that are used; 0 in mode `'readOnly'`. */
  activeBytes: number
  /** Size of the active segment's file in bytes, blocks allocated ahead included; 0 in mode `'readOnly'`. */
  activeCapacity: number
  /** Readers of this process that still have something to read: followers and backups included. */
  readers: number
  /** Readers that wait at the end of the log for more. */
  followers: number
  /** An fsync has failed: the log takes nothing more until it is reopened. */
  poisoned: boolean
  /** The log's directory was moved, removed or replaced: the log takes nothing more until it is opened where it is now. */
  detached: boolean
  /** Events recorded for subscribers of `diagnostics_channel`, of all environments: see `channels`. 0 while nobody subscribes. */
  events: number
  /** Of these, events that were lost because an event loop was too busy to take them. */
  droppedEvents: number
  /**
   * Segments that retention by age has met and that, by their headers, were created more than a minute after now: the wall clock was
   * ahead then, or is behind. Their age is judged by the segments after them.
   */
  futureSegments: number
  /** Records per commit. */
  group: Histogram
  /** Duration of commits in microseconds. */
  commitUs: Histogram
  /** Duration of fsyncs in microseconds. */
  fsyncUs: Histogram
  /**
   * From when the oldest record of a commit was accepted, at the end of its turn at the latest, until the commit was done and its
   * promises could be resolved, in microseconds; one value per commit.
   */
  waitUs: Histogram
  /** What scrubs have done. */
  scrub: ScrubStats
  /** What opening did. */
  recovery: RecoveryStats
}

/** What scrubs that came to their end have done together. */
export interface ScrubStats {
  /** How many scrubs that was. */
  runs: number
  /** Sealed segments verified, once for each scrub. */
  segments: number
  /** Bytes of good frames. */
  bytes: number
  /** Problems in their reports, once for each scrub that found them. */
  problems: number
  /** When the last one ended, in milliseconds since the epoch; absent before. */
  finishedAt?: number
}

/** What opening did: see `Wal.recovery` for all of it. */
export interface RecoveryStats {
  /** The case that was met, by its label in docs/recovery.md: `'clean'`, `'torn'`, `'damaged-active'` … */
  verdict: string
  /** Records found in the part that was scanned. */
  records: number
  /** Records carried over into a new segment. */
  carried: number
  /** How long opening took, in milliseconds. */
  durationMs: number
}

/** Bytes that opening cut off: a crash left them behind, never acknowledged as durable, or they were damaged. They stay in their segment. */
export interface FencedBytes {
  /** File name of the segment. */
  segment: string
  /** Where they begin: byte offset in that segment. */
  offset: number
  /** How many there are. */
  bytes: number
  /** First position that the bytes would have had, as far as can be told. */
  firstPosition?: number
  /** Last position that the bytes would have had, as far as can be told. */
  lastPosition?: number
  /** They may be left over from the file's earlier use. */
  recycled: boolean
}

/** Bytes that were durable and do not hold any more. */
export interface Damage {
  /** What does not hold, for people. */
  message: string
  /** File name of the segment. */
  segment: string
  /** Where it begins: byte offset in that segment. */
  offset: number
  /** First position it covers, as far as can be told. */
  firstLost?: number
  /** Last position it covers, as far as can be told. */
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
  /** What does not hold, for people. */
  message: string
  /** File name. */
  segment: string
  /** Where it begins: byte offset in that file. */
  offset: number
  /** First position that it takes, as far as can be told. */
  firstLost?: number
  /** Last position that it takes, as far as can be told. */
  lastLost?: number
  /** The one bit that explains it, where there is one. */
  flipped?: FlippedBit
}

/** Positions from `first` to `last`, both included. */
export interface PositionRange {
  /** First position of the range. */
  first: number
  /** Last position of the range, inclusive. */
  last: number
}

/** How a log stands, and what it takes of the disk. */
export interface LogStat {
  /** The log's uuid, which a backup shares. */
  uuid: string
  /** What opening would find, by its label in docs/recovery.md: `'clean'`, `'unproven'`, `'damaged-active'` … */
  verdict: string
  /** Opening would have nothing to cut off or to write again, and no writer has the log open. It need not have been closed in order. */
  clean: boolean
  /** Damage that shows without reading the whole log; `verify` finds all of it. */
  damage?: Damage
  /** A writer has the log open, in this process or another. */
  locked: boolean
  /** First position; equal to `nextPosition` in an empty log. */
  firstPosition: number
  /** Position after the last record. */
  nextPosition: number
  /** Segments that make up the log. */
  segments: number
  /** Named cursors and the last position that each has done; absent where `CURSORS` is damaged. */
  cursors?: CursorPosition[]
  /** Files prepared for segments to come. */
  spares: number
  /** Bytes of the disk that they occupy. */
  spareBytes: number
  /** Bytes of the disk that `reserve` occupies; 0 without one. */
  reserveBytes: number
  /** Bytes of the disk that all files of the log occupy, blocks allocated ahead and the files above included. */
  allocatedBytes: number
  /** Bytes of the segments that are in use: headers, frames and footers. */
  usedBytes: number
}

/** What a verification found. */
export interface Verification {
  /** Segments that count: from the first position on, and not superseded. */
  segments: number
  /** Good frames. */
  frames: number
  /** Records in good frames. */
  records: number
  /** Bytes of good frames. */
  bytes: number
  /** Sealed segments without a footer: a crash leaves such. No damage, and no record is lost. */
  withoutFooter: number
  /** Sealed segments whose footer does not hold: a crash leaves such. No damage, and no record is lost. */
  brokenFooters: number
  /** Positions that the log records as lost before it was made, by a salvage. No damage. */
  holes: PositionRange[]
  /** Empty when all is well. */
  problems: Problem[]
}

/** What opening found, and did. */
export interface RecoveryReport {
  /** The case that was met, by its label in docs/recovery.md: `'clean'`, `'torn'`, `'damaged-active'` … */
  verdict: string
  /**
   * The log is new, or nothing of it was to be cut off or written again: it goes on in place. So it is after `close()`, and after a
   * process that died while everything was proven durable.
   */
  clean: boolean
  /** There was no log before. */
  created: boolean
  /** Position of the first record that can be read. */
  firstPosition: number
  /** Position that the next record appended gets. */
  nextPosition: number
  /** Records found in the part that was scanned. */
  records: number
  /** Records carried over into a new segment. */
  carried: number
  /** What was cut off, or in mode `'readOnly'` would be. */
  fenced?: FencedBytes
  /** The damage in spite of which the log was opened, in the modes `'prefix'` and `'readOnly'`. */
  damage?: Damage
  /** Positions that the log records as lost before it was made, by a salvage. Readers pass over them. */
  holes: PositionRange[]
  /** Segments behind the damage that mode `'prefix'` left out whole, by file name. */
  leftOut: string[]
  /** The directory is in memory (tmpfs, ramfs): nothing in it survives a restart of the machine, not even what is called durable. */
  volatile: boolean
  /** Bytes of the active segment that were scanned. */
  scannedBytes: number
  /** How long opening took, in milliseconds. */
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
