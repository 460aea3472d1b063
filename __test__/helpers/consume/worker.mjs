// Consumes the cursor 'a' of a log that another thread has open too, to the end, and posts what it has handled and how it ended.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../../index.js'

const { dir, options } = workerData
const wal = await Wal.open(dir, options)
const handled = []
const consumer = (await wal.cursor('a')).consume(({ position }) => void handled.push(position), { follow: false })
const code = await consumer.done.then(
  () => 'ended',
  (error) => error.code
)
parentPort.postMessage({ handled, code })
await wal.close()
