// Appends until it is killed. Says `open NEXT` once, and after that `ACKNOWLEDGED ACCEPTED`: the
// last positions that the log has acknowledged and has taken. A pipe is written synchronously, so
// whatever is acknowledged and told outlives the process.

import { Wal } from '../../../index.js'
import { recordAt } from './records.mjs'

const [dir, seed] = process.argv.slice(2)
const SEGMENT_BYTES = 1 << 20
const IN_FLIGHT = 64

const wal = await Wal.open(dir, { fsync: 'always', segmentBytes: SEGMENT_BYTES })
let accepted = wal.nextPosition - 1
let acknowledged = accepted
let due = false
process.stdout.write(`open ${wal.nextPosition}\n`)

function settled(position) {
  acknowledged = position
  if (!due) queueMicrotask(goOn)
  due = true
}

// New appends go in before the report, so that every report finds some in flight.
function goOn() {
  due = false
  while (accepted - acknowledged < IN_FLIGHT) {
    accepted += 1
    wal.append(recordAt(Number(seed), accepted)).then(settled)
  }
  process.stdout.write(`${acknowledged} ${accepted}\n`)
}

goOn()
