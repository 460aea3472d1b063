// Starts the process that ingests, reads its reports, and kills it.

import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Report } from './ingest.js'

export interface Run extends Report {
  killed: boolean
  /** Milliseconds from the first report to the last. */
  elapsed: number
}

export interface Ingest {
  dir: string
  records: number
  segmentBytes: number
  file: string | undefined
}

const script = fileURLToPath(new URL('./ingest.js', import.meta.url))
let running: ChildProcess | undefined

/** Kills the running child process, if there is one. */
export function stopIngest(): void {
  running?.kill('SIGKILL')
}

/** Ingests all records. If position `killAt` is acknowledged before that, the child process gets SIGKILL. */
export async function ingest(
  { dir, records, segmentBytes, file }: Ingest,
  killAt: number,
  onReport: (report: Report) => void
): Promise<Run> {
  const args = [script, dir, String(records), String(segmentBytes), ...(file ? [file] : [])]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  running = child
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (...how) => resolve(how))
  })

  let last: Report = { acknowledged: 0, fsyncs: 0, commits: 0 }
  let started: number | undefined
  let elapsed = 0
  for await (const line of createInterface({ input: child.stdout })) {
    // The kill may cut the last line short.
    if (!line.endsWith('}')) continue
    last = JSON.parse(line) as Report
    if (last.acknowledged >= killAt) child.kill('SIGKILL')
    started ??= performance.now()
    elapsed = performance.now() - started
    onReport(last)
  }
  const [code, signal] = await ended
  running = undefined
  if (signal === null && code !== 0) throw new Error(`the ingesting process ended with code ${code}`)
  return { ...last, killed: signal !== null, elapsed }
}
