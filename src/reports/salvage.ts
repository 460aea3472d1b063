// What a salvage reports.

import type { Hole } from './damage.js'

/** Progress of a salvage. */
export interface SalvageProgress {
  /** Bytes of the damaged log's segments that have been read. */
  bytes: number
  /** Bytes to read in total. */
  totalBytes: number
  /** Records found so far. */
  records: number
}

/** Report of a salvage. */
export interface SalvageReport {
  /** Case of recovery of the damaged log, by its label in docs/recovery.md: `'damaged-active'`, `'gap'` … */
  verdict: string
  /** First position of the new log, which is that of the first intact record. */
  firstPosition: number
  /** Next position of the new log. It is above every position that is known to have been used. */
  nextPosition: number
  /** Records in the new log. */
  records: number
  /** Segments in the new log. */
  segments: number
  /** Missing positions in order, with their place in the damaged log. */
  holes: Hole[]
  /** Number of named cursors in the new log. */
  cursors: number
  /** True if the named cursors are damaged. The new log has none, and they have to be created again. */
  cursorsLost: boolean
}
