import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withoutPaths } from '../lib/optional.js'
import type { Entry } from './entries.js'

const here = fileURLToPath(new URL('.', import.meta.url))
const target = join(here, 'target')

/** What a program measured, in seconds unless the name says otherwise. */
export interface Sample {
  readonly operations: number
  readonly seconds: number
  /** Of all threads. */
  readonly cpuSeconds: number
  readonly p50Micros?: number
  readonly p99Micros?: number
}

/** The path of each program that can be built, and why not otherwise. */
export type Programs = { readonly [P in Entry['program']]: { readonly path: string } | { readonly reason: string } }

export function buildPrograms(wanted: ReadonlySet<Entry['program']>): Programs {
  const built = (program: Entry['program'], path: string, command: string, args: string[], cwd: string): Programs['rust'] => {
    if (!wanted.has(program)) return { reason: 'not asked for' }
    process.stderr.write(`building the logs in ${program === 'rust' ? 'Rust' : 'Go'} …\n`)
    const { status, error, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
    if (status === 0) return { path }
    return { reason: withoutPaths(`not built: ${error?.message ?? stderr.trim().split('\n').at(-1)}`) }
  }
  const go = join(target, 'forelog-bench-engines-go')
  return {
    rust: built('rust', join(target, 'release', 'forelog-bench-engines'), 'cargo', ['build', '--release', '--quiet'], here),
    go: built('go', go, 'go', ['build', '-o', go, '.'], join(here, 'go')),
  }
}

export type Does = 'one' | 'eight' | 'batches' | 'fill' | 'open' | 'replay'

/** Runs a contestant in a process of its own; gives what it measured, or in words why there is nothing. `fill` ends by a kill. */
export function run(path: string, entry: Entry, does: Does, dir: string, records: number, seconds: number): Promise<Sample | string> {
  const child = spawn(path, [entry.as ?? entry.id, does, dir, String(records), String(seconds)], {
    env: { ...process.env, ...entry.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const timer = setTimeout(() => child.kill('SIGTERM'), 300_000)
  let [output, errors] = ['', '']
  child.stdout.on('data', (text) => (output += String(text)))
  child.stderr.on('data', (text) => (errors = (errors + String(text)).slice(-2000)))
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(withoutPaths(error.message)))
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (does === 'fill' && signal === 'SIGKILL') resolve('killed')
      else if (code === 0) resolve(JSON.parse(output) as Sample)
      else resolve(withoutPaths(`failed (${signal ?? `exit code ${code}`}): ${errors.trim().split('\n').at(-1)}`))
    })
  })
}

/** Brings the files of a log into the page cache: some logs write past it, others do not. */
export function warmUp(dir: string): void {
  for (const { name, parentPath } of fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((each) => each.isFile())) {
    const fd = fs.openSync(join(parentPath, name), 'r')
    const buffer = Buffer.alloc(1 << 20)
    while (fs.readSync(fd, buffer) > 0);
    fs.closeSync(fd)
  }
}
