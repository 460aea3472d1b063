// Enqueues a record for each message, and posts its position before it can be acknowledged.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'

const wal = await Wal.open(workerData.dir, workerData.options)
parentPort.on('message', () => parentPort.postMessage(wal.enqueue('x')))
