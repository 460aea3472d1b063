// What `Wal.recovery` reports.

import { closed } from '../errors.js'
import type { NativeEnvironment } from '../native/calls.js'
import type { Damage, PositionRange } from './damage.js'

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

export function recoveryReport(report: ReturnType<NativeEnvironment['recovery']>): RecoveryReport {
  if (report === null) throw closed('open')
  return Object.freeze(report)
}
