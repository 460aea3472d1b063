// The names of snapshot files, and the directory that they are in.

import { open, readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { WalError, type WalErrorCode } from '../errors.js'

// Enough for 2^53 - 1.
const POSITION_DIGITS = 16

const codes: { [code: string]: WalErrorCode } = {
  ENOSPC: 'ERR_WAL_NO_SPACE',
  EDQUOT: 'ERR_WAL_NO_SPACE',
  EROFS: 'ERR_WAL_READ_ONLY',
  ENOENT: 'ERR_WAL_NOT_FOUND',
}

/** The code of an error of the operating system. */
export const systemCode = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code

/** The error for a failed call of the operating system on a snapshot file or its directory. */
export function systemFailure(message: string, operation: string, cause: unknown): WalError {
  return new WalError(codes[systemCode(cause) ?? ''] ?? 'ERR_WAL_IO', `${message}: ${(cause as Error).message}`, {
    operation,
    cause,
  })
}

/** A file whose name says that it is a snapshot. */
export interface Named {
  /** Absolute path. */
  file: string
  /** Position in the name. */
  position: number
  /** The log has to be reset to the position after the snapshot before the snapshot counts. */
  isPending: boolean
}

/** The snapshots that belong to one path. Other files in its directory are never touched. */
export class SnapshotDirectory {
  /** The directory. */
  readonly dir: string
  readonly #base: string

  /** Names are made of `file`, an absolute path, and the position. */
  constructor(file: string) {
    this.dir = path.dirname(file)
    this.#base = path.basename(file)
  }

  /** Path of the snapshot at a position. */
  fileAt(position: number): string {
    return path.join(this.dir, `${this.#base}.${String(position).padStart(POSITION_DIGITS, '0')}`)
  }

  /** Path of a snapshot that is to be installed at a position. */
  pendingAt(position: number): string {
    return `${this.fileAt(position)}.install`
  }

  /** Path of the file in which a snapshot is written before it counts. `token` distinguishes the threads that write one. */
  temporary(position: number, token: string): string {
    return `${this.fileAt(position)}.${token}.tmp`
  }

  /** Lists the snapshots, newest first, and the files that were left behind while one was written. */
  async list(): Promise<{ snapshots: Named[]; leftovers: string[] }> {
    const [snapshots, leftovers]: [Named[], string[]] = [[], []]
    for (const name of await readdir(this.dir)) {
      if (!name.startsWith(`${this.#base}.`)) continue
      const [, digits, rest] = /^(\d{16})(\.install|\.[0-9a-f]{16}\.tmp)?$/.exec(name.slice(this.#base.length + 1)) ?? []
      const position = Number(digits)
      if (!Number.isSafeInteger(position)) continue
      const file = path.join(this.dir, name)
      if (rest?.endsWith('.tmp')) leftovers.push(file)
      else snapshots.push({ file, position, isPending: rest !== undefined })
    }
    snapshots.sort((a, b) => b.position - a.position || Number(a.isPending) - Number(b.isPending))
    return { snapshots, leftovers }
  }

  /** Makes the names in the directory durable. Windows does so with the rename itself. */
  async sync(): Promise<void> {
    if (process.platform === 'win32') return
    const handle = await open(this.dir)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }
}

/** Removes a file that may be gone already. */
export async function remove(file: string): Promise<void> {
  await unlink(file).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error
  })
}
