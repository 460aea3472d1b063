import { fork } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import type { Job, Outcome, Report } from './contract.js'
import type { Entrant } from './contestants.js'
import { busySeconds } from './environment.js'
import { withoutPaths } from './optional.js'
import type { Row } from './rows.js'
import type { Settle } from './settle.js'

export interface Sample extends Outcome {
  /** Cores kept busy by anything but this run while it ran. */
  readonly foreignCores: number
}

export interface RunnerOptions {
  /** Where the compiled benches are. */
  readonly build: string
  /** Where temporary logs go: the disk under test. */
  readonly data: string
  readonly entry: string
  readonly quick: boolean
}

/** Every contestant takes a batch of this size. */
const MOST_BATCH_BYTES = 2 << 20

/** Runs one contestant in one row in a process of its own. Contestants that cannot take part get a reason instead. */
export class Runner {
  readonly #options: RunnerOptions
  readonly #settle: Settle
  readonly #prepared = new Map<string, string>()

  constructor(options: RunnerOptions, settle: Settle) {
    this.#options = options
    this.#settle = settle
  }

  async run(row: Row, entrant: Entrant, how: Partial<Job> = {}): Promise<Sample | { reason: string }> {
    const replays = row.durability === 'verified' && entrant.role !== 'raw'
    const dir = replays ? this.#prepared.get(key(row, entrant)) : this.#directory(`${row.id}-${entrant.id}`)
    if (dir === undefined) return { reason: 'its log could not be prepared' }
    this.#settle.wait()
    const result = await this.#child({ ...this.#job(row, entrant, dir, false), ...how }, entrant)
    if (!replays) fs.rmSync(dir, { recursive: true, force: true })
    return result === 'prepared' ? { reason: 'it only prepared' } : result
  }

  /** Replays read a log that another process wrote; one serves all rounds. */
  async prepare(row: Row, entrant: Entrant): Promise<{ reason: string } | undefined> {
    if (row.durability !== 'verified' || entrant.role === 'raw') return undefined
    const dir = this.#directory(`${row.id}-${entrant.id}`)
    const batch = Math.min(1000, Math.floor(MOST_BATCH_BYTES / row.valueBytes))
    const result = await this.#child({ ...this.#job(row, entrant, dir, true), kind: 'batches', batch }, entrant)
    if (result !== 'prepared') return 'reason' in result ? result : { reason: 'its log could not be prepared' }
    this.#prepared.set(key(row, entrant), dir)
    return undefined
  }

  /** Deletes the logs that replays of this row read. */
  finish(row: Row, entrant: Entrant): void {
    const dir = this.#prepared.get(key(row, entrant))
    if (dir !== undefined) fs.rmSync(dir, { recursive: true, force: true })
  }

  #directory(name: string): string {
    const dir = join(this.#options.data, name)
    fs.rmSync(dir, { recursive: true, force: true })
    fs.mkdirSync(dir, { recursive: true })
    return dir
  }

  #job(row: Row, entrant: Entrant, dir: string, prepare: boolean): Job {
    return {
      kind: row.kind,
      module: entrant.module,
      variant: entrant.variant,
      dir,
      entry: entrant.entry ?? this.#options.entry,
      prepare,
      valueBytes: row.valueBytes,
      ...(this.#options.quick ? row.quick : row.full),
      window: row.window,
      batch: row.batch,
      finalSync: row.durability === 'writtenThenSynced',
    }
  }

  #child(job: Job, { env }: Entrant): Promise<Sample | 'prepared' | { reason: string }> {
    const started = performance.now()
    const busy = busySeconds()
    const own = process.cpuUsage()
    // Neither the loader of this process nor its options: the child is plain Node.js.
    const child = fork(join(this.#options.build, 'lib', 'child.js'), [JSON.stringify(job)], {
      execArgv: [],
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), (job.seconds * 5 + 60) * 1000)
    let errors = ''
    child.stderr!.on('data', (text) => (errors = (errors + String(text)).slice(-4000)))
    let report: Report | undefined
    child.on('message', (message) => (report = message as Report))
    return new Promise((resolve) => {
      child.on('close', (code, signal) => {
        clearTimeout(timer)
        if (report === undefined) return resolve({ reason: failure(errors, code, signal) })
        if ('skipped' in report) return resolve({ reason: report.skipped })
        if ('prepared' in report) return resolve('prepared')
        const seconds = (performance.now() - started) / 1000
        const parent = process.cpuUsage(own)
        const foreign = busySeconds() - busy - report.processCpuSeconds - (parent.user + parent.system) / 1e6
        resolve({ ...report.outcome, foreignCores: Math.max(0, foreign / seconds) })
      })
    })
  }
}

const key = (row: Row, entrant: Entrant): string => `${row.id} ${entrant.id}`

/** The line of a stack trace that names the error, without the paths around it. */
function failure(errors: string, code: number | null, signal: string | null): string {
  const line = errors.split('\n').find((each) => /^\w*Error\b/.test(each))
  const how = signal !== null ? `ended by ${signal}` : `exit code ${code}`
  return `failed: ${withoutPaths(line ?? how)}`
}
