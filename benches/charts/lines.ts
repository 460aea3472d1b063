import { figure, isMeasured } from '../growth/page.js'
import type { Grown } from '../growth/run.js'
import type { Environment } from '../lib/environment.js'
import { heading, type Run } from '../lib/table.js'
import { wrapped } from './bars.js'
import { WIDTH, path, picture, rect, round, short, text, ticks, whiskerUp } from './svg.js'

const TOP = 62
const PLOT = 200
const LEFT = 56
const PANEL = WIDTH / 2

/** Rate and memory beside each other over what grows; both from zero, whiskers from the lowest to the highest round. */
export function growthChart({ curve, measured }: Grown, environment: Environment, run: Run): string {
  const shown = measured.filter(isMeasured)
  const scale = (x: number): number => (curve.logarithmic ? Math.log(x) : x)
  const [first, last] = [scale(shown[0].x), scale(shown.at(-1)!.x)]
  const parts = [text(8, 22, `Growth ${curve.title}`, { class: 'strong', size: 14 })]
  const panels = [
    { of: 'rate', title: `${curve.unit}, median`, look: 'ours', line: 'line' },
    { of: 'rssMiB', title: 'peak memory of the process (RSS), MiB', look: 'js', line: 'line-b' },
  ] as const
  panels.forEach(({ of, title, look, line }, column) => {
    const left = column * PANEL + LEFT
    const width = PANEL - LEFT - 30
    const figures = shown.map((each) => ({ x: each.x, ...figure(each, of) }))
    const steps = ticks(Math.max(...figures.map((each) => each.maximum)))
    const x = (value: number): number => left + (last === first ? 0.5 : (scale(value) - first) / (last - first)) * width
    const y = (value: number): number => TOP + PLOT - (value / steps.at(-1)!) * PLOT
    parts.push(text(left - LEFT + 8, TOP - 16, title, { class: 'dim' }))
    for (const step of steps) {
      parts.push(path(`M${left} ${round(y(step))}H${left + width}`, step === 0 ? 'axis' : 'grid'))
      parts.push(text(left - 8, y(step) + 4, short(step), { class: 'dim', anchor: 'end' }))
    }
    parts.push(path(`M${figures.map((each) => `${round(x(each.x))} ${round(y(each.median))}`).join('L')}`, line))
    for (const each of figures) {
      parts.push(whiskerUp(x(each.x), y(each.minimum), y(each.maximum)))
      parts.push(rect(x(each.x) - 3, y(each.median) - 3, 6, 6, look))
      parts.push(text(x(each.x), TOP + PLOT + 16, curve.label(each.x), { class: 'dim', anchor: 'middle', size: 11 }))
    }
    const axis = curve.logarithmic ? `${curve.axis} (logarithmic)` : curve.axis
    parts.push(text(left + width / 2, TOP + PLOT + 34, axis, { class: 'dim', anchor: 'middle' }))
  })
  const notes = wrapped(heading(environment, run), 140)
  notes.forEach((note, index) => parts.push(text(8, TOP + PLOT + 58 + 14 * index, note, { class: 'dim', size: 10 })))
  const words = shown.map((each) => `${curve.label(each.x)}: ${short(figure(each, 'rate').median)} ${curve.unit}`)
  return picture(TOP + PLOT + 54 + 14 * notes.length, `Growth ${curve.title}`, words.join('; '), parts)
}
