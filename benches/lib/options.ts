import { Command, InvalidArgumentError } from 'commander'
import { BUDGETS, type Budget } from '../budgets/run.js'
import { curves, type Curve } from '../growth/curves.js'
import { entrants, twinsOf, type Entrant } from './contestants.js'
import { rows, type Row } from './rows.js'

export interface Options {
  readonly rounds: number
  readonly quick: boolean
  readonly rows: readonly Row[]
  /** Rows that compare Forelog with a budget instead of rivals. */
  readonly budgets: readonly Budget[]
  /** GiB to ingest in D11. */
  readonly ingest: number
  /** Contestants to run; all when empty. */
  readonly only: readonly string[]
  /** The contestants of another build of Forelog, by the id of ours that each stands beside. */
  readonly against?: ReadonlyMap<string, Entrant>
  readonly dir: string
  readonly markdown: boolean
  readonly writeDocs: boolean
  readonly redraw: boolean
  readonly micro: boolean
  /** The curves to measure, with `--growth`. */
  readonly growth?: readonly Curve[]
  /** Size in GiB of the larger log, with `--opening`. */
  readonly opening?: number
}

export function parse(argv: readonly string[], defaultDir: string): Options {
  const command = new Command('npm run bench --')
    .description('Measures Forelog beside its rivals, at the same durability, in interleaved rounds of fresh processes.')
    .option('--rounds <n>', 'rounds (default 5, with --quick 3)', positive)
    .option('--quick', 'short runs: about eight minutes in all, for a first look', false)
    .option('--rows <ids>', `rows to run, by id or its beginning: ${[...rows.map((row) => row.id), ...BUDGETS].join(', ')}`, selectRows)
    .option('--ingest <GiB>', 'how much D11 ingests (default 10, with --quick 1)', positive)
    .option('--only <ids>', `contestants to run: ${entrants.map((each) => each.id).join(', ')}`, selectEntrants)
    .option('--against <checkout>', 'another build of Forelog beside each of ours: a checkout in which npm run build was run', selectBuild)
    .option('--dir <path>', 'directory on the disk to measure (default: the one the sources are on)')
    .option('--markdown', 'print nothing but the tables, which are Markdown', false)
    .option('--write-docs', 'write the tables into docs/benchmarks.md, and the table and the chart of the README', false)
    .option('--redraw', 'write the last results like --write-docs, without measuring', false)
    .option('--micro', 'the micro rows instead: what the boundary between JavaScript and Rust costs', false)
    .option('--growth [names]', `rate and memory as something grows instead: ${curves.map((each) => each.name).join(', ')}`, selectCurves)
    .option('--opening [GiB]', 'how long opening takes instead: a log of 100 MiB beside one of so many GiB (default 10)', positive)
    .parse(argv)
  const given = command.opts<
    Partial<Omit<Options, 'rows'>> & { rows?: Selected } & Pick<Options, 'quick' | 'markdown' | 'writeDocs' | 'redraw' | 'micro'>
  >()
  const opening = (given.opening as number | true | undefined) === true ? 10 : given.opening
  const growth = (given.growth as readonly Curve[] | true | undefined) === true ? curves : given.growth
  const all = { rows, budgets: given.only === undefined || given.only.includes('forelog') ? BUDGETS : [] }
  return {
    rounds: given.quick ? 3 : 5,
    only: [],
    dir: defaultDir,
    ingest: given.quick ? 1 : 10,
    ...given,
    ...(given.rows ?? all),
    opening,
    growth,
  }
}

function selectBuild(checkout: string): ReadonlyMap<string, Entrant> {
  try {
    return twinsOf(checkout)
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`)
  }
}

function positive(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Not a positive whole number.')
  return value
}

type Selected = Pick<Options, 'rows' | 'budgets'>

function selectRows(text: string): Selected {
  const wanted = text.split(',').map((each) => each.trim().toLowerCase())
  const selected = rows.filter((row) => wanted.some((each) => row.id.toLowerCase() === each || row.id.toLowerCase().startsWith(`${each}-`)))
  const budgets = BUDGETS.filter((id) => wanted.includes(id.toLowerCase()))
  if (selected.length + budgets.length === 0) throw new InvalidArgumentError(`No row is called ${text}.`)
  return { rows: selected, budgets }
}

function selectCurves(text: string): Curve[] {
  const wanted = text.split(',').map((each) => each.trim().toLowerCase())
  const unknown = wanted.filter((each) => !curves.some(({ name }) => name === each))
  if (unknown.length > 0) throw new InvalidArgumentError(`Nothing that grows is called ${unknown.join(', ')}.`)
  return curves.filter(({ name }) => wanted.includes(name))
}

function selectEntrants(text: string): string[] {
  const wanted = text.split(',').map((each) => each.trim())
  const unknown = wanted.filter((each) => !entrants.some(({ id }) => id === each))
  if (unknown.length > 0) throw new InvalidArgumentError(`No contestant is called ${unknown.join(', ')}.`)
  return wanted
}
