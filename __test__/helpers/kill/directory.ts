// What a killed process left behind, as the files tell it.

import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import path from 'node:path'

const PAGE = 4096
const SEQUENCE = 48
const ACTIVE = 56
const LOW = 64
const SEGMENT_NAME = /^(\d{20})-([0-9a-f]{16})\.wal$/

/** What CONTROL says: the slot with the higher sequence counts. */
function control(dir: string): { active: bigint; low: bigint } {
  const bytes = readFileSync(path.join(dir, 'CONTROL'))
  const [first, second] = [0, PAGE].map((slot) => ({
    sequence: bytes.readBigUInt64LE(slot + SEQUENCE),
    active: bytes.readBigUInt64LE(slot + ACTIVE),
    low: bytes.readBigUInt64LE(slot + LOW),
  }))
  return first.sequence > second.sequence ? first : second
}

/** First positions and ids of the segments that no later one has taken the place of, in the order of their ids. */
function segments(dir: string): { first: bigint; id: bigint }[] {
  const found = readdirSync(dir).flatMap((name) => {
    const [, first, id] = SEGMENT_NAME.exec(name) ?? []
    return id === undefined ? [] : [{ first: BigInt(first), id: BigInt(`0x${id}`) }]
  })
  found.sort((a, b) => (a.id < b.id ? -1 : 1))
  return found.filter(({ first }, i) => found.slice(i + 1).every((later) => later.first > first))
}

function startsWithHeader(file: string): boolean {
  const magic = Buffer.alloc(8)
  const fd = openSync(file, 'r')
  try {
    readSync(fd, magic, 0, magic.length, 0)
  } finally {
    closeSync(fd)
  }
  return magic.some((byte) => byte !== 0)
}

/** Whether a roll was cut off: between header and rename, or between rename and CONTROL. */
export function cutRoll(dir: string): 'before the rename' | 'before CONTROL' | undefined {
  const newest = segments(dir).at(-1)?.id ?? 0n
  if (newest !== control(dir).active) return 'before CONTROL'
  const begun = readdirSync(dir).some((name) => name.startsWith('spare-') && startsWithHeader(path.join(dir, name)))
  return begun ? 'before the rename' : undefined
}

/** Whether the removal of segments was cut off: some are wholly below the low mark, and still there. */
export function cutTruncation(dir: string): boolean {
  const { low } = control(dir)
  const second = segments(dir)[1]
  return second !== undefined && second.first <= low
}
