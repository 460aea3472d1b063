import fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError } from 'commander'
import { writeDocs } from '../lib/docs.js'
import { describe } from '../lib/environment.js'
import { Progress } from '../lib/progress.js'
import { Settle } from '../lib/settle.js'
import { heading } from '../lib/table.js'
import { entries, rows, type Entry, type Row, type RowId } from './entries.js'
import { buildPrograms, run, warmUp, type Programs, type Sample } from './programs.js'
import { section, type Result } from './table.js'

/** `npm run bench:engines`: the engine beside logs in Rust and Go, in interleaved rounds of fresh processes. */
interface Options {
  readonly rounds?: number
  readonly quick: boolean
  readonly rows: readonly Row[]
  readonly only: readonly Entry[]
  readonly dir: string
  readonly writeDocs: boolean
}

const root = fileURLToPath(new URL('../..', import.meta.url))

const options = new Command('npm run bench:engines --')
  .description('Measures the engine beside logs in Rust and Go: each record is durable before it is acknowledged.')
  .option('--rounds <n>', 'rounds (default 5, with --quick 3)', positive)
  .option('--quick', 'short runs, for a first look', false)
  .option('--rows <ids>', `rows to run: ${rows.map(({ id }) => id).join(', ')}`, (text) => select(rows, text), rows)
  .option('--only <ids>', `contestants to run: ${entries.map(({ id }) => id).join(', ')}`, (text) => select(entries, text), entries)
  .option('--dir <path>', 'directory on the disk to measure (default: the one the sources are on)', join(root, 'benches', '.data'))
  .option('--write-docs', 'write the tables into docs/benchmarks.md', false)
  .parse()
  .opts<Options>()
const rounds = options.rounds ?? (options.quick ? 3 : 5)

await main()

async function main(): Promise<void> {
  const data = join(options.dir, `forelog-engines-${process.pid}`)
  fs.mkdirSync(data, { recursive: true })
  const cleanUp = (): void => fs.rmSync(data, { recursive: true, force: true })
  process.once('SIGINT', () => {
    cleanUp()
    process.exit(130)
  })
  try {
    const environment = describe(data)
    const programs = buildPrograms(new Set(options.only.map(({ program }) => program)))
    const settle = new Settle(data, options.quick ? 400 : 2000)
    const results = await measure(programs, data, settle)
    settle.close()
    const made = [heading(environment, { rounds, quick: options.quick }), ...results.map(section)].join('\n\n')
    process.stdout.write(`${made}\n`)
    fs.mkdirSync(join(root, 'benches', 'results'), { recursive: true })
    fs.writeFileSync(
      join(root, 'benches', 'results', 'engines.json'),
      `${JSON.stringify({ environment, rounds, quick: options.quick, results }, null, 2)}\n`
    )
    if (options.writeDocs) writeDocs(join(root, 'docs', 'benchmarks.md'), 'engines', 'bench:engines -- --write-docs', made)
  } finally {
    cleanUp()
  }
}

/** All contestants once per round. The two rows that read share a log, which takes the longest to make. */
async function measure(programs: Programs, data: string, settle: Settle): Promise<Result[]> {
  const results = options.rows.map((row) => ({
    row,
    all: options.only
      .filter((each) => each.rows?.includes(row.id) ?? true)
      .map((entry) => ({ entry, samples: [] as Sample[], reason: undefined as string | undefined })),
  }))
  const take = (id: RowId, entry: Entry, sample: Sample | string): void => {
    const found = results.find(({ row }) => row.id === id)?.all.find((each) => each.entry === entry)
    if (found === undefined) return
    if (typeof sample === 'string') found.reason = sample
    else found.samples.push(sample)
  }
  const steps = options.rows.filter(({ id }) => id !== 'replay' || !options.rows.some((row) => row.id === 'open'))
  const progress = new Progress(steps.length * options.only.length * rounds, process.stderr)
  for (const { id, ...row } of steps) {
    const { records, seconds } = options.quick ? row.quick : row.full
    for (let round = 1; round <= rounds; round++) {
      for (const entry of options.only.filter((each) => each.rows?.includes(id) ?? true)) {
        progress.begin(`${id} round ${round} ${entry.id}`)
        const program = programs[entry.program]
        const dir = join(data, 'log')
        fs.mkdirSync(dir)
        settle.wait()
        if ('reason' in program) {
          take(id, entry, program.reason)
        } else if (id !== 'open' && id !== 'replay') {
          take(id, entry, await run(program.path, entry, id, dir, records, seconds))
        } else {
          const filled = await run(program.path, entry, 'fill', dir, records, seconds)
          for (const does of ['open', 'replay'] as const) {
            warmUp(dir)
            take(does, entry, filled === 'killed' ? await run(program.path, entry, does, dir, records, seconds) : filled)
          }
        }
        fs.rmSync(dir, { recursive: true })
        progress.end()
      }
    }
  }
  progress.stop()
  return results
}

function positive(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Not a positive whole number.')
  return value
}

function select<T extends { readonly id: string }>(all: readonly T[], text: string): T[] {
  const wanted = text.split(',').map((each) => each.trim())
  const unknown = wanted.filter((each) => !all.some(({ id }) => id === each))
  if (unknown.length > 0) throw new InvalidArgumentError(`Nothing is called ${unknown.join(', ')}.`)
  return all.filter(({ id }) => wanted.includes(id))
}
