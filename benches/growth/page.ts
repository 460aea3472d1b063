import { median } from '../lib/statistics.js'
import { short } from '../lib/svg.js'
import { aligned } from '../lib/table.js'
import type { Grown, Measured } from './run.js'

/** A section of the page. */
export function section({ curve, measured }: Grown): string {
  const beside = [...new Set(measured.flatMap(({ points }) => points.flatMap((point) => Object.keys(point.beside ?? {}))))]
  const head = [curve.axis, `${curve.unit}: median (min – max)`, 'peak RSS, MiB', ...beside]
  const rows = measured.map((each) => {
    const { x, points, reason = 'not run' } = each
    if (points.length === 0) return [curve.label(x), reason, '', ...beside.map(() => '')]
    const extras = beside.map((what) => {
      const values = points.flatMap((point) => point.beside?.[what] ?? [])
      return values.length === 0 ? '' : short(median(values))
    })
    return [curve.label(x), spread(each, 'rate'), spread(each, 'rssMiB'), ...extras]
  })
  return [`### Growth: ${curve.title}`, '', aligned([head, ...rows])].join('\n')
}

function spread({ points }: Measured, of: 'rate' | 'rssMiB'): string {
  const values = points.map((point) => point[of])
  return `${short(median(values))} (${short(Math.min(...values))} – ${short(Math.max(...values))})`
}
