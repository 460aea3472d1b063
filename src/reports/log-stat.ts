// What `stat` and `Wal.cursors` return.

import type { Damage } from './damage.js'

/** Name and position of a cursor. */
export interface CursorPosition {
  /** Name of the cursor: from 1 to 255 bytes of UTF-8. */
  name: string
  /** Last consumed position, 0 if there is none. */
  position: number
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
