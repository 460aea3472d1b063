// Finds the newest sound snapshot, and where the log continues it.

import { WalError, type WalErrorCode } from '../errors.js'
import { checkRestore, snapshotPath } from '../options/checkpoint.js'
import type { CheckpointLog, RestoreOptions } from '../options/types.js'
import type { PathLike } from '../util/paths.js'
import { SnapshotDirectory, systemCode, systemFailure, type Named } from './directory.js'
import type { Header } from './header.js'
import { finishInstall } from './install.js'
import { checkLog, uuidOf } from './log.js'
import { Snapshot, verifySnapshot } from './snapshot.js'

/** A snapshot that `restore` has passed over. */
export interface SkippedSnapshot {
  /** Absolute path of the file. */
  file: string
  /** Why it cannot be used. */
  error: WalError
}

/** What `restore` has found. */
export interface Restored {
  /** The newest sound snapshot; `undefined` if there is none, so that the state is the one before the first record. */
  snapshot: Snapshot | undefined
  /** Position of the first record that the state does not have the effect of: the start of the reader that brings it up to date. */
  from: number
  /** Newer snapshots that cannot be used, newest first. Records are replayed instead; nothing is lost. */
  skipped: SkippedSnapshot[]
}

/**
 * Finds the newest sound snapshot that `checkpoint` has stored for `file`, and the position at which the log continues it.
 *
 * Every file is read as a whole and checked, by a SHA-256 of its state, before it counts. If the newest one is torn, damaged or of a newer
 * version, an older one is taken, from which more records are replayed, and `skipped` says which were passed over. Without any snapshot the
 * state is the one before the first record, and `from` is 1.
 *
 * With `wal`, the log is checked to continue the snapshot, so that the state can be brought up to date; without it, `readFrom(from)` rejects
 * with `ERR_WAL_TRUNCATED` if the log begins later. If a checkpoint with `install` was cut off before it reset the log, this resets it.
 *
 * @example
 *
 * ```js
 * const wal = await Wal.open('log')
 * const { snapshot, from, skipped } = await restore('state', { wal })
 * const state = new Map(snapshot === undefined ? [] : JSON.parse(await snapshot.text()))
 * for await (const record of wal.readFrom(from)) apply(state, record)
 * for (const { file, error } of skipped) console.warn(`${file}: ${error.message}`)
 * ```
 *
 * @param file Path that the names of the snapshots begin with, as for `checkpoint`.
 * @throws `ERR_WAL_CORRUPT` or `ERR_WAL_FORMAT`: all snapshots are damaged, of a newer version or, with `wal`, of another log, and the log no
 *   longer begins at 1. The error is that of the newest.
 * @throws `ERR_WAL_TRUNCATED`: with `wal`, the log begins after the position at which it would continue the snapshot, or there is none and
 *   the log does not begin at 1 (`firstPosition`).
 * @throws `ERR_WAL_OUT_OF_RANGE`: with `wal`, the log ends before the snapshot. It is not the log that the snapshot was made from, or has lost
 *   its end; `wal.reset(error.position + 1)` continues from the snapshot.
 * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_IO`, what `Wal.reset` rejects with, or an `AbortError`.
 */
export async function restore(file: PathLike, options?: RestoreOptions): Promise<Restored> {
  const directory = new SnapshotDirectory(snapshotPath(file, 'restore'))
  const { wal, signal } = checkRestore(options)
  const log = wal === undefined ? undefined : checkLog(wal, 'options.wal', 'restore')
  const uuid = log && (await uuidOf(log))
  for (let attempt = 1; ; attempt++) {
    const { found, skipped } = await newestSound(directory, uuid, signal)
    // A checkpoint has replaced the snapshots since they were listed.
    if (skipped.some(({ error }) => error.code === 'ERR_WAL_NOT_FOUND') && attempt < ATTEMPTS) continue
    const position = found?.header.position ?? 0
    if (log !== undefined) {
      if (found?.isPending) await install(directory, position, log)
      checkContinues(log, position, skipped)
    } else if (found === undefined && skipped.length > 0) throw skipped[0].error
    const snapshot = found && new Snapshot(directory.fileAt(position), found.header)
    return { snapshot, from: position + 1, skipped }
  }
}

/** Finishes a checkpoint with `install` that was cut off. */
async function install(directory: SnapshotDirectory, position: number, log: CheckpointLog): Promise<void> {
  try {
    await finishInstall(directory, position, log)
  } catch (error) {
    if (error instanceof WalError) throw error
    throw systemFailure(`${directory.pendingAt(position)} cannot be installed`, 'restore', error)
  }
}

/** Checks that the log has the records after a position. */
function checkContinues(log: CheckpointLog, position: number, skipped: readonly SkippedSnapshot[]): void {
  const { firstPosition, nextPosition } = log
  if (position < firstPosition - 1) {
    const state = position === 0 ? 'there is no snapshot' : `the newest snapshot is of position ${position}`
    const message = `${state}, and the log begins at ${firstPosition}: the records in between are gone`
    throw skipped[0]?.error ?? new WalError('ERR_WAL_TRUNCATED', message, { operation: 'restore', position, firstPosition })
  }
  if (position >= nextPosition) {
    const message = `the log ends at ${nextPosition - 1}, before the newest snapshot, of position ${position}`
    throw new WalError('ERR_WAL_OUT_OF_RANGE', message, { operation: 'restore', position })
  }
}

const ATTEMPTS = 10

/** Errors of one snapshot after which an older one is tried: the records in between are replayed instead. */
const unusable = new Set<WalErrorCode>(['ERR_WAL_CONFLICT', 'ERR_WAL_CORRUPT', 'ERR_WAL_FORMAT', 'ERR_WAL_IO', 'ERR_WAL_NOT_FOUND'])

/** A sound snapshot. */
interface Sound {
  header: Header
  isPending: boolean
}

/** Finds the newest sound snapshot; of the log with this UUID, if one is given. */
async function newestSound(
  directory: SnapshotDirectory,
  uuid: string | undefined,
  signal: AbortSignal | undefined
): Promise<{ found: Sound | undefined; skipped: SkippedSnapshot[] }> {
  const skipped: SkippedSnapshot[] = []
  for (const named of await listed(directory)) {
    try {
      return { found: { header: await verified(named, uuid, signal), isPending: named.isPending }, skipped }
    } catch (error) {
      if (!(error instanceof WalError) || !unusable.has(error.code)) throw error
      skipped.push({ file: named.file, error })
    }
  }
  return { found: undefined, skipped }
}

/** Lists the snapshots, newest first. Where there is no directory, there is none. */
async function listed(directory: SnapshotDirectory): Promise<Named[]> {
  try {
    return (await directory.list()).snapshots
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw systemFailure(`${directory.dir} cannot be listed`, 'restore', error)
  }
}

/** Reads and checks a whole snapshot, its name included. */
async function verified(named: Named, uuid: string | undefined, signal: AbortSignal | undefined): Promise<Header> {
  const { file, position, isPending } = named
  const fail = (code: WalErrorCode, message: string) => new WalError(code, message, { operation: 'restore', position })
  const header = await verifySnapshot(file, signal)
  if (header.position !== position) throw fail('ERR_WAL_CORRUPT', `${file} was renamed: it is a snapshot of position ${header.position}`)
  if (uuid === undefined) {
    if (isPending) throw fail('ERR_WAL_CONFLICT', `the log was not reset for ${file}: restore with options.wal`)
  } else if (header.uuid !== uuid) {
    throw fail('ERR_WAL_FORMAT', `${file} is a snapshot of another log, whose UUID is ${header.uuid}`)
  }
  return header
}
