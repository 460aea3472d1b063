// Bytes in, lines out. Nothing is decoded, so any file survives the way into a log and back.

const LINE_FEED = 0x0a

/** A line that does not fit in a record. */
export class LineTooLongError extends Error {
  readonly code = 'ERR_WAL_TOO_LARGE'

  constructor(line: number, limit: number) {
    super(`line ${line} is longer than ${limit} bytes`)
    this.name = 'LineTooLongError'
  }
}

/**
 * Cuts a stream after every line feed; the pieces, joined, are the stream again. Yields the lines
 * that each chunk completes, in one array. Holds at most one unfinished line of `limit` bytes.
 */
export async function* splitLines(chunks: AsyncIterable<Buffer>, limit: number): AsyncGenerator<Buffer[], void, undefined> {
  let begun: Buffer[] = []
  let begunBytes = 0
  let count = 0

  for await (const chunk of chunks) {
    const lines: Buffer[] = []
    let start = 0
    let tooLong = false
    while (start < chunk.length && !tooLong) {
      const feed = chunk.indexOf(LINE_FEED, start)
      const end = feed === -1 ? chunk.length : feed + 1
      const piece = chunk.subarray(start, end)
      start = end
      tooLong = begunBytes + piece.length > limit
      if (tooLong) break
      if (feed === -1 || begunBytes > 0) {
        begun.push(piece)
        begunBytes += piece.length
      }
      if (feed === -1) break
      lines.push(begunBytes > 0 ? Buffer.concat(begun, begunBytes) : piece)
      begun = []
      begunBytes = 0
    }
    count += lines.length
    if (lines.length > 0) yield lines
    if (tooLong) throw new LineTooLongError(count + 1, limit)
  }
  if (begunBytes > 0) yield [Buffer.concat(begun, begunBytes)]
}
