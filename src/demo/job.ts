// The demonstration: ingest, kill, reopen, check, and go on.

import { count } from '../cli/numbers.js'
import type { Progress } from '../cli/progress.js'
import { Wal } from '../index.js'
import { checkLog, type Verdict } from './check.js'
import { ingest, type Ingest } from './child.js'
import type { Source } from './source.js'
import type { Totals } from './table.js'

/** Opens the log, with recovery if it was killed, and compares it with the source. */
export async function reopenAndCheck(dir: string, source: Source, acknowledged: number): Promise<Verdict & { openedIn: number }> {
  const started = performance.now()
  const wal = await Wal.open(dir, { create: false })
  const openedIn = performance.now() - started
  try {
    return { ...(await checkLog(wal, source, acknowledged)), openedIn }
  } finally {
    await wal.close()
  }
}

/** Runs until the source is ingested, or until a record is found lost or damaged. */
export async function runJob(job: Ingest, source: Source, kills: number, progress: Progress): Promise<Totals> {
  const totals: Totals = {
    records: 0,
    bytes: 0,
    elapsed: 0,
    fsyncs: 0,
    commits: 0,
    kills: 0,
    recoveries: [],
    lost: 0,
    damaged: false,
  }
  for (;;) {
    const share = (totals.kills + 1) / (kills + 1)
    const killAt = totals.kills < kills ? Math.ceil(source.total * share) : Infinity
    const run = await ingest(job, killAt, ({ acknowledged }) =>
      progress.update(acknowledged, `${count(acknowledged)} records acknowledged`)
    )
    totals.elapsed += run.elapsed
    totals.fsyncs += run.fsyncs
    totals.commits += run.commits

    const checked = await reopenAndCheck(job.dir, source, run.acknowledged)
    totals.records = checked.intact
    totals.bytes = checked.bytes
    totals.lost = checked.lost
    totals.damaged = checked.damaged
    if (run.killed) {
      totals.kills += 1
      totals.recoveries.push(checked.openedIn)
      progress.say(
        `kill ${totals.kills}: ${count(run.acknowledged)} records acknowledged, ` +
          `${count(checked.intact)} found intact, ${count(checked.lost)} lost`
      )
    }
    if (checked.lost > 0 || checked.damaged || !run.killed) return totals
  }
}
