import fs from 'node:fs'
import { join } from 'node:path'
import type { Verdict } from '../budgets/run.js'
import type { Environment } from '../lib/environment.js'
import type { RowResult } from '../lib/statistics.js'
import type { Run } from '../lib/table.js'
import { rowChart } from './bars.js'
import { overviewChart } from './overview.js'

/** What `results/latest.json` holds. */
export interface Results extends Run {
  readonly environment: Environment
  readonly results: readonly RowResult[]
  readonly verdicts: readonly Verdict[]
}

/** The name of a chart under `docs/images/`. */
export const rowImage = (id: string): string => `bench-${id.toLowerCase()}.svg`
export const README_IMAGE = 'bench-overview.svg'

/** Draws every row, and the README's chart; gives whether there is one, for which all of its rows have to be there. */
export function drawAll(directory: string, { environment, results, rounds, quick }: Results): boolean {
  fs.mkdirSync(directory, { recursive: true })
  for (const result of results) fs.writeFileSync(join(directory, rowImage(result.row.id)), rowChart(result, environment, { rounds, quick }))
  const overview = overviewChart(results)
  if (overview !== undefined) fs.writeFileSync(join(directory, README_IMAGE), overview)
  return overview !== undefined
}
