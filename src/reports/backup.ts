// What a backup reports.

/** Progress of a backup. The totals are known from the first call on, and shrink if truncation overtakes the backup. */
export interface BackupProgress {
  /** Segments in the copy so far. */
  segments: number
  /** Segments that the complete copy will have. */
  totalSegments: number
  /** Bytes in the copy so far, including those of links and clones. */
  bytes: number
  /** Bytes that the complete copy will have. */
  totalBytes: number
}

/** Report of a backup. */
export interface BackupReport {
  /** First position in the copy. */
  firstPosition: number
  /** Last position in the copy: the durable position when the backup began. `firstPosition - 1` if the copy is empty. */
  lastPosition: number
  /** Segments in the copy: the sum of `linked`, `cloned` and `copied`. */
  segments: number
  /** Bytes in the copy, including those of links and clones. */
  bytes: number
  /** Segments that are hard links to the original's files. They take no space of their own. */
  linked: number
  /** Segments that share their blocks with the original's files. */
  cloned: number
  /** Segments that were copied byte for byte. */
  copied: number
}
