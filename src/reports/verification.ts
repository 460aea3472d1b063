// What `verify` and `Wal.scrub` report.

import type { FlippedBit } from '../errors.js'
import type { PositionRange } from './damage.js'

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
