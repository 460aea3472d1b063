// `forelog backup`: a copy of a log that opens as one of its own.

import { Wal } from '../index.js'
import { count, megabytes } from './numbers.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface BackupOptions {
  quiet?: boolean
}

/** Resolves to the exit code. */
export async function backup(dir: string, destination: string, { quiet }: BackupOptions): Promise<number> {
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  // Ctrl-C gives the backup up, and what there is of it is removed.
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort()
  process.once('SIGINT', interrupt)
  const started = performance.now()
  let progress: Progress = silent
  let drawn = false
  try {
    const report = await wal.backup(destination, {
      signal: interrupted.signal,
      onProgress({ segments, totalSegments, bytes, totalBytes }) {
        if (!drawn && !quiet && process.stderr.isTTY) progress = progressOn(process.stderr, totalBytes)
        drawn = true
        progress.update(bytes, `${count(segments)} of ${count(totalSegments)} segments, ${megabytes(bytes)}`)
      },
    })
    progress.stop()
    if (!quiet) {
      const { firstPosition, lastPosition, segments, bytes, linked, cloned, copied } = report
      const ways = Object.entries({ linked, cloned, copied }).filter(([, n]) => n > 0)
      const parts = [
        lastPosition < firstPosition ? 'no records' : `records ${firstPosition} to ${lastPosition}`,
        `${count(segments)} segments (${ways.map(([way, n]) => `${count(n)} ${way}`).join(', ')})`,
        megabytes(bytes),
        `${((performance.now() - started) / 1000).toFixed(2)} s`,
      ]
      process.stderr.write(`${parts.join(', ')}\n`)
    }
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    throw error
  } finally {
    process.removeListener('SIGINT', interrupt)
    progress.stop()
    await wal.close()
  }
  return 0
}
