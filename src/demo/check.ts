// Is every acknowledged record in the log, in order and byte for byte?

import type { Wal } from '../index.js'
import type { Source } from './source.js'

export interface Verdict {
  /** Positions 1 to this one hold what the source says. */
  intact: number
  /** Their bytes. */
  bytes: number
  /** Acknowledged records that are missing, altered or out of place. */
  lost: number
  /** A record, acknowledged or not, that is not what was appended. */
  damaged: boolean
}

/** Reads the whole log against the source; stops at the first difference. */
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
