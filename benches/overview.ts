import type { RowResult, Summary } from './lib/statistics.js'
import { WIDTH, path, picture, rect, round, short, text, whiskerAcross } from './lib/svg.js'

/** The rows of the README's table. */
const README_ROWS = ['D1', 'D2-100', 'D2-1K', 'D4', 'D5'] as const

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

/** Small charts side by side, one for each row, each to its own scale from zero; none unless all the rows were run. */
export function overviewChart(results: readonly RowResult[]): string | undefined {
  const cells = README_ROWS.flatMap((id) => results.filter(({ row }) => row.id === id)).map((result) => ({
    row: result.row,
    bars: contestants(result),
  }))
  if (cells.length < README_ROWS.length) return undefined
  const parts: string[] = []
  let y = 0
  for (let first = 0; first < cells.length; first += 2) {
    const pair = cells.slice(first, first + 2)
    pair.forEach(({ row, bars }, column) => parts.push(...cell(column * CELL, y, `${row.title}, ${row.unit}`, bars)))
    y += HEAD + STEP * Math.max(...pair.map(({ bars }) => bars.length)) + 12
  }
  const free = cells.length % 2 === 1 ? { x: CELL + 8, y: y - 90 } : { x: 8, y: (y += 64) - 64 }
  LEGEND.forEach((line, index) => parts.push(text(free.x, free.y + 18 * index, line, { class: 'dim' })))
  const words = cells.map(
    ({ row, bars }) => `${row.title}, ${row.unit}: ${bars.map((each) => `${each.name} ${short(each.median)}`).join(', ')}`
  )
  return picture(y, 'Forelog beside its rivals', `${words.join('. ')}.`, parts)
}

interface Bar {
  readonly name: string
  readonly look: string
  readonly median: number
  readonly minimum: number
  readonly maximum: number
}

/** Ours, the best JavaScript, then the packages. */
function contestants({ summaries }: RowResult): Bar[] {
  const rated = summaries.filter((each) => each.rate !== undefined)
  const all = (role: Summary['entrant']['role']): Summary[] => rated.filter((each) => each.entrant.role === role)
  const best = (role: Summary['entrant']['role']): Summary[] =>
    all(role)
      .sort((a, b) => b.rate!.median - a.rate!.median)
      .slice(0, 1)
  return [...all('ours'), ...best('js'), ...all('package')].map(({ entrant, rate }) => ({
    name: entrant.role === 'js' ? 'best JavaScript' : entrant.name,
    look: entrant.role,
    ...rate!,
  }))
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
