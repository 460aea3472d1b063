import { KEY_BYTES } from './contract.js'
import type { Entrant } from './contestants.js'
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
  /** Services only: more than that of one that stores nothing. */
  readonly cpuMicrosAboveNothing?: number
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

export type Samples = ReadonlyMap<Entrant, { readonly samples: readonly Sample[]; readonly reason?: string }>

/** A rival that reaches less than this part of its share of the raw limit was not given its chance. */
const REQUIRED_SHARE = 0.8
/** Two writes on their way at once may beat one at a time, but not by much. */
const POSSIBLE = 1.2

export function summarise(row: Row, results: Samples): RowResult {
  const limit = summariseLimit(row, results)
  const summaries = [...results].map(([who, { samples, reason }]) => summary(row, who, samples, reason, limit))
  const all = [...results.values()].flatMap(({ samples }) => samples)
  return { row, summaries, voids: voids(row, summaries), foreignCores: all.length > 0 ? median(all.map((each) => each.foreignCores)) : 0 }
}

function summariseLimit(row: Row, results: Samples): Summary | undefined {
  for (const [who, { samples }] of results) if (who.id === row.limit) return summary(row, who, samples, undefined, undefined)
  return undefined
}

function summary(row: Row, who: Entrant, samples: readonly Sample[], reason: string | undefined, limit: Summary | undefined): Summary {
  const rate = rateOf(row, samples)
  if (rate === undefined) return { entrant: who, reason: reason ?? 'not run' }
  const of = (value: (sample: Sample) => number): number => median(samples.map(value))
  const cpuMicrosPerRecord = of((sample) => (sample.cpuSeconds / sample.operations) * 1e6)
  const timed = samples.every((sample) => sample.p50Micros !== undefined)
  return {
    entrant: who,
    rate,
    overLimit: limit?.rate === undefined ? undefined : rate.median / limit.rate.median,
    p50Micros: timed ? of((sample) => sample.p50Micros!) : undefined,
    p99Micros: timed ? of((sample) => sample.p99Micros!) : undefined,
    cpuSeconds: of((sample) => sample.cpuSeconds),
    cpuMicrosPerRecord,
    cpuMicrosAboveNothing:
      row.kind === 'service' && limit?.cpuMicrosPerRecord !== undefined ? cpuMicrosPerRecord - limit.cpuMicrosPerRecord : undefined,
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

/**
 * How one of ours compares: `rate` is its rate over the other's. For other builds of Forelog, `cpu` is its CPU per record over theirs; in a
 * service, what is above a service that stores nothing.
 */
export interface Ratio {
  readonly name: string
  readonly rate: number
  readonly cpu?: number
}

/** Compares each of ours with its like: the best JavaScript log, that log in a new file, each package, and its twin of another build. */
export function ratios(result: RowResult): { ours: Entrant; against: Ratio[] }[] {
  const all = rated(result)
  return all
    .filter(({ entrant }) => entrant.role === 'ours')
    .map((ours) => {
      const to = (name: string, other: Rated | undefined): Ratio[] =>
        other === undefined ? [] : [{ name, rate: ours.rate.median / other.rate.median }]
      const scripts = likes(result.row, all, ours)
      const twins = all.filter(({ entrant: { role, id } }) => role === 'against' && id.split('@')[0] === ours.entrant.id)
      return {
        ours: ours.entrant,
        against: [
          ...to('best JavaScript', best(scripts)),
          ...to(
            'JavaScript in a new file',
            scripts.find(({ entrant }) => entrant.id.endsWith('growing'))
          ),
          ...all.filter(({ entrant }) => entrant.role === 'package').flatMap((each) => to(each.entrant.name, each)),
          ...twins.map((twin) => ({ ...to(twin.entrant.name, twin)[0], cpu: cpuRatio(ours, twin) })),
        ],
      }
    })
}

type Rated = Summary & { readonly rate: Figure }

const rated = ({ summaries }: RowResult): Rated[] => summaries.filter((each): each is Rated => each.rate !== undefined)

/** Where appends are in flight, the JavaScript logs that settle promises as this one of ours does, otherwise all. */
function likes({ kind }: Row, all: readonly Rated[], ours: Rated): Rated[] {
  const scripts = all.filter(({ entrant }) => entrant.role === 'js')
  return kind === 'inFlight' ? scripts.filter(({ entrant }) => entrant.promises === ours.entrant.promises) : scripts
}

function cpuRatio(ours: Rated, other: Rated): number | undefined {
  const cpu = (of: Rated): number | undefined => of.cpuMicrosAboveNothing ?? of.cpuMicrosPerRecord
  const [a, b] = [cpu(ours), cpu(other)]
  // On a machine that is too busy, nothing stored may seem to cost more than something.
  return a === undefined || b === undefined || a <= 0 || b <= 0 ? undefined : a / b
}

/** The best JavaScript log of the kind that one of ours is compared with. */
export function bestScript(result: RowResult, ours: Summary): Summary | undefined {
  return best(likes(result.row, rated(result), ours as Rated))
}

const best = (all: readonly Rated[]): Rated | undefined => [...all].sort((a, b) => b.rate.median - a.rate.median).at(0)

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const percent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`
