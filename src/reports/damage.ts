// Damage and missing positions, as reports describe them.

import type { FlippedBit } from '../errors.js'

/** Bytes that were durable and are now damaged. */
export interface Damage {
  /** Description of the damage, for people. */
  message: string
  /** File name of the segment. */
  segment: string
  /** Byte offset in that segment at which the damage begins. */
  offset: number
  /** First position that the damage covers, if known. */
  firstLost?: number
  /** Last position that the damage covers, if known. */
  lastLost?: number
  /** The single flipped bit that explains the damage, if there is one. */
  flipped?: FlippedBit
}

/** Positions from `first` to `last`, both included. */
export interface PositionRange {
  /** First position of the range. */
  first: number
  /** Last position of the range, inclusive. */
  last: number
}

/** Positions that no readable frame holds, and the bytes where they were. */
export interface Hole {
  /** First missing position. */
  first: number
  /** Last missing position. */
  last: number
  /** File name of the segment. */
  segment: string
  /** Byte offset in that segment at which the damage begins. */
  offset: number
  /** Bytes from `offset` to the next intact record, or to the end of the file. */
  bytes: number
  /** The single flipped bit that explains the start of the damage, if there is one. */
  flipped?: FlippedBit
  /** Present if the log itself records the loss, as a salvaged log does. Nothing is damaged then, and `offset` and `bytes` are 0. */
  recorded?: boolean
}

/** Describes holes as damage, except those that the log itself records. */
export function describeHoles(holes: readonly Hole[]): Damage[] {
  const damaged = holes.filter(({ recorded }) => recorded !== true)
  return damaged.map(({ first, last, bytes: _, recorded: __, ...where }) => ({
    message: `positions ${first} to ${last} cannot be read: ${where.segment} is damaged at offset ${where.offset}`,
    firstLost: first,
    lastLost: last,
    ...where,
  }))
}
