// Terminates workers, one after the other, while their blocks are being read. Each of them reads a log again and again.

import { once } from 'node:events'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'

if (isMainThread) {
  const [, , dir, count] = argv
  for (let after = 0; after < Number(count); after++) {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { dir, after } })
    await once(worker, 'message')
    await worker.terminate()
  }
} else {
  const { dir, after } = workerData
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  let read = 0
  for (;;) {
    for await (const records of wal.readFrom('start').batches()) {
      if (records.length > 0 && read++ === after) parentPort.postMessage(0)
    }
  }
}
