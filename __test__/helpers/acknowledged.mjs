// Appends in every way beside other threads, calls `acknowledged` now and then, and posts what it told too early.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'
import { random } from './kill/records.mjs'

const { dir, options, seed, count } = workerData
const next = random(seed)
const wal = await Wal.open(dir, options)
const [wrong, positions, under] = [[], [], []]

const check = (position, name) => () => {
  if (wal.durablePosition < position) wrong.push(`${name} ${position}: ${wal.durablePosition}`)
}

function step() {
  const [kind, value] = [next(), 'x'.repeat(Math.floor(next() * 300))]
  if (kind < 0.4) positions.push(wal.enqueue(value))
  else if (kind < 0.6) under.push(wal.append(value))
  else if (kind < 0.7) under.push(wal.appendBatch([value, value]))
  else if (kind < 0.75) under.push(wal.sync())
  else if (kind < 0.8) under.push(wal.truncateBefore(1))
  else if (kind < 0.85) under.push(wal.acknowledged().then(check(positions.at(-1) ?? 0, 'everything')))
  else {
    // One of its own, or whichever is the last, which may be another thread's.
    const position = next() < 0.8 ? (positions[positions.length - 1 - Math.floor(next() * 20)] ?? 0) : wal.nextPosition - 1
    under.push(wal.acknowledged(position).then(check(position, 'position')))
  }
}

for (let n = 0; n < count; n += 1) {
  step()
  if (next() < 0.05) await under.at(-1)
}
await Promise.all(under)
await wal.close()
parentPort.postMessage(wrong)
