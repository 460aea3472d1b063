// The process that is killed. It appends the records after the end of the log, and reports acknowledged positions on standard output. On
// POSIX a pipe is written synchronously and keeps its bytes when the writer dies, so no report is lost.

import { Wal } from '../index.js'
import { openSource } from './source.js'

/** One line of standard output. */
export interface Report {
  acknowledged: number
  fsyncs: number
  commits: number
}

// About 5,000 appends are in flight at any time, which is enough for large groups.
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

  // Many appends settle in one turn of the event loop. One report covers them all.
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
