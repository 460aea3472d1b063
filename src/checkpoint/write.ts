// Writes a snapshot into a temporary file, durably. It counts once it is renamed.

import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { remove, systemFailure } from './directory.js'
import { encodeHeader, HEADER_BYTES, type Header } from './header.js'
import { eachPiece, PIECE_BYTES } from './pieces.js'

async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

/** Writes the state in pieces, from memory of its own: what is hashed is what is written, even if the caller changes it meanwhile. */
class StateWriter {
  length = 0
  readonly #handle: FileHandle
  readonly #failed: (cause: unknown) => Error
  readonly #hash = createHash('sha256')
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_BYTES)
  #filled = 0

  constructor(handle: FileHandle, failed: (cause: unknown) => Error) {
    this.#handle = handle
    this.#failed = failed
  }

  /** Takes a piece, of at most `PIECE_BYTES`. */
  add(piece: Uint8Array): Promise<void> | undefined {
    if (this.#filled + piece.length <= PIECE_BYTES) {
      this.#copy(piece)
      return undefined
    }
    return this.#addFull(piece)
  }

  /** Writes the rest, and returns the checksum of the state. */
  async end(): Promise<Buffer> {
    await this.#flush()
    return this.#hash.digest()
  }

  async #addFull(piece: Uint8Array): Promise<void> {
    const room = PIECE_BYTES - this.#filled
    this.#copy(piece.subarray(0, room))
    // Before the write: the caller may change the rest meanwhile, or transfer its memory away.
    const rest = Buffer.from(piece.subarray(room))
    await this.#flush()
    this.#copy(rest)
  }

  #copy(piece: Uint8Array): void {
    this.#buffer.set(piece, this.#filled)
    this.#filled += piece.length
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#filled)
    this.#hash.update(bytes)
    try {
      await writeAll(this.#handle, bytes, HEADER_BYTES + this.length)
    } catch (error) {
      throw this.#failed(error)
    }
    this.length += this.#filled
    this.#filled = 0
  }
}

/**
 * Writes a state and its header into a new file, and makes the file durable. Removes the file if that fails. Returns the length of the
 * state.
 */
export async function writeSnapshot(
  file: string,
  state: unknown,
  identity: Pick<Header, 'uuid' | 'position'>,
  signal: AbortSignal | undefined
): Promise<number> {
  const failed = (cause: unknown) => systemFailure(`the snapshot ${file} cannot be written`, 'checkpoint', cause)
  let handle: FileHandle
  try {
    handle = await open(file, 'wx')
  } catch (error) {
    throw failed(error)
  }
  try {
    try {
      const writer = new StateWriter(handle, failed)
      await eachPiece(state, signal, (piece) => writer.add(piece))
      const digest = await writer.end()
      const { length } = writer
      await writeAll(handle, encodeHeader({ ...identity, length, digest }), 0).catch((error: unknown) => Promise.reject(failed(error)))
      await handle.sync().catch((error: unknown) => Promise.reject(failed(error)))
      return length
    } finally {
      await handle.close().catch((error: unknown) => Promise.reject(failed(error)))
    }
  } catch (error) {
    // The first failure is the one to report; the next checkpoint removes what is left.
    await remove(file).catch(() => {})
    throw error
  }
}
