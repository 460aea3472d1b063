// Appends to a log that other threads have open too, and posts `[position, value]` for every acknowledged record, until it is ended from
// outside, or ends itself after so many.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'

const { dir, options, name, end, after } = workerData
const wal = await Wal.open(dir, options)
let made = 0
let told = 0

async function loop() {
  for (;;) {
    made += 1
    const value = `${name}:${made}:`.padEnd(made % 7 === 0 ? 9000 : 20, '.')
    const position = await wal.append(value)
    parentPort.postMessage([position, value])
    told += 1
    if (told !== after) continue
    if (end === 'exit') process.exit(0)
    if (end === 'throw') throw new Error('on purpose')
    if (end === 'close') await wal.close()
  }
}

for (let i = 0; i < 8; i += 1)
  loop().catch(
    (error) =>
      error.code === 'ERR_WAL_CLOSED' ||
      setImmediate(() => {
        throw error
      })
  )
