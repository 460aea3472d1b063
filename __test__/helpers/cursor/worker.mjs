// Commits to a cursor of a log that other threads have open too, and posts where it found it and what truncation did to it.

import { once } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../../index.js'

const { dir, options, name, position } = workerData
const wal = await Wal.open(dir, options)
const cursor = await wal.cursor(name)
parentPort.postMessage(cursor.position)
await cursor.commit(position)
parentPort.postMessage(cursor.position)
// News alone does not keep a thread alive.
const alive = setInterval(() => {}, 1 << 30)
const [move] = await once(cursor, 'truncated')
clearInterval(alive)
parentPort.postMessage(move)
await wal.close()
