import type { Environment } from './environment.js'
import type { Row } from './rows.js'
import { ratios, type Figure, type RowResult, type Summary } from './statistics.js'

const HEAD = [
  'contestant',
  'does',
  'median (min – max)',
  'over raw limit',
  'p50',
  'p99',
  'CPU',
  'CPU/record',
  'JS thread/record',
  'peak RSS',
]

/** How often and how long each contestant ran. */
export interface Run {
  rounds: number
  quick: boolean
}

/** The machine and the kind of run, in one line. */
export function heading(environment: Environment, { rounds, quick }: Run): string {
  const { date, node, cpu, cores, memoryGiB, system, fileSystem, device } = environment
  const kind = quick ? 'quick rounds: a first look, not a claim' : 'rounds'
  return `${date} · Node.js ${node} · ${cpu}, ${cores} cores, ${memoryGiB} GiB · ${system} · ${fileSystem} on ${device} · ${rounds} interleaved ${kind}`
}

/** The tables as Markdown, padded for a terminal. */
export function markdown(environment: Environment, run: Run, results: readonly RowResult[]): string {
  return [heading(environment, run), ...results.map(section)].join('\n\n')
}

function section(result: RowResult): string {
  const { row } = result
  const lines = [
    `### ${row.id}: ${row.title} (${row.unit})`,
    '',
    aligned([HEAD, ...result.summaries.map((summary) => cells(summary, row))]),
  ]
  for (const { ours, against } of ratios(result)) {
    // Run without a rival, there is nothing to compare with.
    if (against.length === 0) continue
    lines.push('', `**${ours}**: ${against.map(({ name, ratio }) => `${ratio.toFixed(ratio < 10 ? 2 : 0)} × ${name}`).join(', ')}.`)
  }
  for (const reason of result.voids) lines.push('', `**Void**: ${reason}.`)
  if (result.foreignCores > 0.25) {
    lines.push('', `The machine was not quiet: other processes kept ${result.foreignCores.toFixed(1)} cores busy (median).`)
  }
  return lines.join('\n')
}

function cells(summary: Summary, { unit, durability }: Row): string[] {
  const { entrant, rate } = summary
  const name = entrant.role === 'ours' ? `**${entrant.name}**` : entrant.name
  const does = entrant.does[durability] ?? ''
  if (rate === undefined) return [name, does, summary.reason ?? '', '', '', '', '', '', '', '']
  return [
    name,
    does,
    figure(rate, unit),
    optional(summary.overLimit, (value) => value.toFixed(2)),
    optional(summary.p50Micros, micros),
    optional(summary.p99Micros, micros),
    optional(summary.cpuSeconds, (value) => `${value.toFixed(2)} s`),
    optional(summary.cpuMicrosPerRecord, (value) => `${value.toFixed(2)} µs`),
    optional(summary.threadMicrosPerRecord, (value) => `${value.toFixed(2)} µs`),
    optional(summary.peakRssMiB, (value) => `${value.toFixed(0)} MiB`),
  ]
}

function figure({ median, minimum, maximum }: Figure, unit: string): string {
  const text = unit === 'MB/s' ? (value: number): string => value.toFixed(0) : short
  return `${text(median)} (${text(minimum)} – ${text(maximum)})`
}

function short(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  return value >= 1e5 ? `${(value / 1e3).toFixed(0)} k` : `${(value / 1e3).toFixed(1)} k`
}

const micros = (value: number): string => (value >= 10_000 ? `${(value / 1000).toFixed(1)} ms` : `${value.toFixed(0)} µs`)
const optional = (value: number | undefined, text: (value: number) => string): string => (value === undefined ? '' : text(value))

export function aligned(table: string[][]): string {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)))
  const line = (row: string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`
  return [line(table[0]), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...table.slice(1).map(line)].join('\n')
}
