// Checks that every acknowledged record is in the log, in order and byte for byte.

import type { Wal } from '../index.js'
import type { Source } from './source.js'

export interface Verdict {
  /** The records from position 1 to this one equal those of the source. */
  intact: number
  /** Bytes of the intact records. */
  bytes: number
  /** Number of acknowledged records that are missing, altered or at another position. */
  lost: number
  /** Whether a record of the log, acknowledged or not, differs from what was appended. */
  damaged: boolean
}

/** Compares the log with the source, up to the first difference. */
export async function checkLog(wal: Wal, source: Source, acknowledged: number): Promise<Verdict> {
  const expected = source.records(1)
  let batch: Buffer[] = []
  let at = 0
  let intact = 0
  let bytes = 0
  let damaged = false

  reading: for await (const records of wal.readFrom('start').batches()) {
    for (const { position, value } of records) {
      if (at === batch.length) {
        batch = (await expected.next()).value ?? []
        at = 0
      }
      const want = batch[at++]
      if (position !== intact + 1 || !want || !value?.equals(want)) {
        damaged = true
        break reading
      }
      intact += 1
      bytes += want.length
    }
  }
  await expected.return()
  return { intact, bytes, lost: Math.max(0, acknowledged - intact), damaged }
}
