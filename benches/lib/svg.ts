/**
 * The few pieces of SVG that the chart is made of. Colours are classes, so that one file is light or dark as the
 * reader's system is. No chart library that draws without a DOM leaves colours to CSS.
 */
const STYLE = `
    .ground { fill: #ffffff; }
    text { fill: #1f2328; }
    .dim { fill: #59636e; }
    .strong { font-weight: 600; }
    .axis { stroke: #818b98; }
    .whisker { stroke: #1f2328; fill: none; }
    .ours { fill: #0969da; }
    .js { fill: #bc7a00; }
    .package { fill: #818b98; }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117; }
      text { fill: #f0f6fc; }
      .dim { fill: #9198a1; }
      .axis { stroke: #656c76; }
      .whisker { stroke: #f0f6fc; }
      .ours { fill: #4493f8; }
      .js { fill: #d29922; }
      .package { fill: #656c76; }
    }`

export const WIDTH = 860

/** A whole picture. `description` is for readers who hear it. */
export function picture(height: number, title: string, description: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${round(height)}" role="img" aria-labelledby="title description" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">`,
    `  <title id="title">${escape(title)}</title>`,
    `  <desc id="description">${escape(description)}</desc>`,
    `  <style>${STYLE}\n  </style>`,
    `  <rect class="ground" width="${WIDTH}" height="${round(height)}" />`,
    ...parts.map((part) => `  ${part}`),
    '</svg>',
    '',
  ].join('\n')
}

interface TextLook {
  readonly class?: string
  readonly anchor?: 'start' | 'middle' | 'end'
  readonly size?: number
}

export function text(x: number, y: number, words: string, look: TextLook = {}): string {
  const { anchor = 'start', size } = look
  const attributes = [
    look.class === undefined ? '' : ` class="${look.class}"`,
    anchor === 'start' ? '' : ` text-anchor="${anchor}"`,
    size === undefined ? '' : ` font-size="${size}"`,
  ]
  return `<text x="${round(x)}" y="${round(y)}"${attributes.join('')}>${escape(words)}</text>`
}

export function rect(x: number, y: number, width: number, height: number, look: string): string {
  return `<rect class="${look}" x="${round(x)}" y="${round(y)}" width="${round(Math.max(width, 0.5))}" height="${round(height)}" />`
}

export function path(d: string, look: string): string {
  return `<path class="${look}" d="${d}" />`
}

/** A horizontal line from the lowest to the highest of the rounds. */
export function whiskerAcross(from: number, to: number, y: number, reach = 3): string {
  const [a, b, top, bottom] = [from, to, y - reach, y + reach].map(round)
  return path(`M${a} ${top}V${bottom}M${a} ${round(y)}H${b}M${b} ${top}V${bottom}`, 'whisker')
}

/** Three digits and a letter: 1.13 M, 543 k, 12.4. */
export function short(value: number): string {
  if (value === 0) return '0'
  const [scale, letter] = value >= 999_500_000 ? [1e9, ' G'] : value >= 999_500 ? [1e6, ' M'] : value >= 9_995 ? [1e3, ' k'] : [1, '']
  const scaled = value / scale
  if (letter === '' && scaled >= 1000) return Math.round(scaled).toLocaleString('en-GB')
  return `${digits(scaled)}${letter}`
}

function digits(value: number): string {
  return String(Number(value.toPrecision(3)))
}

export function round(value: number): number {
  return Math.round(value * 10) / 10
}

function escape(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
