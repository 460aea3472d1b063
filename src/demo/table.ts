// The results of a run, as a table.

import { count, mean, megabytes, milliseconds, rate } from '../cli/numbers.js'

export interface Totals {
  records: number
  bytes: number
  /** Milliseconds of ingesting; starting, recovery and checking do not count. */
  elapsed: number
  fsyncs: number
  commits: number
  kills: number
  /** Milliseconds of opening the log, for each kill. */
  recoveries: number[]
  /** Number of acknowledged records that are missing. */
  lost: number
  /** Whether a record of the log differs from what was appended. */
  damaged: boolean
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0
}

export function table(totals: Totals): string {
  const { records, bytes, elapsed, fsyncs, commits, kills, recoveries, lost } = totals
  const rows = [
    ['records', count(records)],
    ['size', megabytes(bytes)],
    ['rate', `${rate(records, elapsed)} durable records/s`],
    ['fsyncs', count(fsyncs)],
    ['mean group', `${mean(records, commits)} records`],
    ['kills', count(kills)],
    [
      'time to recover',
      kills === 0 ? 'not killed' : `${milliseconds(median(recoveries))} median, ${milliseconds(Math.max(...recoveries))} max`,
    ],
    ['acknowledged records lost', count(lost)],
  ]
  const width = Math.max(...rows.map(([name = '']) => name.length))
  return rows.map(([name = '', value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}
