// `forelog salvage`: makes a new log of every intact record of a damaged one.

import { salvage as salvageLog, type SalvageReport } from '../index.js'
import { EXIT } from './exit-codes.js'
import { quoted } from './failure.js'
import { describeHole, isNew } from './holes.js'
import { Interrupt } from './interrupt.js'
import { count, megabytes } from './numbers.js'
import { say, stdout } from './output.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface SalvageOptions {
  json?: boolean
  quiet?: boolean
}

function summary({ records, segments, firstPosition, nextPosition, holes, cursors }: SalvageReport, seconds: number): string {
  const lost = holes.filter(isNew).reduce((sum, { first, last }) => sum + last - first + 1, 0)
  const parts = [
    records === 0 ? 'no records' : `${count(records)} records`,
    `positions ${firstPosition} to ${nextPosition - 1}`,
    `${count(segments)} segments`,
    lost === 0 ? 'nothing lost' : `${count(lost)} positions lost`,
  ]
  if (records === 0) parts.splice(1, 1, `the next one gets position ${nextPosition}`)
  if (cursors > 0) parts.push(`${count(cursors)} cursors`)
  parts.push(`${seconds.toFixed(2)} s`)
  return `${parts.join(', ')}\n`
}

/** Salvages the log, and resolves to the exit code: 1 if something is missing from the new log. */
export async function salvage(dir: string, destination: string, { json = false, quiet = false }: SalvageOptions): Promise<number> {
  // A signal aborts the salvage, which removes what it has written of the new log.
  const interrupt = new Interrupt()
  const started = performance.now()
  let progress: Progress | undefined
  let report: SalvageReport
  try {
    report = await salvageLog(dir, destination, {
      signal: interrupt.signal,
      onProgress({ bytes, totalBytes, records }) {
        progress ??= quiet || !process.stderr.isTTY ? silent : progressOn(process.stderr, totalBytes)
        progress.update(bytes, `${megabytes(bytes)} of ${megabytes(totalBytes)}, ${count(records)} records`)
      },
    })
  } catch (error) {
    if (interrupt.name === undefined) throw error
    progress?.stop()
    say(`forelog: stopped by ${interrupt.name}: no log was made, and its files were removed\n`)
    return interrupt.exitCode(EXIT.done)
  } finally {
    interrupt.stop()
    progress?.stop()
  }
  if (json) {
    await stdout.write(`${JSON.stringify(report)}\n`)
    await stdout.flush()
  } else for (const hole of report.holes) say(describeHole(dir, hole))
  if (report.cursorsLost) say('forelog: lost: the named cursors, because CURSORS is damaged\n')
  if (!quiet && !json) {
    const [from, to] = [quoted(dir), quoted(destination)]
    say(summary(report, (performance.now() - started) / 1000))
    say(`  next: forelog verify ${to} && mv ${from} ${quoted(`${dir.replace(/\/+$/, '')}.damaged`)} && mv ${to} ${from}\n`)
  }
  return report.cursorsLost || report.holes.some(isNew) ? EXIT.damage : EXIT.done
}
