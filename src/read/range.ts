// What a reader reads, and how.

import type { Decoder } from './decoder.js'

/** Constructor options of a reader. */
export interface ReadRange {
  from: number | 'start' | 'end'
  /** Leave out everything before the first record that was committed at this time or later. Needs `from` to be `'start'`. */
  since: number | undefined
  /** Last position to read, inclusive. `Infinity` is the last one acknowledged at the call, or no limit with `follow`. */
  to: number
  /** Maximum number of records to return. */
  limit: number
  /** Continue after damage. */
  salvage: boolean
  /** The log records holes, so not every position is returned. */
  holed: boolean
  /** Wait for new records at the end. */
  follow: boolean
  copy: boolean
  /** Skip expired records. */
  skipExpired: boolean
  /** Also fetch what only `blocks()` needs. */
  detailed?: boolean
  signal: AbortSignal | undefined
  /** Decoder of the values, for a log with a codec. */
  decoder: Decoder | undefined
  /** Called with the last position kept when a truncation kept every record returned so far and the reader goes on. */
  onKept?: ((kept: number) => void) | undefined
}
