import { median, type Figure } from '../lib/statistics.js'
import { aligned } from '../lib/table.js'
import { short } from '../charts/svg.js'
import { line, powerLaw, type Power } from './law.js'
import type { Grown, Measured } from './run.js'

/** A figure of all rounds of a point. */
export function figure({ points }: Measured, of: 'rate' | 'rssMiB'): Figure {
  const values = points.map((point) => point[of])
  return { median: median(values), minimum: Math.min(...values), maximum: Math.max(...values) }
}

export const isMeasured = ({ points }: Measured): boolean => points.length > 0

/** A section of the page: the chart, the law, and the table. */
export function section(grown: Grown, image?: string): string {
  const { curve, measured } = grown
  const sentences = measured.filter(isMeasured).length > 1 ? [rateLaw(grown), memoryLaw(grown)] : []
  return [
    `### Growth: ${curve.title}`,
    '',
    ...(image === undefined ? [] : [`![${curve.name}: lines of the table below](${image})`, '']),
    ...(sentences.length > 0 ? [sentences.join(' '), ''] : []),
    table(grown),
  ].join('\n')
}

function table({ curve, measured }: Grown): string {
  const beside = [...new Set(measured.flatMap(({ points }) => points.flatMap((point) => Object.keys(point.beside ?? {}))))]
  const head = [curve.axis, `${curve.unit}: median (min – max)`, 'peak RSS, MiB', ...beside]
  const rows = measured.map((each) => {
    if (!isMeasured(each)) return [curve.label(each.x), each.reason ?? 'not run', '', ...beside.map(() => '')]
    const extras = beside.map((what) => {
      const values = each.points.flatMap((point) => point.beside?.[what] ?? [])
      return values.length === 0 ? '' : short(median(values))
    })
    return [curve.label(each.x), spread(figure(each, 'rate')), spread(figure(each, 'rssMiB')), ...extras]
  })
  return aligned([head, ...rows])
}

const spread = ({ median, minimum, maximum }: Figure): string => `${short(median)} (${short(minimum)} – ${short(maximum)})`

function rateLaw({ curve, measured }: Grown): string {
  const base = curve.base ?? ((x: number): number => x)
  const points = measured.filter(isMeasured).map((each) => [base(each.x), figure(each, 'rate').median] as const)
  const { whole, bend } = powerLaw(points)
  if (bend === undefined) return `Over the whole range ${grows(whole, curve.what)}.`
  const x = measured.find((each) => base(each.x) === bend.at)!.x
  return `Up to ${curve.label(x)} ${grows(bend.before, curve.what)}; from there on ${grows(bend.after, curve.what)}.`
}

/** Less than this exponent, over any range of ours, is less than what two rounds differ by. */
const FLAT = 0.05

function grows({ exponent }: Power, what: string): string {
  if (Math.abs(exponent) < FLAT) return `the rate does not depend on ${what} (fitted exponent ${exponent.toFixed(2)})`
  return `the rate ${exponent > 0 ? 'grows' : 'falls'} as ${what} to the power of ${exponent.toFixed(2)}`
}

/** Below this R² a straight line would be a story and not a law. */
const STRAIGHT = 0.9

function memoryLaw({ curve, measured }: Grown): string {
  const points = measured.filter(isMeasured).map((each) => [each.x, figure(each, 'rssMiB').median] as const)
  const values = points.map(([, y]) => y)
  const [lowest, highest] = [Math.min(...values), Math.max(...values)]
  const { base, slope, r2 } = line(points)
  const span = Math.abs(slope) * (points.at(-1)![0] - points[0][0])
  if (span < 0.1 * base) return `Peak memory stays between ${lowest.toFixed(0)} and ${highest.toFixed(0)} MiB.`
  if (r2 < STRAIGHT || slope < 0) {
    return `Peak memory is between ${lowest.toFixed(0)} and ${highest.toFixed(0)} MiB, not along a straight line (R² ${r2.toFixed(2)}).`
  }
  const kib = slope * 1024
  const price = Math.abs(kib) >= 1024 ? `${slope.toFixed(1)} MiB` : kib >= 1 ? `${kib.toFixed(1)} KiB` : `${(kib * 1024).toFixed(1)} bytes`
  return `Peak memory is ${base.toFixed(0)} MiB and ${price} for each ${curve.each} (straight line, R² ${r2.toFixed(2)}).`
}
