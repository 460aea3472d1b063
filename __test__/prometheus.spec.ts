// The Prometheus example as Prometheus sees it, and its dashboard.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import test, { type ExecutionContext } from 'ava'
import { root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { temporaryLog, values } from './helpers/log.js'

interface Family {
  type: string
  help: string
  /** By name and labels, as they stand in the text. */
  samples: Map<string, number>
}

/** What the spec looks at in a panel of the dashboard. */
interface Panel {
  id: number
  title: string
  targets: { expr: string }[]
  gridPos: { x: number; w: number }
}

/** Text format 0.0.4, strictly: each family has HELP, TYPE and then its samples, and no sample comes twice. */
function parse(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has to end')
  const families = new Map<string, Family>()
  let current: [string, Family] | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const [, help, about] = /^# HELP ([a-zA-Z_:][\w:]*) (.+)$/.exec(line) ?? []
    const [, typed, type] = /^# TYPE (\S+) (counter|gauge|summary|histogram|untyped)$/.exec(line) ?? []
    if (help !== undefined) {
      if (families.has(help)) throw new Error(`${help} comes twice`)
      current = [help, { type: '', help: about, samples: new Map() }]
      families.set(...current)
    } else if (typed !== undefined) {
      if (typed !== current?.[0] || current[1].type !== '') throw new Error(`out of place: ${line}`)
      current[1].type = type
    } else {
      const label = '[a-zA-Z_]\\w*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"'
      const [, series, name, value] = new RegExp(`^(([a-zA-Z_:][\\w:]*)(?:\\{${label}(?:,${label})*\\})?) (\\S+)$`).exec(line) ?? []
      const [family, { type, samples }] = current ?? ['', { type: '', samples: new Map() }]
      const names = type === 'summary' ? [family, `${family}_sum`, `${family}_count`] : [family]
      if (type === '' || !names.includes(name)) throw new Error(`out of place: ${line}`)
      if (samples.has(series)) throw new Error(`${series} comes twice`)
      if (value !== 'NaN' && !Number.isFinite(Number(value))) throw new Error(`no number: ${line}`)
      samples.set(series, Number(value))
    }
  }
  return families
}

/** The example as a process of its own. */
async function start(t: ExecutionContext, dir: string) {
  const child = spawn(process.execPath, [path.join(root, 'examples', 'prometheus.mjs'), dir, '0'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [url] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const end = async (): Promise<number | null> => {
    child.kill('SIGTERM')
    const [code] = (await once(child, 'exit')) as [number | null]
    return code
  }
  const post = async (body: string): Promise<string> => (await fetch(new URL('/', url), { method: 'POST', body })).text()
  return { url, end, post }
}

async function scrape(t: ExecutionContext, url: string): Promise<Map<string, Family>> {
  const response = await fetch(url)
  t.is(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  return parse(await response.text())
}

test('appended records are counted in what Prometheus scrapes', async (t) => {
  // Characters that a label has to escape.
  const dir = path.join(temporaryDirectory(t), process.platform === 'win32' ? 'log' : 'a "log" in a \\ place')
  const { url, end, post } = await start(t, dir)
  const before = await scrape(t, url)
  const label = `{dir="${dir.replace(/\\/g, '\\\\').replace(/"/g, '\\"')}"}`
  const read = (families: Map<string, Family>, name: string) => families.get(name)?.samples.get(`${name}${label}`)
  t.is(read(before, 'forelog_appends_total'), 0)
  t.true(Number.isNaN(before.get('forelog_commit_wait_seconds')?.samples.values().next().value), 'nothing to tell yet')

  const positions = await Promise.all(Array.from({ length: 50 }, (_, n) => post(`value-${n}`)))
  t.deepEqual(
    positions.map(Number).toSorted((a, b) => a - b),
    Array.from({ length: 50 }, (_, n) => n + 1)
  )
  const after = await scrape(t, url)
  const commits = read(after, 'forelog_commits_total')!
  for (const [name, value] of Object.entries({
    forelog_appends_total: 50,
    forelog_batches_total: 0,
    forelog_pending_bytes: 0,
    forelog_segments: 1,
    forelog_poisoned: 0,
    forelog_detached: 0,
    forelog_acknowledged_position: 50,
    forelog_durable_position: 50,
  })) {
    t.is(read(after, name), value, name)
  }
  t.true(commits > 0 && commits <= 50)
  const [used, capacity, disk] = ['used', 'active_capacity', 'disk'].map((name) => read(after, `forelog_${name}_bytes`)!)
  t.true(used > 4096 && used <= capacity && capacity === disk && disk <= 16 << 20, `${used} of ${capacity}, ${disk}`)
  t.true(read(after, 'forelog_written_bytes_total')! > read(after, 'forelog_record_bytes_total')!)

  for (const [name, { type, samples }] of after) {
    t.is(type === 'counter', name.endsWith('_total'), name)
    t.regex(name, /^forelog_[a-z_]+$/)
    if (type !== 'summary') continue
    t.deepEqual(
      [...samples.keys()].map((series) => series.replace(label.slice(1, -1), '').replace(name, '')),
      ['{,quantile="0.5"}', '{,quantile="0.9"}', '{,quantile="0.99"}', '{,quantile="0.999"}', '_sum{}', '_count{}']
    )
  }
  const sample = (name: string, part: string) => after.get(name)!.samples.get(`${name}_${part}${label}`)!
  t.is(sample('forelog_commit_records', 'sum'), 50)
  t.is(sample('forelog_commit_wait_seconds', 'count'), commits)
  const seconds = sample('forelog_commit_wait_seconds', 'sum')
  t.true(seconds >= sample('forelog_commit_duration_seconds', 'sum') && seconds < 50 * 60, 'in seconds')

  t.is(await end(), 0)
  const wal = await temporaryLog(t, {}, dir)
  t.true(wal.recovery.clean)
  t.deepEqual((await values(wal.readFrom('start'))).sort(), Array.from({ length: 50 }, (_, n) => `value-${n}`).sort())
})

test('the dashboard queries existing metrics only, and rates only of counters', async (t) => {
  const { url, end } = await start(t, temporaryDirectory(t))
  const families = await scrape(t, url)
  t.is(await end(), 0)
  const { panels } = JSON.parse(readFileSync(path.join(root, 'examples', 'grafana', 'forelog.json'), 'utf8')) as { panels: Panel[] }
  t.is(new Set(panels.map(({ id }) => id)).size, panels.length, 'each panel has an id of its own')
  for (const { title, targets, gridPos } of panels) {
    t.true(title !== '' && targets.length > 0, title)
    t.true(gridPos.x >= 0 && gridPos.x + gridPos.w <= 24, `${title} is within the 24 columns of Grafana`)
  }
  const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
  t.true(expressions.length > 15)
  for (const expression of expressions) {
    t.regex(expression, /forelog_\w+/)
    for (const [, rate, name] of expression.matchAll(/(rate\()?(forelog_\w+)/g)) {
      const family = families.get(name) ?? families.get(name.replace(/_(sum|count)$/, ''))
      if (family === undefined) t.fail(`${name} is not in what is scraped`)
      else if (rate !== undefined) t.not(family.type, 'gauge', name)
    }
  }
})
