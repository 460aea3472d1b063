import { KEY_BYTES } from './contract.js'
import { entrant, type Entrant } from './contestants.js'
import type { Row } from './rows.js'
import type { Sample } from './runner.js'

export interface Figure {
  readonly median: number
  readonly minimum: number
  readonly maximum: number
}

/** All rounds of one contestant in one row. */
export interface Summary {
  readonly entrant: Entrant
  /** Why there is no figure. */
  readonly reason?: string
  /** In the unit of the row. */
  readonly rate?: Figure
  readonly overLimit?: number
  readonly p50Micros?: number
  readonly p99Micros?: number
  readonly cpuSeconds?: number
  readonly cpuMicrosPerRecord?: number
  /** Active time of the JavaScript thread. */
  readonly threadMicrosPerRecord?: number
  readonly peakRssMiB?: number
}

export interface RowResult {
  readonly row: Row
  readonly summaries: readonly Summary[]
  /** Why this row proves nothing, if so. */
  readonly voids: readonly string[]
  readonly foreignCores: number
}

export type Samples = ReadonlyMap<string, { readonly samples: readonly Sample[]; readonly reason?: string }>

/** A rival that reaches less than this part of its share of the raw limit was not given its chance. */
const REQUIRED_SHARE = 0.8
/** Two writes on their way at once may beat one at a time, but not by much. */
const POSSIBLE = 1.2

export function summarise(row: Row, results: Samples): RowResult {
  const limit = rateOf(row, results.get(row.limit)?.samples ?? [])?.median
  const summaries = [...results].map(([id, { samples, reason }]) => summary(row, entrant(id), samples, reason, limit))
  const all = [...results.values()].flatMap(({ samples }) => samples)
  return { row, summaries, voids: voids(row, summaries), foreignCores: all.length > 0 ? median(all.map((each) => each.foreignCores)) : 0 }
}

function summary(row: Row, who: Entrant, samples: readonly Sample[], reason: string | undefined, limit: number | undefined): Summary {
  const rate = rateOf(row, samples)
  if (rate === undefined) return { entrant: who, reason: reason ?? 'not run' }
  const of = (value: (sample: Sample) => number): number => median(samples.map(value))
  const timed = samples.every((sample) => sample.p50Micros !== undefined)
  return {
    entrant: who,
    rate,
    overLimit: limit === undefined ? undefined : rate.median / limit,
    p50Micros: timed ? of((sample) => sample.p50Micros!) : undefined,
    p99Micros: timed ? of((sample) => sample.p99Micros!) : undefined,
    cpuSeconds: of((sample) => sample.cpuSeconds),
    cpuMicrosPerRecord: of((sample) => (sample.cpuSeconds / sample.operations) * 1e6),
    threadMicrosPerRecord: of((sample) => (sample.activeSeconds / sample.operations) * 1e6),
    peakRssMiB: of((sample) => sample.peakRssMiB),
  }
}

function rateOf(row: Row, samples: readonly Sample[]): Figure | undefined {
  if (samples.length === 0) return undefined
  const scale = row.unit === 'MB/s' ? (KEY_BYTES + row.valueBytes) / 1e6 : 1
  const rates = samples.map((sample) => (sample.operations / sample.seconds) * scale)
  return { median: median(rates), minimum: Math.min(...rates), maximum: Math.max(...rates) }
}

function voids(row: Row, summaries: readonly Summary[]): string[] {
  return summaries.flatMap(({ entrant: who, overLimit }) => {
    if (row.limit === 'raw-disk' && who.module !== 'raw' && overLimit !== undefined && overLimit > POSSIBLE) {
      return [
        `${who.name} seems to be ${overLimit.toFixed(1)} times as fast as the bare disk: the machine was disturbed while one of them ran`,
      ]
    }
    const reference = row.reference.rivals[who.id]
    if (reference === undefined || overLimit === undefined) return []
    const share = reference / row.reference.limit
    if (overLimit >= share * REQUIRED_SHARE) return []
    return [
      `${who.name} reached ${percent(overLimit)} of the raw limit; its share on the reference machine is ${percent(share)}, of which 80 % is required`,
    ]
  })
}

/** The ratios of Forelog's rate to the best JavaScript log, to the JavaScript log in a new file, and to each package. */
export function ratios(result: RowResult): { ours: string; against: { name: string; ratio: number }[] }[] {
  const rated = result.summaries.filter((each) => each.rate !== undefined)
  const scripts = rated.filter((each) => each.entrant.role === 'js')
  const best = Math.max(...scripts.map((each) => each.rate!.median))
  return rated
    .filter((each) => each.entrant.role === 'ours')
    .map((ours) => ({
      ours: ours.entrant.name,
      against: [
        ...(scripts.length > 0 ? [{ name: 'best JavaScript', ratio: ours.rate!.median / best }] : []),
        ...rated
          .filter((each) => each.entrant.id === 'js-growing')
          .map((each) => ({ name: 'JavaScript in a new file', ratio: ours.rate!.median / each.rate!.median })),
        ...rated
          .filter((each) => each.entrant.role === 'package')
          .map((each) => ({ name: each.entrant.name, ratio: ours.rate!.median / each.rate!.median })),
      ],
    }))
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const percent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`
