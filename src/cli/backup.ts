// `forelog backup`: copies a log to a log of its own.

import { Wal } from '../index.js'
import { EXIT } from './exit-codes.js'
import { Interrupt } from './interrupt.js'
import { count, megabytes } from './numbers.js'
import { say } from './output.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface BackupOptions {
  quiet?: boolean
}

/** Copies the log, and resolves to the exit code. */
export async function backup(dir: string, destination: string, { quiet }: BackupOptions): Promise<number> {
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  // A signal aborts the backup, which removes what it has copied.
  const interrupt = new Interrupt()
  const started = performance.now()
  let progress: Progress = silent
  let drawn = false
  try {
    const report = await wal.backup(destination, {
      signal: interrupt.signal,
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
      say(`${parts.join(', ')}\n`)
    }
  } catch (error) {
    if (interrupt.name === undefined) throw error
    progress.stop()
    say(`forelog: stopped by ${interrupt.name}: no backup was made, and its files were removed\n`)
    return interrupt.exitCode(EXIT.done)
  } finally {
    interrupt.stop()
    progress.stop()
    await wal.close()
  }
  return EXIT.done
}
