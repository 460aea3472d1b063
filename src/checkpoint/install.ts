// Makes a log continue a snapshot that came from elsewhere.

import { rename } from 'node:fs/promises'
import type { CheckpointLog } from '../options/types.js'
import type { SnapshotDirectory } from './directory.js'

/**
 * Resets the log to the position after a pending snapshot, and gives the snapshot its final name. May be cut off anywhere, and repeated: a
 * log that begins after the snapshot was reset before. Errors of the directory are those of the operating system.
 */
export async function finishInstall(directory: SnapshotDirectory, position: number, log: CheckpointLog): Promise<void> {
  if (log.firstPosition <= position) await log.reset(position + 1)
  await rename(directory.pendingAt(position), directory.fileAt(position))
  // A pending name that comes back is no loss: only restoring with the log takes it.
  await directory.sync()
}
