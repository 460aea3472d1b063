// The source of the records. Record `i` of the source is appended at position `i` of the log: ingesting goes on at the next position, and
// the check compares by position.

import { createReadStream } from 'node:fs'
import { splitLines } from '../cli/lines.js'
import { event } from './events.js'

export interface Source {
  readonly total: number
  /** Yields the records from position `from` on, in arrays of any length. */
  records(from: number): AsyncGenerator<Buffer[], void, undefined>
}

const BATCH = 1000
const CHUNK_BYTES = 1 << 20
// The default limit of a record, less its framing.
const LONGEST_LINE = (16 << 20) - 64

function generated(total: number): Source {
  return {
    total,
    async *records(from) {
      for (let first = from; first <= total; first += BATCH) {
        const length = Math.min(BATCH, total - first + 1)
        yield Array.from({ length }, (_, i) => event(first + i))
      }
    },
  }
}

async function* linesOf(file: string, from: number): AsyncGenerator<Buffer[], void, undefined> {
  let skip = from - 1
  const chunks = createReadStream(file, { highWaterMark: CHUNK_BYTES })
  for await (const lines of splitLines(chunks, LONGEST_LINE)) {
    if (skip < lines.length) yield lines.slice(skip)
    skip = Math.max(0, skip - lines.length)
  }
}

async function linesFrom(file: string): Promise<Source> {
  let total = 0
  for await (const lines of linesOf(file, 1)) total += lines.length
  return { total, records: (from) => linesOf(file, from) }
}

/** Opens the lines of `file` as the source, or without a file that many generated events. */
export async function openSource(file: string | undefined, records: number): Promise<Source> {
  return file === undefined ? generated(records) : await linesFrom(file)
}
