// Logs for tests to play with.

import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { Wal, type Cursor, type CursorMove, type WalOptions, type WalReader, type WalRecord } from '../../index.js'
import { temporaryDirectory } from './directory.js'
import { fixtures, unpack } from './unpack.js'

/** Small enough that a test sees several segments. */
export const SEGMENT_BYTES = 64 * 1024

/** A log, in a directory of its own if none is named, closed when the test ends; how it closes is not judged. */
export async function temporaryLog(t: ExecutionContext, options: WalOptions = {}, dir = temporaryDirectory(t)): Promise<Wal> {
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES, ...options })
  t.teardown(() => wal.close().catch(() => {}))
  return wal
}

/** A copy of one of the frozen logs, such as `v1/salvaged`, open for writing. */
export async function fixtureLog(t: ExecutionContext, name: string): Promise<Wal> {
  const dir = path.join(temporaryDirectory(t), 'log')
  unpack(path.join(fixtures, name), dir)
  return temporaryLog(t, {}, dir)
}

export async function collect(reader: WalReader): Promise<WalRecord[]> {
  const records: WalRecord[] = []
  for await (const record of reader) records.push(record)
  return records
}

/** The values, as text. */
export async function values(reader: WalReader): Promise<(string | undefined)[]> {
  return (await collect(reader)).map(({ value }) => value?.toString())
}

/** All of a record, with key and value as text. */
export const plain = ({ position, key, value, tombstone, expiresAt, version }: WalRecord) => ({
  position,
  key: key?.toString(),
  value: value?.toString(),
  tombstone,
  expiresAt,
  version,
})

/** What a cursor emits, as it comes. */
export function moves(cursor: Cursor): CursorMove[] {
  const told: CursorMove[] = []
  cursor.on('truncated', (move) => told.push(move))
  return told
}

/** Fills a log with `count` numbered records, `value-1` first, in one go. */
export async function fill(wal: Wal, count: number): Promise<void> {
  for (let n = 1; n <= count; n++) wal.enqueue(`value-${n}`)
  await wal.sync()
}

/** A log with that many numbered records. */
export async function filledLog(t: ExecutionContext, count: number): Promise<Wal> {
  const wal = await temporaryLog(t)
  await fill(wal, count)
  return wal
}

export const numbered = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, i) => `value-${from + i}`)

/** Waits until other processes see the log up to there: they are told a moment after those who have appended. */
export const isToldUpTo = ({ dir }: Wal, position: number): Promise<void> =>
  until(async () => {
    const view = await Wal.open(dir, { mode: 'readOnly' })
    const { acknowledgedPosition } = view
    await view.close()
    return acknowledgedPosition >= position
  })

/** Waits until it holds, or for a minute in vain. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 60_000; !(await holds());) {
    if (performance.now() > deadline) throw new Error(`never came: ${holds}`)
    await new Promise((again) => setTimeout(again, 5))
  }
}
