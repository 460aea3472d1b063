import { fork, spawnSync, type ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Forelog, Wal } from './lib/forelog.js'
import { peakRss } from './lib/meter.js'
import { median } from './lib/statistics.js'

/** The task of one process. */
interface Task {
  readonly does: 'fill' | 'be killed' | 'open'
  readonly dir: string
  readonly bytes?: number
  readonly fsync?: 'always' | 'os'
}

interface Opened {
  readonly millis: number
  readonly rssMiB: number
  /** Peak RSS before the package was loaded, in MiB. */
  readonly bareMiB: number
  readonly verdict: string
}

/**
 * How long opening takes, and what it takes in memory, as the log grows: it must not. Two logs of different sizes,
 * the active segment 90 % full, page cache warm, are opened in fresh processes, in turns: closed in order, and as a
 * `kill -9` left them, after an append under `always` and after a segment under `os`, none of which is proven durable.
 */
const VALUE_BYTES = 64 << 10
const FULL = 0.9
const PER_SEGMENT = (64 << 20) / VALUE_BYTES
const ENDS = ['closed in order', 'after kill -9 under always', 'after kill -9 under os'] as const

/** Appends until the log is that large and its newest segment, a new one, nine tenths full. */
async function fill(wal: Wal, bytes: number): Promise<void> {
  const value = Buffer.alloc(VALUE_BYTES, 'v')
  let [rolls, began] = [wal.stats().rolls, wal.nextPosition === 1 ? 1 : Infinity]
  for (;;) {
    const position = wal.enqueue(value)
    if (position % 64 !== 0) continue
    await wal.drain()
    const rolled = wal.stats().rolls
    if (rolled > rolls) [began, rolls] = [position, rolled]
    if (position * VALUE_BYTES >= bytes && position - began >= FULL * PER_SEGMENT) break
  }
}

async function child(entry: string, { does, dir, bytes = 0, fsync = 'always' }: Task): Promise<void> {
  const bareMiB = peakRss() / 1024
  const forelog = (await import(entry)) as Forelog
  const began = performance.now()
  const wal = await forelog.Wal.open(dir, { fsync })
  const millis = performance.now() - began
  const opened: Opened = { millis, rssMiB: peakRss() / 1024, bareMiB, verdict: wal.recovery.verdict }
  if (does !== 'open' && fsync === 'os') await fill(wal, bytes)
  if (does === 'be killed') {
    await wal.append(Buffer.from('acknowledged'))
    process.kill(process.pid, 'SIGKILL')
  }
  await wal.close()
  process.send!(opened)
}

type Rate = readonly [median: number, min: number, max: number]

/** Runs a program of the engine that measures how fast recovery scans the newest segment, and how fast the machine could. */
function scanning(root: string, dir: string): string {
  const args = ['run', '--release', '--quiet', '--package', 'forelog', '--example', 'scan_rate', '--', dir]
  const { status, stdout, stderr, error } = spawnSync('cargo', args, { cwd: root, encoding: 'utf8' })
  if (status !== 0) return `The scan rate was not taken: ${error?.message ?? stderr.trim().split('\n').at(-1)}`
  const rates = JSON.parse(stdout) as { readonly [what in 'read' | 'readAndCrc' | 'recovery']: Rate }
  const told = ([middle, low, high]: Rate) => `${middle.toFixed(1)} GiB/s (${low.toFixed(1)} – ${high.toFixed(1)})`
  const share = ((100 * rates.recovery[0]) / rates.readAndCrc[0]).toFixed(0)
  return [
    `Recovery scans the unsealed tail at ${told(rates.recovery)}, on one core: ${share} % of the limit, which is`,
    `reading the same bytes and taking their CRC-32C, ${told(rates.readAndCrc)}. Reading alone: ${told(rates.read)}.`,
  ].join('\n')
}

function run(entry: string, task: Task): Promise<Opened | undefined> {
  return new Promise((resolve, reject) => {
    const process: ChildProcess = fork(fileURLToPath(import.meta.url), [entry, JSON.stringify(task)], { execArgv: [] })
    let opened: Opened | undefined
    process.on('message', (message) => (opened = message as Opened))
    process.on('exit', (code, signal) => {
      if (code === 0 || (task.does === 'be killed' && signal === 'SIGKILL')) resolve(opened)
      else reject(new Error(`a process that was to ${task.does} ended with ${code ?? signal}`))
    })
  })
}

/** Copies a log, so that opening may change the copy. Sealed segments are never written, so they are linked. */
function clone(from: string, to: string): void {
  fs.mkdirSync(to)
  const names = fs.readdirSync(from).filter((name) => name !== 'LOCK' && !name.startsWith('spare-'))
  const newest = names.filter((name) => name.endsWith('.wal')).sort((a, b) => (a.slice(21) < b.slice(21) ? 1 : -1))[0]
  for (const name of names) {
    const sealed = name.endsWith('.wal') && name !== newest
    if (sealed) fs.linkSync(join(from, name), join(to, name))
    else fs.copyFileSync(join(from, name), join(to, name))
  }
}

const spread = (values: readonly number[]): string => {
  const [middle, low, high] = [median(values), Math.min(...values), Math.max(...values)]
  return `${middle.toFixed(1)} (${low.toFixed(1)} – ${high.toFixed(1)})`
}

/** Runs the comparison and prints its table. */
export async function opening(entry: string, data: string, gib: number, rounds: number): Promise<string> {
  const logs = [
    { name: '100 MiB', bytes: 100 << 20 },
    { name: `${gib} GiB`, bytes: gib * 2 ** 30 },
  ]
  const results = new Map<string, Opened[]>()
  for (const { name, bytes } of logs) {
    process.stderr.write(`filling ${name} …\n`)
    const dir = join(data, name)
    await run(entry, { does: 'fill', dir, bytes, fsync: 'os' })
    clone(dir, `${dir} ${ENDS[0]}`)
    await run(entry, { does: 'be killed', dir })
    clone(dir, `${dir} ${ENDS[1]}`)
    await run(entry, { does: 'be killed', dir, fsync: 'os' })
    clone(dir, `${dir} ${ENDS[2]}`)
  }
  for (let round = 1; round <= rounds; round++) {
    for (const end of ENDS) {
      for (const { name } of logs) {
        const [kept, dir] = [join(data, `${name} ${end}`), join(data, 'opened')]
        clone(kept, dir)
        const key = `${end}, ${name}`
        results.set(key, [...(results.get(key) ?? []), (await run(entry, { does: 'open', dir }))!])
        fs.rmSync(dir, { recursive: true })
      }
    }
  }
  const rows = [...results].map(([key, opened]) => {
    const of = (field: 'millis' | 'rssMiB' | 'bareMiB') => spread(opened.map((each) => each[field]))
    return `| ${key} | ${[...new Set(opened.map((each) => each.verdict))].join(', ')} | ${of('millis')} | ${of('rssMiB')} | ${of('bareMiB')} |`
  })
  const head = '| log | verdict | open, ms: median (min – max) | peak RSS, MiB | bare Node, MiB |'
  const rate = scanning(fileURLToPath(new URL('.', entry)), join(data, `${logs[1].name} ${ENDS[2]}`))
  return [head, '| --- | --- | --- | --- | --- |', ...rows, '', rate].join('\n')
}

if (process.send !== undefined && process.argv.length === 4) await child(process.argv[2], JSON.parse(process.argv[3]) as Task)
