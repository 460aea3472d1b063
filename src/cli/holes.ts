// Describes positions that a salvaging reader had to skip, for standard error.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Hole } from '../index.js'

/** `position 5`, or `positions 5 to 9`. */
export const positions = (first: number, last: number): string => (first === last ? `position ${first}` : `positions ${first} to ${last}`)

function where(dir: string, { segment, offset, bytes }: Hole): string {
  if (offset > 0 || bytes > 0) return `${segment} from offset ${offset}, ${bytes} bytes`
  if (!existsSync(join(dir, segment))) return `${segment} is missing`
  return segment === 'CONTROL' ? 'the segment that CONTROL names is missing' : `the segment before ${segment} is missing`
}

/** Whether the positions were lost since the log was made. A hole that a salvage recorded when it made the log is not damage. */
export const isNew = ({ recorded }: Hole): boolean => recorded !== true

/** Describes a hole of the log in `dir` in one line. */
export function describeHole(dir: string, hole: Hole): string {
  const { first, last, flipped } = hole
  if (!isNew(hole)) return `forelog: lost earlier: ${positions(first, last)}, recorded by an earlier salvage\n`
  const bit = flipped ? `; bit ${flipped.bit} of the byte at offset ${flipped.offset} has flipped` : ''
  return `forelog: lost: ${positions(first, last)}, ${where(dir, hole)}${bit}\n`
}
