// Appends in every way through two handles on one log, beside other threads, and posts the positions in the order in which its promises settled.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'
import { random } from './kill/records.mjs'

const { dir, options, seed, count } = workerData
const next = random(seed)
const handles = await Promise.all([Wal.open(dir, options), Wal.open(dir, options)])
const settled = []
const under = []

function step() {
  const wal = handles[Math.floor(next() * 2)]
  const value = 'x'.repeat(Math.floor(next() * 300))
  const durable = next() < 0.1
  const kind = next()
  if (kind < 0.7) under.push(wal.append(value, { durable }).then((position) => settled.push(position)))
  else if (kind < 0.9) under.push(wal.appendBatch([value, value], { durable }).then(({ last }) => settled.push(last)))
  else if (kind < 0.95) wal.enqueue(value)
  else {
    // Not before what was accepted before it; what comes after it has positions from here on.
    const at = wal.nextPosition - 0.5
    under.push(wal.sync().then(() => settled.push(at)))
  }
}

for (let n = 0; n < count; n += 1) {
  step()
  // Some in one turn, some after others have settled.
  if (next() < 0.02) await under.at(-1)
}
await Promise.all(under)
await Promise.all(handles.map((wal) => wal.close()))
parentPort.postMessage(settled)
