// Writes a snapshot, then truncates the log before it.

import { randomBytes } from 'node:crypto'
import { rename } from 'node:fs/promises'
import { AbortError, WalError } from '../errors.js'
import { checkCheckpoint, checkOutside, snapshotPath, type CheckedCheckpoint } from '../options/checkpoint.js'
import type { CheckpointInit, CheckpointLog } from '../options/types.js'
import { orAborted } from '../util/abort-listeners.js'
import type { PathLike } from '../util/paths.js'
import { isAborted } from '../util/signals.js'
import { remove, SnapshotDirectory, systemFailure, type Named } from './directory.js'
import type { Header } from './header.js'
import { finishInstall } from './install.js'
import { checkLog, uuidOf } from './log.js'
import { letFail } from './pieces.js'
import { readHeader } from './snapshot.js'
import { writeSnapshot } from './write.js'

/** What a checkpoint has done. */
export interface CheckpointReport {
  /** Absolute path of the snapshot. */
  file: string
  /** The state in it has the effect of all records up to this position. */
  position: number
  /** Bytes of the state. */
  bytes: number
  /** First position of the log afterwards. */
  firstPosition: number
}

// Checkpoints of this thread that are under way, by path: each removes what others have left behind.
const running = new Map<string, Promise<unknown>>()

/**
 * Stores a snapshot of the program's state durably, then removes from the log what the snapshot replaces.
 *
 * A snapshot is a file `FILE.POSITION`, next to which nothing else is touched. `restore` finds the newest sound one. The steps are in an order
 * in which a crash, or a power failure, after any of them leaves a snapshot and the records after it:
 *
 * 1. The log is synced, so that it is durable up to `position`.
 * 2. The state is written into a temporary file, which is synced, renamed and, on other systems than Windows, followed by a sync of the
 *    directory. From then on the snapshot counts.
 * 3. The log is truncated before the records after the oldest snapshot that is kept: `keep` says how many are. With `install` it is reset to
 *    `position + 1` instead.
 * 4. Older snapshots are removed.
 *
 * Temporary files of checkpoints that were cut off are removed by the next one. Calls of one thread for the same file follow each other;
 * other threads must not use the same file at the same time. Like every `truncateBefore`, this moves cursors that are behind.
 *
 * If it rejects before the snapshot counts, nothing has changed. If it rejects afterwards, the snapshot is complete, and the next checkpoint
 * does what is left. Nothing is lost in either case.
 *
 * @example
 *
 * ```js
 * const { snapshot, from } = await restore('state', { wal })
 * const state = new Map(snapshot === undefined ? [] : JSON.parse(await snapshot.text()))
 * for await (const record of wal.readFrom(from)) apply(state, record)
 * // … now and then:
 * const position = wal.acknowledgedPosition // state has the effect of the records up to here
 * await checkpoint(wal, 'state', { position, state: JSON.stringify([...state]) })
 * ```
 *
 * @param wal The log that the state was made from, open for writing.
 * @param file Path that the names of the snapshots begin with. Its directory must exist, and must not be that of the log.
 * @throws `ERR_WAL_OUT_OF_RANGE`: `position` is after the last record.
 * @throws `ERR_WAL_TRUNCATED`: the log begins after `position + 1`, or was truncated meanwhile.
 * @throws `ERR_WAL_CONFLICT`: there is a snapshot of a higher position, or one of another log. Remove it if it is no longer needed.
 * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid, or the state failed, with its error as the `cause`.
 * @throws `ERR_WAL_NOT_FOUND`: the directory does not exist.
 * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_READ_ONLY`, `ERR_WAL_IO`, or what `Wal.sync`, `Wal.truncateBefore` and `Wal.reset` reject with.
 * @throws `AbortError`: `signal` was aborted before the snapshot counted.
 */
export async function checkpoint(wal: CheckpointLog, file: PathLike, init: CheckpointInit): Promise<CheckpointReport> {
  const log = checkLog(wal, 'wal', 'checkpoint')
  const path = snapshotPath(file, 'checkpoint')
  const checked = checkCheckpoint(init)
  checkOutside(path, log.dir)
  letFail(checked.state)
  const before = running.get(path) ?? Promise.resolve()
  const run = orAborted(before, checked.signal).then(() => new Checkpoint(log, path, checked).run())
  // One that is aborted while it waits does not let the next one overtake those before it.
  const settled = Promise.allSettled([before, run]).then(() => {
    if (running.get(path) === settled) running.delete(path)
  })
  running.set(path, settled)
  return run
}

const outOfRange = (position: number, next: number): WalError =>
  new WalError('ERR_WAL_OUT_OF_RANGE', `the log has no record ${position}: the next position is ${next}`, {
    operation: 'checkpoint',
    position,
  })

const conflict = (message: string): WalError => new WalError('ERR_WAL_CONFLICT', message, { operation: 'checkpoint' })

class Checkpoint {
  readonly #log: CheckpointLog
  readonly #directory: SnapshotDirectory
  readonly #init: CheckedCheckpoint
  readonly #file: string

  constructor(log: CheckpointLog, path: string, init: CheckedCheckpoint) {
    this.#log = log
    this.#directory = new SnapshotDirectory(path)
    this.#init = init
    this.#file = this.#directory.fileAt(init.position)
  }

  async run(): Promise<CheckpointReport> {
    const { position, install } = this.#init
    await this.#log.sync()
    this.#checkPosition()
    const uuid = await uuidOf(this.#log)
    await this.#prepare(uuid)
    const { bytes, isPending } = await this.#publish(uuid)
    // All names that are listed are durable before anything is removed for their sake.
    const others = await this.#soundOthers(uuid)
    await this.#onDirectory(() => this.#directory.sync())
    if (isPending) await this.#onDirectory(() => finishInstall(this.#directory, position, this.#log))
    else if (!install) await this.#truncate(others)
    await this.#prune(others)
    return { file: this.#file, position, bytes, firstPosition: this.#log.firstPosition }
  }

  /** Checks that the log continues the state, and that its records are durable up to there. */
  #checkPosition(): void {
    const { position, install } = this.#init
    if (install) return
    const { firstPosition, nextPosition, durablePosition } = this.#log
    if (position >= nextPosition) throw outOfRange(position, nextPosition)
    if (position < firstPosition - 1) {
      const message = `the log begins at ${firstPosition}, so it does not continue a state of position ${position}`
      throw new WalError('ERR_WAL_TRUNCATED', message, { operation: 'checkpoint', position, firstPosition })
    }
    // Records were removed since the sync, and others have their positions.
    if (position >= firstPosition && position > durablePosition) {
      const message = `the end of the log was truncated during the checkpoint of position ${position}`
      throw new WalError('ERR_WAL_TRUNCATED', message, { operation: 'checkpoint', position, firstPosition })
    }
  }

  /** Removes what was left behind, and checks that the other snapshots are older ones of this log. */
  async #prepare(uuid: string): Promise<void> {
    const { snapshots, leftovers } = await this.#onDirectory(() => this.#directory.list())
    for (const leftover of leftovers) await this.#onDirectory(() => remove(leftover))
    for (const snapshot of snapshots) {
      const header = await soundHeader(snapshot)
      if (header === undefined) continue
      if (header.uuid !== uuid) throw conflict(`${snapshot.file} is a snapshot of another log, whose UUID is ${header.uuid}`)
      if (header.position > this.#init.position) {
        throw conflict(`${snapshot.file} is a snapshot of a higher position: remove it if the log was reset or truncated below it`)
      }
    }
  }

  /** Writes the snapshot and gives it a name. Returns the length of the state, and whether the log has yet to be reset for it. */
  async #publish(uuid: string): Promise<{ bytes: number; isPending: boolean }> {
    const { position, state, install, signal } = this.#init
    const temporary = this.#directory.temporary(position, randomBytes(8).toString('hex'))
    const bytes = await writeSnapshot(temporary, state, { uuid, position }, signal)
    try {
      if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
      this.#checkPosition()
      // A log that begins after the state cannot be told from one that was reset, so it is reset before there is a snapshot.
      if (install && this.#log.firstPosition > position) await this.#log.reset(position + 1)
      const isPending = install && this.#log.firstPosition <= position
      await this.#onDirectory(() => rename(temporary, isPending ? this.#directory.pendingAt(position) : this.#file))
      return { bytes, isPending }
    } catch (error) {
      await remove(temporary).catch(() => {})
      throw error
    }
  }

  /** The other snapshots of this log, newest first, as far as their headers are sound. */
  async #soundOthers(uuid: string): Promise<Named[]> {
    const { snapshots } = await this.#onDirectory(() => this.#directory.list())
    const sound: Named[] = []
    for (const snapshot of snapshots) {
      const isOwn = snapshot.position === this.#init.position
      if (!isOwn && (await soundHeader(snapshot))?.uuid === uuid) sound.push(snapshot)
    }
    return sound
  }

  /** The other snapshots that are kept: as many as were asked for, of those that the log continues. */
  #kept(others: readonly Named[]): Named[] {
    const { firstPosition } = this.#log
    const continued = others.filter(({ position, isPending }) => !isPending && position >= firstPosition - 1)
    return continued.slice(0, this.#init.keep - 1)
  }

  async #truncate(others: readonly Named[]): Promise<void> {
    const kept = this.#kept(others)
    // The state before the first record counts as one of those to keep.
    if (kept.length + 1 < this.#init.keep) return
    const oldest = Math.min(this.#init.position, ...kept.map(({ position }) => position))
    if (oldest + 1 > this.#log.firstPosition) await this.#log.truncateBefore(oldest + 1)
  }

  async #prune(others: readonly Named[]): Promise<void> {
    const kept = new Set(this.#kept(others))
    for (const other of others) {
      if (!kept.has(other) && other.position < this.#init.position) await this.#onDirectory(() => remove(other.file))
    }
  }

  async #onDirectory<R>(call: () => Promise<R>): Promise<R> {
    try {
      return await call()
    } catch (error) {
      // Of the log.
      if (error instanceof WalError) throw error
      throw systemFailure(`the checkpoint in ${this.#directory.dir} failed`, 'checkpoint', error)
    }
  }
}

/** Reads the header of a snapshot; `undefined` for a file that is damaged, of a newer version or not readable. Such a file is left alone. */
async function soundHeader({ file, position }: Named): Promise<Header | undefined> {
  try {
    const header = await readHeader(file)
    return header.position === position ? header : undefined
  } catch {
    return undefined
  }
}
