import type { Environment } from './environment.js'
import type { Row } from './rows.js'
import { ratios, type Figure, type Ratio, type RowResult } from './statistics.js'

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
  const lines = [`### ${row.id}: ${row.title} (${row.unit})`, '', table(result)]
  for (const { ours, against } of ratios(result)) {
    // Run without a rival, there is nothing to compare with.
    if (against.length === 0) continue
    lines.push('', `**${ours.name}**: ${against.map((each) => told(each, row)).join(', ')}.`)
  }
  for (const reason of result.voids) lines.push('', `**Void**: ${reason}.`)
  if (result.foreignCores > 0.25) {
    lines.push('', `The machine was not quiet: other processes kept ${result.foreignCores.toFixed(1)} cores busy (median).`)
  }
  return lines.join('\n')
}

function told({ name, rate, cpu }: Ratio, { kind }: Row): string {
  const words = `${times(rate)} × ${name}`
  if (cpu === undefined) return words
  return `${words} at ${cpu.toFixed(2)} × its CPU${kind === 'service' ? ' above nothing' : ''}`
}

export const times = (ratio: number): string => ratio.toFixed(ratio < 10 ? 2 : 0)

/** A service counts requests. How much of its CPU the store takes is what is above a service that stores nothing. */
function table({ row, summaries }: RowResult): string {
  const serving = row.kind === 'service'
  const per = serving ? 'request' : 'record'
  const head = ['contestant', 'does', 'median (min – max)', 'over raw limit', 'p50', 'p99', 'CPU', `CPU/${per}`]
  const cells = summaries.map((summary) => {
    const { entrant, rate } = summary
    const name = entrant.role === 'ours' ? `**${entrant.name}**` : entrant.name
    const does = entrant.does[row.durability] ?? ''
    if (rate === undefined) return [name, does, summary.reason ?? '']
    return [
      name,
      does,
      figure(rate, row.unit),
      optional(summary.overLimit, (value) => value.toFixed(2)),
      optional(summary.p50Micros, micros),
      optional(summary.p99Micros, micros),
      optional(summary.cpuSeconds, (value) => `${value.toFixed(2)} s`),
      optional(summary.cpuMicrosPerRecord, twoDigits),
      ...(serving ? [optional(summary.cpuMicrosAboveNothing, twoDigits)] : []),
      optional(summary.threadMicrosPerRecord, twoDigits),
      optional(summary.peakRssMiB, (value) => `${value.toFixed(0)} MiB`),
    ]
  })
  return aligned([[...head, ...(serving ? ['above nothing'] : []), `JS thread/${per}`, 'peak RSS'], ...cells])
}

function figure({ median, minimum, maximum }: Figure, unit: string): string {
  const text = unit === 'MB/s' ? (value: number): string => value.toFixed(0) : short
  return `${text(median)} (${text(minimum)} – ${text(maximum)})`
}

export function short(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  return value >= 1e5 ? `${(value / 1e3).toFixed(0)} k` : `${(value / 1e3).toFixed(1)} k`
}

const twoDigits = (value: number): string => `${value.toFixed(2)} µs`
export const micros = (value: number): string => (value >= 10_000 ? `${(value / 1000).toFixed(1)} ms` : `${value.toFixed(0)} µs`)
const optional = (value: number | undefined, text: (value: number) => string): string => (value === undefined ? '' : text(value))

/** A row may be shorter than the first. */
export function aligned(table: string[][]): string {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  const line = (row: string[]): string => `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(table[0]), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...table.slice(1).map(line)].join('\n')
}
