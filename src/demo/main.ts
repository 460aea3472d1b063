// `npm start`: ingests a million events in a process that is killed several times, and counts the acknowledged records that are missing
// afterwards. The count has to be zero.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { count } from '../cli/numbers.js'
import { progressOn } from '../cli/progress.js'
import { stopIngest } from './child.js'
import { reopenAndCheck, runJob } from './job.js'
import { openSource } from './source.js'
import { table } from './table.js'

const HELP = `Usage: npm start [-- [options] [FILE]]

Appends the lines of FILE, or generated events, to a log, in a process that is
killed several times. Checks after each kill that no acknowledged record is lost.

  --records N   number of events to generate (1000000)
  --kills N     number of kills (5)
  --dir DIR     keep the log in DIR instead of a temporary directory
  --check       only check the log in DIR; every record counts as acknowledged
`
// Small enough that a run fills several segments.
const SEGMENT_BYTES = 16 << 20

async function logDirectory(dir: string | undefined): Promise<string> {
  if (dir === undefined) return mkdtempSync(path.join(os.tmpdir(), 'forelog-demo-'))
  await mkdir(dir, { recursive: true })
  if (readdirSync(dir).length > 0) throw new Error(`${dir} is not empty`)
  return dir
}

/** Removes a temporary directory. A directory that the user named stays. */
function removeUnlessNamed(dir: string, named: string | undefined): void {
  if (named === undefined) rmSync(dir, { recursive: true, force: true, maxRetries: 3 })
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`--${name} must be a whole number, not ${text}`)
  return Number(text)
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      records: { type: 'string', default: '1000000' },
      kills: { type: 'string', default: '5' },
      dir: { type: 'string' },
      check: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const [file] = positionals
  const records = wholeNumber('records', values.records)
  const kills = wholeNumber('kills', values.kills)
  const source = await openSource(file, records)

  if (values.check) {
    if (values.dir === undefined) throw new Error('--check needs --dir')
    const { intact, lost, damaged } = await reopenAndCheck(values.dir, source, source.total)
    console.log(`${count(intact)} records intact, acknowledged records lost: ${count(lost)}`)
    return lost > 0 || damaged ? 1 : 0
  }

  const dir = await logDirectory(values.dir)
  const progress = progressOn(process.stderr, source.total)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopIngest()
      progress.stop()
      removeUnlessNamed(dir, values.dir)
      process.exit(130)
    })
  }
  try {
    progress.say(`appending ${count(source.total)} records to ${dir}`)
    const job = { dir, records, segmentBytes: SEGMENT_BYTES, file }
    const totals = await runJob(job, source, kills, progress)
    progress.stop()
    console.log(table(totals))
    return totals.lost > 0 || totals.damaged ? 1 : 0
  } finally {
    stopIngest()
    progress.stop()
    removeUnlessNamed(dir, values.dir)
  }
}

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
)
