// Appends, and now and then truncates, until it is killed. Tells:
//   open NEXT
//   appended POSITION ATTEMPT;           acknowledged: the record made at that attempt
//   pending COUNT;                       so many are in flight
//   before POSITION?;                    about to make that position the first
//   before POSITION;                     done
// A pipe is written synchronously, so whatever is told outlives the process.

import { Wal } from '../../../index.js'
import { random, recordAt } from './records.mjs'

const [dir, seed, firstAttempt, segmentBytes] = process.argv.slice(2).map((arg, i) => (i === 0 ? arg : Number(arg)))
const IN_FLIGHT = 64
const TRUNCATE_EVERY = 40

const next = random(seed ^ firstAttempt)
const tell = (line) => process.stdout.write(`${line}\n`)

const wal = await Wal.open(dir, { fsync: 'always', segmentBytes })
let attempt = firstAttempt - 1
let pending = 0
let acknowledged = wal.nextPosition - 1
let due = false
tell(`open ${wal.nextPosition}`)

function settled(position, made) {
  acknowledged = position
  pending -= 1
  if (!due) queueMicrotask(goOn)
  due = true
  tell(`appended ${position} ${made};`)
}

async function truncate() {
  const { firstPosition } = wal
  const position = firstPosition + Math.floor(next() * (acknowledged - firstPosition + 2))
  tell(`before ${position}?;`)
  await wal.truncateBefore(position)
  tell(`before ${position};`)
}

// New appends go in before anything is told about the next ones: there are always some in flight.
function goOn() {
  due = false
  while (pending < IN_FLIGHT) {
    attempt += 1
    pending += 1
    const made = attempt
    wal.append(recordAt(seed, made)).then((position) => settled(position, made))
    if (next() * TRUNCATE_EVERY < 1) truncate()
  }
  tell(`pending ${pending};`)
}

goOn()
