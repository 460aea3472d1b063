// Two workers share a log. One submits its writes, and then blocks its thread while they are under way. The other one appends meanwhile.
// Arguments: directory of the log, the file of the delay, milliseconds. Prints the last position that was acknowledged meanwhile.

import { writeFileSync } from 'node:fs'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../../index.js'
import { untilSubmitted } from './until-submitted.mjs'
import { valueAt } from './values.mjs'

const options = { segmentBytes: 1 << 20 }

async function block({ dir, delay, ms, gate, waiting }) {
  const wal = await Wal.open(dir, options)
  await untilSubmitted(() => wal.append(valueAt(wal.nextPosition)))
  writeFileSync(delay, ms)
  for (let n = 0; n < waiting; n++) {
    wal.append(valueAt(wal.nextPosition)).catch(() => {})
    await new Promise((turn) => setImmediate(turn))
  }
  parentPort.postMessage('blocked')
  Atomics.wait(new Int32Array(gate), 0, 0)
  await wal.close()
}

async function append({ dir }) {
  const wal = await Wal.open(dir, options)
  let last = 0
  for (let n = 0; n < 20; n++) last = await wal.append(valueAt(wal.nextPosition))
  parentPort.postMessage(last)
  await wal.close()
}

if (isMainThread) {
  const [dir, delay, ms, waiting] = process.argv.slice(2)
  const gate = new SharedArrayBuffer(4)
  const start = (role) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { role, dir, delay, ms, gate, waiting: Number(waiting) },
      execArgv: [],
    })
    worker.on('error', (error) => (console.error(error), process.exit(1)))
    return new Promise((resolve) => worker.on('message', resolve))
  }
  await start('block')
  console.log(await start('append'))
  // The other process has read them by then, or never will.
  process.stdin.resume().on('end', () => {
    Atomics.store(new Int32Array(gate), 0, 1)
    Atomics.notify(new Int32Array(gate), 0)
  })
} else await (workerData.role === 'block' ? block(workerData) : append(workerData))
