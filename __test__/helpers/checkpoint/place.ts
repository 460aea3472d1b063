// A log with a path for its snapshots beside it.

import { readdirSync } from 'node:fs'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { Wal } from '../../../index.js'
import { temporaryDirectory } from '../directory.js'
import { fill, SEGMENT_BYTES } from '../log.js'

export interface Place {
  wal: Wal
  dir: string
  file: string
}

/** A log with that many numbered records, and a path for its snapshots beside it. */
export async function place(t: ExecutionContext, count = 0): Promise<Place> {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(path.join(dir, 'log'), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  if (count > 0) await fill(wal, count)
  return { wal, dir, file: path.join(dir, 'state') }
}

/** The name of a snapshot. */
export const nameOf = (position: number): string => `state.${String(position).padStart(16, '0')}`
/** What is beside the log. */
export const snapshotsIn = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name !== 'log')
    .sort()

/** A state in several pieces. */
export const bytes = Buffer.from(Array.from({ length: 600_000 }, (_, i) => i % 251))
