import { heading, type Run } from '../lib/table.js'
import type { Environment } from '../lib/environment.js'
import type { RowResult, Summary } from '../lib/statistics.js'
import { WIDTH, path, picture, rect, round, short, text, ticks, whiskerAcross } from './svg.js'

const NAMES = 256
const FIGURES = 194
const TOP = 52
const STEP = 24
const BAR = 14

/** One row: a bar for each contestant, from zero; the whisker goes from the lowest to the highest round. */
export function rowChart({ row, summaries, voids }: RowResult, environment: Environment, run: Run): string {
  const shown = summaries.filter((each) => each.rate !== undefined)
  // A raw figure that is not this row's limit may be many times as high: its bar is cut, and says so.
  const counts = shown.filter((each) => each.entrant.role !== 'raw' || each.entrant.id === row.limit)
  const steps = ticks(Math.max(...counts.map((each) => each.rate!.maximum)))
  const end = steps.at(-1)!
  const plot = WIDTH - NAMES - FIGURES
  const x = (value: number): number => NAMES + (Math.min(value, end) / end) * plot
  const bottom = TOP + shown.length * STEP
  const parts = [text(8, 22, `${row.id}: ${row.title}`, { class: 'strong', size: 15 })]
  parts.push(text(8, 40, 'Bar: median, from zero. Whisker: lowest to highest round.', { class: 'dim' }))
  for (const step of steps) {
    parts.push(path(`M${round(x(step))} ${TOP}V${bottom}`, step === 0 ? 'axis' : 'grid'))
    parts.push(text(x(step), bottom + 16, short(step), { class: 'dim', anchor: 'middle' }))
  }
  parts.push(text(NAMES + plot / 2, bottom + 34, row.unit, { class: 'dim', anchor: 'middle' }))
  shown.forEach((summary, index) => parts.push(...bar(summary, TOP + index * STEP, end, x)))
  const notes = [...voids.map((reason) => `Void: ${reason}.`), heading(environment, run)].flatMap((note) => wrapped(note, 140))
  notes.forEach((note, index) => parts.push(text(8, bottom + 56 + 14 * index, note, { class: 'dim', size: 10 })))
  return picture(bottom + 52 + 14 * notes.length, `${row.id}: ${row.title}, ${row.unit}`, inWords(shown, row.unit), parts)
}

function bar({ entrant, rate }: Summary, top: number, end: number, x: (value: number) => number): string[] {
  const { median, minimum, maximum } = rate!
  const middle = top + STEP / 2
  const look = entrant.role === 'ours' ? { class: 'strong' } : {}
  const parts = [
    text(NAMES - 8, middle + 4, entrant.name, { ...look, anchor: 'end' }),
    rect(x(0), middle - BAR / 2, x(median) - x(0), BAR, entrant.role),
  ]
  if (maximum > end) {
    const edge = round(x(end))
    const [upper, lower] = [middle - BAR / 2 - 2, middle + BAR / 2 + 2].map(round)
    parts.push(path(`M${edge - 10} ${lower}L${edge - 6} ${upper}M${edge - 6} ${lower}L${edge - 2} ${upper}`, 'whisker'))
  } else {
    parts.push(whiskerAcross(x(minimum), x(maximum), middle))
  }
  parts.push(text(WIDTH - FIGURES + 16, middle + 4, `${short(median)} (${short(minimum)} – ${short(maximum)})`, look))
  return parts
}

export function wrapped(words: string, length: number): string[] {
  const lines = ['']
  for (const word of words.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trim()
    if (longer.length > length) lines.push(word)
    else lines[lines.length - 1] = longer
  }
  return lines
}

function inWords(summaries: readonly Summary[], unit: string): string {
  return summaries.map(({ entrant, rate }) => `${entrant.name}: ${short(rate!.median)} ${unit}`).join('; ')
}
