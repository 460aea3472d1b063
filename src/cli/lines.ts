// Splits input into lines. Nothing is decoded, so any file can go into a log and come back unchanged.

import { fstatSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { InputError } from './failure.js'

const LINE_FEED = 0x0a
// Large enough that one group commit takes many lines.
const CHUNK_BYTES = 1 << 20

/** The input stream, and its size in bytes if known. */
export interface Input {
  stream: Readable
  bytes: number | undefined
}

/**
 * Opens a file, or standard input if there is no file name or it is `-`.
 *
 * @throws `InputError` if the input cannot be read.
 */
export async function openInput(file: string | undefined): Promise<Input> {
  try {
    if (file === undefined || file === '-') {
      // Node treats a directory as an empty input.
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

/** Iterates over the chunks of a stream, and converts its errors to input errors. */
async function* chunksOf(stream: Readable): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk
  } catch (error) {
    throw (error as Error).name === 'AbortError' ? error : unreadable(error)
  }
}

/**
 * Splits a stream after every line feed, so that the lines joined are the stream again. Yields the lines that each chunk completes in one
 * array. Buffers at most one unfinished line of `limit` bytes.
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
