// Ends an environment while writes are under way. Argument: JSON with the directory of the log, the file of the delay, how it ends, and
// whether it is a worker. Tells how many records were accepted before, through a descriptor that needs no event loop.

import { writeFileSync, writeSync } from 'node:fs'
import { isMainThread, Worker, workerData, parentPort } from 'node:worker_threads'
import { Wal } from '../../../index.js'
import { valueAt } from './values.mjs'

const job = workerData ?? JSON.parse(process.argv[2])

async function play() {
  const { dir, delay, ms, end, more } = job
  const wal = await Wal.open(dir, { segmentBytes: 1 << 20 })
  for (let n = 0; n < 150; n++) await wal.append(valueAt(wal.nextPosition))
  writeFileSync(delay, String(ms))
  const append = () => {
    const position = wal.nextPosition
    wal.append(valueAt(position)).then(
      () => writeSync(1, `acknowledged ${position};\n`),
      () => {}
    )
    writeSync(1, `accepted ${position};\n`)
  }
  append()
  // Each in a group of its own: one or two are under way, and the others wait.
  for (let n = 0; n < more; n++) {
    await new Promise((turn) => setImmediate(turn))
    append()
  }
  await new Promise((turn) => setImmediate(turn))
  if (end === 'exit') process.exit()
  if (end === 'throw') throw new Error('on purpose')
  if (end === 'kill') process.kill(process.pid, 'SIGKILL')
  if (end === 'terminate') parentPort.postMessage('now')
  if (end === 'terminate') for (;;);
}

if (job.worker && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: job, execArgv: [] })
  worker.on('message', () => worker.terminate())
  worker.on('error', () => {})
  await new Promise((ended) => worker.on('exit', ended))
} else await play()
