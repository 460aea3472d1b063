// What a killed process left behind, as the files tell it.

import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import path from 'node:path'

const PAGE = 4096
const SEQUENCE = 48
const ACTIVE = 56
const SEGMENT_NAME = /^\d{20}-([0-9a-f]{16})\.wal$/

/** The segment that CONTROL names: the slot with the higher sequence counts. */
function activeSegment(dir: string): bigint {
  const control = readFileSync(path.join(dir, 'CONTROL'))
  const [first, second] = [0, PAGE].map((slot) => ({
    sequence: control.readBigUInt64LE(slot + SEQUENCE),
    active: control.readBigUInt64LE(slot + ACTIVE),
  }))
  return first.sequence > second.sequence ? first.active : second.active
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
  const names = readdirSync(dir)
  const ids = names.flatMap((name) => {
    const id = SEGMENT_NAME.exec(name)?.[1]
    return id === undefined ? [] : [BigInt(`0x${id}`)]
  })
  const newest = ids.reduce((a, b) => (a > b ? a : b), 0n)
  if (newest !== activeSegment(dir)) return 'before CONTROL'
  const begun = names.some((name) => name.startsWith('spare-') && startsWithHeader(path.join(dir, name)))
  return begun ? 'before the rename' : undefined
}
