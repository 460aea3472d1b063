// Appends one at a time, in flight and in batches, with truncations in between, and checks that promises resolve in the order of the calls.
// Argument: directory of the log. Prints the positions that must be in the log, as `FIRST NEXT`.

import { Wal } from '../../../index.js'
import { isInOrder, untilSubmitted } from './until-submitted.mjs'
import { valueAt } from './values.mjs'

const wal = await Wal.open(process.argv[2], { segmentBytes: 1 << 19 })
let told = 0

async function append() {
  const position = wal.nextPosition
  const given = await wal.append(valueAt(position))
  if (given !== position || given <= told) throw new Error(`${given} is told after ${told}, expected ${position}`)
  told = given
}

await untilSubmitted(append)
for (let round = 0; round < 30; round++) {
  await Promise.all(Array.from({ length: 1 + ((round * 7) % 40) }, append))
  const batch = Array.from({ length: 20 }, (_, i) => valueAt(wal.nextPosition + i))
  // Two groups follow each other while the first is under way.
  const first = wal.appendBatch(batch)
  const later = new Promise((resolve) => setImmediate(() => resolve(append())))
  told = (await first).last
  await later
  if (round % 10 === 9) {
    const last = wal.nextPosition - 5
    const pending = append()
    told = 0
    await Promise.all([pending, wal.truncateAfter(last)])
    told = last
    await wal.truncateBefore(wal.firstPosition + 50)
  }
}
// Each is a commit of its own, however slow the machine is.
for (let n = 0; n < 300; n++) await append()
// Groups that end on a block of their own, one in each iteration of the event loop, so that two are under way.
for (let round = 0; round < 3 || (round < 100 && isInOrder()); round++) {
  const pending = []
  for (let n = 0; n < 20; n++) {
    const batch = []
    for (let bytes = 0; bytes < 34_000; bytes += batch.at(-1).length) batch.push(valueAt(wal.nextPosition + batch.length))
    pending.push(wal.appendBatch(batch))
    await new Promise(setImmediate)
  }
  await Promise.all(pending)
}
console.log(wal.firstPosition, wal.nextPosition)
await wal.close()
