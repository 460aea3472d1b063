import { fork, type ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * How long opening takes, and what it takes in memory, as the log grows: it must not. Two logs of different sizes,
 * active segment 90 % full, page cache warm, are opened in fresh processes, in turns: closed in order, and as a
 * `kill -9` left them.
 */
interface Log {
  readonly nextPosition: number
  readonly recovery: { readonly verdict: string }
  append(value: Uint8Array): Promise<number>
  enqueue(value: Uint8Array): number
  drain(): Promise<void>
  stats(): { readonly rolls: number }
  close(): Promise<void>
}

interface Forelog {
  readonly Wal: { open(dir: string, options: { fsync: 'always' | 'os' }): Promise<Log> }
}

/** What one process is to do with one log. */
interface Task {
  readonly does: 'fill' | 'be killed' | 'open'
  readonly dir: string
  readonly bytes?: number
}

interface Opened {
  readonly millis: number
  readonly rssMiB: number
  readonly verdict: string
}

const VALUE_BYTES = 64 << 10
const FULL = 0.9
const ENDS = ['closed in order', 'after kill -9'] as const

/** Appends until the log is that large and its newest segment nine tenths full. */
async function fill({ Wal }: Forelog, dir: string, bytes: number): Promise<void> {
  const wal = await Wal.open(dir, { fsync: 'os' })
  const value = Buffer.alloc(VALUE_BYTES, 'v')
  let [rolls, began, perSegment] = [0, 1, Infinity]
  for (;;) {
    const position = wal.enqueue(value)
    if (position % 64 !== 0) continue
    await wal.drain()
    const rolled = wal.stats().rolls
    if (rolled > rolls) [perSegment, began, rolls] = [(position - began) / (rolled - rolls), position, rolled]
    if (position * VALUE_BYTES >= bytes && position - began >= FULL * perSegment) break
  }
  await wal.close()
}

async function child(entry: string, task: Task): Promise<void> {
  const forelog = (await import(entry)) as Forelog
  if (task.does === 'fill') return fill(forelog, task.dir, task.bytes!)
  const began = performance.now()
  const wal = await forelog.Wal.open(task.dir, { fsync: 'always' })
  const millis = performance.now() - began
  if (task.does === 'be killed') {
    await wal.append(Buffer.from('acknowledged'))
    process.kill(process.pid, 'SIGKILL')
  }
  const opened: Opened = { millis, rssMiB: process.resourceUsage().maxRSS / 1024, verdict: wal.recovery.verdict }
  await wal.close()
  process.send!(opened)
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

/** A log in the same state, of which opening may change what it likes: sealed segments are never written, so they are linked. */
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

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]
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
    await run(entry, { does: 'fill', dir, bytes })
    clone(dir, `${dir} ${ENDS[0]}`)
    await run(entry, { does: 'be killed', dir })
    clone(dir, `${dir} ${ENDS[1]}`)
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
    const [millis, rss] = [opened.map((each) => each.millis), opened.map((each) => each.rssMiB)]
    return `| ${key} | ${[...new Set(opened.map((each) => each.verdict))].join(', ')} | ${spread(millis)} | ${spread(rss)} |`
  })
  return ['| log | verdict | open, ms: median (min – max) | peak RSS, MiB |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

if (process.send !== undefined && process.argv.length === 4) await child(process.argv[2], JSON.parse(process.argv[3]) as Task)
