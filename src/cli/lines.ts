// Bytes in, lines out. Nothing is decoded, so any file survives the way into a log and back.

import { fstatSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { InputError } from './failure.js'

const LINE_FEED = 0x0a
// Read in pieces large enough that one group commit takes many lines.
const CHUNK_BYTES = 1 << 20

/** What is read, and how long it is where that is known. */
export interface Input {
  stream: Readable
  bytes: number | undefined
}

/**
 * Opens a file, or standard input for nothing and for `-`.
 *
 * @throws `InputError` when it cannot be read.
 */
export async function openInput(file: string | undefined): Promise<Input> {
  try {
    if (file === undefined || file === '-') {
      // Node takes a directory for an empty input.
      const stat = fstatSync(0)
      if (stat.isDirectory()) throw isDirectory('standard input')
      return { stream: process.stdin, bytes: stat.isFile() ? stat.size : undefined }
    }
    const handle = await open(file)
    const stat = await handle.stat()
    if (stat.isDirectory()) {
      await handle.close()
      throw isDirectory(file)
    }
    return { stream: handle.createReadStream({ highWaterMark: CHUNK_BYTES }), bytes: stat.isFile() ? stat.size : undefined }
  } catch (error) {
    throw unreadable(error)
  }
}

const isDirectory = (name: string): Error => Object.assign(new Error(`${name} is a directory`), { code: 'EISDIR' })

function unreadable(cause: unknown): InputError {
  const { message, code } = cause as NodeJS.ErrnoException
  return new InputError(`the input cannot be read: ${message}`, { ...(code !== undefined && { code }), cause })
}

/** The chunks of a stream, whose own failure is one of the input. */
async function* chunksOf(stream: Readable): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk
  } catch (error) {
    throw (error as Error).name === 'AbortError' ? error : unreadable(error)
  }
}

/**
 * Cuts a stream after every line feed; the pieces, joined, are the stream again. Yields the lines
 * that each chunk completes, in one array. Holds at most one unfinished line of `limit` bytes.
 */
export async function* splitLines(stream: Readable, limit: number): AsyncGenerator<Buffer[], void, undefined> {
  let begun: Buffer[] = []
  let begunBytes = 0
  let count = 0

  for await (const chunk of chunksOf(stream)) {
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
    if (tooLong) throw new InputError(`longer than ${limit} bytes`, { line: count + 1, code: 'ERR_WAL_TOO_LARGE' })
  }
  if (begunBytes > 0) yield [Buffer.concat(begun, begunBytes)]
}
