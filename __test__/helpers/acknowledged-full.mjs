// Enqueues beside other threads on a disk that is full now and then, until it is told to stop, and posts what `acknowledged` told:
// `[position, value]` of each record that it resolved for, and how many calls were rejected.

import { setImmediate } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'

const { dir, options, name } = workerData
const wal = await Wal.open(dir, options)
const told = []
let [made, rejected, isOver] = [0, 0, false]
parentPort.once('message', () => (isOver = true))

async function loop() {
  while (!isOver) {
    made += 1
    const value = `${name}:${made}:`.padEnd(made % 5 === 0 ? 9000 : 100, '.')
    try {
      const position = wal.enqueue(value)
      await wal.acknowledged(position)
      told.push([position, value])
    } catch (error) {
      if (error.code !== 'ERR_WAL_NO_SPACE') throw error
      rejected += 1
      await setImmediate()
    }
  }
}

await Promise.all(Array.from({ length: 20 }, loop))
await wal.close()
parentPort.postMessage({ told, rejected })
