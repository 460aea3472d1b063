// `forelog salvage`: a new log of everything that holds in a damaged one.

import { salvage as salvageLog, type Hole, type SalvageReport } from '../index.js'
import { count, megabytes } from './numbers.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface SalvageOptions {
  json?: boolean
  quiet?: boolean
}

/** The new log is complete and durable, but something is missing from it. */
const LOSSES = 1

const positions = ({ first, last }: Hole): string => (first === last ? `position ${first}` : `positions ${first} to ${last}`)

function describe(hole: Hole): string {
  if (hole.recorded) return `forelog: lost earlier: ${positions(hole)}, as the log itself records\n`
  const { segment, offset, bytes, flipped } = hole
  const bit = flipped ? `; bit ${flipped.bit} of the byte at ${flipped.offset} has flipped` : ''
  return `forelog: lost: ${positions(hole)}, ${segment} from offset ${offset}, ${bytes} bytes${bit}\n`
}

/** An argument as a POSIX shell takes it. */
const quoted = (argument: string): string => (/^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`)

function summary({ records, segments, firstPosition, nextPosition, holes, cursors }: SalvageReport, seconds: number): string {
  const lost = holes.filter(({ recorded }) => recorded !== true).reduce((sum, { first, last }) => sum + last - first + 1, 0)
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

/** Resolves to the exit code: 1 when something is missing from the new log. */
export async function salvage(dir: string, destination: string, { json = false, quiet = false }: SalvageOptions): Promise<number> {
  // Ctrl-C gives the salvage up, and what there is of the new log is removed.
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort()
  process.once('SIGINT', interrupt)
  const started = performance.now()
  let progress: Progress | undefined
  let report: SalvageReport
  try {
    report = await salvageLog(dir, destination, {
      signal: interrupted.signal,
      onProgress({ bytes, totalBytes, records }) {
        progress ??= quiet || !process.stderr.isTTY ? silent : progressOn(process.stderr, totalBytes)
        progress.update(bytes, `${megabytes(bytes)} of ${megabytes(totalBytes)}, ${count(records)} records`)
      },
    })
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    throw error
  } finally {
    process.removeListener('SIGINT', interrupt)
    progress?.stop()
  }
  const isLossy = report.cursorsLost || report.holes.some(({ recorded }) => recorded !== true)
  if (json) process.stdout.write(`${JSON.stringify(report)}\n`)
  else process.stderr.write(report.holes.map(describe).join(''))
  if (report.cursorsLost) process.stderr.write('forelog: lost: the named cursors, CURSORS does not hold\n')
  if (!quiet && !json) {
    const [from, to] = [quoted(dir), quoted(destination)]
    process.stderr.write(summary(report, (performance.now() - started) / 1000))
    process.stderr.write(`  next: forelog verify ${to} && mv ${from} ${quoted(`${dir.replace(/\/+$/, '')}.damaged`)} && mv ${to} ${from}\n`)
  }
  return isLossy ? LOSSES : 0
}
