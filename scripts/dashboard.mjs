// `node scripts/dashboard.mjs [SECONDS] [DIRECTORY]`: runs examples/prometheus.mjs under load, scrapes it every second as Prometheus would, and draws
// the panels of examples/grafana/forelog.json from that, as dashboard-{light,dark}.svg in docs/images.

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from './lib.mjs'

const SECONDS = Number(process.argv[2] ?? 90)
const images = path.resolve(process.argv[3] ?? path.join(root, 'docs', 'images'))
/** What rates are taken over, in scrapes. */
const WINDOW = 5

/** Clients that post one after the other, and bytes of what they post, from a share of the time on. */
const LOAD = [
  { from: 0, clients: 4, bytes: 200 },
  { from: 0.2, clients: 64, bytes: 200 },
  { from: 0.45, clients: 1, bytes: 200 },
  { from: 0.6, clients: 32, bytes: 32 << 10 },
  { from: 0.85, clients: 16, bytes: 1000 },
]

const agent = new http.Agent({ keepAlive: true, maxSockets: 128 })

function request(url, method, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request(url, { method, agent }, (response) => {
      const chunks = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('end', () => resolve(Buffer.concat(chunks).toString()))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

/** Values by name, quantiles left out. */
function parse(text) {
  const values = new Map()
  for (const line of text.split('\n')) {
    const [, name, labels, value] = /^(\w+)\{(.*)\} (\S+)$/.exec(line) ?? []
    if (name !== undefined && !labels.includes('quantile=')) values.set(name, Number(value))
  }
  return values
}

/** Scrapes of a run, one a second, each with its time in seconds. */
async function run() {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-dashboard-'))
  const service = spawn(process.execPath, [path.join(root, 'examples', 'prometheus.mjs'), dir, '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [url] = await new Promise((resolve) => createInterface({ input: service.stdout }).once('line', (line) => resolve([line])))
  const began = performance.now()
  const share = () => (performance.now() - began) / 1e3 / SECONDS
  const clients = Array.from({ length: Math.max(...LOAD.map(({ clients }) => clients)) }, async (_, client) => {
    while (share() < 1) {
      const { clients, bytes } = LOAD.findLast(({ from }) => from <= share())
      if (client < clients) await request(url.replace('/metrics', '/'), 'POST', Buffer.alloc(bytes, 'x'))
      else await sleep(50)
    }
  })
  const scrapes = []
  while (share() < 1) {
    scrapes.push({ at: (performance.now() - began) / 1e3, values: parse(await request(url, 'GET')) })
    await sleep(Math.max(0, scrapes.length * 1000 - (performance.now() - began)))
  }
  await Promise.all(clients)
  agent.destroy()
  service.kill('SIGTERM')
  await new Promise((ended) => service.once('exit', ended))
  rmSync(dir, { recursive: true, force: true })
  return scrapes
}

/** The value of a panel's expression at a scrape: rates, metrics and arithmetic are all that these have. */
function evaluate(expression, scrapes, i) {
  const plain = expression.replace(/\{[^}]*\}/g, '')
  const at = (name, j) => scrapes[j].values.get(name) ?? NaN
  const before = Math.max(0, i - WINDOW)
  const rated = plain.replace(/rate\((\w+)\[[^\]]*\]\)/g, (_, name) => {
    return `(${(at(name, i) - at(name, before)) / (scrapes[i].at - scrapes[before].at)})`
  })
  const value = rated.replace(/forelog_\w+/g, (name) => `(${at(name, i)})`)
  if (!/^[\d\s().+\-*/eNa]*$/.test(value)) throw new Error(`an expression beyond this script: ${expression}`)
  return Function(`return ${value}`)()
}

const PREFIXES = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
]

function format(value, unit) {
  if (unit === 's')
    return value >= 1
      ? `${+value.toPrecision(2)} s`
      : value >= 1e-3
        ? `${+(value * 1e3).toPrecision(2)} ms`
        : `${Math.round(value * 1e6)} µs`
  const [factor, prefix] = PREFIXES.find(([factor]) => value >= factor) ?? [1, '']
  const suffix = { bytes: 'B', Bps: 'B/s', ops: '/s', recps: '/s' }[unit] ?? ''
  const number = +(value / factor).toPrecision(3)
  return suffix === '' ? `${number}${prefix}` : `${number} ${prefix}${suffix}`
}

/** Where an axis ends and how far its lines are apart: about four of them, at round numbers. */
function axis(most) {
  const rough = (most > 0 ? most : 1) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough)
  return { step, top: Math.ceil((most > 0 ? most : 1) / step) * step }
}

const THEMES = {
  light: {
    page: '#ffffff',
    panel: '#ffffff',
    border: '#d8dee4',
    text: '#1f2328',
    muted: '#59636e',
    grid: '#eaeef2',
    lines: ['#0969da', '#bc4c00', '#1a7f37'],
  },
  dark: {
    page: '#0d1117',
    panel: '#151b23',
    border: '#30363d',
    text: '#f0f6fc',
    muted: '#9198a1',
    grid: '#262c34',
    lines: ['#58a6ff', '#f0883e', '#3fb950'],
  },
}

const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;')
const text = (x, y, content, fill, more = '') => `<text x="${x}" y="${y}" fill="${fill}" ${more}>${escape(content)}</text>`

const [WIDTH, GAP, TILE, PLOT] = [1200, 12, 64, 210]

function drawStat(panel, scrapes, box, theme) {
  const { unit, mappings } = panel.fieldConfig.defaults
  const value = evaluate(panel.targets[0].expr, scrapes, scrapes.length - 1)
  const shown = mappings[0]?.options[value]?.text ?? format(value, unit)
  return [
    text(box.x + 14, box.y + 24, panel.title, theme.muted, 'font-size="12"'),
    text(box.x + 14, box.y + 50, shown, theme.text, 'font-size="20" font-weight="600"'),
  ]
}

function drawSeries(panel, scrapes, box, theme) {
  const { unit } = panel.fieldConfig.defaults
  const plot = { x: box.x + 66, y: box.y + 38, width: box.width - 80, height: box.height - 88 }
  const series = panel.targets.map(({ expr, legendFormat }) => ({
    name: legendFormat,
    points: scrapes.map((_, i) => evaluate(expr, scrapes, i)).map((value, i) => ({ at: scrapes[i].at, value })),
  }))
  const values = series.flatMap(({ points }) => points.map(({ value }) => value)).filter(Number.isFinite)
  const { step, top } = axis(Math.max(0, ...values))
  const x = (at) => (plot.x + (at / SECONDS) * plot.width).toFixed(1)
  const y = (value) => (plot.y + plot.height * (1 - value / top)).toFixed(1)
  const parts = [text(box.x + 14, box.y + 24, panel.title, theme.text, 'font-size="13" font-weight="600"')]
  for (let line = 0; line <= top * 1.0001; line += step) {
    parts.push(`<path d="M${plot.x} ${y(line)}H${plot.x + plot.width}" stroke="${theme.grid}"/>`)
    parts.push(
      text(plot.x - 8, Number(y(line)) + 4, format(line, unit === 's' && line === 0 ? 'short' : unit), theme.muted, 'text-anchor="end"')
    )
  }
  for (const share of [0, 1 / 3, 2 / 3, 1]) {
    const at = Math.round(SECONDS * share)
    parts.push(text(x(at), plot.y + plot.height + 16, `${at} s`, theme.muted, `text-anchor="${share === 1 ? 'end' : 'middle'}"`))
  }
  let legend = box.x + 14
  const lines = []
  for (const [i, { name, points }] of series.entries()) {
    const line = points
      .filter(({ value }) => Number.isFinite(value))
      .map(({ at, value }, n) => `${n === 0 ? 'M' : 'L'}${x(at)} ${y(value)}`)
    // The first on top, where they coincide.
    lines.unshift(
      `<path d="${line.join('')}" fill="none" stroke="${theme.lines[i]}" stroke-width="${i === 0 ? 1.6 : 3}" stroke-linejoin="round"/>`
    )
    parts.push(`<rect x="${legend}" y="${box.y + box.height - 20}" width="10" height="3" rx="1.5" fill="${theme.lines[i]}"/>`)
    parts.push(text(legend + 15, box.y + box.height - 14, name, theme.muted))
    legend += 30 + name.length * 5.9
  }
  return [...parts, ...lines]
}

function draw(dashboard, scrapes, theme) {
  const parts = []
  const stats = dashboard.panels.filter(({ type }) => type === 'stat')
  const plots = dashboard.panels.filter(({ type }) => type === 'timeseries')
  const place = (panels, columns, top, height, make) => {
    const width = (WIDTH - GAP * (columns + 1)) / columns
    for (const [i, panel] of panels.entries()) {
      const box = { x: GAP + (i % columns) * (width + GAP), y: top + Math.floor(i / columns) * (height + GAP), width, height }
      parts.push(
        `<rect x="${box.x}" y="${box.y}" width="${width}" height="${height}" rx="6" fill="${theme.panel}" stroke="${theme.border}"/>`
      )
      parts.push(...make(panel, scrapes, box, theme))
    }
    return top + Math.ceil(panels.length / columns) * (height + GAP)
  }
  const bottom = place(plots, 3, place(stats, stats.length, GAP, TILE, drawStat), PLOT, drawSeries)
  const title = `Dashboard of a log over ${SECONDS} s of examples/prometheus.mjs under changing load`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom}" width="${WIDTH}" height="${bottom}" role="img" aria-label="${title}"`,
    ` font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="11">`,
    `<rect width="${WIDTH}" height="${bottom}" fill="${theme.page}"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

const dashboard = JSON.parse(readFileSync(path.join(root, 'examples', 'grafana', 'forelog.json'), 'utf8'))
const scrapes = await run()
mkdirSync(images, { recursive: true })
for (const [name, theme] of Object.entries(THEMES)) {
  const file = path.join(images, `dashboard-${name}.svg`)
  writeFileSync(file, draw(dashboard, scrapes, theme))
  console.log(file)
}
