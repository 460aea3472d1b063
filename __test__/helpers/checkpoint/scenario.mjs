// A log with a snapshot, and the checkpoint that a test interrupts.

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { checkpoint, restore, Wal } from '../../../index.js'

const RECORDS = 30

/** The state is the list of the values of all records. */
export const own = Array.from({ length: RECORDS }, (_, i) => `value-${i + 1}`)
export const theirs = Array.from({ length: 40 }, (_, i) => `their-${i + 1}`)

export const fileOf = (dir) => path.join(dir, 'state')

/** The checkpoints that are interrupted. Only the newest snapshot is kept, so that a mistake is not made up for by an older one. */
export const inits = {
  own: { position: 28, keep: 1, state: JSON.stringify(own.slice(0, 28)) },
  installed: { position: 40, keep: 1, install: true, state: JSON.stringify(theirs) },
  // In several writes.
  large: { position: 28, keep: 1, state: [JSON.stringify(own.slice(0, 28)), ' '.repeat(600_000)] },
}

export async function prepare(dir) {
  const wal = await Wal.open(path.join(dir, 'log'), { segmentBytes: 64 * 1024 })
  for (const value of own) await wal.append(value)
  await checkpoint(wal, fileOf(dir), { position: 20, keep: 1, state: JSON.stringify(own.slice(0, 20)) })
  writeFileSync(`${fileOf(dir)}.0000000000000025.0123456789abcdef.tmp`, 'left behind')
  return wal
}

/** What a program finds that starts now. */
export async function found(wal, dir) {
  const { snapshot, from } = await restore(fileOf(dir), { wal })
  const state = snapshot === undefined ? [] : JSON.parse(await snapshot.text())
  for await (const { value } of wal.readFrom(from)) state.push(String(value))
  return state
}
