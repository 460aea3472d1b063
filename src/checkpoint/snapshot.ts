// A snapshot file as it is read: checked as a whole first, then in pieces.

import { constants, isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { constants as files } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { AbortError, invalid, WalError } from '../errors.js'
import { isAborted } from '../util/signals.js'
import { systemFailure } from './directory.js'
import { decodeHeader, HEADER_BYTES, type Header } from './header.js'
import { PIECE_BYTES } from './pieces.js'

const OPERATION = 'restore'

// Opening a pipe in place of the file must not wait for a writer of it. Windows has no such flag.
const FLAGS = files.O_RDONLY | ((files.O_NONBLOCK as number | undefined) ?? 0)

const damaged = (file: string, why: string, position?: number): WalError =>
  new WalError('ERR_WAL_CORRUPT', `the snapshot ${file} is damaged: ${why}`, { operation: OPERATION, position })

/** Opens a file for `use`, closes it, and makes failures of the operating system those of this package. */
async function reading<R>(file: string, use: (handle: FileHandle) => Promise<R>): Promise<R> {
  try {
    const handle = await open(file, FLAGS)
    try {
      return await use(handle)
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw asFailure(file, error)
  }
}

const asFailure = (file: string, error: unknown): Error =>
  error instanceof WalError || error instanceof AbortError ? error : systemFailure(`the snapshot ${file} cannot be read`, OPERATION, error)

/** Reads up to `length` bytes; fewer only at the end of the file. */
async function readAt(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, at + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return bytes.subarray(0, filled)
}

/** Reads and checks the header, and that the file is as long as it says. */
async function headerOf(file: string, handle: FileHandle): Promise<Header> {
  if (!(await handle.stat()).isFile()) throw damaged(file, 'it is not a file')
  const header = decodeHeader(await readAt(handle, 0, HEADER_BYTES))
  if (header === 'damaged') throw damaged(file, 'its header does not match its checksum')
  if (header === 'newer') {
    throw new WalError('ERR_WAL_FORMAT', `the snapshot ${file} has a newer format than this version reads`, { operation: OPERATION })
  }
  const expected = HEADER_BYTES + header.length
  const { size } = await handle.stat()
  if (size !== expected) throw damaged(file, `it has ${size} of ${expected} bytes`, header.position)
  return header
}

/** Yields the pieces of the state. The last one is checked by the checksum of all. */
async function* piecesOf(file: string, handle: FileHandle, { length, digest, position }: Header): AsyncGenerator<Buffer, void> {
  const hash = createHash('sha256')
  for (let at = 0; at < length;) {
    const piece = await readAt(handle, HEADER_BYTES + at, Math.min(PIECE_BYTES, length - at))
    if (piece.length === 0) throw damaged(file, `it ends after ${at} of ${length} bytes of the state`, position)
    hash.update(piece)
    at += piece.length
    if (at === length) checkDigest()
    yield piece
  }
  if (length === 0) checkDigest()

  function checkDigest(): void {
    if (!hash.digest().equals(digest)) throw damaged(file, 'its state does not match its checksum', position)
  }
}

/** Reads the header of a snapshot file. Fails like {@link verifySnapshot}, except for damage to the state. */
export const readHeader = (file: string): Promise<Header> => reading(file, (handle) => headerOf(file, handle))

/**
 * Reads a whole snapshot file and checks it.
 *
 * @throws `ERR_WAL_CORRUPT`, `ERR_WAL_FORMAT` if it is of a newer version, `ERR_WAL_NOT_FOUND`, `ERR_WAL_IO` or an `AbortError`.
 */
export function verifySnapshot(file: string, signal: AbortSignal | undefined): Promise<Header> {
  return reading(file, async (handle) => {
    const header = await headerOf(file, handle)
    for await (const _ of piecesOf(file, handle, header)) {
      if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
    }
    return header
  })
}

/**
 * A sound snapshot, found by `restore`. An async iterable of the bytes of its state, in pieces of at most 256 KiB, so that a large state
 * needs little memory.
 *
 * Every read opens the file, and checks it again. It rejects with:
 *
 * - `ERR_WAL_NOT_FOUND`: a later checkpoint has removed or replaced the file. Restore again.
 * - `ERR_WAL_CORRUPT`: the file has been damaged since. Some pieces may have been returned before; the last one never is.
 * - `ERR_WAL_IO`.
 */
export class Snapshot implements AsyncIterable<Buffer> {
  /** Absolute path of the file. */
  readonly file: string
  /** The state has the effect of all records up to this one; 0 if it has that of none. */
  readonly position: number
  /** Bytes of the state. */
  readonly length: number
  readonly #digest: Buffer

  /** @internal */
  constructor(file: string, { position, length, digest }: Header) {
    this.file = file
    this.position = position
    this.length = length
    this.#digest = digest
  }

  /** Reads the state in pieces. The file is open until the loop is left. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    try {
      const handle = await open(this.file, FLAGS)
      try {
        const header = await headerOf(this.file, handle)
        if (!header.digest.equals(this.#digest)) {
          const message = `the snapshot ${this.file} was replaced by a later checkpoint at its position`
          throw new WalError('ERR_WAL_NOT_FOUND', message, { operation: OPERATION })
        }
        yield* piecesOf(this.file, handle, header)
      } finally {
        await handle.close()
      }
    } catch (error) {
      throw asFailure(this.file, error)
    }
  }

  /** Reads the whole state. Rejects with `ERR_WAL_TOO_LARGE` if it does not fit into a buffer; otherwise as described above. */
  async bytes(): Promise<Buffer> {
    const all = this.#allocate()
    let filled = 0
    for await (const piece of this) filled += piece.copy(all, filled)
    return all
  }

  /**
   * Reads the whole state as text. Rejects with `ERR_WAL_TOO_LARGE` if it does not fit into a string, with `ERR_WAL_INVALID_ARG` if it is
   * not UTF-8, and otherwise as described above.
   */
  async text(): Promise<string> {
    const bytes = await this.bytes()
    if (!isUtf8(bytes)) throw invalid(`the state of the snapshot ${this.file} is not UTF-8: read it with bytes()`, OPERATION)
    try {
      return bytes.toString()
    } catch (cause) {
      throw this.#tooLarge(cause)
    }
  }

  #allocate(): Buffer {
    if (this.length > constants.MAX_LENGTH) throw this.#tooLarge()
    try {
      return Buffer.allocUnsafeSlow(this.length)
    } catch (cause) {
      throw this.#tooLarge(cause)
    }
  }

  #tooLarge(cause?: unknown): WalError {
    const message = `the state of the snapshot ${this.file} has ${this.length} bytes: read it in pieces`
    return new WalError('ERR_WAL_TOO_LARGE', message, { operation: OPERATION, cause })
  }
}
