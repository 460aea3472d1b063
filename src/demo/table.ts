// What a run amounts to.

import { count, mean, megabytes, milliseconds, rate } from '../cli/numbers.js'

export interface Totals {
  records: number
  bytes: number
  /** Milliseconds spent ingesting, without starting, recovering and checking. */
  elapsed: number
  fsyncs: number
  commits: number
  kills: number
  /** Milliseconds that opening took after each kill. */
  recoveries: number[]
  /** Acknowledged records that are not there any more. */
  lost: number
  /** Something in the log is not what was appended. */
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
