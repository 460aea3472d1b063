import fs from 'node:fs'
import { join } from 'node:path'
import { entrant } from '../lib/contestants.js'
import { inProcess } from '../lib/process.js'
import { rows, type Row } from '../lib/rows.js'
import type { Runner, Sample } from '../lib/runner.js'
import { median, type RowResult } from '../lib/statistics.js'
import { aligned } from '../lib/table.js'
import type { Ingest, Rolls, Task } from './child.js'

/** A figure of Forelog, its budget, and whether it was met. */
export interface Verdict {
  readonly id: string
  readonly what: string
  readonly measured: string
  readonly budget: string
  /** Missing where nothing was measured. */
  readonly met?: boolean
}

export interface Budgeting {
  readonly build: string
  readonly data: string
  readonly entry: string
  readonly rounds: number
  readonly quick: boolean
  /** GiB to ingest in D11. */
  readonly ingest: number
  readonly runner: Runner
  readonly tell: (what: string) => void
}

/** The rows that are not about rivals. */
export const BUDGETS = ['D9', 'D10', 'D11'] as const
export type Budget = (typeof BUDGETS)[number]

export async function measureBudget(id: Budget, budgeting: Budgeting): Promise<Verdict[]> {
  if (id === 'D9') return loopDelay(budgeting)
  return id === 'D10' ? rolling(budgeting) : ingesting(budgeting)
}

/** Budgets on figures that rows have taken anyway. */
export function budgetsOf(results: readonly RowResult[]): Verdict[] {
  const ours = (id: string) => results.find(({ row }) => row.id === id)?.summaries.find((each) => each.entrant.role === 'ours' && each.rate)
  const [replay, inFlight] = [ours('D6')?.rate?.median, ours('D2-100')?.threadMicrosPerRecord]
  return [
    ...(replay === undefined ? [] : [atLeast('D6', 'replay of 64 KiB values, checked', replay, 3000, 'MB/s')]),
    ...(inFlight === undefined
      ? []
      : [atMost('D12', 'JavaScript thread’s time per acknowledged append in D2-100, GC included', inFlight, 0.25, 'µs', 2)]),
  ]
}

export function budgetTable(verdicts: readonly Verdict[]): string {
  const cells = verdicts.map(({ id, what, measured, budget, met }) => [
    id,
    what,
    measured,
    budget,
    met === undefined ? '' : met ? 'met' : 'not met',
  ])
  return ['### Budgets', '', aligned([['row', 'what', 'measured (median)', 'budget', ''], ...cells])].join('\n')
}

const LOADS = [
  { name: 'D1', row: 'D1', entrant: 'forelog' },
  { name: 'D2', row: 'D2-100', entrant: 'forelog' },
  { name: 'D3, append', row: 'D3-100', entrant: 'forelog-append' },
  { name: 'D3, enqueue', row: 'D3-100', entrant: 'forelog-enqueue' },
  { name: '10,000 in flight', row: 'D2-100', entrant: 'forelog', window: 10_000 },
] as const

/** How much longer timers wait under load than in the same process at rest. */
async function loopDelay({ rounds, runner, tell }: Budgeting): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  for (const load of LOADS) {
    const row: Row = { ...rows.find(({ id }) => id === load.row)!, ...('window' in load ? { window: load.window } : {}) }
    const samples: Sample[] = []
    const what = `event-loop delay p99 above idle, ${load.name}`
    let reason = 'not run'
    for (let round = 1; round <= rounds; round++) {
      tell(`D9 round ${round} ${load.name}`)
      const sample = await runner.run(row, entrant(load.entrant), { loopDelay: true })
      if ('reason' in sample) reason = sample.reason
      else samples.push(sample)
    }
    if (samples.length === 0) {
      verdicts.push({ id: 'D9', what, measured: reason, budget: '≤ 2 ms' })
      continue
    }
    const of = (value: (sample: Sample) => number): number => median(samples.map(value))
    const above = of(({ loopDelay }) => (loopDelay!.p99Micros - loopDelay!.idleP99Micros) / 1000)
    const verdict = atMost('D9', what, above, 2, 'ms', 2)
    const longest = of(({ loopDelay }) => loopDelay!.maxMicros / 1000)
    const cpu = of(({ cpuSeconds, seconds }) => cpuSeconds / seconds)
    verdicts.push({
      ...verdict,
      measured: `${verdict.measured} (longest ${longest.toFixed(1)} ms; ${cpu.toFixed(2)} CPU s per s, all threads)`,
    })
    const utilisation = of(({ activeSeconds, seconds }) => activeSeconds / seconds)
    const busy = `event-loop utilisation, ${load.name}`
    if (load.name === 'D1') verdicts.push(atMost('D9', busy, utilisation, 0.5, '', 2))
    else verdicts.push({ id: 'D9', what: busy, measured: utilisation.toFixed(2), budget: '' })
  }
  return verdicts
}

async function rolling({ quick, rounds, ...rest }: Budgeting): Promise<Verdict[]> {
  const what = 'durable p99.9 with a roll in 100 ms, over p99.9 without; 64 in flight, 1 KiB'
  const found = await repeatedly<Rolls>('D10', rounds, { ...rest, quick }, { does: 'rolls', seconds: quick ? 2.5 : 10, gib: 0 })
  if (typeof found === 'string') return [{ id: 'D10', what, measured: found, budget: '≤ 2 ×' }]
  const of = (value: (each: Rolls) => number): number => median(found.map(value))
  const verdict = atMost(
    'D10',
    what,
    of(({ withRoll, without }) => withRoll / without),
    2,
    '×',
    2
  )
  const [withRoll, without] = [of((each) => each.withRoll), of((each) => each.without)].map((micros) => `${(micros / 1000).toFixed(2)} ms`)
  return [{ ...verdict, measured: `${verdict.measured} (${withRoll} over ${without}; ${of((each) => each.rolls)} rolls)` }]
}

const SEGMENT_MIB = 64
/** The kept bytes and six segments: the one in which they start, the active one, prepared ones, and ones that are being removed. */
const MOST_ON_DISK_MIB = 256 + 6 * SEGMENT_MIB

async function ingesting({ ingest, ...rest }: Budgeting): Promise<Verdict[]> {
  const what = `ingest of ${ingest} GiB, 256 MiB kept`
  const found = await repeatedly<Ingest>('D11', 1, { ...rest, ingest }, { does: 'ingest', seconds: 0, gib: ingest })
  if (typeof found === 'string') return [{ id: 'D11', what, measured: found, budget: 'RSS flat, files bounded' }]
  const { lowestRssMiB: low, highestRssMiB: high, mostOnDiskMiB, megabytesPerSecond } = found[0]
  const flat = atMost('D11', `${what}: RSS after the first tenth, around its middle`, (high - low) / 2, 32, 'MiB')
  return [
    {
      ...flat,
      measured: `± ${flat.measured} (${low.toFixed(0)} – ${high.toFixed(0)} MiB; ${megabytesPerSecond.toFixed(0)} MB/s)`,
      budget: '± 32 MiB',
    },
    atMost('D11', `${what}: most on disk at any time`, mostOnDiskMiB, MOST_ON_DISK_MIB, 'MiB'),
  ]
}

async function repeatedly<T extends object>(
  id: Budget,
  rounds: number,
  { build, data, entry, tell }: Omit<Budgeting, 'rounds'>,
  task: Omit<Task, 'dir' | 'entry'>
): Promise<T[] | string> {
  const results: T[] = []
  const dir = join(data, id)
  for (let round = 1; round <= rounds; round++) {
    tell(`${id} round ${round}`)
    fs.mkdirSync(dir, { recursive: true })
    const result = await inProcess<T>(join(build, 'budgets', 'child.js'), { ...task, dir, entry })
    fs.rmSync(dir, { recursive: true, force: true })
    if (typeof result === 'string') return result
    results.push(result)
  }
  return results
}

function atMost(id: string, what: string, value: number, budget: number, unit: string, digits = 0): Verdict {
  return { id, what, measured: `${value.toFixed(digits)} ${unit}`.trim(), budget: `≤ ${budget} ${unit}`.trim(), met: value <= budget }
}

function atLeast(id: string, what: string, value: number, budget: number, unit: string): Verdict {
  return { id, what, measured: `${value.toFixed(0)} ${unit}`, budget: `≥ ${budget} ${unit}`, met: value >= budget }
}
