import { entrant } from './lib/contestants.js'
import { aligned, short as rateOf, times } from './lib/table.js'
import { bestScript, type RowResult, type Summary } from './lib/statistics.js'
import { WIDTH, path, picture, rect, round, short, text, whiskerAcross } from './lib/svg.js'

/** The lines of the README's table: a row, and which of ours it shows. */
const LINES = [
  { id: 'D1', ours: 'forelog' },
  { id: 'D2-100', ours: 'forelog' },
  { id: 'D2-100', ours: 'forelog-acknowledged', how: '`acknowledged()`' },
  { id: 'D2-1K', ours: 'forelog' },
  { id: 'D4', ours: 'forelog' },
  { id: 'D5', ours: 'forelog' },
  { id: 'S1-64', ours: 'forelog' },
] as const

const PACKAGES = ['lmdb', 'sqlite', 'level']

const CELL = WIDTH / 2
const NAMES = 132
const FIGURES = 76
const HEAD = 26
const STEP = 20
const BAR = 12

const LEGEND = [
  'Longer is faster. Each chart starts at zero and has its own scale.',
  'Bars are medians, whiskers the lowest and the highest round.',
  'All of one chart promise the same durability.',
]

/** One workload: ours and what it is compared with, as far as each has a rate. */
interface Line {
  readonly workload: string
  readonly unit: string
  readonly ours: Rated
  /** Ours, truncated behind. */
  readonly truncated?: Rated
  /** The best JavaScript log of its kind. */
  readonly script?: Rated
  readonly packages: readonly Rated[]
}

type Rated = Summary & Required<Pick<Summary, 'rate'>>

/** The table and the chart of the README; none unless all of its rows were run. */
export function overview(results: readonly RowResult[]): { table: string; chart: string } | undefined {
  if (LINES.some(({ id }) => !results.some(({ row }) => row.id === id))) return undefined
  const lines = LINES.flatMap(({ id, ours, ...rest }) => {
    const result = results.find(({ row }) => row.id === id)!
    const of = (entrant: string): Rated | undefined => rated(result.summaries.find((each) => each.entrant.id === entrant))
    const own = of(ours)
    if (own === undefined) return []
    const { title, unit } = result.row
    const line: Line = {
      workload: 'how' in rest ? `${title}, ${rest.how}` : title,
      unit,
      ours: own,
      truncated: of(`${ours}-recycled`),
      script: rated(bestScript(result, own)),
      packages: PACKAGES.map(of).filter((each) => each !== undefined),
    }
    return [line]
  })
  return { table: table(lines), chart: chart(lines) }
}

const rated = (summary: Summary | undefined): Rated | undefined => (summary?.rate === undefined ? undefined : (summary as Rated))

/** Rates of ours, and how many times the rate of each rival that is. */
function table(lines: readonly Line[]): string {
  const names = PACKAGES.map((id) => entrant(id).name)
  const rows = lines.map(({ workload, unit, ours, truncated, script, packages }) => {
    const over = (rival: Rated | undefined): string => (rival === undefined ? '' : `${times(ours.rate.median / rival.rate.median)} ×`)
    return [
      workload,
      `${rateOf(ours.rate.median)} ${unit}`,
      truncated === undefined ? '' : rateOf(truncated.rate.median),
      over(script),
      ...PACKAGES.map((id) => over(packages.find((each) => each.entrant.id === id))),
    ]
  })
  return aligned([['workload', 'Forelog', 'truncated behind', 'best JavaScript', ...names], ...rows])
}

/** Small charts side by side, one for each line, each to its own scale from zero. */
function chart(lines: readonly Line[]): string {
  const cells = lines.map((line) => ({ title: `${line.workload.replaceAll('`', '')}, ${line.unit}`, bars: bars(line) }))
  const parts: string[] = []
  let y = 0
  for (let first = 0; first < cells.length; first += 2) {
    const pair = cells.slice(first, first + 2)
    pair.forEach(({ title, bars }, column) => parts.push(...cell(column * CELL, y, title, bars)))
    y += HEAD + STEP * Math.max(...pair.map(({ bars }) => bars.length)) + 12
  }
  const free = cells.length % 2 === 1 ? { x: CELL + 8, y: y - 90 } : { x: 8, y: (y += 64) - 64 }
  LEGEND.forEach((line, index) => parts.push(text(free.x, free.y + 18 * index, line, { class: 'dim' })))
  const words = cells.map(({ title, bars }) => `${title}: ${bars.map((each) => `${each.name} ${short(each.median)}`).join(', ')}`)
  return picture(y, 'Forelog beside its rivals', `${words.join('. ')}.`, parts)
}

interface Bar {
  readonly name: string
  readonly look: string
  readonly median: number
  readonly minimum: number
  readonly maximum: number
}

function bars({ ours, truncated, script, packages }: Line): Bar[] {
  const bar = (name: string, look: string, of: Rated | undefined): Bar[] => (of === undefined ? [] : [{ name, look, ...of.rate }])
  return [
    ...bar('Forelog', 'ours', ours),
    ...bar('Forelog, truncated', 'ours', truncated),
    ...bar('best JavaScript', 'js', script),
    ...packages.flatMap((each) => bar(each.entrant.name, 'package', each)),
  ]
}

function cell(left: number, top: number, title: string, bars: readonly Bar[]): string[] {
  const end = Math.max(...bars.map((each) => each.maximum))
  const plot = CELL - NAMES - FIGURES - 12
  const x = (value: number): number => left + NAMES + (value / end) * plot
  const parts = [text(left + 8, top + 18, title, { class: 'strong' })]
  bars.forEach(({ name, look, median, minimum, maximum }, index) => {
    const middle = top + HEAD + STEP * index + STEP / 2
    const font = look === 'ours' ? { class: 'strong' } : {}
    parts.push(text(left + NAMES - 6, middle + 4, name, { ...font, anchor: 'end' }))
    parts.push(rect(x(0), middle - BAR / 2, x(median) - x(0), BAR, look))
    parts.push(whiskerAcross(x(minimum), x(maximum), middle))
    parts.push(text(left + CELL - FIGURES - 2, middle + 4, short(median), font))
  })
  parts.push(path(`M${round(x(0))} ${top + HEAD}V${top + HEAD + STEP * bars.length}`, 'axis'))
  return parts
}
