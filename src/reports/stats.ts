// What `Wal.stats` returns.

import { closed } from '../errors.js'
import type { NativeEnvironment } from '../native/calls.js'

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

export function walStats(stats: ReturnType<NativeEnvironment['stats']>): WalStats {
  if (stats === null) throw closed('stats')
  return stats
}
