import { median } from '../lib/statistics.js'
import { aligned, micros, short, times } from '../lib/table.js'
import type { Entry, Row } from './entries.js'
import type { Sample } from './programs.js'

/** All rounds of one row. */
export interface Result {
  readonly row: Row
  readonly all: readonly { readonly entry: Entry; readonly samples: readonly Sample[]; readonly reason?: string }[]
}

/** One row as Markdown: rates, or milliseconds for what is the better the shorter it takes. */
export function section({ row, all }: Result): string {
  const values = (samples: readonly Sample[]): number[] =>
    samples.map(({ operations, seconds }) => (row.unit === 'ms' ? seconds * 1000 : operations / seconds))
  const text = row.unit === 'ms' ? (value: number): string => value.toFixed(value < 10 ? 1 : 0) : short
  const ours = all.find(({ entry, samples }) => entry.id === 'forelog' && samples.length > 0)
  const bare = all.find(({ entry, samples }) => entry.id === 'bare' && samples.length > 0)
  const over = (value: number, other: Result['all'][number] | undefined): string =>
    other === undefined ? '' : times(value / median(values(other.samples)))
  const lines = all.map(({ entry, samples, reason }) => {
    const name = entry.ours === true ? `**${entry.name}**` : entry.name
    if (samples.length === 0) return [name, entry.does, reason ?? 'not run']
    const of = values(samples)
    const latency = (which: 'p50Micros' | 'p99Micros'): string =>
      samples.every((each) => each[which] !== undefined) ? micros(median(samples.map((each) => each[which]!))) : ''
    const cpu = median(samples.map(({ cpuSeconds, operations }) => (cpuSeconds / operations) * 1e6))
    return [
      name,
      entry.does,
      `${text(median(of))} (${text(Math.min(...of))} – ${text(Math.max(...of))})`,
      over(median(of), ours),
      over(median(of), bare),
      latency('p50Micros'),
      latency('p99Micros'),
      row.unit === 'ms' ? micros(cpu) : `${cpu.toFixed(2)} µs`,
    ]
  })
  const head = ['log', 'does', 'median (min – max)', 'over Forelog', 'over bare', 'p50', 'p99', row.unit === 'ms' ? 'CPU' : 'CPU/record']
  return [`### Engine: ${row.title} (${row.unit})`, '', aligned([head, ...lines])].join('\n')
}
