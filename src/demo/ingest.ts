// The process that gets killed. It appends from where the log ends, and says on standard output
// what has been acknowledged. A pipe is written synchronously (on POSIX), and what is in it
// outlives the writer: a position is told once it is acknowledged, and never lost after that.

import { Wal } from '../index.js'
import { openSource } from './source.js'

/** One line of standard output. */
export interface Report {
  acknowledged: number
  fsyncs: number
  commits: number
}

// About five thousand appends are under way at any time: plenty for a group commit to gather.
const BATCHES_IN_FLIGHT = 5

async function ingest([dir = '', records = '', segmentBytes = '', file]: string[]): Promise<void> {
  const source = await openSource(file, Number(records))
  const wal = await Wal.open(dir, { fsync: 'always', segmentBytes: Number(segmentBytes) })

  let acknowledged = wal.acknowledgedPosition
  let due = false

  function report(): void {
    due = false
    const { fsyncs, commits } = wal.stats()
    const line: Report = { acknowledged, fsyncs, commits }
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }

  // Many appends settle in one turn: the report runs after the last of them.
  function settled(position: number): number {
    acknowledged = position
    if (!due) queueMicrotask(report)
    due = true
    return position
  }

  report()
  const inFlight: Promise<unknown>[] = []
  for await (const batch of source.records(wal.nextPosition)) {
    inFlight.push(Promise.all(batch.map((record) => wal.append(record).then(settled))))
    if (inFlight.length >= BATCHES_IN_FLIGHT) await inFlight.shift()
  }
  await Promise.all(inFlight)
  await wal.close()
}

void ingest(process.argv.slice(2))
