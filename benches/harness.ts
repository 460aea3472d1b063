import { fork } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { budgetsOf, budgetTable, measureBudget, type Verdict } from './budgets/run.js'
import { curves, type Curve } from './growth/curves.js'
import { section } from './growth/page.js'
import { grow, type Measured } from './growth/run.js'
import { compile } from './lib/compile.js'
import { entrant, type Entrant } from './lib/contestants.js'
import { writeDocs } from './lib/docs.js'
import { describe, type Environment } from './lib/environment.js'
import { parse, type Options } from './lib/options.js'
import { Progress } from './lib/progress.js'
import type { Row } from './lib/rows.js'
import { Runner, type Sample } from './lib/runner.js'
import { Settle } from './lib/settle.js'
import { summarise, type RowResult } from './lib/statistics.js'
import { heading, markdown, type Run } from './lib/table.js'
import { overview } from './overview.js'

/** The content of `results/latest.json`. */
interface Results extends Run {
  readonly environment: Environment
  readonly results: readonly RowResult[]
  readonly verdicts: readonly Verdict[]
}

const README_IMAGE = 'bench-overview.svg'
const PREPARED = ['forelog-recycled', 'forelog-acknowledged-recycled', 'js-growing', 'js-each-growing']

const benches = fileURLToPath(new URL('.', import.meta.url))
const root = fileURLToPath(new URL('..', import.meta.url))
const entry = pathToFileURL(join(root, 'index.js')).href

const options = parse(process.argv, join(benches, '.data'))
const build = compile(benches)
if (options.micro) {
  fork(join(build, 'micro.js'), [entry], { execArgv: [] }).on('exit', (code) => (process.exitCode = code ?? 1))
} else if (options.opening !== undefined) {
  await openings(options.opening)
} else if (options.growth !== undefined) {
  await growth(options.growth)
} else if (options.redraw) {
  publish(JSON.parse(fs.readFileSync(join(benches, 'results', 'latest.json'), 'utf8')) as Results)
} else {
  await main()
}

/** Makes a directory for the data of this run. Returns it and a function that removes it; an interrupt removes it too. */
function makeData(): [string, () => void] {
  const data = join(options.dir, `forelog-bench-${process.pid}`)
  fs.mkdirSync(data, { recursive: true })
  const cleanUp = (): void => fs.rmSync(data, { recursive: true, force: true })
  process.once('SIGINT', () => {
    cleanUp()
    process.exit(130)
  })
  return [data, cleanUp]
}

async function openings(gib: number): Promise<void> {
  const [data, cleanUp] = makeData()
  try {
    const { opening } = (await import(pathToFileURL(join(build, 'opening.js')).href)) as typeof import('./opening.js')
    process.stdout.write(`${heading(describe(data), options)}\n\n${await opening(entry, data, gib, options.rounds)}\n`)
  } finally {
    cleanUp()
  }
}

/** Saves every curve on its own, so that one can be measured again without the others. */
async function growth(curves: readonly Curve[]): Promise<void> {
  const [data, cleanUp] = makeData()
  const environment = describe(data)
  const { rounds, quick } = options
  const settle = new Settle(data, quick ? 400 : 2000)
  try {
    process.stdout.write(`${heading(environment, options)}\n`)
    const all = readCurves()
    for (const curve of curves) {
      const grown = await grow(curve, { build, data, entry, rounds, quick, settle })
      process.stdout.write(`\n${section(grown)}\n`)
      all[curve.name] = { environment, rounds, quick, measured: grown.measured }
      save('growth.json', all)
    }
    if (options.writeDocs) publishGrowth(all)
  } finally {
    settle.close()
    cleanUp()
  }
}

type Curves = { [name: string]: Run & { environment: Environment; measured: readonly Measured[] } }

function readCurves(): Curves {
  const file = join(benches, 'results', 'growth.json')
  return fs.existsSync(file) ? (JSON.parse(fs.readFileSync(file, 'utf8')) as Curves) : {}
}

function publishGrowth(all: Curves): void {
  const sections = curves.flatMap((curve) => {
    if (all[curve.name] === undefined) return []
    const { environment, measured, ...run } = all[curve.name]
    return `${section({ curve, measured })}\n\n${heading(environment, run)}`
  })
  writeDocs(join(root, 'docs', 'benchmarks.md'), 'growth', 'bench -- --growth --write-docs', sections.join('\n\n'))
}

async function main(): Promise<void> {
  const [data, cleanUp] = makeData()
  try {
    const environment = describe(data)
    const settle = new Settle(data, options.quick ? 400 : 2000)
    const runner = new Runner({ build, data, entry, quick: options.quick }, settle)
    const progress = new Progress(total(options), process.stderr)
    const results: RowResult[] = []
    for (const row of options.rows) results.push(await measure(row, runner, progress))
    const verdicts = budgetsOf(results)
    const rounds = options.quick ? 1 : options.rounds
    const budgeting = { build, data, entry, ...options, rounds, runner, tell: (what: string): void => progress.begin(what) }
    for (const id of options.budgets) {
      verdicts.push(...(await measureBudget(id, budgeting)))
      progress.end()
    }
    progress.stop()
    settle.close()
    process.stdout.write(`${markdown(environment, options, results)}\n`)
    if (verdicts.length > 0) process.stdout.write(`\n${budgetTable(verdicts)}\n`)
    const last: Results = { environment, rounds: options.rounds, quick: options.quick, results, verdicts }
    save('latest.json', last)
    if (!options.markdown) process.stderr.write('\nEvery single measurement is in benches/results/latest.json.\n')
    if (options.writeDocs) publish(last)
  } finally {
    cleanUp()
  }
}

/** Writes the tables of this run into the docs, and the README's table and chart if their rows are among them. */
function publish({ environment, results, verdicts, ...run }: Results): void {
  const tables = markdown(environment, run, results)
  const all = verdicts.length > 0 ? `${tables}\n\n${budgetTable(verdicts)}` : tables
  writeDocs(join(root, 'docs', 'benchmarks.md'), 'results', 'bench -- --write-docs', all)
  const readme = overview(results)
  if (readme === undefined) return
  const { table, chart } = readme
  fs.writeFileSync(join(root, 'docs', 'images', README_IMAGE), chart)
  const link = `![Forelog beside its rivals: the rates of the table as bars](docs/images/${README_IMAGE})`
  writeDocs(join(root, 'README.md'), 'table', 'bench -- --write-docs', `${table}\n\n${heading(environment, run)}`)
  writeDocs(join(root, 'README.md'), 'chart', 'bench -- --write-docs', link)
}

/** Runs all contestants once per round, so that a disturbance of the machine affects them all. */
async function measure(row: Row, runner: Runner, progress: Progress): Promise<RowResult> {
  const results = new Map<Entrant, { samples: Sample[]; reason?: string }>()
  const entrants = contestants(row)
  for (const each of entrants) {
    progress.begin(`${row.id} prepare ${each.id}`)
    results.set(each, { samples: [], reason: (await runner.prepare(row, each))?.reason })
  }
  for (let round = 1; round <= options.rounds; round++) {
    for (const each of entrants) {
      const result = results.get(each)!
      progress.begin(`${row.id} round ${round} ${each.id}`)
      if (result.reason === undefined) {
        const sample = await runner.run(row, each)
        if ('reason' in sample) result.reason = sample.reason
        else result.samples.push(sample)
      }
      progress.end()
    }
  }
  for (const each of entrants) runner.finish(row, each)
  return summarise(row, results)
}

/** Each of ours is followed by its twin of the other build, if there is one. The limit is always taken: without it no figure can be judged. */
function contestants(row: Row): Entrant[] {
  // `PREPARED` differ from others only in the state of their blocks, which is not worth the time of a first look.
  const asked = (id: string) => (options.only.length > 0 ? options.only.includes(id) : !options.quick || !PREPARED.includes(id))
  return row.contestants
    .filter((id) => asked(id) || id === row.limit)
    .flatMap((id) => [entrant(id), ...[options.against?.get(id)].filter((twin) => twin !== undefined)])
}

function total({ rows, rounds, budgets }: Options): number {
  return rows.reduce((sum, row) => sum + contestants(row).length * rounds, budgets.length)
}

function save(name: string, results: object): void {
  const directory = join(benches, 'results')
  fs.mkdirSync(directory, { recursive: true })
  fs.writeFileSync(join(directory, name), `${JSON.stringify(results, null, 2)}\n`)
}
